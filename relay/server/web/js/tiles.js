// The tiles: one for each participant's camera or initial, one more for each shared screen.

import { inside, layout } from './layout.js';
import { Player } from './player.js';
import { Kind, Path, Source, Topology } from './wire.js';

// Tiles narrower than this say less.
const SMALL = 260;

export class Tiles {
  #root;
  #room;
  #tiles = new Map();
  #resizes = new ResizeObserver(() => this.#arrange());

  constructor(root, room) {
    this.#root = root;
    this.#room = room;
    this.#resizes.observe(root);
  }

  close() {
    this.#resizes.disconnect();
    this.#root.replaceChildren();
  }

  draw() {
    const wanted = [...this.#own(), ...[...this.#room.participants.values()].flatMap((other) => this.#remote(other))];
    const keys = new Set(wanted.map(({ key }) => key));
    for (const [key, tile] of this.#tiles) {
      if (!keys.has(key)) {
        tile.root.remove();
        this.#tiles.delete(key);
      }
    }
    for (const view of wanted) this.#update(this.#tiles.get(view.key) ?? this.#create(view), view);
    this.#arrange();
  }

  #arrange() {
    const tiles = [...this.#tiles.values()];
    const screens = tiles.filter(({ screen }) => screen);
    const cameras = tiles.filter(({ screen }) => !screen);
    const places = layout(inside(this.#root), screens.length, cameras.length);
    for (const [index, { root }] of [...screens, ...cameras].entries()) {
      const { x, y, width, height } = places[index];
      Object.assign(root.style, { left: `${x}px`, top: `${y}px`, width: `${width}px`, height: `${height}px` });
      root.classList.toggle('small', width < SMALL);
    }
  }

  speaking(ids) {
    for (const [key, { root }] of this.#tiles) root.classList.toggle('speaking', ids.has(Number(key.split('/')[0])));
  }

  #own() {
    const { self, tracks } = this.#room;
    const mine = [...tracks.values()];
    const cameras = mine.filter(({ track }) => track.source === Source.CAMERA);
    const screens = mine.filter(({ track }) => track.source === Source.SCREEN);
    const muted = mine.some(({ track }) => track.kind === Kind.AUDIO && track.muted);
    const base = { own: true, name: `${self?.name || self?.identity || 'you'} (you)`, muted, audio: null };
    return [
      { ...base, key: `${self?.id}/main`, video: cameras.find(({ track }) => !track.muted)?.media ?? null },
      ...screens.map(({ track, media }) => ({ ...base, key: `${self?.id}/${track.id}`, name: 'your screen', muted: false, video: media, screen: true })),
    ];
  }

  #remote(other) {
    const path = other.incoming.path ?? this.#guess(other);
    const media = (track) => (track && path ? (this.#room.receiverOn(other.id, track.id, path)?.track ?? null) : null);
    const tracks = [...other.tracks.values()];
    const find = (source) => tracks.find((track) => track.source === source);
    const microphone = find(Source.MICROPHONE);
    const camera = find(Source.CAMERA);
    const base = { own: false, name: other.name || other.identity, path, participant: other.id };
    return [
      { ...base, key: `${other.id}/main`, video: camera?.muted ? null : media(camera), audio: media(microphone), muted: Boolean(microphone?.muted) },
      ...tracks
        .filter((track) => track.source === Source.SCREEN)
        .map((track) => ({ ...base, key: `${other.id}/${track.id}`, name: `${base.name}'s screen`, video: media(track), audio: media(find(Source.SCREEN_AUDIO)), screen: true })),
    ];
  }

  // Before the publisher has said anything: what the room is on, not where it is going.
  #guess(other) {
    return other.leg?.up && this.#room.topology !== Topology.RELAYED ? Path.DIRECT : Path.RELAYED;
  }

  #create({ key, own, screen }) {
    const root = document.createElement('article');
    root.className = `tile${own ? ' self' : ''}${screen ? ' screen' : ''}`;
    root.innerHTML = '<span class="initial"></span><video autoplay playsinline muted></video><audio autoplay></audio>' +
      '<span class="badge path" hidden></span><span class="plate"><span class="who"></span><span class="muted" hidden>muted</span></span>';
    this.#root.append(root);
    const part = (selector) => root.querySelector(selector);
    const tile = { root, screen, video: new Player(part('video')), audio: new Player(part('audio')), initial: part('.initial'), path: part('.path'), who: part('.who'), muted: part('.muted') };
    this.#tiles.set(key, tile);
    return tile;
  }

  #update(tile, { name, video, audio, muted, path, participant }) {
    tile.video.show(video);
    tile.audio.show(audio);
    tile.initial.textContent = name.slice(0, 1).toUpperCase();
    tile.who.textContent = name;
    tile.muted.hidden = !muted;
    tile.path.hidden = !path;
    tile.path.textContent = path === Path.DIRECT ? 'direct' : 'relayed';
    tile.path.className = `badge path ${tile.path.textContent}`;
    if (participant) tile.root.dataset.participant = participant;
  }
}
