/** What a bundle holds, whatever its container: the list in manifest.json, and the files beside it. */
import { type Bytes, type Json, type JsonObject, parseJson, sha256Hex } from './encoding';
import { ObjectionError } from './errors';

export const MANIFEST = 'manifest.json';
export const STATES = ['recorded', 'anchored'] as const;
export type State = (typeof STATES)[number];

export interface ListedFile {
  name: string;
  role: string;
  mediaType: string;
  size: number;
  sha256: string;
}

export interface Manifest {
  receiptSha256: string;
  state: State;
  files: ListedFile[];
}

/** A later receipt's files in a bundle, by their place in the order of the log. */
export interface LaterFiles {
  number: string;
  kind: string;
  evidence: Map<string, Bytes>;
}

interface Kind {
  role: string;
  /** Undefined for evidence: the receipt says it. */
  mediaType?: string;
}

const TEXT = 'text/plain; charset=utf-8';
const JOSE = 'application/jose';
const SINGLE_FILES: Record<string, Kind & { optional?: true }> = {
  'receipt.jws': { role: 'receipt', mediaType: JOSE },
  'token.sd-jwt': { role: 'token', mediaType: 'application/dc+sd-jwt' },
  'proof.tlog-proof': { role: 'proof', mediaType: TEXT },
  'checkpoint.txt': { role: 'checkpoint', mediaType: TEXT },
  'policy.json': { role: 'policy', mediaType: 'application/json' },
  'README.txt': { role: 'readme', mediaType: TEXT },
  'status.jwt': { role: 'status', mediaType: 'application/statuslist+jwt' },
  'objection.jsonld': { role: 'description', mediaType: 'application/ld+json' },
  'verify.html': { role: 'verifier', mediaType: 'text/html; charset=utf-8', optional: true },
};
const EVIDENCE_NAME = '[a-z0-9][a-z0-9-]{0,47}\\.[a-z0-9]{1,8}';
const LATER = '(0[1-9]|[1-9][0-9])-(supplement|withdrawal)';
const PATTERNS: [RegExp, Kind][] = [
  [new RegExp(`^evidence/${EVIDENCE_NAME}$`), { role: 'evidence' }],
  [/^anchors\/[a-z0-9][a-z0-9-]{0,31}\.tst$/, { role: 'anchor', mediaType: 'application/vnd.etsi.timestamp-token' }],
  [new RegExp(`^later/${LATER}\\.jws$`), { role: 'later-receipt', mediaType: JOSE }],
  [new RegExp(`^later/${LATER}\\.ack$`), { role: 'acknowledgement', mediaType: JOSE }],
  [new RegExp(`^later/${LATER}\\.tlog-proof$`), { role: 'later-proof', mediaType: TEXT }],
  [new RegExp(`^later/(0[1-9]|[1-9][0-9])/${EVIDENCE_NAME}$`), { role: 'evidence' }],
  [/^dkim\/[0-9a-f]{64}\.txt$/, { role: 'dkim-key', mediaType: TEXT }],
];
const LATER_ENDINGS = ['.jws', '.ack', '.tlog-proof'];
const LATER_RECEIPT = new RegExp(`^later/${LATER}\\.`);
const LATER_EVIDENCE = /^later\/([0-9]{2})\//;
const SHA256 = /^[0-9a-f]{64}$/;
const MAX_FILES = 512;
const MAX_EVIDENCE_ITEMS = 8;
const MAX_ANCHORS = 8;
const MAX_NAMES_SHOWN = 5;

/** Reads manifest.json. Throws `bundle_malformed`. */
export function parseManifest(raw: Bytes): Manifest {
  let value: JsonObject;
  try {
    value = parseJson(raw);
  } catch (error) {
    if (!(error instanceof ObjectionError)) throw error;
    throw new ObjectionError('bundle_malformed', `${MANIFEST}: ${error.message}`, { cause: error });
  }
  const { v, receipt_sha256, state, files } = value;
  const known = STATES.find((one) => one === state);
  const fits = hasMembers(value, ['v', 'receipt_sha256', 'state', 'files']) && v === 1 && known !== undefined;
  if (!fits || !isSha256(receipt_sha256) || !Array.isArray(files) || files.length < 1 || files.length > MAX_FILES) {
    throw malformed(`${MANIFEST} is not a list of files`);
  }
  return { receiptSha256: receipt_sha256, state: known, files: files.map(parseListed) };
}

function parseListed(value: Json): ListedFile {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw malformed('an entry is no object');
  const { name, role, media_type, size, sha256 } = value;
  const fits = hasMembers(value, ['name', 'role', 'media_type', 'size', 'sha256']);
  if (!fits || typeof name !== 'string' || typeof role !== 'string' || typeof media_type !== 'string') {
    throw malformed('an entry of the manifest has other members');
  }
  if (typeof size !== 'number' || size < 0 || !isSha256(sha256)) throw malformed('an entry has no size or hash');
  return { name, role, mediaType: media_type, size, sha256 };
}

/**
 * Throws unless `files` are exactly what the manifest lists, byte for byte, and that is what a proof consists of:
 * `bundle_unlisted_file`, `bundle_file_missing`, `bundle_file_mismatch`, `bundle_malformed`.
 */
export async function verifyManifest(manifest: Manifest, files: Map<string, Bytes>): Promise<void> {
  const listed = new Map(manifest.files.map((item) => [item.name, item]));
  const unlisted = [...files.keys()].filter((name) => !listed.has(name));
  if (unlisted.length > 0) throw failed('bundle_unlisted_file', `not listed, so it proves nothing: ${few(unlisted)}`);
  const missing = [...listed.keys()].filter((name) => !files.has(name));
  if (missing.length > 0) throw failed('bundle_file_missing', `listed but not there: ${few(missing)}`);
  for (const [name, { size, sha256 }] of listed) {
    const file = files.get(name);
    if (file?.length !== size || (await sha256Hex(file)) !== sha256) {
      throw failed('bundle_file_mismatch', `${name} is not the file that the manifest lists`);
    }
  }
  if (listed.size !== manifest.files.length) throw malformed('the manifest lists one file twice');
  verifyKinds(manifest.files);
  verifyLater([...listed.keys()]);
  const anchors = [...listed.keys()].filter((name) => name.startsWith('anchors/'));
  if (anchors.length > MAX_ANCHORS || (manifest.state === 'anchored') !== anchors.length > 0) {
    throw malformed('the state in the manifest and the anchors in it do not agree');
  }
  const receipt = listed.get('receipt.jws');
  if (receipt?.sha256 !== manifest.receiptSha256) {
    throw failed('bundle_file_mismatch', `${MANIFEST} names another receipt than receipt.jws`);
  }
}

function verifyKinds(files: ListedFile[]): void {
  const names = new Set(files.map(({ name }) => name));
  const absent = Object.entries(SINGLE_FILES).filter(([name, { optional }]) => !optional && !names.has(name));
  if (absent.length > 0) throw malformed(`the files listed are not those of a proof: ${absent[0]?.[0]} is not`);
  for (const { name, role, mediaType, sha256 } of files) {
    const kind = kindOf(name);
    if (kind?.role !== role || (kind.mediaType ?? mediaType) !== mediaType) {
      throw malformed(`the files listed are not those of a proof: ${name.slice(0, 80)}`);
    }
    if (role === 'dkim-key' && name !== `dkim/${sha256}.txt`) throw malformed('a key record is not named by its hash');
  }
  if (files.filter(({ name }) => name.startsWith('evidence/')).length > MAX_EVIDENCE_ITEMS) {
    throw malformed('more evidence than a receipt can have');
  }
}

/** Numbers run from 01 without gaps, one receipt each, each with acknowledgement and proof; evidence of supplements only. */
function verifyLater(names: string[]): void {
  const stems = new Set(names.filter((name) => LATER_RECEIPT.test(name)).map((name) => name.replace(/\..*$/, '')));
  const sorted = [...stems].sort();
  for (const [i, stem] of sorted.entries()) {
    const whole = LATER_ENDINGS.every((ending) => names.includes(`${stem}${ending}`));
    if (!whole || !stem.startsWith(`later/${String(i + 1).padStart(2, '0')}-`)) {
      throw malformed('the later receipts are not numbered 01, 02, … with acknowledgement and proof');
    }
  }
  for (const name of names) {
    const number = LATER_EVIDENCE.exec(name)?.[1];
    if (number && !stems.has(`later/${number}-supplement`)) throw malformed(`${name} belongs to no supplement`);
  }
}

/** Returns the later receipts among `files`, in the order of their numbers. */
export function laterFiles(files: Map<string, Bytes>): LaterFiles[] {
  const found: LaterFiles[] = [];
  for (const name of [...files.keys()].sort()) {
    const [, number, kind] = new RegExp(`^later/${LATER}\\.jws$`).exec(name) ?? [];
    if (number && kind) found.push({ number, kind, evidence: filesUnder(files, `later/${number}/`) });
  }
  return found;
}

/** Returns the files whose names begin with `folder`, by the rest of their names. */
export function filesUnder(files: Map<string, Bytes>, folder: string): Map<string, Bytes> {
  const inside = [...files].filter(([name]) => name.startsWith(folder));
  return new Map(inside.map(([name, data]) => [name.slice(folder.length), data]));
}

function kindOf(name: string): Kind | undefined {
  if (Object.hasOwn(SINGLE_FILES, name)) return SINGLE_FILES[name];
  return PATTERNS.find(([pattern]) => pattern.test(name))?.[1];
}

function hasMembers(value: JsonObject, names: string[]): boolean {
  return Object.keys(value).length === names.length && names.every((name) => Object.hasOwn(value, name));
}

function isSha256(value: Json | undefined): value is string {
  return typeof value === 'string' && SHA256.test(value);
}

function few(names: string[]): string {
  return names.sort().slice(0, MAX_NAMES_SHOWN).join(', ').slice(0, 300);
}

function failed(code: string, message: string): ObjectionError {
  return new ObjectionError(code, message);
}

function malformed(message: string): ObjectionError {
  return failed('bundle_malformed', message);
}
