// Reliable data, end to end: numbered by the sender, held until every receiver acknowledged, resent on whatever path lives,
// delivered once and in order.

import { fromBase64, toBase64 } from './wire.js';

const RESEND_MS = 700;
const MAX_HELD = 512;

export class Reliable {
  #send;
  #deliver;
  #number = 0;
  #held = [];
  #incoming = new Map();
  // The lowest number a receiver will ever get, told until it has acknowledged something.
  #begins = new Map();

  // `send(to, name, value)` carries a signal, `deliver(from, topic, bytes)` hands a message to the application.
  constructor({ send, deliver }) {
    this.#send = send;
    this.#deliver = deliver;
    this.timer = setInterval(() => this.#resend(), RESEND_MS);
  }

  // `receivers`: ids of who is in the room now.
  send(topic, bytes, receivers) {
    if (this.#held.length >= MAX_HELD) throw new Error('too many messages wait for an acknowledgement: try again later');
    const data = { number: ++this.#number, topic, payload: toBase64(bytes) };
    const waiting = new Set(receivers);
    for (const to of waiting) if (!this.#begins.has(to)) this.#begins.set(to, data.number);
    if (waiting.size) this.#held.push({ data, waiting, sentAt: performance.now() });
    for (const to of waiting) this.#sendTo(to, data);
  }

  forget(participant) {
    this.#incoming.delete(participant);
    this.#begins.delete(participant);
    for (const held of this.#held) held.waiting.delete(participant);
    this.#held = this.#held.filter(({ waiting }) => waiting.size);
  }

  handleData(from, { number, topic, payload, first }) {
    const state = this.#incoming.get(from) ?? { next: null, waiting: new Map() };
    this.#incoming.set(from, state);
    // A sender that does not say where our stream begins means: here.
    const begins = first ? Math.min(first, number) : number;
    if (state.next === null || first) state.next = Math.max(state.next ?? 0, begins);
    if (number >= state.next && state.waiting.size < MAX_HELD) state.waiting.set(number, { topic, payload });
    while (state.waiting.has(state.next)) {
      const message = state.waiting.get(state.next);
      state.waiting.delete(state.next);
      state.next += 1;
      this.#deliver(from, message.topic ?? '', fromBase64(message.payload));
    }
    this.#send(from, 'data_ack', { up_to: state.next - 1 });
  }

  handleAck(from, { up_to: upTo }) {
    if (upTo) this.#begins.set(from, 0);
    for (const held of this.#held) if (held.data.number <= (upTo ?? 0)) held.waiting.delete(from);
    this.#held = this.#held.filter(({ waiting }) => waiting.size);
  }

  #resend() {
    const now = performance.now();
    for (const held of this.#held) {
      if (now - held.sentAt < RESEND_MS) continue;
      held.sentAt = now;
      for (const to of held.waiting) this.#sendTo(to, held.data);
    }
  }

  #sendTo(to, data) {
    this.#send(to, 'data', { ...data, first: this.#begins.get(to) ?? 0 });
  }

  close() {
    clearInterval(this.timer);
  }
}
