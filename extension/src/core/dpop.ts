/** Proof that the caller holds the key a token is bound to (DPoP, RFC 9449). */
import type { PublicKey } from './contract.gen';
import { formatBase64url, formatJson, sha256, utf8 } from './encoding';
import { signJws } from './jws';

export interface HolderRequest {
  method: 'GET' | 'POST' | 'DELETE';
  url: string;
  token: string;
}

/** Returns a fresh DPoP proof for one request. `jti`: base64url of 16 random bytes, never used before. */
export async function signDpop(
  { method, url, token }: HolderRequest,
  holder: { jwk: PublicKey; privateKey: CryptoKey },
  { jti, nowS }: { jti: string; nowS: number },
): Promise<string> {
  const { origin, pathname } = new URL(url); // htu has neither query nor fragment
  const payload = formatJson({
    ath: formatBase64url(await sha256(utf8(token))),
    htm: method,
    htu: `${origin}${pathname}`,
    iat: nowS,
    jti,
  });
  return signJws({ alg: 'ES256', jwk: { ...holder.jwk }, typ: 'dpop+jwt' }, payload, holder.privateKey);
}
