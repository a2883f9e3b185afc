// Perfect negotiation (W3C webrtc-pc, JSEP 9429) around one RTCPeerConnection, and its trickled candidates.

import { LOSSY_CHANNEL, SIGNAL_CHANNEL, Sdp } from './wire.js';

// An offer without an answer is repeated. The two carriers of signals may swap an answer and the offer after it, so that the offer seems to
// cross one that is answered already, and is ignored.
const ANSWER_MS = 2_000;
const MAX_REPEATS = 4;

export class Negotiation {
  // Session id of the transport on the other side, once met: another one means another transport.
  remoteSession = null;
  #polite;
  #starts;
  #send;
  #makingOffer = false;
  #ignoreOffer = false;
  // Numbers of our last offer and of the last one we took.
  #generation = 0;
  #theirs = 0;
  #answer = null;
  #held = [];
  #taking = Promise.resolve();

  // `send.description({kind, sdp, generation})` and `send.candidate(candidate)` carry to the other side. `starts`: the first offer is
  // ours. Two first offers must not cross: Chromium refuses the data channels for good once it has taken back the offer that named them.
  // `generation`: of the last offer of the transport before this one, whose counting goes on.
  constructor({ iceServers, polite, offers, starts, channels, generation = 0, send }) {
    this.pc = new RTCPeerConnection({ iceServers, bundlePolicy: 'max-bundle' });
    this.#polite = polite;
    this.#starts = starts;
    this.#generation = generation;
    this.#send = send;
    if (channels) {
      this.signal = this.pc.createDataChannel(SIGNAL_CHANNEL.label, SIGNAL_CHANNEL.options);
      this.lossy = this.pc.createDataChannel(LOSSY_CHANNEL.label, LOSSY_CHANNEL.options);
    }
    if (offers) this.pc.onnegotiationneeded = () => (this.#starts || this.pc.remoteDescription) && this.#offer();
    this.pc.onicecandidate = ({ candidate }) => {
      if (candidate) this.#send.candidate(candidateToWire(candidate));
    };
  }

  get generation() {
    return this.#generation;
  }

  async #offer() {
    try {
      this.#makingOffer = true;
      await this.pc.setLocalDescription();
      this.#generation += 1;
      this.#sendOffer(this.#generation, 0);
    } catch (error) {
      console.warn('could not make an offer', error);
    } finally {
      this.#makingOffer = false;
    }
  }

  #sendOffer(generation, repeats) {
    if (this.#generation !== generation || this.pc.signalingState !== 'have-local-offer') return;
    this.#send.description({ kind: Sdp.OFFER, sdp: this.pc.localDescription.sdp, generation });
    if (repeats < MAX_REPEATS) setTimeout(() => this.#sendOffer(generation, repeats + 1), ANSWER_MS << repeats);
  }

  // Resolves with whether the description was taken: offers that cross ours, and what is late or repeated, are not.
  // One after the other: what was said first must not be done last.
  handleDescription(description) {
    const taken = this.#taking.then(() => this.#take(description));
    this.#taking = taken.catch(() => {});
    return taken;
  }

  async #take({ kind, sdp, generation }) {
    const offer = kind === Sdp.OFFER;
    if (offer && generation <= this.#theirs) {
      // Asked again: the answer was lost.
      if (generation === this.#answer?.generation) this.#send.description(this.#answer);
      return false;
    }
    const collision = offer && (this.#makingOffer || this.pc.signalingState !== 'stable');
    this.#ignoreOffer = !this.#polite && collision;
    if (this.#ignoreOffer) return false;
    if (!offer && (this.pc.signalingState !== 'have-local-offer' || generation !== this.#generation)) return false;
    if (offer) this.#theirs = generation;
    await this.pc.setRemoteDescription({ type: offer ? 'offer' : 'answer', sdp });
    this.remoteSession ??= sessionOf(sdp);
    for (const candidate of this.#held.splice(0)) await this.#add(candidate);
    if (offer) {
      await this.pc.setLocalDescription();
      this.#answer = { kind: Sdp.ANSWER, sdp: this.pc.localDescription.sdp, generation };
      this.#send.description(this.#answer);
    }
    return true;
  }

  async handleCandidate(candidate) {
    if (this.pc.remoteDescription) await this.#add(candidate);
    else this.#held.push(candidate);
  }

  async #add({ candidate, mid, mline, ufrag }) {
    const init = { candidate: candidate ?? '', sdpMid: mid || null, sdpMLineIndex: mid ? null : (mline ?? 0) };
    if (ufrag) init.usernameFragment = ufrag;
    try {
      await this.pc.addIceCandidate(init);
    } catch (error) {
      if (!this.#ignoreOffer) console.debug('candidate refused', error.message);
    }
  }

  restart() {
    this.pc.restartIce();
  }

  close() {
    this.pc.close();
  }
}

// RFC 8866 section 5.2: the second word of the origin.
export function sessionOf(sdp) {
  return /^o=\S+ (\S+)/m.exec(sdp)?.[1] ?? null;
}

function candidateToWire(candidate) {
  return {
    candidate: candidate.candidate,
    mid: candidate.sdpMid ?? '',
    mline: candidate.sdpMLineIndex ?? 0,
    ufrag: candidate.usernameFragment ?? '',
  };
}

// H.264 first: every participant of a room speaks it.
export function preferH264(transceiver) {
  const codecs = RTCRtpReceiver.getCapabilities('video')?.codecs ?? [];
  const h264 = codecs.filter((codec) => codec.mimeType === 'video/H264' && /packetization-mode=1/.test(codec.sdpFmtpLine ?? ''));
  const baseline = h264.filter((codec) => /profile-level-id=42e0/i.test(codec.sdpFmtpLine));
  const repair = codecs.filter((codec) => codec.mimeType === 'video/rtx');
  if (h264.length) transceiver.setCodecPreferences([...baseline, ...h264.filter((codec) => !baseline.includes(codec)), ...repair]);
}
