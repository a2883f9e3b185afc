// The WebSocket to the relay: numbers what is sent, acknowledges what is received, notices when nothing comes any more, and resumes after a
// drop.

import { SUBPROTOCOL, variant } from './wire.js';

// Until the relay says another.
const RESUME_WINDOW_MS = 30_000;
const RETRY_FIRST_MS = 300;
const RETRY_MOST_MS = 3_000;
const ACK_DELAY_MS = 100;
const MAX_UNACKED = 1024;
// A socket that does not open, and a join or resume without an answer, is given up after this.
const ANSWER_MS = 10_000;
// After so many pings in a row without a word from the relay the connection is dead, whatever the socket says. Counted, not timed: a page
// that slept has not listened.
const MISSED_PINGS = 3;
// A dead connection is noticed in half the time the relay holds the session for, so that there is time to come back.
const PING_SHARE = 0.5 / (MISSED_PINGS + 1);
const PING_LEAST_MS = 1_000;
const PING_MOST_MS = 4_000;

// Events: `message` (detail: { name, value }), `state` (detail: 'connected' | 'reconnecting' | 'closed').
export class Carrier extends EventTarget {
  // In the room, with a connection that carries frames.
  live = false;
  windowMs = RESUME_WINDOW_MS;
  #url;
  #first;
  #socket = null;
  #sent = 0;
  #received = 0;
  #unacked = [];
  #resumeToken = null;
  #lostAt = null;
  #retryMs = RETRY_FIRST_MS;
  #ackTimer = null;
  #deadline = null;
  #pings = null;
  #unanswered = 0;
  #closed = false;

  // `first` makes the Join message of a new session.
  constructor(url, first) {
    super();
    this.#url = url;
    this.#first = first;
  }

  connect() {
    const socket = new WebSocket(this.#url, SUBPROTOCOL);
    this.#socket = socket;
    socket.onopen = () => socket === this.#socket && this.#opened();
    socket.onmessage = ({ data }) => socket === this.#socket && this.#receive(JSON.parse(data));
    socket.onclose = () => this.#lose(socket);
    this.#deadline = setTimeout(() => this.#lose(socket), ANSWER_MS);
  }

  // For how long there has been no connection, in milliseconds.
  get lostMs() {
    return this.#lostAt === null ? 0 : performance.now() - this.#lostAt;
  }

  // The relay let us in: how to come back, and for how long it will wait.
  joined(resumeToken, windowMs) {
    this.#resumeToken = resumeToken;
    this.windowMs = windowMs || RESUME_WINDOW_MS;
    this.#arrive();
  }

  // Joins anew on the open connection: the relay no longer knows the session.
  restart() {
    this.forget();
    this.#push('join', this.#first());
  }

  // The session is over: the next connection joins anew. What the relay must know of us is told again then.
  forget() {
    this.live = false;
    this.#resumeToken = null;
    this.#sent = 0;
    this.#received = 0;
    this.#unacked = [];
  }

  // Arrives, now or after a resume; without a session it is dropped.
  send(name, value) {
    if (this.#resumeToken) this.#push(name, value);
  }

  close() {
    if (this.#closed) return;
    this.#closed = true;
    this.live = false;
    this.#stopTimers();
    this.#socket?.close();
    this.#state('closed');
  }

  #push(name, value) {
    const frame = { seq: ++this.#sent, message: { [name]: value } };
    this.#unacked.push(frame);
    if (this.#unacked.length <= MAX_UNACKED) return this.#write(frame);
    this.forget();
    if (this.#socket) this.#lose(this.#socket);
  }

  #opened() {
    if (this.#resumeToken) this.#write({ seq: 0, message: { resume: { resume_token: this.#resumeToken } } });
    else this.restart();
  }

  #arrive() {
    clearTimeout(this.#deadline);
    clearInterval(this.#pings);
    this.live = true;
    this.#lostAt = null;
    this.#retryMs = RETRY_FIRST_MS;
    const every = Math.min(Math.max(this.windowMs * PING_SHARE, PING_LEAST_MS), PING_MOST_MS);
    this.#pings = setInterval(() => this.#ping(), every);
    this.#state('connected');
  }

  #ping() {
    if (this.#unanswered >= MISSED_PINGS) return this.#lose(this.#socket);
    this.#unanswered += 1;
    this.#write({ seq: 0, message: { ping: {} } });
  }

  #write(frame) {
    if (this.#socket?.readyState !== WebSocket.OPEN) return;
    clearTimeout(this.#ackTimer);
    this.#ackTimer = null;
    this.#socket.send(JSON.stringify({ ...frame, ack: this.#received }));
  }

  #receive(frame) {
    this.#unanswered = 0;
    this.#unacked = this.#unacked.filter((sent) => sent.seq > (frame.ack ?? 0));
    const [name, value] = variant(frame.message);
    if (name === 'resumed') {
      this.#arrive();
      for (const sent of this.#unacked) this.#write(sent);
    }
    if (frame.seq) {
      if (frame.seq <= this.#received) return;
      this.#received = frame.seq;
      this.#ackTimer ??= setTimeout(() => this.#write({ seq: 0 }), ACK_DELAY_MS);
    }
    if (name) this.dispatchEvent(new CustomEvent('message', { detail: { name, value } }));
  }

  // Of a network that is gone the socket itself may not hear for minutes: it is left behind.
  #lose(socket) {
    if (this.#closed || socket !== this.#socket) return;
    this.#socket = null;
    socket.close();
    this.#stopTimers();
    this.live = false;
    this.#unanswered = 0;
    this.#lostAt ??= performance.now();
    if (this.lostMs > this.windowMs) this.forget();
    this.#state('reconnecting');
    // A little sooner or later, so that the pages of one relay do not come back together.
    setTimeout(() => !this.#closed && this.connect(), this.#retryMs * (0.75 + Math.random() / 4));
    this.#retryMs = Math.min(this.#retryMs * 2, RETRY_MOST_MS);
  }

  #stopTimers() {
    clearTimeout(this.#ackTimer);
    clearTimeout(this.#deadline);
    clearInterval(this.#pings);
    this.#ackTimer = null;
  }

  #state(state) {
    this.dispatchEvent(new CustomEvent('state', { detail: state }));
  }
}
