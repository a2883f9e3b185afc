// The tracks one connection sends, and whether it sends them now.

import { preferH264 } from './negotiation.js';
import { Kind } from './wire.js';

// Chromium refuses new parameters while it negotiates.
const AGAIN_MS = 20;

export class Senders {
  #pc;
  #transceivers = new Map();
  #settling = new Set();
  #active = false;

  // Chromium forgets what it was told of a sender when an offer is taken back, and lets all encodings of an answered one send.
  constructor(pc) {
    this.#pc = pc;
    pc.addEventListener('signalingstatechange', () => this.#settleAll());
  }

  // `encodings`: what each encoding of the track is to be like.
  add(track, media, encodings) {
    const sendEncodings = encodings.map((encoding) => ({ ...encoding, active: this.#active }));
    const transceiver = this.#pc.addTransceiver(media, { direction: 'sendonly', sendEncodings });
    if (track.kind === Kind.VIDEO) preferH264(transceiver);
    this.#transceivers.set(track.id, transceiver);
  }

  remove(trackId) {
    const transceiver = this.#transceivers.get(trackId);
    this.#transceivers.delete(trackId);
    transceiver?.stop();
  }

  setActive(active) {
    this.#active = active;
    this.#settleAll();
  }

  // What each media section of ours carries, once negotiated.
  tracks() {
    return [...this.#transceivers].filter(([, { mid }]) => mid !== null).map(([track, { mid }]) => ({ mid, track }));
  }

  #settleAll() {
    for (const transceiver of this.#transceivers.values()) this.#settle(transceiver);
  }

  // Until the sender is as we want it by then: a refusal must not leave it silent, nor sending for nobody.
  async #settle(transceiver) {
    if (this.#settling.has(transceiver)) return;
    this.#settling.add(transceiver);
    while (this.#pc.connectionState !== 'closed' && transceiver.direction !== 'stopped') {
      const parameters = transceiver.sender.getParameters();
      if (parameters.encodings.every(({ active }) => active === this.#active)) break;
      for (const encoding of parameters.encodings) encoding.active = this.#active;
      await transceiver.sender.setParameters(parameters).catch(pause);
    }
    this.#settling.delete(transceiver);
  }
}

const pause = () => new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
