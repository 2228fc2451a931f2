/** JWS compact with ES256 and nothing else (RFC 7515, RFC 7518). */
import type { PublicKey } from './contract.gen';
import {
  type Bytes,
  concat,
  formatBase64url,
  formatJson,
  type Json,
  type JsonObject,
  parseBase64url,
  parseJson,
  sha256,
  utf8,
} from './encoding';
import { ObjectionError } from './errors';

const P256 = { name: 'ECDSA', namedCurve: 'P-256' } as const;
const ES256 = { name: 'ECDSA', hash: 'SHA-256' } as const;
const MAX_JWS_CHARACTERS = 65_536;
const PUBLIC_MEMBERS = ['crv', 'kty', 'x', 'y'];
const PRIVATE_MEMBERS = ['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth', 'k'];

/** A JWS whose shape and header were read; its signature was not checked and its payload not parsed. */
export interface UnverifiedJws {
  header: JsonObject;
  rawPayload: Bytes;
  signature: Bytes;
  signingInput: Bytes;
}

/**
 * Reads a JWS of type `typ` whose header has `members` besides `alg` and `typ`: all of them, none other.
 * Throws `jws_malformed`, `base64url_malformed`, the codes of JSON, `algorithm_refused`, `type_refused`,
 * `jws_header_refused`, checked in this order.
 */
export function parseJws(text: string, typ: string, members: string[]): UnverifiedJws {
  if (text.length > MAX_JWS_CHARACTERS) throw new ObjectionError('jws_malformed', 'the JWS is too long');
  const parts = text.split('.', 4);
  if (parts.length !== 3) throw new ObjectionError('jws_malformed', 'a JWS has three parts');
  const [rawHeader, rawPayload, signature] = parts.map((part) => parseBase64url(part)) as [Bytes, Bytes, Bytes];
  const header = parseJson(rawHeader);
  if (header.alg !== 'ES256') throw new ObjectionError('algorithm_refused', 'the only algorithm accepted is ES256');
  if (header.typ !== typ) throw new ObjectionError('type_refused', `the type must be ${typ}`);
  if (!sameMembers(header, ['alg', 'typ', ...members])) {
    throw new ObjectionError('jws_header_refused', `the header must have exactly alg, typ, ${members.join(', ')}`);
  }
  return { header, rawPayload, signature, signingInput: utf8(text.slice(0, text.lastIndexOf('.'))) };
}

/** Returns the payload once `key` is seen to have signed it. Throws `signature_invalid` or the codes of JSON. */
export async function verifyJws(jws: UnverifiedJws, key: CryptoKey): Promise<JsonObject> {
  if (jws.signature.length !== 64) throw new ObjectionError('signature_invalid', 'an ES256 signature has 64 bytes');
  if (!(await crypto.subtle.verify(ES256, key, jws.signature, jws.signingInput))) {
    throw new ObjectionError('signature_invalid', 'the signature does not fit the key and the signed bytes');
  }
  return parseJson(jws.rawPayload);
}

/** Signs `payload`, canonical JSON already in the bytes that were shown, and returns the compact form. */
export async function signJws(header: JsonObject, payload: string, privateKey: CryptoKey): Promise<string> {
  const signingInput = `${formatBase64url(utf8(formatJson(header)))}.${formatBase64url(utf8(payload))}`;
  // WebCrypto returns r‖s already, the form that JWS wants.
  const signature = await crypto.subtle.sign(ES256, privateKey, utf8(signingInput));
  return `${signingInput}.${formatBase64url(new Uint8Array(signature))}`;
}

/**
 * Returns the P-256 key of `jwk`, which has exactly `crv`, `kty`, `x` and `y`.
 * Throws `private_key_present` when the sender leaked a private member, `key_refused` otherwise.
 */
export async function parsePublicJwk(jwk: Json | undefined): Promise<{ jwk: PublicKey; key: CryptoKey; point: Bytes }> {
  const refused = (message: string, cause?: unknown) => new ObjectionError('key_refused', message, { cause });
  if (typeof jwk !== 'object' || jwk === null || Array.isArray(jwk)) throw refused('the key must be a JWK object');
  if (PRIVATE_MEMBERS.some((member) => Object.hasOwn(jwk, member))) {
    throw new ObjectionError('private_key_present', 'the key holds private material; it must never leave its owner');
  }
  const { kty, crv, x, y } = jwk;
  if (!sameMembers(jwk, PUBLIC_MEMBERS) || kty !== 'EC' || crv !== 'P-256') {
    throw refused('the key must be a bare EC P-256 public key');
  }
  if (typeof x !== 'string' || typeof y !== 'string') throw refused('the coordinates must be base64url text');
  try {
    const point = concat(Uint8Array.of(4), parseBase64url(x, 32), parseBase64url(y, 32));
    return { jwk: { crv, kty, x, y }, key: await crypto.subtle.importKey('raw', point, P256, true, ['verify']), point };
  } catch (error) {
    throw refused('each coordinate must be 32 bytes, and the point on the curve', error);
  }
}

/** The JWK thumbprint of a P-256 public key, base64url (RFC 7638). */
export async function thumbprint({ crv, kty, x, y }: PublicKey): Promise<string> {
  return formatBase64url(await sha256(utf8(formatJson({ crv, kty, x, y }))));
}

function sameMembers(object: JsonObject, members: string[]): boolean {
  const names = Object.keys(object);
  return names.length === members.length && members.every((member) => Object.hasOwn(object, member));
}
