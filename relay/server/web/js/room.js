// One call: who is in it, what they publish, and the legs that carry it. The same messages an SDK participant speaks.

import { Carrier } from './carrier.js';
import { DirectLeg } from './direct_leg.js';
import { IncomingEdge, OutgoingEdge } from './edges.js';
import { Reliable } from './reliable.js';
import { PublisherLeg, SubscriberLeg } from './relay_legs.js';
import { CLIENT, Leave, Path, PROTOCOL, Topology, Transport, epochOrder } from './wire.js';

const EVALUATE_MS = 500;
const DIRECT_ROOM_MAX = 8;
const SEEN_SIGNALS = 2048;

// Events: `changed` (draw again), `topology` ({from, to, reason}), `data` ({from, topic, bytes}), `error` ({code, message}),
// `state` (string), `speakers` ([{participant, level}]), `renumbered` (Map of old to new ids of our tracks), and the two ways a call ends
// without our wish: `goodbye` ({reason, message, retry_after_ms}) and `closed` (a sentence).
export class Room extends EventTarget {
  participants = new Map();
  self = null;
  topology = Topology.MESH;
  target = Topology.MESH;
  topologyReason = '';
  epoch = null;
  tracks = new Map();
  state = 'connecting';
  #requests = new Map();
  #request = 0;
  #signalNumber = 0;
  #seen = new Set();
  #joinPromise = Promise.withResolvers();

  constructor({ url, token, name, policy }) {
    super();
    this.options = { token, name, policy };
    this.carrier = new Carrier(url, () => this.#join());
    this.carrier.addEventListener('message', ({ detail }) => this.#handle(detail));
    this.carrier.addEventListener('state', ({ detail }) => this.#setState(detail));
    this.reliable = new Reliable({
      send: (to, name_, value) => this.signal(to, name_, value),
      deliver: (from, topic, bytes) => this.#emit('data', { from, topic, bytes }),
    });
    this.timer = setInterval(() => this.#evaluate(), EVALUATE_MS);
  }

  // Resolves when the relay let us in.
  connect() {
    this.carrier.connect();
    return this.#joinPromise.promise;
  }

  leave() {
    if (this.self) this.carrier.send('leave', { reason: Leave.LEFT });
    this.#close();
  }

  // Publishes a MediaStreamTrack; resolves with the track the room knows.
  async publish(media, { kind, source, name = '', muted = false, encodings = [] }) {
    const track = await this.#ask('publish', { kind, source, name, muted, encodings });
    const full = { ...track, kind, source, name, muted };
    this.tracks.set(full.id, { track: full, media });
    this.publisher.addTrack(full, media);
    for (const other of this.participants.values()) other.leg?.addTrack(full, media);
    this.#evaluate();
    return full;
  }

  unpublish(id) {
    this.tracks.delete(id);
    this.publisher.removeTrack(id);
    for (const other of this.participants.values()) other.leg?.removeTrack(id);
    this.carrier.send('unpublish', { track: id });
    this.changed();
  }

  setMuted(id, muted) {
    const entry = this.tracks.get(id);
    if (!entry) return;
    entry.track.muted = muted;
    entry.media.enabled = !muted;
    this.carrier.send('set_muted', { track: id, muted });
    this.changed();
  }

  sendData(topic, bytes) {
    this.reliable.send(topic, bytes, this.participants.keys());
  }

  // ------------------------------------------------------------------------------------------ what edges ask of the room

  pathUp(peer, path) {
    return path === Path.DIRECT ? Boolean(this.participants.get(peer)?.leg?.up) : Boolean(this.publisher?.up);
  }

  allowed(peer) {
    const other = this.participants.get(peer);
    return { directAllowed: Boolean(other?.leg), relayAllowed: true };
  }

  receiverOn(peer, track, path) {
    return path === Path.DIRECT ? (this.participants.get(peer)?.leg?.receiver(track) ?? null) : this.subscriber.receiver(track);
  }

  activeTrackIds() {
    return [...this.tracks.values()].filter(({ track }) => !track.muted).map(({ track }) => track.id);
  }

  activateLegs() {
    let relayed = false;
    for (const other of this.participants.values()) {
      relayed ||= other.outgoing.uses(Path.RELAYED);
      other.leg?.setActive(other.outgoing.uses(Path.DIRECT));
    }
    this.publisher?.setActive(relayed);
  }

  tellRelayPath(peer, path, reason) {
    if (path) this.carrier.send('edge_path', { epoch: this.epoch, subscriber: peer, path, reason: reason ?? '' });
  }

  signal(to, name, value) {
    const signal = { from: this.self.id, to, number: ++this.#signalNumber, body: { [name]: value } };
    this.participants.get(to)?.leg?.sendSignal(signal);
    this.carrier.send('signal', signal);
  }

  changed() {
    this.#emit('changed');
  }

  // ---------------------------------------------------------------------------------------------------------- the relay

  #join() {
    const { token, name, policy } = this.options;
    return { protocol: PROTOCOL, token, name, client: CLIENT, capabilities: { origin: false, direct: true }, policy };
  }

  #handle({ name, value }) {
    const handler = {
      joined: this.#joined,
      participant_joined: ({ participant }) => this.#addParticipant(participant),
      participant_left: ({ participant }) => this.#removeParticipant(participant),
      track_published: ({ participant, track }) => this.#withTracks(participant, (tracks) => tracks.set(track.id, track)),
      track_unpublished: ({ participant, track }) => this.#withTracks(participant, (tracks) => tracks.delete(track)),
      track_muted: ({ participant, track, muted }) => this.#muted(participant, track, muted),
      published: ({ request, track }) => this.#answer(request, track),
      description: this.#description,
      candidate: this.#candidate,
      slots: ({ slots }) => this.subscriber.setSlots(slots ?? []),
      signal: (signal) => this.#signalled(signal),
      topology_prepare: this.#prepare,
      topology_commit: this.#commit,
      topology_abort: this.#commit,
      speakers: ({ speakers }) => this.#emit('speakers', speakers ?? []),
      error: this.#error,
      goodbye: this.#goodbye,
    }[name];
    handler?.call(this, value ?? {});
  }

  #joined({ room, self, others, resume_token: resumeToken, topology, ice_servers: servers }) {
    for (const id of [...this.participants.keys()]) this.#removeParticipant(id);
    this.name = room;
    this.self = self;
    this.iceServers = (servers ?? []).map(({ urls, username, credential }) => (username ? { urls, username, credential } : { urls }));
    this.publisher?.negotiation.close();
    this.subscriber?.negotiation.close();
    // The relay is its own STUN server, at the addresses its media comes from; Chromium takes all that comes from a STUN server of a
    // connection for answers of it. Towards the relay none is needed: it is told by checks where we are.
    const turn = this.iceServers.filter(({ urls }) => urls.some((url) => url.startsWith('turn')));
    this.publisher = new PublisherLeg(this.carrier, turn);
    this.subscriber = new SubscriberLeg(this.carrier, turn);
    for (const leg of [this.publisher, this.subscriber]) {
      leg.addEventListener('state', () => this.#evaluate());
      leg.addEventListener('slots', () => this.changed());
      leg.pc.addEventListener('track', () => this.changed());
    }
    this.#listenLossy(this.publisher.negotiation.lossy);
    this.#setTopology(topology ?? {});
    for (const other of others ?? []) this.#addParticipant(other);
    this.carrier.setResumeToken(resumeToken);
    this.#republish();
    this.#joinPromise.resolve(this);
    this.changed();
  }

  // After a relay restart what we publish gets new ids.
  async #republish() {
    const held = [...this.tracks.values()];
    this.tracks.clear();
    const ids = new Map();
    for (const { track, media } of held) ids.set(track.id, (await this.publish(media, track)).id);
    if (ids.size) this.#emit('renumbered', ids);
  }

  #addParticipant(participant) {
    const tracks = new Map((participant.tracks ?? []).map((track) => [track.id, track]));
    const other = { ...participant, tracks, leg: null };
    other.outgoing = new OutgoingEdge(this, other.id);
    other.incoming = new IncomingEdge(this, other.id);
    this.participants.set(other.id, other);
    const hidden = (policy) => policy === 'RELAY_ONLY' || policy === 'HIDE_ADDRESS';
    const direct = other.capabilities?.direct && !hidden(other.policy) && !hidden(this.options.policy);
    if (direct && this.participants.size < DIRECT_ROOM_MAX) this.#openDirect(other);
    this.#evaluate();
    this.changed();
  }

  #openDirect(other) {
    const leg = new DirectLeg({
      iceServers: this.iceServers,
      polite: this.self.id > other.id,
      send: (name, value) => this.signal(other.id, name, value),
    });
    other.leg = leg;
    leg.addEventListener('state', () => {
      if (leg.pc.connectionState === 'failed' && this.self.id < other.id) leg.negotiation.restart();
      this.#evaluate();
    });
    leg.addEventListener('tracks', () => this.changed());
    leg.addEventListener('signal', ({ detail }) => this.#signalled({ ...detail, from: other.id }));
    leg.addEventListener('lossy', ({ detail }) => this.#lossy({ ...detail, from: other.id }));
    for (const { track, media } of this.tracks.values()) leg.addTrack(track, media);
  }

  #removeParticipant(id) {
    const other = this.participants.get(id);
    if (!other) return;
    this.participants.delete(id);
    other.leg?.close();
    other.incoming.close();
    this.reliable.forget(id);
    this.activateLegs();
    this.changed();
  }

  #withTracks(participant, change) {
    const other = this.participants.get(participant);
    if (other) change(other.tracks);
    this.changed();
  }

  #muted(participant, track, muted) {
    this.#withTracks(participant, (tracks) => {
      const found = tracks.get(track);
      if (found) found.muted = Boolean(muted);
    });
  }

  #description(description) {
    const leg = description.transport === Transport.PUBLISHER ? this.publisher : this.subscriber;
    (leg.handleDescription?.(description) ?? leg.negotiation.handleDescription(description)).catch((error) =>
      this.#emit('error', { code: 'BAD_SDP', message: error.message }),
    );
  }

  #candidate({ transport, candidate }) {
    (transport === Transport.PUBLISHER ? this.publisher : this.subscriber).negotiation.handleCandidate(candidate);
  }

  #prepare({ epoch, target, reason }) {
    if (epochOrder(epoch, this.epoch) < 0) return;
    this.epoch = epoch;
    this.target = target;
    this.topologyReason = reason ?? '';
    this.carrier.send('topology_ready', { epoch });
    this.#evaluate();
  }

  #commit(topology) {
    if (epochOrder(topology.epoch, this.epoch) < 0) return;
    const from = this.topology;
    this.#setTopology(topology);
    if (from !== this.topology) this.#emit('topology', { from, to: this.topology, reason: this.topologyReason });
    this.#evaluate();
    this.changed();
  }

  #setTopology({ epoch, topology, reason }) {
    this.epoch = epoch ?? this.epoch;
    this.topology = topology ?? this.topology;
    if (this.topology !== Topology.MIXED) this.target = this.topology;
    this.topologyReason = reason ?? '';
  }

  #error(error) {
    if (error.request && this.#requests.has(error.request)) this.#answer(error.request, null, error);
    else if (error.code === 'SESSION_UNKNOWN') this.carrier.restart();
    else this.#emit('error', error);
    if (!this.self) this.#joinPromise.reject(new Error(error.message));
  }

  #goodbye(goodbye) {
    if (!this.self) this.#joinPromise.reject(new Error(goodbye.message));
    this.#emit('goodbye', goodbye);
    if (!goodbye.retry_after_ms) this.#close();
  }

  // ------------------------------------------------------------------------------------------------- other participants

  #signalled({ from, number, body }) {
    const key = `${from}:${number}`;
    if (this.#seen.has(key)) return;
    this.#seen.add(key);
    if (this.#seen.size > SEEN_SIGNALS) this.#seen.delete(this.#seen.values().next().value);
    const other = this.participants.get(from);
    if (!other || !body) return;
    if (body.description) other.leg?.handleDescription(body.description).catch((error) => console.warn(error));
    if (body.candidate) other.leg?.negotiation.handleCandidate(body.candidate);
    if (body.edge_prepare) other.incoming.handlePrepare(body.edge_prepare);
    if (body.edge_ready) other.outgoing.handleReady(body.edge_ready);
    if (body.edge_commit) other.incoming.handleCommit(body.edge_commit);
    if (body.edge_abort) other.incoming.handleAbort(body.edge_abort);
    if (body.data) this.reliable.handleData(from, body.data);
    if (body.data_ack) this.reliable.handleAck(from, body.data_ack);
    if (body.muted) this.#muted(from, body.muted.track, body.muted.muted);
    if (body.goodbye) this.#removeParticipant(from);
  }

  #listenLossy(channel) {
    channel.onmessage = ({ data }) => typeof data === 'string' && this.#lossy(JSON.parse(data));
  }

  #lossy({ from, topic, payload }) {
    this.#emit('lossy', { from, topic, payload });
  }

  // ------------------------------------------------------------------------------------------------------------- inside

  #ask(name, value) {
    const request = ++this.#request;
    const promise = Promise.withResolvers();
    this.#requests.set(request, promise);
    this.carrier.send(name, { request, ...value });
    return promise.promise;
  }

  #answer(request, value, error) {
    const promise = this.#requests.get(request);
    this.#requests.delete(request);
    if (error) promise?.reject(new Error(error.message));
    else promise?.resolve(value);
  }

  #evaluate() {
    for (const other of this.participants.values()) other.outgoing.evaluate();
    this.activateLegs();
  }

  #setState(state) {
    this.state = state;
    if (state !== 'connected' && !this.self) this.#joinPromise.reject(new Error('the relay does not answer: try again in a moment'));
    this.#emit('state', state);
    if (state === 'closed') this.#emit('closed', 'the connection to the relay was lost');
    this.changed();
  }

  #close() {
    clearInterval(this.timer);
    this.reliable.close();
    this.carrier.close();
    for (const id of [...this.participants.keys()]) this.#removeParticipant(id);
    this.publisher?.negotiation.close();
    this.subscriber?.negotiation.close();
  }

  #emit(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}
