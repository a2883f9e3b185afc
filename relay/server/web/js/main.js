// The page: lobby, call, and what its buttons do.

import { CAMERA_ENCODINGS } from './relay_legs.js';
import { Room } from './room.js';
import { Stats, drawStats } from './stats.js';
import { Tiles } from './tiles.js';
import { Kind, Source, Topology } from './wire.js';

const CAMERA = { width: { ideal: 640 }, height: { ideal: 360 }, frameRate: { ideal: 25 } };
const STATS_MS = 1000;
const TOAST_MS = 4000;

const element = (id) => document.getElementById(id);
const parameters = new URLSearchParams([...new URLSearchParams(location.search), ...new URLSearchParams(location.hash.slice(1))]);
const own = { audio: null, video: null, screen: null };
let room = null;

function claims(token) {
  try {
    return JSON.parse(atob(token.split('.')[1].replaceAll('-', '+').replaceAll('_', '/')));
  } catch {
    return {};
  }
}

function prepareLobby() {
  const token = parameters.get('token') ?? '';
  element('token').value = token;
  element('token-field').hidden = Boolean(token);
  element('room').value = claims(token).room ?? '';
  element('name').value = parameters.get('name') ?? localStorage.getItem('segue.name') ?? '';
  for (const device of ['camera', 'microphone']) if (parameters.get(device) === '0') element(`with-${device}`).checked = false;
  element('token').addEventListener('input', ({ target }) => (element('room').value = claims(target.value).room ?? ''));
  element('join').addEventListener('submit', (event) => {
    event.preventDefault();
    join().catch((error) => (element('join-error').textContent = error.message));
  });
  if (parameters.get('join') === '1') element('join').requestSubmit();
}

async function join() {
  const name = element('name').value.trim();
  localStorage.setItem('segue.name', name);
  element('join-error').textContent = '';
  const media = await capture(element('with-camera').checked, element('with-microphone').checked);
  const url = new URL('/v1/connect', location.href);
  url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
  room = new Room({ url, token: element('token').value.trim(), name, policy: parameters.get('policy') ?? undefined });
  window.segue = room;
  listen(room);
  await room.connect();
  element('lobby').hidden = true;
  element('call').hidden = false;
  element('title').textContent = room.name;
  for (const track of media) await publish(track);
  redraw();
}

// What the person allowed; a missing device is said, and the call goes on without it.
async function capture(camera, microphone) {
  if (!camera && !microphone) return [];
  if (!navigator.mediaDevices) throw new Error('this browser gives cameras to https pages only: start the relay with --tls self-signed');
  try {
    const stream = await navigator.mediaDevices.getUserMedia({ video: camera && CAMERA, audio: microphone });
    return stream.getTracks();
  } catch (error) {
    toast(`no camera or microphone (${error.message}): you join without`);
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
  const track = await room.publish(media, {
    kind: video ? Kind.VIDEO : Kind.AUDIO,
    source: video ? Source.CAMERA : Source.MICROPHONE,
    encodings: video ? encodings : [],
  });
  own[video ? 'video' : 'audio'] = track.id;
}

async function toggleShare() {
  if (own.screen) {
    room.tracks.get(own.screen)?.media.stop();
    room.unpublish(own.screen);
    own.screen = null;
    return;
  }
  const stream = await navigator.mediaDevices.getDisplayMedia({ video: { frameRate: { ideal: 15 } }, audio: false });
  const [media] = stream.getVideoTracks();
  media.contentHint = 'detail';
  const { width = 1280, height = 720 } = media.getSettings();
  const track = await room.publish(media, { kind: Kind.VIDEO, source: Source.SCREEN, encodings: [{ rid: 'f', width, height, max_kbps: 1500 }] });
  own.screen = track.id;
  media.onended = () => own.screen && toggleShare();
}

function toggleMuted(which) {
  const entry = room.tracks.get(own[which]);
  if (!entry) return toast(`you joined without a ${which === 'audio' ? 'microphone' : 'camera'}`);
  room.setMuted(own[which], !entry.track.muted);
}

function listen(call) {
  const tiles = new Tiles(element('tiles'), call);
  const stats = new Stats();
  call.addEventListener('changed', () => {
    tiles.draw();
    redraw();
  });
  call.addEventListener('topology', ({ detail }) => toast(`${detail.from.toLowerCase()} → ${detail.to.toLowerCase()}: ${detail.reason}`));
  call.addEventListener('error', ({ detail }) => toast(detail.message));
  call.addEventListener('goodbye', ({ detail }) => toast(detail.message || 'the call ended'));
  call.addEventListener('data', ({ detail }) => detail.topic === 'chat' && said(detail.from, new TextDecoder().decode(detail.bytes)));
  call.addEventListener('speakers', ({ detail }) => tiles.speaking(new Set(detail.map(({ participant }) => participant))));
  setInterval(async () => {
    await stats.sample(call);
    if (!element('stats').hidden && !element('side').hidden) drawStats(element('stats'), call, stats);
    tiles.draw();
  }, STATS_MS);
}

function redraw() {
  const names = { [Topology.MESH]: 'direct calls', [Topology.MIXED]: 'mixed', [Topology.RELAYED]: 'through the relay' };
  element('topology').textContent = names[room.topology];
  element('topology').className = `badge ${room.topology.toLowerCase()}`;
  element('state').textContent = room.state === 'connected' ? `${room.participants.size + 1} here` : `${room.state}…`;
  for (const [which, on, off] of [['audio', 'Mute', 'Unmute'], ['video', 'Stop camera', 'Start camera']]) {
    const muted = Boolean(room.tracks.get(own[which])?.track.muted);
    element(`mute-${which}`).textContent = muted ? off : on;
    element(`mute-${which}`).setAttribute('aria-pressed', muted);
  }
  element('share').textContent = own.screen ? 'Stop sharing' : 'Share screen';
}

function said(from, text) {
  const item = document.createElement('li');
  const who = document.createElement('b');
  const other = room.participants.get(from);
  who.textContent = from === room.self.id ? 'you' : other?.name || other?.identity || 'someone';
  item.append(who, text);
  element('messages').append(item);
  item.scrollIntoView();
  if (element('side').hidden) toast(`${who.textContent}: ${text}`);
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

function wireButtons() {
  element('mute-audio').onclick = () => toggleMuted('audio');
  element('mute-video').onclick = () => toggleMuted('video');
  element('share').onclick = () => toggleShare().catch((error) => toast(error.message));
  element('toggle-side').onclick = () => (element('side').hidden = !element('side').hidden);
  element('tab-chat').onclick = () => showTab('chat');
  element('tab-stats').onclick = () => showTab('stats');
  element('copy').onclick = () => navigator.clipboard.writeText(location.href).then(() => toast('link copied'), () => toast(location.href));
  element('leave').onclick = () => {
    room.leave();
    location.hash = '';
    setTimeout(() => location.reload(), 200);
  };
  element('say').onsubmit = (event) => {
    event.preventDefault();
    const text = element('text').value.trim();
    if (!text) return;
    try {
      room.sendData('chat', new TextEncoder().encode(text));
      said(room.self.id, text);
      element('text').value = '';
    } catch (error) {
      toast(error.message);
    }
  };
}

wireButtons();
prepareLobby();
