/**
 * The signatures of certificates and CMS, run by WebCrypto: ECDSA on a NIST curve and RSA, with SHA-2. Keys are built from
 * numbers that our own reader found. `server/core/signatures.py` is the twin of this module: both accept the same.
 */
import {
  BIT_STRING,
  context,
  type Der,
  INTEGER,
  members,
  NULL,
  OID,
  parseBitString,
  parseDer,
  parseOid,
  parseSmallInteger,
  parseUnsigned,
  SEQUENCE,
} from './der';
import { type Bytes, concat, formatBase64url } from './encoding';
import { ObjectionError } from './errors';

export type Hash = 'SHA-256' | 'SHA-384' | 'SHA-512';
export type Scheme = 'ECDSA' | 'RSASSA-PKCS1-v1_5' | 'RSA-PSS';

export interface SignatureAlgorithm {
  scheme: Scheme;
  hash: Hash;
}

/** `point`: uncompressed; `size`: bytes of a coordinate. An RSA key is made ready anew for each algorithm. */
export type PublicKey =
  | { kind: 'EC'; key: CryptoKey; curve: string; point: Bytes; size: number }
  | { kind: 'RSA'; modulus: Bytes; exponent: Bytes };

const HASHES: Record<string, Hash> = {
  '2.16.840.1.101.3.4.2.1': 'SHA-256',
  '2.16.840.1.101.3.4.2.2': 'SHA-384',
  '2.16.840.1.101.3.4.2.3': 'SHA-512',
};
const HASH_BYTES: Record<Hash, number> = { 'SHA-256': 32, 'SHA-384': 48, 'SHA-512': 64 };
const SIGNATURES: Record<string, SignatureAlgorithm> = {
  '1.2.840.10045.4.3.2': { scheme: 'ECDSA', hash: 'SHA-256' },
  '1.2.840.10045.4.3.3': { scheme: 'ECDSA', hash: 'SHA-384' },
  '1.2.840.10045.4.3.4': { scheme: 'ECDSA', hash: 'SHA-512' },
  '1.2.840.113549.1.1.11': { scheme: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' },
  '1.2.840.113549.1.1.12': { scheme: 'RSASSA-PKCS1-v1_5', hash: 'SHA-384' },
  '1.2.840.113549.1.1.13': { scheme: 'RSASSA-PKCS1-v1_5', hash: 'SHA-512' },
};
const RSA_KEY = '1.2.840.113549.1.1.1';
const RSA_PSS = '1.2.840.113549.1.1.10';
const MGF1 = '1.2.840.113549.1.1.8';
const EC_KEY = '1.2.840.10045.2.1';
const CURVES: Record<string, { curve: string; size: number }> = {
  '1.2.840.10045.3.1.7': { curve: 'P-256', size: 32 },
  '1.3.132.0.34': { curve: 'P-384', size: 48 },
  '1.3.132.0.35': { curve: 'P-521', size: 66 },
};
const MIN_RSA_BITS = 2048;
const MAX_RSA_BITS = 8192; // more would only cost the reader time
const MAX_EXPONENT_BYTES = 4; // what every browser takes

/** Returns the hash whose digests have `size` bytes. Throws `algorithm_refused`. */
export function hashOfSize(size: number): Hash {
  const found = Object.entries(HASH_BYTES).find(([, bytes]) => bytes === size);
  if (!found) throw refused('a digest other than by SHA-2');
  return found[0] as Hash;
}

/** Reads an AlgorithmIdentifier of a hash; its parameters mean nothing. Throws `algorithm_refused`, `der_malformed`. */
export function parseHash(value: Der): Hash {
  const hash = HASHES[parseOid(members(value, SEQUENCE).take(OID))];
  if (!hash) throw refused('a hash other than SHA-2');
  return hash;
}

/** Reads a certificate's AlgorithmIdentifier. Throws `algorithm_refused`, `der_malformed`. */
export function parseSignatureAlgorithm(value: Der): SignatureAlgorithm {
  const fields = members(value, SEQUENCE);
  const id = parseOid(fields.take(OID));
  if (id === RSA_PSS) return parsePss(fields.take(SEQUENCE));
  const algorithm = SIGNATURES[id];
  if (!algorithm) throw refused(`a signature other than ECDSA or RSA with SHA-2: ${id}`);
  return algorithm;
}

function parsePss(parameters: Der): SignatureAlgorithm {
  const fields = members(parameters);
  const hash = parseHash(only(fields.take(context(0))));
  const generator = members(only(fields.take(context(1))), SEQUENCE);
  const same = parseOid(generator.take(OID)) === MGF1 && parseHash(generator.take()) === hash;
  const salt = parseSmallInteger(only(fields.take(context(2))));
  fields.end();
  if (!same || salt !== HASH_BYTES[hash]) {
    throw refused('RSA-PSS with two hashes, or a salt of another length than the hash');
  }
  return { scheme: 'RSA-PSS', hash };
}

function only(explicit: Der): Der {
  const fields = members(explicit);
  const value = fields.take();
  fields.end();
  return value;
}

/**
 * Returns the key of a SubjectPublicKeyInfo: an uncompressed point on a NIST curve, or an RSA key. Throws `key_refused`,
 * `der_malformed`.
 */
export async function parseKey(publicKeyInfo: Bytes): Promise<PublicKey> {
  const whole = members(parseDer(publicKeyInfo, SEQUENCE));
  const identifier = members(whole.take(SEQUENCE));
  const bits = parseBitString(whole.take(BIT_STRING));
  whole.end();
  const kind = parseOid(identifier.take(OID));
  if (kind === EC_KEY) {
    const curve = CURVES[parseOid(identifier.take(OID))];
    identifier.end();
    return pointOn(curve, bits);
  }
  if (kind !== RSA_KEY) throw keyRefused('neither EC nor RSA');
  if (identifier.take(NULL).content.length > 0) throw keyRefused('RSA with parameters');
  identifier.end();
  return rsaKey(bits);
}

async function pointOn(found: { curve: string; size: number } | undefined, point: Bytes): Promise<PublicKey> {
  if (!found) throw keyRefused('a curve other than P-256, P-384 and P-521');
  const { curve, size } = found;
  if (point[0] !== 4 || point.length !== 1 + 2 * size) throw keyRefused('not an uncompressed point');
  try {
    const algorithm = { name: 'ECDSA', namedCurve: curve };
    const key = await crypto.subtle.importKey('raw', point, algorithm, false, ['verify']);
    return { kind: 'EC', key, curve, point, size };
  } catch (error) {
    throw keyRefused('a point that is not on the curve', error);
  }
}

function rsaKey(bits: Bytes): PublicKey {
  const numbers = members(parseDer(bits, SEQUENCE));
  const [modulus, exponent] = [parseUnsigned(numbers.take(INTEGER)), parseUnsigned(numbers.take(INTEGER))];
  numbers.end();
  const size = 8 * modulus.length - Math.clz32(modulus[0] ?? 0) + 24;
  if (size < MIN_RSA_BITS || size > MAX_RSA_BITS) throw keyRefused('an RSA key of other than 2048 to 8192 bits');
  const odd = (bytes: Bytes) => ((bytes.at(-1) ?? 0) & 1) === 1;
  const one = exponent.length === 1 && exponent[0] === 1;
  if (!odd(modulus) || exponent.length > MAX_EXPONENT_BYTES || !odd(exponent) || one) {
    throw keyRefused('an RSA key with an unusual exponent or modulus');
  }
  return { kind: 'RSA', modulus, exponent };
}

/** The scheme in which `key` signs messages; no identifier beside a signature is asked. */
export function schemeOf(key: PublicKey): Scheme {
  return key.kind === 'EC' ? 'ECDSA' : 'RSASSA-PKCS1-v1_5';
}

/** Throws `code` unless `signature` is by `key` over `data`; `key_refused`, `der_malformed` when it has no form. */
export async function verifySignature(
  key: PublicKey,
  { scheme, hash }: SignatureAlgorithm,
  signature: Bytes,
  data: Bytes,
  code: string,
): Promise<void> {
  if ((key.kind === 'EC') !== (scheme === 'ECDSA')) throw keyRefused('the key is of another kind than the signature');
  const raw = key.kind === 'EC' ? pairOf(signature, key.size) : signature;
  const ready = key.kind === 'EC' ? key.key : await importRsa(key, scheme, hash);
  const how = { name: scheme, hash, saltLength: HASH_BYTES[hash] };
  if (!raw || !(await crypto.subtle.verify(how, ready, raw, data))) {
    throw new ObjectionError(code, 'a signature does not hold');
  }
}

async function importRsa(key: { modulus: Bytes; exponent: Bytes }, name: Scheme, hash: Hash): Promise<CryptoKey> {
  const jwk = { kty: 'RSA', n: formatBase64url(key.modulus), e: formatBase64url(key.exponent) };
  try {
    return await crypto.subtle.importKey('jwk', jwk, { name, hash }, false, ['verify']);
  } catch (error) {
    throw keyRefused('a public key that cannot be used', error);
  }
}

/** WebCrypto wants r‖s; X.509 and CMS write SEQUENCE { r, s }. Undefined when the numbers do not fit the curve. */
function pairOf(signature: Bytes, size: number): Bytes | undefined {
  const fields = members(parseDer(signature, SEQUENCE));
  const [r, s] = [parseUnsigned(fields.take(INTEGER)), parseUnsigned(fields.take(INTEGER))];
  fields.end();
  if (r.length > size || s.length > size) return undefined;
  return concat(new Uint8Array(size - r.length), r, new Uint8Array(size - s.length), s);
}

function refused(message: string): ObjectionError {
  return new ObjectionError('algorithm_refused', message);
}

function keyRefused(message: string, cause?: unknown): ObjectionError {
  return new ObjectionError('key_refused', message, { cause });
}
