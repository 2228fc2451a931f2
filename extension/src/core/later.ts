/** Later receipts: what the holder adds to an objection, and how it is taken back or erased. */
import type { ErasureReceipt, Evidence, SupplementReceipt, WithdrawalReceipt } from './contract.gen';
import { type Bytes, formatJson, type Json, type JsonObject, sha256Hex } from './encoding';
import { ObjectionError } from './errors';
import { MAX_EVIDENCE_BYTES, MAX_EVIDENCE_TOTAL_BYTES, verifyPayload } from './receipts';
import { FieldError } from './schema';

export type LaterReceipt = SupplementReceipt | WithdrawalReceipt | ErasureReceipt;
export type LaterKind = LaterReceipt['kind'];
export const MAX_FILES = 8;

/** What is to be signed, without the time. `objection`: hex SHA-256 of the receipt it belongs to. */
export interface LaterPlan {
  kind: LaterKind;
  objection: string;
  jti: string;
  evidence: Evidence[];
}

const MEDIA_TYPES: Record<string, Evidence['media_type']> = {
  eml: 'message/rfc822',
  jpeg: 'image/jpeg',
  jpg: 'image/jpeg',
  png: 'image/png',
  txt: 'text/plain',
  webp: 'image/webp',
};
export const FILE_ENDINGS = Object.keys(MEDIA_TYPES).map((ending) => `.${ending}`);
const MAX_STEM = 48;

/** Builds what will be signed at `nowS`: canonical JSON, the bytes to show and to sign. */
export function formatLater({ kind, objection, jti, evidence }: LaterPlan, nowS: number): string {
  const common = { jti, iat: nowS, controller: 'meta-platforms-ireland', objection_sha256: objection } as const;
  const receipt: LaterReceipt = kind === 'supplement' ? { ...common, kind, evidence } : { ...common, kind };
  return formatJson(receipt as unknown as Json);
}

/** Returns the payload of a later receipt, checked as the register will check it. Throws FieldError. */
export function verifyLaterPayload(value: JsonObject): LaterReceipt {
  const payload = verifyPayload(value);
  if (payload.kind === 'objection') throw new FieldError([{ field: 'kind', problem: 'must be a later one' }]);
  return payload;
}

/**
 * Describes a chosen file as evidence, under a name that the contract allows and `taken` does not hold.
 * Throws `file_type_refused`, `file_empty` or `file_too_large`.
 */
export async function evidenceItem(fileName: string, bytes: Bytes, taken: string[]): Promise<Evidence> {
  const ending = /\.([a-z]+)$/.exec(fileName.toLowerCase())?.[1] ?? '';
  const mediaType = Object.hasOwn(MEDIA_TYPES, ending) ? MEDIA_TYPES[ending] : undefined;
  if (!mediaType) throw new ObjectionError('file_type_refused', fileName);
  if (bytes.length === 0) throw new ObjectionError('file_empty', fileName);
  if (bytes.length > MAX_EVIDENCE_BYTES) throw new ObjectionError('file_too_large', fileName);
  return {
    name: freeName(fileName.slice(0, -ending.length - 1), ending, taken),
    media_type: mediaType,
    size: bytes.length,
    sha256: await sha256Hex(bytes),
  };
}

/** Throws `evidence_too_large` when `more` do not fit beside the `before` bytes that an objection holds already. */
export function refuseTooMuch(more: Evidence[], before: number): void {
  const total = more.reduce((sum, { size }) => sum + size, before);
  if (total > MAX_EVIDENCE_TOTAL_BYTES) throw new ObjectionError('evidence_too_large', `${total} bytes`);
}

// The names people give files hold spaces, umlauts and more than the contract allows, and often their own names.
function freeName(stem: string, ending: string, taken: string[]): string {
  const plain = stem
    .normalize('NFKD')
    .toLowerCase()
    .replaceAll(/\p{M}/gu, '')
    .replaceAll(/[^a-z0-9]+/g, '-')
    .slice(0, MAX_STEM - 3) // room for a number
    .replaceAll(/^-+|-+$/g, '');
  const base = plain || 'file';
  const names = [base, ...Array.from({ length: MAX_FILES }, (_, i) => `${base}-${i + 2}`)];
  return names.map((name) => `${name}.${ending}`).find((name) => !taken.includes(name)) ?? `${base}.${ending}`;
}
