// The two transports to the relay: the publisher (we offer) and the subscriber (the relay offers).

import { Negotiation } from './negotiation.js';
import { Senders } from './senders.js';
import { Kind, Link, Sdp, Source, Transport } from './wire.js';

// Three encodings of a camera, as the SDK makes them: full, half and quarter size.
export const CAMERA_ENCODINGS = [
  { rid: 'f', maxBitrate: 1_200_000, scaleResolutionDownBy: 1 },
  { rid: 'h', maxBitrate: 400_000, scaleResolutionDownBy: 2 },
  { rid: 'q', maxBitrate: 120_000, scaleResolutionDownBy: 4 },
];

class RelayLeg extends EventTarget {
  constructor(carrier, transport, options) {
    super();
    this.carrier = carrier;
    this.transport = transport;
    this.negotiation = new Negotiation({
      ...options,
      polite: true,
      send: {
        description: (description) => carrier.send('description', { transport, ...description, tracks: this.tracks() }),
        candidate: (candidate) => carrier.send('candidate', { transport, candidate }),
      },
    });
    this.pc = this.negotiation.pc;
    this.pc.onconnectionstatechange = () => this.#changed();
  }

  tracks() {
    return [];
  }

  get up() {
    return this.pc.connectionState === 'connected';
  }

  get state() {
    return { connected: Link.UP, failed: Link.FAILED, closed: Link.CLOSED }[this.pc.connectionState] ?? Link.CONNECTING;
  }

  #changed() {
    this.dispatchEvent(new Event('state'));
  }
}

// What we send through the relay. A sender is active only while an edge needs it.
export class PublisherLeg extends RelayLeg {
  #senders = new Senders(this.pc);

  constructor(carrier, iceServers) {
    super(carrier, Transport.PUBLISHER, { iceServers, offers: true, starts: true, channels: true });
  }

  addTrack(track, media) {
    const camera = track.kind === Kind.VIDEO && track.source === Source.CAMERA;
    this.#senders.add(track, media, camera ? CAMERA_ENCODINGS : [{}]);
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

  tracks() {
    return this.#senders.tracks();
  }

  // The channels of this transport serve both directions.
  sendLossy(data) {
    const { lossy } = this.negotiation;
    if (lossy.readyState === 'open') lossy.send(JSON.stringify(data));
  }
}

// What we receive through the relay: its media sections are slots that carry one track after another.
export class SubscriberLeg extends RelayLeg {
  #slots = new Map();

  constructor(carrier, iceServers) {
    super(carrier, Transport.SUBSCRIBER, { iceServers, offers: false, starts: false, channels: false });
  }

  handleDescription(description) {
    this.setSlots(description.tracks ?? []);
    return description.kind === Sdp.OFFER ? this.negotiation.handleDescription(description) : undefined;
  }

  setSlots(slots) {
    for (const { mid, track } of slots) {
      if (track) this.#slots.set(mid, track);
      else this.#slots.delete(mid);
    }
    this.dispatchEvent(new Event('slots'));
  }

  // The receiver that carries a track now, if any.
  receiver(trackId) {
    return this.pc.getTransceivers().find(({ mid }) => mid !== null && this.#slots.get(mid) === trackId)?.receiver ?? null;
  }
}
