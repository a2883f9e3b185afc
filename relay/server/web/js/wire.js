// The words of the signalling schema (core/wire/proto/segue.proto) as the JSON carrier spells them.

export const PROTOCOL = 1;
export const SUBPROTOCOL = 'segue.v1.json';
export const CLIENT = 'segue-web/0.1.0';

export const Sdp = { OFFER: 'OFFER', ANSWER: 'ANSWER' };
export const Transport = { PUBLISHER: 'PUBLISHER', SUBSCRIBER: 'SUBSCRIBER' };
export const Kind = { AUDIO: 'AUDIO', VIDEO: 'VIDEO' };
export const Source = { MICROPHONE: 'MICROPHONE', CAMERA: 'CAMERA', SCREEN: 'SCREEN', SCREEN_AUDIO: 'SCREEN_AUDIO' };
export const Path = { DIRECT: 'DIRECT', RELAYED: 'RELAYED', BOTH: 'BOTH' };
export const Topology = { MESH: 'MESH', MIXED: 'MIXED', RELAYED: 'RELAYED' };
export const Link = { CONNECTING: 'CONNECTING', UP: 'UP', FAILED: 'FAILED', CLOSED: 'CLOSED' };
export const Leave = { LEFT: 'LEFT', REFUSED: 'REFUSED' };

// Data channels are agreed beforehand (core/ARCHITECTURE.md, "Legs and transports").
export const SIGNAL_CHANNEL = { label: 'signal', options: { negotiated: true, id: 0 } };
export const LOSSY_CHANNEL = { label: 'lossy', options: { negotiated: true, id: 1, ordered: false, maxRetransmits: 0 } };

// Epochs are ordered by the relay's incarnation, then by its counter.
export function epochOrder(a, b) {
  return (a?.incarnation ?? 0) - (b?.incarnation ?? 0) || (a?.counter ?? 0) - (b?.counter ?? 0);
}

// The one field that is set of a message like { message: { join: {...} } } or { body: { data: {...} } }.
export function variant(oneof) {
  for (const name in oneof ?? {}) return [name, oneof[name]];
  return [null, null];
}

export function toBase64(bytes) {
  let text = '';
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text);
}

export function fromBase64(text) {
  return Uint8Array.from(atob(text ?? ''), (character) => character.charCodeAt(0));
}
