// A direct connection to one participant: its media both ways, and the second carrier of signalling.

import { Negotiation, sessionOf } from './negotiation.js';
import { Senders } from './senders.js';
import { Kind, Link, Source } from './wire.js';

const MAX_BITRATE = 700_000;
// One keyframe of a screen holds as much as a second of a face: under a face's rate Chromium sends it and then nothing for seconds.
const MAX_SCREEN_BITRATE = 2_500_000;

// Events: `state`, `tracks`, `signal` (detail: Signal), `lossy` (detail: LossyData).
export class DirectLeg extends EventTarget {
  #senders;
  #mids = new Map();

  // `starts`: the first offer is ours; `generation`: of our last offer on the leg before this one. `send(name, value)` carries a signal to
  // the peer.
  constructor({ iceServers, polite, starts, generation, send }) {
    super();
    this.negotiation = new Negotiation({
      iceServers,
      polite,
      offers: true,
      starts,
      generation,
      channels: true,
      send: {
        description: (description) => send('description', { ...description, tracks: this.#senders.tracks() }),
        candidate: (candidate) => send('candidate', candidate),
      },
    });
    this.pc = this.negotiation.pc;
    this.#senders = new Senders(this.pc);
    this.pc.onconnectionstatechange = () => this.#changed();
    this.pc.ontrack = () => this.dispatchEvent(new Event('tracks'));
    this.negotiation.signal.onmessage = ({ data }) => this.#receive('signal', data);
    this.negotiation.lossy.onmessage = ({ data }) => this.#receive('lossy', data);
  }

  get up() {
    return this.pc.connectionState === 'connected';
  }

  get state() {
    return { connected: Link.UP, failed: Link.FAILED, closed: Link.CLOSED }[this.pc.connectionState] ?? Link.CONNECTING;
  }

  addTrack(track, media) {
    const maxBitrate = track.source === Source.SCREEN ? MAX_SCREEN_BITRATE : MAX_BITRATE;
    this.#senders.add(track, media, [track.kind === Kind.VIDEO ? { maxBitrate } : {}]);
  }

  removeTrack(trackId) {
    this.#senders.remove(trackId);
  }

  replaceMedia(trackId, media) {
    return this.#senders.replace(trackId, media);
  }

  setActive(active) {
    this.#senders.setActive(active);
  }

  // Whether something that came belongs to another transport than the one this leg has met.
  isOfAnother({ sdp }) {
    const met = this.negotiation.remoteSession;
    return met !== null && sessionOf(sdp) !== met;
  }

  async handleDescription(description) {
    if (!(await this.negotiation.handleDescription(description))) return;
    // The list is of all sections the other side sends on.
    this.#mids = new Map((description.tracks ?? []).map(({ mid, track }) => [mid, track]));
    this.dispatchEvent(new Event('tracks'));
  }

  receiver(trackId) {
    const carries = ({ mid, receiver }) => mid !== null && this.#mids.get(mid) === trackId && receiver.track;
    return this.pc.getTransceivers().find(carries)?.receiver ?? null;
  }

  // Whether the message left on this leg.
  sendSignal(signal) {
    return this.#send(this.negotiation.signal, signal);
  }

  sendLossy(data) {
    return this.#send(this.negotiation.lossy, data);
  }

  close() {
    this.negotiation.close();
  }

  #send(channel, message) {
    if (channel.readyState !== 'open') return false;
    channel.send(JSON.stringify(message));
    return true;
  }

  #receive(name, data) {
    // Peers answer in the form they are spoken to; binary is the form of participants that do not speak JSON.
    if (typeof data !== 'string') return;
    this.dispatchEvent(new CustomEvent(name, { detail: JSON.parse(data) }));
  }

  #changed() {
    this.dispatchEvent(new Event('state'));
  }
}
