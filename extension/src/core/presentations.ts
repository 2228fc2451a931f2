/**
 * Presentations: a token with disclosures, bound by its holder to one asker and one moment (RFC 9901, section 4.3).
 *
 * `<token>~<D>~…<KB-JWT>`. Only who asked with a nonce of their own learns that the presenter holds the key now: for
 * anybody else the same bytes may have been copied.
 */
import { formatBase64url, formatJson, type JsonObject, sha256, utf8 } from './encoding';
import { ObjectionError } from './errors';
import { parseJws, parsePublicJwk, signJws, verifyJws } from './jws';
import { MAX_TIME_S } from './notes';
import type { VerifiedToken } from './tokens';

const BINDING_TYPE = 'kb+jwt';
const MAX_BINDING_CHARACTERS = 4_096;
const CLAIMS = { aud: 'string', iat: 'number', nonce: 'string', sd_hash: 'string' };

/** What a verifier asked for: a presentation to `audience` with its `nonce`. */
export interface Challenge {
  audience: string;
  nonce: string;
  nowS: number;
}

/** What the holder of the token's key signed: when by their clock, to whom, with which nonce. */
export interface Binding {
  audience: string;
  nonce: string;
  presentedAtS: number;
}

/** Returns the presentation of `presented`: a token with the disclosures to show, trailing `~` included. */
export async function signPresentation(
  presented: string,
  privateKey: CryptoKey,
  { audience, nonce, nowS }: Challenge,
): Promise<string> {
  const payload = formatJson({ aud: audience, iat: nowS, nonce, sd_hash: await sdHash(presented) });
  return presented + (await signJws({ alg: 'ES256', typ: BINDING_TYPE }, payload, privateKey));
}

/** The token with its disclosures, trailing `~` included, and the key binding: empty where there is none. */
export function splitPresentation(text: string): { presented: string; rawBinding: string } {
  const end = text.lastIndexOf('~') + 1;
  return end > 0 ? { presented: text.slice(0, end), rawBinding: text.slice(end) } : { presented: text, rawBinding: '' };
}

/**
 * Returns what the holder of `token` signed over `presented`. Shows nothing alone: without a nonce
 * of the reader's own the same bytes may have been copied.
 * Throws `binding_missing`; `binding_mismatch` when it is malformed, signed by another key, or over other bytes.
 */
export async function verifyBinding(rawBinding: string, token: VerifiedToken, presented: string): Promise<Binding> {
  if (rawBinding === '') {
    throw new ObjectionError('binding_missing', 'the presenter did not sign: anybody may hand on this token');
  }
  if (rawBinding.length > MAX_BINDING_CHARACTERS) throw mismatch('the key binding is too long');
  const { aud, iat, nonce, sd_hash, ...others } = await signedClaims(rawBinding, token);
  const types = { aud: typeof aud, iat: typeof iat, nonce: typeof nonce, sd_hash: typeof sd_hash };
  if (Object.keys(others).length > 0 || formatJson(types) !== formatJson(CLAIMS)) {
    throw mismatch('a key binding has exactly iat, aud, nonce, sd_hash');
  }
  if (Number(iat) < 0 || Number(iat) > MAX_TIME_S) throw mismatch('its time is one that no calendar can write');
  if (sd_hash !== (await sdHash(presented))) {
    throw mismatch('the key binding is over another token, or other disclosures');
  }
  return { audience: String(aud), nonce: String(nonce), presentedAtS: Number(iat) };
}

async function signedClaims(rawBinding: string, token: VerifiedToken): Promise<JsonObject> {
  try {
    const jws = parseJws(rawBinding, BINDING_TYPE, []);
    return await verifyJws(jws, (await parsePublicJwk({ ...token.claims.cnf.jwk })).key);
  } catch (error) {
    throw mismatch('the key binding does not hold', error);
  }
}

async function sdHash(presented: string): Promise<string> {
  return formatBase64url(await sha256(utf8(presented)));
}

function mismatch(message: string, cause?: unknown): ObjectionError {
  return new ObjectionError('binding_mismatch', message, { cause });
}
