/** Objection receipts: what the holder signs, checked and typed. */
import type { Evidence, ObjectionReceipt, PublicKey, SelfAsserted } from './contract.gen';
import { type Bytes, type JsonObject, sha256, sha256Hex, utf8 } from './encoding';
import { ObjectionError } from './errors';
import { parseJws, parsePublicJwk, signJws, verifyJws } from './jws';
import { FieldError, verifyFields } from './schema';

export const RECEIPT_TYPE = 'objection-receipt+jwt';
export const MAX_RECEIPT_BYTES = 16_384;
export const MAX_EVIDENCE_BYTES = 4_194_304;
export const MAX_EVIDENCE_TOTAL_BYTES = 8_388_608;
const KINDS = {
  objection: 'ObjectionReceipt',
  supplement: 'SupplementReceipt',
  withdrawal: 'WithdrawalReceipt',
  erasure: 'ErasureReceipt',
} as const;

export type ReceiptPayload = ReturnType<typeof verifyPayload>;

/** A receipt whose form, signature and fields hold. Its freshness and evidence files are checked apart. */
export interface VerifiedReceipt {
  raw: string;
  sha256: Bytes;
  sha256Hex: string;
  holderJwk: PublicKey;
  payload: ReceiptPayload;
}

/**
 * Returns the receipt in `raw` once its form and its holder's signature hold. The caller must still check freshness
 * and evidence. Throws the codes, and in the order, of docs/formats.md.
 */
export async function verifyReceipt(raw: string): Promise<VerifiedReceipt> {
  const bytes = utf8(raw);
  if (bytes.length > MAX_RECEIPT_BYTES) {
    throw new ObjectionError('receipt_too_large', `a receipt has at most ${MAX_RECEIPT_BYTES} bytes`);
  }
  if (bytes.length !== raw.length) throw new ObjectionError('jws_malformed', 'a JWS is ASCII');
  const jws = parseJws(raw, RECEIPT_TYPE, ['jwk']);
  const holder = await parsePublicJwk(jws.header.jwk);
  const payload = verifyPayload(await verifyJws(jws, holder.key));
  return {
    raw,
    sha256: await sha256(bytes),
    sha256Hex: await sha256Hex(bytes),
    holderJwk: holder.jwk,
    payload,
  };
}

/** Throws unless `files` are exactly the evidence that the receipt names, byte for byte. */
export async function verifyEvidence(items: Evidence[], files: Map<string, Bytes>): Promise<void> {
  const named = new Set(items.map(({ name }) => name));
  const unexpected = [...files.keys()].filter((name) => !named.has(name));
  const missing = [...named].filter((name) => !files.has(name));
  if (missing.length > 0) throw new ObjectionError('evidence_missing', missing.join(', '));
  if (unexpected.length > 0) throw new ObjectionError('evidence_unexpected', unexpected.join(', '));
  for (const { name, size, sha256: expected } of items) {
    const file = files.get(name);
    if (file?.length !== size || (await sha256Hex(file)) !== expected) {
      throw new ObjectionError('evidence_mismatch', `${name} is not the file that the receipt names`);
    }
  }
}

/** Returns the payload of an objection, checked as the register will check it. Throws FieldError. */
export function verifyObjectionPayload(value: JsonObject): ObjectionReceipt {
  const payload = verifyPayload(value);
  if (payload.kind !== 'objection') throw new FieldError([{ field: 'kind', problem: 'must be objection' }]);
  return payload;
}

/** The header of a receipt: beside the type, the public half of the holder's key. */
export function receiptHeader(jwk: PublicKey): JsonObject {
  return { alg: 'ES256', jwk: { ...jwk }, typ: RECEIPT_TYPE };
}

/** Signs `payload`, canonical JSON, as the holder. */
export function signReceipt(payload: string, jwk: PublicKey, privateKey: CryptoKey): Promise<string> {
  return signJws(receiptHeader(jwk), payload, privateKey);
}

export function verifyPayload(value: JsonObject) {
  const kind = value.kind;
  if (typeof kind !== 'string' || !Object.hasOwn(KINDS, kind)) {
    throw new FieldError([{ field: 'kind', problem: `must be one of: ${Object.keys(KINDS).join(', ')}` }]);
  }
  const payload = verifyFields(KINDS[kind as keyof typeof KINDS], value);
  if ('evidence' in payload) refuseUnboundedEvidence(payload.evidence);
  if ('self_asserted' in payload) refuseRepeatedDigests(payload.self_asserted);
  return payload;
}

// JSON Schema cannot say these two.
function refuseUnboundedEvidence(evidence: Evidence[]): void {
  if (new Set(evidence.map(({ name }) => name)).size !== evidence.length) {
    throw new FieldError([{ field: 'evidence', problem: 'evidence names must not repeat' }]);
  }
  if (evidence.reduce((total, { size }) => total + size, 0) > MAX_EVIDENCE_TOTAL_BYTES) {
    throw new FieldError([{ field: 'evidence', problem: `at most ${MAX_EVIDENCE_TOTAL_BYTES} bytes together` }]);
  }
}

/** Throws FieldError when one digest stands in two slots: one disclosure would open both. */
export function refuseRepeatedDigests(slots: SelfAsserted): void {
  const digests = Object.values(slots).map(({ _sd }) => _sd[0]);
  if (new Set(digests).size !== digests.length) {
    throw new FieldError([{ field: 'self_asserted', problem: 'digests must not repeat' }]);
  }
}
