// The two transports to the relay: the publisher (we offer) and the subscriber (the relay offers).

import { Negotiation, preferH264 } from './negotiation.js';
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
  #senders = new Map();
  #active = false;

  constructor(carrier, iceServers) {
    super(carrier, Transport.PUBLISHER, { iceServers, offers: true, starts: true, channels: true });
  }

  addTrack(track, media) {
    const camera = track.kind === Kind.VIDEO && track.source === Source.CAMERA;
    const transceiver = this.pc.addTransceiver(media, {
      direction: 'sendonly',
      sendEncodings: camera ? CAMERA_ENCODINGS.map((encoding) => ({ ...encoding, active: this.#active })) : [{ active: this.#active }],
    });
    if (track.kind === Kind.VIDEO) preferH264(transceiver);
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

  tracks() {
    return [...this.#senders].filter(([, { mid }]) => mid !== null).map(([track, { mid }]) => ({ mid, track }));
  }

  setActive(active) {
    if (active === this.#active) return;
    this.#active = active;
    for (const { sender } of this.#senders.values()) setSenderActive(sender, active);
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

export async function setSenderActive(sender, active) {
  const parameters = sender.getParameters();
  if (!parameters.encodings?.length) return;
  for (const encoding of parameters.encodings) encoding.active = active;
  try {
    await sender.setParameters(parameters);
  } catch (error) {
    console.debug('setParameters', error.message);
  }
}
