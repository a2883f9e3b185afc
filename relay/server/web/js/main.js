// The page: lobby, call, and what its buttons do.

import { CAMERA_ENCODINGS } from './relay_legs.js';
import { Room } from './room.js';
import { Stats, drawStats } from './stats.js';
import { Tiles } from './tiles.js';
import { Kind, Source, Topology } from './wire.js';

const CAMERA = { width: { ideal: 640 }, height: { ideal: 360 }, frameRate: { ideal: 25 } };
const SCREEN_FRAME_RATE = 15;
const SCREEN_KBPS = 1500;
const STATS_MS = 1000;
const TOAST_MS = 4000;

const element = (id) => document.getElementById(id);
const parameters = new URLSearchParams([...new URLSearchParams(location.search), ...new URLSearchParams(location.hash.slice(1))]);
// The call we are in: { room, tiles, stats, timer, tracks: { audio, video, screen } }, the last being ids.
let call = null;

function claims(token) {
  try {
    const bytes = Uint8Array.from(atob(token.split('.')[1].replaceAll('-', '+').replaceAll('_', '/')), (character) => character.charCodeAt(0));
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    return {};
  }
}

// ---------------------------------------------------------------------------------------------------------------- lobby

function prepareLobby() {
  const token = parameters.get('token') ?? '';
  element('token').value = token;
  element('token-field').hidden = Boolean(token);
  element('name').value = parameters.get('name') ?? localStorage.getItem('segue.name') ?? '';
  for (const device of ['camera', 'microphone']) if (parameters.get(device) === '0') element(`with-${device}`).checked = false;
  const showClaims = () => {
    const { room, name } = claims(element('token').value);
    element('room').value = room ?? '';
    element('name').value ||= name ?? '';
  };
  showClaims();
  element('token').addEventListener('input', showClaims);
  element('join').addEventListener('submit', (event) => {
    event.preventDefault();
    if (!call) join();
  });
  if (parameters.get('join') === '1') element('join').requestSubmit();
}

async function join() {
  const name = element('name').value.trim();
  localStorage.setItem('segue.name', name);
  element('join-error').textContent = '';
  element('notice').hidden = true;
  const url = new URL('/v1/connect', location.href);
  url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
  const room = new Room({ url, token: element('token').value.trim(), name, policy: parameters.get('policy') ?? undefined });
  call = { room, tracks: {} };
  let media = [];
  try {
    media = await capture(element('with-camera').checked, element('with-microphone').checked);
    await room.connect();
  } catch (error) {
    media.forEach((track) => track.stop());
    leave();
    element('join-error').textContent = error.message;
    return;
  }
  enter(room);
  for (const track of media) call?.room === room ? await publish(track) : track.stop();
}

function enter(room) {
  call.tiles = new Tiles(element('tiles'), room);
  call.stats = new Stats();
  call.timer = setInterval(() => measure(call), STATS_MS);
  listen(room);
  window.segue = room;
  element('lobby').hidden = true;
  element('call').hidden = false;
  element('title').textContent = room.name;
  element('copy').hidden = Boolean(claims(element('token').value).sub);
  redraw();
}

// Back to the lobby. `notice` says why, where it was not our wish.
function leave(notice) {
  const { room, tiles, timer } = call;
  call = null;
  for (const { media } of room.tracks.values()) media?.stop();
  room.leave();
  clearInterval(timer);
  tiles?.close();
  element('messages').replaceChildren();
  element('call').hidden = true;
  element('lobby').hidden = false;
  element('notice').hidden = !notice;
  element('notice').textContent = notice ?? '';
}

// --------------------------------------------------------------------------------------------------------- what we send

// What the person allowed; a missing device is said, and the call goes on without it.
async function capture(camera, microphone) {
  if (!camera && !microphone) return [];
  if (!navigator.mediaDevices) throw new Error('this browser gives cameras to https pages only: start the relay with --tls self-signed');
  try {
    const stream = await navigator.mediaDevices.getUserMedia({ video: camera && CAMERA, audio: microphone });
    return stream.getTracks();
  } catch (error) {
    if (camera && microphone) return [...(await capture(true, false)), ...(await capture(false, true))];
    toast(`no ${camera ? 'camera' : 'microphone'} (${error.message}): the call goes on without`);
    return [];
  }
}

async function publish(media) {
  const video = media.kind === 'video';
  const { width = 640, height = 360 } = media.getSettings();
  const encodings = CAMERA_ENCODINGS.map(({ rid, maxBitrate, scaleResolutionDownBy: by }) => ({
    rid,
    width: Math.round(width / by),
    height: Math.round(height / by),
    max_kbps: maxBitrate / 1000,
  }));
  const about = {
    kind: video ? Kind.VIDEO : Kind.AUDIO,
    source: video ? Source.CAMERA : Source.MICROPHONE,
    encodings: video ? encodings : [],
  };
  try {
    const track = await call.room.publish(media, about);
    call.tracks[media.kind] = track.id;
    watch(media);
  } catch (error) {
    // Whoever may only watch stays and watches.
    media.stop();
    toast(error.message);
  }
}

function stopSharing() {
  const { room, tracks } = call;
  room.tracks.get(tracks.screen)?.media?.stop();
  room.unpublish(tracks.screen);
  tracks.screen = null;
  redraw();
}

async function toggleShare() {
  if (call.tracks.screen) return stopSharing();
  if (!navigator.mediaDevices?.getDisplayMedia) throw new Error('this browser cannot share a screen');
  const stream = await navigator.mediaDevices.getDisplayMedia({ video: { frameRate: { ideal: SCREEN_FRAME_RATE } }, audio: false });
  const [media] = stream.getVideoTracks();
  media.contentHint = 'detail';
  const { width = 1280, height = 720 } = media.getSettings();
  const encodings = [{ rid: 'f', width, height, max_kbps: SCREEN_KBPS }];
  const track = await call.room.publish(media, { kind: Kind.VIDEO, source: Source.SCREEN, encodings }).catch((error) => {
    media.stop();
    throw error;
  });
  call.tracks.screen = track.id;
  media.onended = () => call?.tracks.screen === track.id && stopSharing();
  redraw();
}

// A device that goes by itself, or is taken from the page, is off.
function watch(media) {
  media.onended = () => call?.room.tracks.get(call.tracks[media.kind])?.media === media && turnOff(media.kind);
}

function turnOff(kind) {
  const { room, tracks } = call;
  const { media } = room.tracks.get(tracks[kind]);
  room.setMuted(tracks[kind], true);
  // The light of a camera that is off must be off.
  media.stop();
  room.replaceMedia(tracks[kind], null);
}

async function turnOn(kind) {
  const { room, tracks } = call;
  const [media] = await capture(kind === 'video', kind === 'audio');
  if (!media) return;
  if (call?.room !== room) return media.stop();
  // Whoever came without one has nothing to turn on yet.
  if (!room.tracks.has(tracks[kind])) return publish(media);
  watch(media);
  await room.replaceMedia(tracks[kind], media);
  room.setMuted(tracks[kind], false);
}

async function toggle(kind) {
  const { room, tracks } = call;
  const entry = room.tracks.get(tracks[kind]);
  const button = element(`mute-${kind}`);
  if (entry?.media && kind === 'audio') return room.setMuted(tracks[kind], !entry.track.muted);
  if (entry?.media) return turnOff(kind);
  // Devices take their time.
  button.disabled = true;
  try {
    await turnOn(kind);
  } finally {
    button.disabled = false;
    if (call) redraw();
  }
}

// ---------------------------------------------------------------------------------------------------------- what we show

function listen(room) {
  const current = (handle) => ({ detail }) => call?.room === room && handle(detail);
  const on = (name, handle) => room.addEventListener(name, current(handle));
  on('changed', redraw);
  on('topology', ({ from, to, reason }) => toast(`${from.toLowerCase()} → ${to.toLowerCase()}: ${reason}`));
  on('error', ({ message }) => toast(message));
  on('goodbye', ({ message, comesBack }) => (comesBack ? toast(message) : leave(message || 'the call ended')));
  on('closed', leave);
  on('data', ({ topic, from, bytes }) => topic === 'chat' && said(from, new TextDecoder().decode(bytes)));
  on('speakers', (speakers) => call.tiles.speaking(new Set(speakers.map(({ participant }) => participant))));
  on('renumbered', (ids) => {
    for (const [what, id] of Object.entries(call.tracks)) if (ids.has(id)) call.tracks[what] = ids.get(id);
  });
}

async function measure({ room, stats }) {
  await stats.sample(room);
  if (call?.room !== room) return;
  if (!element('stats').hidden && !element('side').hidden) drawStats(element('stats'), room, stats);
  call.tiles.draw();
}

function redraw() {
  const { room, tiles, tracks } = call;
  tiles.draw();
  const names = { [Topology.MESH]: 'direct', [Topology.MIXED]: 'mixed', [Topology.RELAYED]: 'through the relay' };
  element('topology').hidden = !room.participants.size;
  element('topology').textContent = names[room.topology];
  element('topology').className = `badge ${room.topology.toLowerCase()}`;
  element('state').textContent = room.state === 'connected' ? `${room.participants.size + 1} here` : `${room.state}…`;
  for (const [which, on, off] of [['audio', 'Mute', 'Unmute'], ['video', 'Stop camera', 'Start camera']]) {
    label(`mute-${which}`, on, off, room.tracks.get(tracks[which])?.track.muted ?? true);
  }
  label('share', 'Share screen', 'Stop sharing', Boolean(tracks.screen));
}

function label(id, off, on, pressed) {
  const text = pressed ? on : off;
  element(id).querySelector('span').textContent = text;
  element(id).setAttribute('aria-pressed', pressed);
  element(id).title = text;
}

function said(from, text) {
  const { room } = call;
  const item = document.createElement('li');
  const who = document.createElement('b');
  const other = room.participants.get(from);
  who.textContent = from === room.self.id ? 'you' : other?.name || other?.identity || 'someone';
  item.append(who, text);
  element('messages').append(item);
  item.scrollIntoView();
  if (element('side').hidden) toast(`${who.textContent}: ${text}`);
}

function say(text) {
  const { room } = call;
  try {
    room.sendData('chat', new TextEncoder().encode(text));
    said(room.self.id, text);
    element('text').value = '';
  } catch (error) {
    toast(error.message);
  }
}

let toastTimer;
function toast(text) {
  element('toast').textContent = text;
  element('toast').hidden = false;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => (element('toast').hidden = true), TOAST_MS);
}

function showTab(name) {
  for (const tab of ['chat', 'stats']) {
    element(tab).hidden = tab !== name;
    element(`tab-${tab}`).classList.toggle('on', tab === name);
  }
}

async function copyLink() {
  const link = new URL('/', location.href);
  link.hash = new URLSearchParams({ token: element('token').value.trim() });
  try {
    await navigator.clipboard.writeText(link.href);
    toast('link copied: everybody who has it may come');
  } catch {
    toast(link.href);
  }
}

function wireButtons() {
  for (const kind of ['audio', 'video']) element(`mute-${kind}`).onclick = () => toggle(kind).catch((error) => toast(error.message));
  // Whoever closes the browser's own dialogue does not want to hear of it.
  element('share').onclick = () => toggleShare().catch((error) => error.name !== 'NotAllowedError' && toast(error.message));
  element('toggle-side').onclick = () => {
    element('side').hidden = !element('side').hidden;
    element('toggle-side').setAttribute('aria-pressed', !element('side').hidden);
  };
  element('tab-chat').onclick = () => showTab('chat');
  element('tab-stats').onclick = () => showTab('stats');
  element('copy').onclick = copyLink;
  element('leave').onclick = () => leave();
  element('say').onsubmit = (event) => {
    event.preventDefault();
    const text = element('text').value.trim();
    if (text) say(text);
  };
  addEventListener('pagehide', () => call?.room.leave());
  // A page that comes back from the browser's cache has no call any more.
  addEventListener('pageshow', ({ persisted }) => persisted && location.reload());
}

wireButtons();
prepareLobby();
