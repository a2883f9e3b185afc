// A direct connection to one participant: its media both ways, and the second carrier of signalling.

import { Negotiation, preferH264 } from './negotiation.js';
import { setSenderActive } from './relay_legs.js';
import { Kind, Link } from './wire.js';

const MAX_BITRATE = 700_000;

// Events: `state`, `tracks`, `signal` (detail: Signal), `lossy` (detail: LossyData).
export class DirectLeg extends EventTarget {
  #senders = new Map();
  #mids = new Map();
  #active = false;

  // The impolite side makes the first offer. `send(name, value)` carries a signal to the peer.
  constructor({ iceServers, polite, send }) {
    super();
    this.negotiation = new Negotiation({
      iceServers,
      polite,
      offers: true,
      starts: !polite,
      channels: true,
      send: {
        description: (description) => send('description', { ...description, tracks: this.#tracks() }),
        candidate: (candidate) => send('candidate', candidate),
      },
    });
    this.pc = this.negotiation.pc;
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
    const video = track.kind === Kind.VIDEO;
    const transceiver = this.pc.addTransceiver(media, {
      direction: 'sendonly',
      sendEncodings: [{ active: this.#active, ...(video ? { maxBitrate: MAX_BITRATE } : {}) }],
    });
    if (video) preferH264(transceiver);
    this.#senders.set(track.id, transceiver);
  }

  async replaceMedia(trackId, media) {
    await this.#senders.get(trackId)?.sender.replaceTrack(media);
  }

  removeTrack(trackId) {
    const transceiver = this.#senders.get(trackId);
    this.#senders.delete(trackId);
    transceiver?.stop();
  }

  setActive(active) {
    if (active === this.#active) return;
    this.#active = active;
    for (const { sender } of this.#senders.values()) setSenderActive(sender, active);
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

  #tracks() {
    return [...this.#senders].filter(([, { mid }]) => mid !== null).map(([track, { mid }]) => ({ mid, track }));
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
