/** The signature algorithms of certificates and CMS, run by WebCrypto: ECDSA and RSA with SHA-2. */
import {
  BIT_STRING,
  context,
  type Der,
  INTEGER,
  members,
  OID,
  parseDer,
  parseOid,
  parseSmallInteger,
  parseUnsigned,
  SEQUENCE,
} from './der';
import { type Bytes, concat } from './encoding';
import { ObjectionError } from './errors';

export type Hash = 'SHA-256' | 'SHA-384' | 'SHA-512';

export interface SignatureAlgorithm {
  name: 'ECDSA' | 'RSASSA-PKCS1-v1_5' | 'RSA-PSS';
  hash: Hash;
  saltLength?: number;
}

/** A key made ready for one algorithm. `size`: bytes of a coordinate, for ECDSA. */
export interface ReadyKey {
  key: CryptoKey;
  size: number;
}

const HASHES: Record<string, Hash> = {
  '2.16.840.1.101.3.4.2.1': 'SHA-256',
  '2.16.840.1.101.3.4.2.2': 'SHA-384',
  '2.16.840.1.101.3.4.2.3': 'SHA-512',
};
const SIGNATURES: Record<string, SignatureAlgorithm> = {
  '1.2.840.10045.4.3.2': { name: 'ECDSA', hash: 'SHA-256' },
  '1.2.840.10045.4.3.3': { name: 'ECDSA', hash: 'SHA-384' },
  '1.2.840.10045.4.3.4': { name: 'ECDSA', hash: 'SHA-512' },
  '1.2.840.113549.1.1.11': { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' },
  '1.2.840.113549.1.1.12': { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-384' },
  '1.2.840.113549.1.1.13': { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-512' },
};
const RSA_ENCRYPTION = '1.2.840.113549.1.1.1';
const RSA_PSS = '1.2.840.113549.1.1.10';
const MGF1 = '1.2.840.113549.1.1.8';
const EC_KEY = '1.2.840.10045.2.1';
const CURVES: Record<string, { namedCurve: string; size: number }> = {
  '1.2.840.10045.3.1.7': { namedCurve: 'P-256', size: 32 },
  '1.3.132.0.34': { namedCurve: 'P-384', size: 48 },
  '1.3.132.0.35': { namedCurve: 'P-521', size: 66 },
};
const MIN_RSA_BYTES = 256;
const MAX_RSA_BYTES = 1024; // more would only cost the reader time

/** Reads an AlgorithmIdentifier of a hash. Throws `algorithm_refused`. */
export function parseHash(value: Der): Hash {
  const hash = HASHES[parseOid(members(value, SEQUENCE).take(OID))];
  if (!hash) throw refused('a hash other than SHA-2');
  return hash;
}

/**
 * Reads an AlgorithmIdentifier of a signature; `digest` is the hash that CMS names apart, for the identifiers that name
 * none. Throws `algorithm_refused`.
 */
export function parseSignatureAlgorithm(value: Der, digest?: Hash): SignatureAlgorithm {
  const fields = members(value, SEQUENCE);
  const id = parseOid(fields.take(OID));
  if (id === RSA_PSS) return parsePss(fields.take(SEQUENCE));
  if (id === RSA_ENCRYPTION && digest) return { name: 'RSASSA-PKCS1-v1_5', hash: digest };
  const algorithm = SIGNATURES[id];
  if (!algorithm) throw refused(`a signature algorithm that is not accepted: ${id}`);
  return algorithm;
}

function parsePss(parameters: Der): SignatureAlgorithm {
  const fields = members(parameters);
  const hash = fields.takeIf(context(0));
  const mask = fields.takeIf(context(1));
  const salt = fields.takeIf(context(2));
  if (!hash || !mask || !salt) throw refused('RSA-PSS with SHA-1');
  const name = parseHash(members(hash).take());
  const generator = members(members(mask).take(SEQUENCE));
  if (parseOid(generator.take(OID)) !== MGF1 || parseHash(generator.take()) !== name) {
    throw refused('RSA-PSS with two hashes');
  }
  return { name: 'RSA-PSS', hash: name, saltLength: parseSmallInteger(members(salt).take()) };
}

/** Returns the key of a SubjectPublicKeyInfo for `algorithm`. Throws `key_refused`. */
export async function importKey(publicKeyInfo: Bytes, { name, hash }: SignatureAlgorithm): Promise<ReadyKey> {
  const fields = members(parseDer(publicKeyInfo, SEQUENCE));
  const identifier = members(fields.take(SEQUENCE));
  const kind = parseOid(identifier.take(OID));
  if ((kind === EC_KEY) !== (name === 'ECDSA')) throw keyRefused('the key is of another kind than the signature');
  const curve = name === 'ECDSA' ? CURVES[parseOid(identifier.take(OID))] : undefined;
  if (name === 'ECDSA' && !curve) throw keyRefused('a curve other than those of NIST');
  if (name !== 'ECDSA') requireModulus(fields.take(BIT_STRING));
  try {
    const algorithm = curve ? { name, namedCurve: curve.namedCurve } : { name, hash };
    const key = await crypto.subtle.importKey('spki', publicKeyInfo, algorithm, false, ['verify']);
    return { key, size: curve?.size ?? 0 };
  } catch (error) {
    throw keyRefused('a public key that cannot be used', error);
  }
}

function requireModulus({ content }: Der): void {
  const modulus = parseUnsigned(members(parseDer(content.subarray(1), SEQUENCE)).take(INTEGER));
  if (modulus.length < MIN_RSA_BYTES || modulus.length > MAX_RSA_BYTES) throw keyRefused('an RSA key of that size');
}

/** Throws `code` unless `signature` is by `key` over `data`. */
export async function verifySignature(
  { key, size }: ReadyKey,
  algorithm: SignatureAlgorithm,
  signature: Bytes,
  data: Bytes,
  code: string,
): Promise<void> {
  const raw = algorithm.name === 'ECDSA' ? pairOf(signature, size) : signature;
  const { name, hash, saltLength = 0 } = algorithm;
  const parameters = { name, hash, saltLength };
  if (!raw || !(await crypto.subtle.verify(parameters, key, raw, data))) {
    throw new ObjectionError(code, 'a signature does not hold');
  }
}

/** WebCrypto wants r‖s; X.509 and CMS write SEQUENCE { r, s }. Undefined when the numbers do not fit the curve. */
function pairOf(signature: Bytes, size: number): Bytes | undefined {
  const fields = members(parseDer(signature, SEQUENCE));
  const [r, s] = [parseUnsigned(fields.take()), parseUnsigned(fields.take())];
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
