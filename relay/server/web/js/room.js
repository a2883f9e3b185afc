// One call: who is in it, what they publish, and the legs that carry it. The same messages an SDK participant speaks.

import { Carrier } from './carrier.js';
import { deviceKey } from './device.js';
import { DirectLeg } from './direct_leg.js';
import { IncomingEdge, OutgoingEdge } from './edges.js';
import { sessionOf } from './negotiation.js';
import { Reliable } from './reliable.js';
import { PublisherLeg, SubscriberLeg } from './relay_legs.js';
import { RelayWatch } from './relay_watch.js';
import { CLIENT, Leave, Path, PROTOCOL, Sdp, Topology, Transport, epochOrder, fromBase64, toBase64 } from './wire.js';

const EVALUATE_MS = 500;
const DIRECT_ROOM_MAX = 8;
const SEEN_SIGNALS = 2048;
// Transports of a participant that are remembered as gone: what was said of them may still be on its way.
const PAST_SESSIONS = 8;
// Until our last words have left by direct legs.
const FAREWELL_MS = 250;

// Events: `changed` (draw again), `topology` ({from, to, reason}), `data` and `lossy` ({from, topic, bytes}), `error` ({code, message}),
// `state` (string), `speakers` ([{participant, level}]), `renumbered` (Map of old to new ids of our tracks), and the two ways a call ends
// without our wish: `goodbye` ({reason, message, comesBack}) and `closed` (a sentence).
export class Room extends EventTarget {
  participants = new Map();
  self = null;
  target = Topology.MESH;
  topologyReason = '';
  epoch = null;
  tracks = new Map();
  state = 'connecting';
  #committed = Topology.MESH;
  #incarnation = null;
  #deviceKey = '';
  // Number -> { name, value, promise }: what the relay has not answered yet.
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
    this.relayWatch = new RelayWatch(() => this.#evaluate());
    this.reliable = new Reliable({
      send: (to, name_, value) => this.signal(to, name_, value),
      deliver: (from, topic, bytes) => this.#emit('data', { from, topic, bytes }),
    });
    this.timer = setInterval(() => this.#evaluate(), EVALUATE_MS);
  }

  // Resolves when the relay let us in.
  async connect() {
    this.#deviceKey = await deviceKey();
    this.carrier.connect();
    return this.#joinPromise.promise;
  }

  leave() {
    // Whom the relay does not reach hears it from us.
    this.#tellDirectly('goodbye', { reason: Leave.LEFT });
    this.carrier.send('leave', { reason: Leave.LEFT });
    this.#close();
  }

  // The relay's word while it is there, our own edges taken together otherwise.
  get topology() {
    const paths = new Set([...this.participants.values()].flatMap(({ incoming, outgoing }) => [incoming.path, outgoing.path]));
    paths.delete(null);
    if (this.carrier.live || !paths.size) return this.#committed;
    if (paths.size > 1) return Topology.MIXED;
    return paths.has(Path.DIRECT) ? Topology.MESH : Topology.RELAYED;
  }

  // Publishes a MediaStreamTrack; resolves with the track the room knows.
  async publish(media, { kind, source, name = '', muted = false, encodings = [] }) {
    const track = await this.#ask('publish', { kind, source, name, muted, encodings });
    const full = { ...track, kind, source, name, muted };
    this.#addTrack(full, media);
    this.#evaluate();
    return full;
  }

  unpublish(id) {
    this.#dropTrack(id);
    this.carrier.send('unpublish', { track: id });
    this.changed();
  }

  // Another device for a track, or null for none while it is off.
  async replaceMedia(id, media) {
    const entry = this.tracks.get(id);
    if (!entry) return;
    entry.media = media;
    await Promise.all(this.#sendingLegs().map((leg) => leg.replaceMedia(id, media)));
    this.changed();
  }

  setMuted(id, muted) {
    const entry = this.tracks.get(id);
    if (!entry) return;
    entry.track.muted = muted;
    if (entry.media) entry.media.enabled = !muted;
    this.carrier.send('set_muted', { track: id, muted });
    this.#tellDirectly('muted', { track: id, muted });
    this.changed();
  }

  sendData(topic, bytes) {
    this.reliable.send(topic, bytes, this.participants.keys());
  }

  // To everybody, each by the path of its edge; what is lost is lost.
  sendLossy(topic, bytes) {
    const data = { from: this.self.id, topic, payload: toBase64(bytes) };
    for (const { id, leg, outgoing } of this.participants.values()) {
      const carrier = outgoing.path === Path.DIRECT && leg?.up ? leg : this.publisher;
      carrier.sendLossy({ ...data, to: id });
    }
  }

  // ------------------------------------------------------------------------------------------ what edges ask of the room

  pathUp(peer, path) {
    const other = this.participants.get(peer);
    if (path === Path.DIRECT) return Boolean(other?.leg?.up);
    // A path the relay must be told of is none while it cannot be told.
    const told = this.carrier.live || other?.outgoing.uses(Path.RELAYED);
    return Boolean(told && this.publisher?.up && !this.relayWatch.silent);
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

  // By both carriers where both live. What nobody takes waits for the relay to come back, but for what is repeated anyhow.
  signal(to, name, value) {
    const signal = this.#numbered(to, name, value);
    const leg = this.participants.get(to)?.leg;
    const taken = leg?.sendSignal(signal) && leg.up;
    const repeated = name === 'data' || name === 'data_ack';
    if (this.carrier.live || !(taken || repeated)) this.carrier.send('signal', signal);
  }

  changed() {
    this.#emit('changed');
  }

  // ---------------------------------------------------------------------------------------------------------- the relay

  #join() {
    const { token, name, policy } = this.options;
    const tracks = [...this.tracks.values()].map(({ track }) => track);
    const rejoin = this.self && { incarnation: this.#incarnation, participant: this.self.id, tracks };
    const capabilities = { origin: false, direct: true };
    return { protocol: PROTOCOL, token, device_key: this.#deviceKey, name, client: CLIENT, capabilities, policy, ...(rejoin && { rejoin }) };
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
    try {
      handler?.call(this, value ?? {});
    } catch (error) {
      // Whoever waits to be let in is told: a browser refuses servers for ICE that it cannot use.
      this.#joinPromise.reject(error);
      throw error;
    }
  }

  // A new session: the first, or one after the relay forgot us.
  #joined(joined) {
    const { self, others, ice_servers: servers } = joined;
    // Under a new id we are somebody else to the others: their legs to us belong to the old one.
    if (this.self && this.self.id !== self.id) this.#becomeSomebodyElse();
    const restarted = this.#incarnation !== joined.incarnation;
    this.#incarnation = joined.incarnation;
    this.name = joined.room;
    this.self = self;
    this.meshMax = joined.mesh_max;
    this.iceServers = (servers ?? []).map(({ urls, username, credential }) => (username ? { urls, username, credential } : { urls }));
    this.carrier.joined(joined.resume_token, joined.resume_window_ms);
    this.#setTopology(joined.topology ?? {}, (others?.length ?? 0) + 1);
    this.#openRelayLegs();
    for (const [request, { name, value }] of this.#requests) this.carrier.send(name, { request, ...value });
    this.#carryTracks(self.tracks ?? []);
    this.#replaceRoster(others ?? [], restarted);
    this.#joinPromise.resolve(this);
    this.#evaluate();
    this.changed();
  }

  #becomeSomebodyElse() {
    for (const id of [...this.participants.keys()]) this.#removeParticipant(id);
    this.#signalNumber = 0;
  }

  #openRelayLegs() {
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
  }

  // Takes our tracks into a new session: those whose ids were granted stay as they are, the others get a new one.
  #carryTracks(granted) {
    const spare = granted.filter(({ id }) => !this.tracks.has(id));
    for (const { track, media } of [...this.tracks.values()]) {
      if (granted.some(({ id }) => id === track.id)) {
        this.publisher.addTrack(track, media);
        this.carrier.send('set_muted', { track: track.id, muted: track.muted });
        continue;
      }
      const at = spare.findIndex(({ kind, source, name }) => kind === track.kind && source === track.source && (name ?? '') === track.name);
      if (at >= 0) {
        this.#renumber(track.id, spare.splice(at, 1)[0].id);
        continue;
      }
      const { id, ...wish } = track;
      const told = ({ message }) => this.#emit('error', { code: 'PUBLISH', message });
      this.#ask('publish', wish).then((again) => this.#renumber(id, again.id), told);
    }
  }

  #renumber(old, id) {
    const entry = this.tracks.get(old);
    // Taken back meanwhile.
    if (!entry) return this.carrier.send('unpublish', { track: id });
    this.#dropTrack(old);
    this.#addTrack({ ...entry.track, id }, entry.media);
    this.carrier.send('set_muted', { track: id, muted: entry.track.muted });
    this.#emit('renumbered', new Map([[old, id]]));
    this.changed();
  }

  // Who is no longer there left, but for those who have yet to find a relay that was started anew; their legs go on.
  #replaceRoster(others, restarted) {
    for (const other of [...this.participants.values()]) {
      if (others.some((now) => isSame(other, now))) continue;
      if (restarted) other.absentSince ??= performance.now();
      else this.#removeParticipant(other.id);
    }
    for (const other of others) this.#addParticipant(other);
  }

  #addParticipant(participant) {
    const tracks = new Map((participant.tracks ?? []).map((track) => [track.id, track]));
    const known = this.participants.get(participant.id);
    if (known && isSame(known, participant)) {
      Object.assign(known, participant, { tracks, absentSince: null });
      known.outgoing.tellRelay();
      return this.changed();
    }
    this.#removeParticipant(participant.id);
    const other = { ...participant, tracks, leg: null, pastSessions: [], absentSince: null, unreachableSince: null };
    other.outgoing = new OutgoingEdge(this, other.id);
    other.incoming = new IncomingEdge(this, other.id);
    this.participants.set(other.id, other);
    const hidden = (policy) => policy === 'RELAY_ONLY' || policy === 'HIDE_ADDRESS';
    const direct = other.capabilities?.direct && !hidden(other.policy) && !hidden(this.options.policy);
    if (direct && this.participants.size < DIRECT_ROOM_MAX) this.#openDirect(other, this.self.id < other.id);
    this.#evaluate();
    this.changed();
  }

  // In place of the one there is, if any. `starts`: the first offer is ours.
  #openDirect(other, starts) {
    other.leg?.close();
    const leg = new DirectLeg({
      iceServers: this.iceServers,
      polite: this.self.id > other.id,
      starts,
      generation: other.leg?.negotiation.generation,
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

  // Their transport may be a new one, of which ours knows nothing: then ours begins anew too.
  #describeDirect(other, description) {
    if (!other.leg || other.pastSessions.includes(sessionOf(description.sdp))) return;
    if (other.leg.isOfAnother(description)) {
      other.pastSessions = [other.leg.negotiation.remoteSession, ...other.pastSessions].slice(0, PAST_SESSIONS);
      const answer = description.kind !== Sdp.OFFER;
      this.#openDirect(other, answer);
      // What it answers is gone.
      if (answer) return;
    }
    other.leg.handleDescription(description).catch((error) => console.warn(error));
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
    const from = this.#committed;
    this.#setTopology(topology);
    if (from !== this.#committed) this.#emit('topology', { from, to: this.#committed, reason: this.topologyReason });
    this.#evaluate();
    this.changed();
  }

  // `size`: of the room as a new session finds it. One that is mixed does not say where it was going; its size does.
  #setTopology({ epoch, topology, reason }, size) {
    this.epoch = epoch ?? this.epoch;
    this.#committed = topology ?? this.#committed;
    if (this.#committed !== Topology.MIXED) this.target = this.#committed;
    else if (size) this.target = size > this.meshMax ? Topology.RELAYED : Topology.MESH;
    this.topologyReason = reason ?? '';
  }

  #error(error) {
    if (error.request && this.#requests.has(error.request)) this.#answer(error.request, null, error);
    else if (error.code === 'SESSION_UNKNOWN') this.carrier.restart();
    // Of somebody or something that left while we spoke of it, or has yet to come back, there is nothing to say.
    else if (!['UNKNOWN_PARTICIPANT', 'UNKNOWN_TRACK'].includes(error.code)) this.#emit('error', error);
    if (!this.self) this.#joinPromise.reject(new Error(error.message));
  }

  #goodbye(goodbye) {
    if (!this.self) this.#joinPromise.reject(new Error(goodbye.message));
    // A call that lives on its direct legs is not ended by a relay that does not want us back.
    const lives = goodbye.reason === Leave.REFUSED && [...this.participants.values()].some(({ leg }) => leg?.up);
    const comesBack = Boolean(goodbye.retry_after_ms) || lives;
    this.#emit('goodbye', { ...goodbye, comesBack });
    if (!comesBack) return this.#close();
    this.carrier.forget();
    this.relayWatch.fall();
  }

  // ------------------------------------------------------------------------------------------------- other participants

  #signalled({ from, number, body }) {
    const key = `${from}:${number}`;
    if (this.#seen.has(key)) return;
    this.#seen.add(key);
    if (this.#seen.size > SEEN_SIGNALS) this.#seen.delete(this.#seen.values().next().value);
    const other = this.participants.get(from);
    if (!other || !body) return;
    if (body.description) this.#describeDirect(other, body.description);
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
    this.#emit('lossy', { from, topic: topic ?? '', bytes: fromBase64(payload) });
  }

  // ------------------------------------------------------------------------------------------------------------- inside

  #ask(name, value) {
    const request = ++this.#request;
    const promise = Promise.withResolvers();
    this.#requests.set(request, { name, value, promise });
    this.carrier.send(name, { request, ...value });
    return promise.promise;
  }

  #answer(request, value, error) {
    const { promise } = this.#requests.get(request) ?? {};
    this.#requests.delete(request);
    if (error) promise?.reject(new Error(error.message));
    else promise?.resolve(value);
  }

  #numbered(to, name, value) {
    return { from: this.self.id, to, number: ++this.#signalNumber, body: { [name]: value } };
  }

  // Everybody who has a direct leg to us, whatever the relay does.
  #tellDirectly(name, value) {
    for (const { id, leg } of this.participants.values()) leg?.sendSignal(this.#numbered(id, name, value));
  }

  #sendingLegs() {
    return [this.publisher, ...[...this.participants.values()].map(({ leg }) => leg)].filter(Boolean);
  }

  #addTrack(track, media) {
    this.tracks.set(track.id, { track, media });
    for (const leg of this.#sendingLegs()) leg.addTrack(track, media);
  }

  #dropTrack(id) {
    this.tracks.delete(id);
    for (const leg of this.#sendingLegs()) leg.removeTrack(id);
  }

  // While the relay is away nobody says who left: whoever cannot be reached for as long as it would wait is gone. So is who has not found
  // its way to a new relay by then.
  #sweep() {
    const now = performance.now();
    const over = (since) => since !== null && now - since > this.carrier.windowMs;
    for (const other of [...this.participants.values()]) {
      const reachable = this.carrier.live || Boolean(other.leg?.up);
      other.unreachableSince = reachable ? null : (other.unreachableSince ?? now);
      if (over(other.unreachableSince) || over(other.absentSince)) this.#removeParticipant(other.id);
    }
  }

  #evaluate() {
    this.#sweep();
    for (const other of this.participants.values()) other.outgoing.evaluate();
    this.activateLegs();
  }

  #setState(state) {
    this.state = state;
    if (state === 'connected') this.relayWatch.stop();
    else if (this.subscriber) this.relayWatch.start(this.subscriber.pc);
    if (state !== 'connected' && !this.self) this.#joinPromise.reject(new Error('the relay does not answer: try again in a moment'));
    this.#emit('state', state);
    if (state === 'closed') this.#emit('closed', 'the connection to the relay was lost');
    this.changed();
  }

  #close() {
    clearInterval(this.timer);
    this.reliable.close();
    this.carrier.close();
    this.relayWatch.stop();
    const closing = [this.publisher, this.subscriber, ...[...this.participants.values()].map(({ leg }) => leg)].filter(Boolean);
    for (const other of this.participants.values()) other.incoming.close();
    this.participants.clear();
    setTimeout(() => closing.forEach(({ negotiation }) => negotiation.close()), FAREWELL_MS);
  }

  #emit(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}

// The same person's same device under the same id.
function isSame(known, other) {
  return known.id === other.id && known.identity === other.identity && (known.peer_id ?? '') === (other.peer_id ?? '');
}
