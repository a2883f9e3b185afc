// Which path each edge takes. An edge is (publisher, subscriber); its publisher decides, make before break.
// Edges with a browser at either end are switch edges: the subscriber changes over at the first frame of the new path.

import { Path, Topology } from './wire.js';

const DIRECT_PATIENCE_MS = 3_000;
const LAGGARD_MS = 8_000;
const DRAIN_MS = 500;
const WATCH_MS = 40;

// Our side as the publisher of one edge.
export class OutgoingEdge {
  path = null;
  reason = 'joining';
  #room;
  #peer;
  #pending = null;
  #since = performance.now();
  #draining = null;

  constructor(room, peer) {
    this.#room = room;
    this.#peer = peer;
  }

  uses(path) {
    return this.path === path || this.#pending?.path === path || this.#draining === path;
  }

  // Looks at what is up and what is wanted; called whenever either changes, and twice a second.
  evaluate() {
    const up = (path) => this.#room.pathUp(this.#peer, path);
    if (this.#pending && performance.now() > this.#pending.deadline) this.#abort('the other side did not become ready');
    const wanted = this.#wanted(up);
    if (!wanted || wanted === this.path) {
      if (this.#pending && wanted === this.path) this.#abort('no longer wanted');
      return;
    }
    if (this.#pending?.path === wanted || !up(wanted)) return;
    if (this.path === null || !up(this.path)) this.#switch(wanted, this.path === null ? 'first path' : 'the other path failed');
    else this.#prepare(wanted);
  }

  // The path this edge should be on, given what the room wants and what lives.
  #wanted(up) {
    const { directAllowed, relayAllowed } = this.#room.allowed(this.#peer);
    const preferred = this.#room.target === Topology.RELAYED || !directAllowed ? Path.RELAYED : Path.DIRECT;
    const other = preferred === Path.DIRECT ? Path.RELAYED : Path.DIRECT;
    if (up(preferred)) return preferred;
    const otherAllowed = other === Path.DIRECT ? directAllowed : relayAllowed;
    const patient = this.path !== null || performance.now() - this.#since > DIRECT_PATIENCE_MS;
    return otherAllowed && patient && up(other) ? other : this.path;
  }

  #prepare(path) {
    const epoch = this.#room.epoch;
    this.#pending = { path, epoch, deadline: performance.now() + LAGGARD_MS };
    this.#room.tellRelayPath(this.#peer, Path.BOTH, 'handover');
    this.#room.activateLegs();
    this.#room.signal(this.#peer, 'edge_prepare', { epoch, path, tracks: this.#room.activeTrackIds() });
  }

  // The relay of a new session knows nothing of this edge.
  tellRelay() {
    this.#room.tellRelayPath(this.#peer, this.#pending ? Path.BOTH : this.path, this.reason);
  }

  handleReady({ path }) {
    if (this.#pending?.path === path) this.#switch(path, this.#room.topologyReason);
  }

  #switch(path, reason) {
    const old = this.path;
    this.path = path;
    this.reason = reason;
    this.#pending = null;
    this.#room.signal(this.#peer, 'edge_commit', { epoch: this.#room.epoch, path, reason });
    this.#room.tellRelayPath(this.#peer, path, reason);
    if (old) {
      this.#draining = old;
      setTimeout(() => {
        this.#draining = null;
        this.#room.activateLegs();
      }, DRAIN_MS);
    }
    this.#room.activateLegs();
    this.#room.changed();
  }

  #abort(reason) {
    const { path, epoch } = this.#pending;
    this.#pending = null;
    this.#since = performance.now();
    this.#room.signal(this.#peer, 'edge_abort', { epoch, path, reason });
    this.#room.tellRelayPath(this.#peer, this.path, reason);
    this.#room.activateLegs();
  }
}

// Our side as the subscriber of one edge: which path we show, and when a new one is ready.
export class IncomingEdge {
  path = null;
  #room;
  #peer;
  #watch = null;

  constructor(room, peer) {
    this.#room = room;
    this.#peer = peer;
  }

  handlePrepare({ epoch, path, tracks }) {
    clearInterval(this.#watch);
    // Not everybody names the first path: it is not the one to prepare.
    this.path ??= path === Path.DIRECT ? Path.RELAYED : Path.DIRECT;
    const before = new Map();
    this.#watch = setInterval(async () => {
      const flowing = await Promise.all((tracks ?? []).map((track) => this.#flows(track, path, before)));
      if (!flowing.every(Boolean)) return;
      clearInterval(this.#watch);
      this.#show(path);
      this.#room.signal(this.#peer, 'edge_ready', { epoch, path });
    }, WATCH_MS);
  }

  handleCommit({ path }) {
    clearInterval(this.#watch);
    this.#show(path);
  }

  handleAbort() {
    clearInterval(this.#watch);
  }

  close() {
    clearInterval(this.#watch);
  }

  #show(path) {
    this.path = path;
    this.#room.changed();
  }

  // Whether frames (video) or packets (audio) of a track have arrived on a path since the watch began.
  async #flows(track, path, before) {
    const receiver = this.#room.receiverOn(this.#peer, track, path);
    if (!receiver) return false;
    const count = await arrived(receiver);
    if (!before.has(track)) before.set(track, count);
    return count > before.get(track);
  }
}

async function arrived(receiver) {
  const report = await receiver.getStats();
  for (const entry of report.values()) {
    if (entry.type === 'inbound-rtp') return entry.kind === 'video' ? (entry.framesDecoded ?? 0) : (entry.packetsReceived ?? 0);
  }
  return 0;
}
