/** The holder's key: made once, never leaves the browser, not even for us (non-extractable). */
import type { PublicKey } from '../core/contract.gen';
import { formatBase64url, type Json } from '../core/encoding';
import { parsePublicJwk } from '../core/jws';
import { read, write } from './database';

export interface Holder {
  jwk: PublicKey;
  privateKey: CryptoKey;
}

/** Returns the holder's key, making it at first use. */
export async function holderKey(): Promise<Holder> {
  const pair = (await read('keys', (keys) => keys.get('holder')))?.pair ?? (await makeKey());
  const { kty, crv, x, y } = await crypto.subtle.exportKey('jwk', pair.publicKey);
  const { jwk } = await parsePublicJwk({ kty, crv, x, y } as Json);
  return { jwk, privateKey: pair.privateKey };
}

async function makeKey(): Promise<CryptoKeyPair> {
  const pair = await crypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, false, ['sign', 'verify']);
  return write('keys', async (keys) => {
    // Two contexts may get here together: the first one stored is the key, the other is thrown away unused.
    const first = await keys.get('holder');
    if (first) return first.pair;
    await keys.add({ id: 'holder', pair });
    return pair;
  });
}

export function randomBase64url(size: number): string {
  return formatBase64url(crypto.getRandomValues(new Uint8Array(size)));
}
