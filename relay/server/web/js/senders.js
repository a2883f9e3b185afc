// The tracks one connection sends, and whether it sends them now.

import { preferH264 } from './negotiation.js';
import { Kind } from './wire.js';

// Chromium refuses new parameters while it negotiates.
const AGAIN_MS = 20;
const SILENT_MS = 500;

export class Senders {
  #pc;
  #transceivers = new Map();
  #settling = new Set();
  #doubted = new Set();
  #active = false;

  // Chromium forgets what it was told of a sender when an offer is taken back, and lets all encodings of an answered one send.
  constructor(pc) {
    this.#pc = pc;
    pc.addEventListener('signalingstatechange', () => this.#settleAll());
  }

  // `encodings`: what each encoding of the track is to be like. `media`: null while its device is off.
  add(track, media, encodings) {
    const sendEncodings = encodings.map((encoding) => ({ ...encoding, active: this.#active }));
    const transceiver = this.#pc.addTransceiver(media ?? track.kind.toLowerCase(), { direction: 'sendonly', sendEncodings });
    if (track.kind === Kind.VIDEO) preferH264(transceiver);
    this.#transceivers.set(track.id, transceiver);
  }

  remove(trackId) {
    const transceiver = this.#transceivers.get(trackId);
    this.#transceivers.delete(trackId);
    transceiver?.stop();
  }

  // Another device, or null for none: nothing is negotiated anew.
  replace(trackId, media) {
    return this.#transceivers.get(trackId)?.sender.replaceTrack(media);
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
      const { encodings } = transceiver.sender.getParameters();
      if (!encodings.every(({ active }) => active === this.#active)) await set(transceiver.sender, this.#active);
      else if (await this.#obeys(transceiver)) break;
      else await set(transceiver.sender, !this.#active);
    }
    this.#settling.delete(transceiver);
  }

  // Chromium 150 says after an offer was taken back that a sender is active, and sends nothing: its statistics know. They lag, so it takes
  // two looks in a row to believe them.
  async #obeys(transceiver) {
    const report = await transceiver.sender.getStats();
    const streams = [...report.values()].filter(({ type }) => type === 'outbound-rtp');
    const differs = transceiver.sender.track && streams.some(({ active }) => active === !this.#active);
    const again = differs && this.#doubted.delete(transceiver);
    if (differs && !again) this.#doubted.add(transceiver);
    if (!differs) this.#doubted.delete(transceiver);
    return !again;
  }
}

// Chromium may never say what became of new parameters when a description comes in between.
async function set(sender, active) {
  const parameters = sender.getParameters();
  for (const encoding of parameters.encodings) encoding.active = active;
  await Promise.race([sender.setParameters(parameters).catch(() => pause(AGAIN_MS)), pause(SILENT_MS)]);
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
