// The WebSocket to the relay: numbers what is sent, acknowledges what is received, and resumes after a drop.

import { SUBPROTOCOL, variant } from './wire.js';

const RESUME_WINDOW_MS = 30_000;
const RETRY_FIRST_MS = 300;
const RETRY_MOST_MS = 3_000;
const ACK_DELAY_MS = 100;
const MAX_UNACKED = 1024;

// Events: `message` (detail: { name, value }), `state` (detail: 'connected' | 'reconnecting' | 'closed').
export class Carrier extends EventTarget {
  #url;
  #socket = null;
  #sent = 0;
  #received = 0;
  #unacked = [];
  #resumeToken = null;
  #lostAt = null;
  #retryMs = RETRY_FIRST_MS;
  #ackTimer = null;
  #closed = false;
  #first;

  // `first` makes the Join message of a new session.
  constructor(url, first) {
    super();
    this.#url = url;
    this.#first = first;
  }

  connect() {
    const socket = new WebSocket(this.#url, SUBPROTOCOL);
    this.#socket = socket;
    socket.onopen = () => this.#opened();
    socket.onmessage = (event) => this.#receive(JSON.parse(event.data));
    socket.onclose = () => this.#lost(socket);
  }

  setResumeToken(token) {
    this.#resumeToken = token;
    this.#lostAt = null;
    this.#retryMs = RETRY_FIRST_MS;
    this.#state('connected');
  }

  // Joins anew on the open connection: the relay no longer knows the session.
  restart() {
    this.#resumeToken = null;
    this.#sent = 0;
    this.#received = 0;
    this.#unacked = [];
    this.send('join', this.#first());
  }

  send(name, value) {
    const frame = { seq: ++this.#sent, message: { [name]: value } };
    this.#unacked.push(frame);
    if (this.#unacked.length > MAX_UNACKED) this.close();
    else this.#write(frame);
  }

  close() {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#ackTimer);
    this.#socket?.close();
    this.#state('closed');
  }

  #opened() {
    if (this.#resumeToken) {
      this.#write({ seq: 0, message: { resume: { resume_token: this.#resumeToken } } });
    } else {
      this.restart();
    }
  }

  #write(frame) {
    if (this.#socket?.readyState !== WebSocket.OPEN) return;
    clearTimeout(this.#ackTimer);
    this.#ackTimer = null;
    this.#socket.send(JSON.stringify({ ...frame, ack: this.#received }));
  }

  #receive(frame) {
    this.#unacked = this.#unacked.filter((sent) => sent.seq > (frame.ack ?? 0));
    const [name, value] = variant(frame.message);
    if (name === 'resumed') {
      this.#lostAt = null;
      this.#retryMs = RETRY_FIRST_MS;
      this.#state('connected');
      for (const sent of this.#unacked) this.#write(sent);
    }
    if (frame.seq) {
      if (frame.seq <= this.#received) return;
      this.#received = frame.seq;
      this.#ackTimer ??= setTimeout(() => this.#write({ seq: 0 }), ACK_DELAY_MS);
    }
    if (name) this.dispatchEvent(new CustomEvent('message', { detail: { name, value } }));
  }

  #lost(socket) {
    if (this.#closed || socket !== this.#socket) return;
    this.#lostAt ??= performance.now();
    if (performance.now() - this.#lostAt > RESUME_WINDOW_MS) this.#resumeToken = null;
    this.#state('reconnecting');
    setTimeout(() => !this.#closed && this.connect(), this.#retryMs);
    this.#retryMs = Math.min(this.#retryMs * 2, RETRY_MOST_MS);
  }

  #state(state) {
    this.dispatchEvent(new CustomEvent('state', { detail: state }));
  }
}
