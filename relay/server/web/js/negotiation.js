// Perfect negotiation (W3C webrtc-pc, JSEP 9429) around one RTCPeerConnection, and its trickled candidates.

import { LOSSY_CHANNEL, SIGNAL_CHANNEL, Sdp } from './wire.js';

export class Negotiation {
  #polite;
  #send;
  #makingOffer = false;
  #ignoreOffer = false;
  #generation = 0;
  #held = [];

  // `send.description({kind, sdp, generation})` and `send.candidate(candidate)` carry to the other side.
  constructor({ iceServers, polite, offers, channels, send }) {
    this.pc = new RTCPeerConnection({ iceServers, bundlePolicy: 'max-bundle' });
    this.#polite = polite;
    this.#send = send;
    if (channels) {
      this.signal = this.pc.createDataChannel(SIGNAL_CHANNEL.label, SIGNAL_CHANNEL.options);
      this.lossy = this.pc.createDataChannel(LOSSY_CHANNEL.label, LOSSY_CHANNEL.options);
    }
    if (offers) this.pc.onnegotiationneeded = () => this.#offer();
    this.pc.onicecandidate = ({ candidate }) => {
      if (candidate) this.#send.candidate(candidateToWire(candidate));
    };
  }

  async #offer() {
    try {
      this.#makingOffer = true;
      await this.pc.setLocalDescription();
      this.#send.description({ kind: Sdp.OFFER, sdp: this.pc.localDescription.sdp, generation: ++this.#generation });
    } catch (error) {
      console.warn('could not make an offer', error);
    } finally {
      this.#makingOffer = false;
    }
  }

  async handleDescription({ kind, sdp, generation }) {
    const offer = kind === Sdp.OFFER;
    const collision = offer && (this.#makingOffer || this.pc.signalingState !== 'stable');
    this.#ignoreOffer = !this.#polite && collision;
    if (this.#ignoreOffer) return;
    if (!offer && this.pc.signalingState !== 'have-local-offer') return;
    await this.pc.setRemoteDescription({ type: offer ? 'offer' : 'answer', sdp });
    for (const candidate of this.#held.splice(0)) await this.#add(candidate);
    if (offer) {
      await this.pc.setLocalDescription();
      this.#send.description({ kind: Sdp.ANSWER, sdp: this.pc.localDescription.sdp, generation });
    }
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
