/** What a bundle holds, whatever its container: files by name, and manifest.json that lists them all. */
import { type Bytes, type Json, type JsonObject, parseJson, sha256Hex } from './encoding';
import { ObjectionError } from './errors';
import { parseTrustPolicy } from './policies';
import { MAX_EVIDENCE_BYTES } from './receipts';

export const MANIFEST = 'manifest.json';
/** What an objection can come to, with 16 supplements of 8 files each (schemas/vocabulary.py counts it up). */
export const MAX_FILES = 485;

export interface ListedFile {
  name: string;
  role: string;
  mediaType: string;
  size: number;
  sha256: string;
}

/** A list that was compared with the files. `mediaTypes` of evidence are its word: compare them with the receipts. */
export interface Manifest {
  state: 'recorded' | 'anchored';
  files: ListedFile[];
  mediaTypes: Map<string, string>;
}

const REQUIRED = [
  'receipt.jws',
  'token.sd-jwt',
  'proof.tlog-proof',
  'checkpoint.txt',
  'policy.json',
  'status.jwt',
  'README.txt',
  'objection.jsonld',
];
const TEXT = 'text/plain; charset=utf-8';
const JOSE = 'application/jose';
const LATER = 'later/[0-9]{2}-(?:supplement|withdrawal)';
const STAMP = '[a-z0-9][a-z0-9-]{0,31}\\.tst';
const STAMP_TYPE = 'application/vnd.etsi.timestamp-token';
const ANCHORS = 'anchors/';
const EVIDENCE_NAME = '[a-z0-9][a-z0-9-]{0,47}\\.[a-z0-9]{1,8}';
/** Name, role, media type; evidence has the one that its receipt gives. A name that none describes has no place here. */
const FORMS: [pattern: RegExp, role: string, mediaType?: string][] = [
  [/^receipt\.jws$/, 'receipt', JOSE],
  [/^token\.sd-jwt$/, 'token', 'application/dc+sd-jwt'],
  [/^proof\.tlog-proof$/, 'proof', TEXT],
  [/^checkpoint\.txt$/, 'checkpoint', TEXT],
  [/^policy\.json$/, 'policy', 'application/json'],
  [/^status\.jwt$/, 'status', 'application/statuslist+jwt'],
  [/^objection\.jsonld$/, 'description', 'application/ld+json'],
  [/^README\.txt$/, 'readme', TEXT],
  [/^verify\.html$/, 'verifier', 'text/html; charset=utf-8'],
  [new RegExp(`^${ANCHORS}${STAMP}$`), 'anchor', STAMP_TYPE],
  [new RegExp(`^${LATER}\\.jws$`), 'later-receipt', JOSE],
  [new RegExp(`^${LATER}\\.ack$`), 'acknowledgement', JOSE],
  [new RegExp(`^${LATER}\\.tlog-proof$`), 'later-proof', TEXT],
  [new RegExp(`^${LATER}\\.consistency$`), 'consistency', TEXT],
  [new RegExp(`^${LATER}/${STAMP}$`), 'later-anchor', STAMP_TYPE],
  [/^dkim\/[0-9a-f]{64}\.txt$/, 'dkim-key', TEXT],
  [new RegExp(`^(?:evidence|later/[0-9]{2})/${EVIDENCE_NAME}$`), 'evidence'],
];
/** What the register's own schema lets a name be, before it is asked whether the file has a place in a proof. */
const NAME = /^(?:[a-z]{1,16}\/(?:[0-9]{2}(?:-[a-z]{1,16})?\/)?)?[a-z0-9A-Z][A-Za-z0-9-]{0,63}\.[a-z0-9-]{1,16}$/;
const MEDIA_TYPE = /^[a-z]+\/[a-z0-9.+-]{1,100}(?:; charset=utf-8)?$/;
const SHA256 = /^[0-9a-f]{64}$/;
const MAX_SHOWN = 300;

/**
 * Returns the list in `files` once it is that of a proof, and they are exactly what it lists, byte for byte.
 * Throws `bundle_file_missing`, `bundle_unlisted_file`, `bundle_file_mismatch`, `bundle_malformed`.
 */
export async function verifyManifest(files: Map<string, Bytes>): Promise<Manifest> {
  const raw = files.get(MANIFEST);
  if (!raw) throw new ObjectionError('bundle_file_missing', `${MANIFEST} is missing`);
  const { receiptSha256, state, items } = parseManifest(raw);
  const listed = new Map(items.map((item) => [item.name, item]));
  const unlisted = [...files.keys()].filter((name) => name !== MANIFEST && !listed.has(name));
  if (unlisted.length > 0) {
    throw new ObjectionError('bundle_unlisted_file', `not listed, so it proves nothing: ${shown(unlisted)}`);
  }
  refuseMissing([...listed.keys()], (name) => files.has(name));
  refuseMissing(REQUIRED, (name) => listed.has(name));
  for (const [name, { size, sha256 }] of listed) {
    const file = files.get(name);
    if (file?.length !== size || (await sha256Hex(file)) !== sha256) {
      throw new ObjectionError('bundle_file_mismatch', `${name} is not the file that the manifest lists`);
    }
  }
  for (const item of items) refuseStrange(item);
  if (listed.size !== items.length) throw malformed('a file is listed twice');
  if (receiptSha256 !== listed.get('receipt.jws')?.sha256) {
    throw new ObjectionError('bundle_file_mismatch', `${MANIFEST} names another receipt than receipt.jws`);
  }
  if (state !== (await stateOf(files))) {
    throw malformed('the manifest tells another state than its files');
  }
  return { state, files: items, mediaTypes: new Map(items.map(({ name, mediaType }) => [name, mediaType])) };
}

/** Returns the files whose names begin with `folder`, by the rest of their names. */
export function filesUnder<T>(files: Map<string, T>, folder: string): Map<string, T> {
  const inside = [...files].filter(([name]) => name.startsWith(folder));
  return new Map(inside.map(([name, data]) => [name.slice(folder.length), data]));
}

/** Throws `bundle_file_missing`. */
export function fileNamed(files: Map<string, Bytes>, name: string): Bytes {
  const file = files.get(name);
  if (!file) throw new ObjectionError('bundle_file_missing', `${name} is not in the bundle`);
  return file;
}

/** `anchored` once there is a stamp by an authority that the bundle's own policy trusts. */
async function stateOf(files: Map<string, Bytes>): Promise<Manifest['state']> {
  try {
    const { timeAuthorities } = await parseTrustPolicy(parseJson(fileNamed(files, 'policy.json')));
    const stamped = timeAuthorities.some(({ name, trusted }) => trusted && files.has(`${ANCHORS}${name}.tst`));
    return stamped ? 'anchored' : 'recorded';
  } catch (error) {
    if (!(error instanceof ObjectionError)) throw error;
    return 'recorded'; // the verifier's next check says so
  }
}

function parseManifest(raw: Bytes): { receiptSha256: string; state: Manifest['state']; items: ListedFile[] } {
  let value: JsonObject;
  try {
    value = parseJson(raw);
  } catch (error) {
    if (!(error instanceof ObjectionError)) throw error;
    throw new ObjectionError('bundle_malformed', `${MANIFEST}: ${error.message}`, { cause: error });
  }
  const { v, receipt_sha256, state, files } = value;
  if (!hasMembers(value, ['v', 'receipt_sha256', 'state', 'files']) || v !== 1 || !isSha256(receipt_sha256)) {
    throw malformed(`${MANIFEST} is not a list of files`);
  }
  if (state !== 'recorded' && state !== 'anchored') throw malformed(`${MANIFEST} names no known state`);
  if (!Array.isArray(files) || files.length < 1 || files.length > MAX_FILES) throw malformed('too few or many files');
  return { receiptSha256: receipt_sha256, state, items: files.map(parseListed) };
}

function parseListed(value: Json): ListedFile {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw malformed('an entry is no object');
  const { name, role, media_type, size, sha256 } = value;
  const whole = hasMembers(value, ['name', 'role', 'media_type', 'size', 'sha256']);
  if (!whole || typeof name !== 'string' || typeof role !== 'string' || typeof media_type !== 'string') {
    throw malformed('an entry of the manifest has other members');
  }
  const bounded = typeof size === 'number' && size >= 1 && size <= MAX_EVIDENCE_BYTES;
  const named = NAME.test(name) && MEDIA_TYPE.test(media_type) && FORMS.some((form) => form[1] === role);
  if (!bounded || !named || !isSha256(sha256)) throw malformed('an entry is out of bounds');
  return { name, role, mediaType: media_type, size, sha256 };
}

function refuseStrange({ name, role, mediaType }: ListedFile): void {
  const form = FORMS.find(([pattern]) => pattern.test(name));
  if (!form) throw malformed(`${shown([name])} is not a file of a proof`);
  if (form[1] !== role || (form[2] ?? mediaType) !== mediaType) {
    throw malformed('a file is listed under another role or type than its own');
  }
}

function refuseMissing(names: string[], present: (name: string) => boolean): void {
  const missing = names.filter((name) => !present(name));
  if (missing.length > 0) throw new ObjectionError('bundle_file_missing', `not there: ${shown(missing)}`);
}

function hasMembers(value: JsonObject, names: string[]): boolean {
  return Object.keys(value).length === names.length && names.every((name) => Object.hasOwn(value, name));
}

function isSha256(value: Json | undefined): value is string {
  return typeof value === 'string' && SHA256.test(value);
}

function shown(names: string[]): string {
  return names.sort().join(', ').slice(0, MAX_SHOWN);
}

function malformed(message: string): ObjectionError {
  return new ObjectionError('bundle_malformed', message);
}
