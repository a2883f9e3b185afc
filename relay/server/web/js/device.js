// Who this page is: an Ed25519 key for each call, by which a relay of another life knows a guest again (the issue of names is the relay's).

import { toBase64 } from './wire.js';

// Empty where the browser has none to give: pages without HTTPS, and browsers without Ed25519.
export async function deviceKey() {
  try {
    const { publicKey } = await crypto.subtle.generateKey('Ed25519', false, ['sign', 'verify']);
    return toBase64(new Uint8Array(await crypto.subtle.exportKey('raw', publicKey)));
  } catch {
    return '';
  }
}
