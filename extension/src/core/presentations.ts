/** Showing a token to one reader: key binding (KB-JWT, RFC 9901). */
import { formatBase64url, formatJson, sha256, utf8 } from './encoding';
import { signJws } from './jws';

export interface Audience {
  nonce: string;
  audience: string;
  nowS: number;
}

/** Returns `shown`, a token with its disclosures and trailing `~`, with a key binding for one reader. */
export async function presentToken(
  shown: string,
  { nonce, audience, nowS }: Audience,
  privateKey: CryptoKey,
): Promise<string> {
  const sd_hash = formatBase64url(await sha256(utf8(shown)));
  const payload = formatJson({ aud: audience, iat: nowS, nonce, sd_hash });
  return `${shown}${await signJws({ alg: 'ES256', typ: 'kb+jwt' }, payload, privateKey)}`;
}
