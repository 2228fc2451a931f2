/** Signed notes, checkpoints and cosignatures (C2SP signed-note, tlog-checkpoint, tlog-cosignature). */
import { type Bytes, concat, formatBase64, formatHex, parseBase64, sameBytes, sha256, utf8 } from './encoding';
import { ObjectionError } from './errors';
import { HASH_SIZE } from './merkle';

/** Signature types: of logs, and of witnesses. */
export const ED25519 = 1;
export const COSIGNATURE = 4;
/** No white space, as Unicode has it: JavaScript's own class takes U+FEFF for some, and leaves out U+0085. */
const NAME = /^[^\t-\r \u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000+]+$/u;
const DECIMAL = /^(?:0|[1-9][0-9]{0,18})$/;
const MAX_NOTE_BYTES = 65_536;
const MAX_SIGNATURES = 100;
const TIME_SIZE = 8;
/** The year 9999: what no calendar can write is no time. */
export const MAX_TIME_S = 253_402_300_799;

/**
 * A note signer's public key, under its name. `id`: the four bytes by which a signature line names the key; `raw`: type
 * and key.
 */
export interface VerifierKey {
  name: string;
  id: Bytes;
  raw: Bytes;
  key: CryptoKey;
}

/** The log's state: `size` leaves under `root`. */
export interface Checkpoint {
  origin: string;
  size: bigint;
  root: Bytes;
}

/** Reads `name+hex id+base64(type ‖ key)`. Throws `policy_malformed`, also for another type of signature. */
export async function parseVerifierKey(text: string, type = ED25519): Promise<VerifierKey> {
  const [, name, hexId, base64] = /^([^+]*)\+([^+]*)\+(.*)$/s.exec(text) ?? [];
  if (name === undefined || hexId === undefined || base64 === undefined || !NAME.test(name)) {
    throw badPolicy('a verifier key is name+id+key');
  }
  const raw = parseBase64(base64, 'policy_malformed');
  if (raw[0] !== type || raw.length !== 33) throw badPolicy(`the verifier key is not Ed25519 of type ${type}`);
  const id = (await sha256(concat(utf8(`${name}\n`), raw))).slice(0, 4);
  if (formatHex(id) !== hexId) throw badPolicy("the verifier key's id does not fit it");
  const key = await crypto.subtle.importKey('raw', raw.slice(1), { name: 'Ed25519' }, true, ['verify']);
  return { name, id, raw, key };
}

export function formatVerifierKey({ name, id, raw }: VerifierKey): string {
  return `${name}+${formatHex(id)}+${formatBase64(raw)}`;
}

/** Reads the text of a checkpoint without extension lines. Throws `checkpoint_malformed`. */
export function parseCheckpoint(text: string): Checkpoint {
  const [origin, size, root, end, ...more] = text.split('\n');
  if (!origin || !size || !root || end !== '' || more.length > 0 || !NAME.test(origin) || !DECIMAL.test(size)) {
    throw badCheckpoint('a checkpoint is origin, size and root, a line each');
  }
  const hash = parseBase64(root, 'checkpoint_malformed');
  if (hash.length !== HASH_SIZE) throw badCheckpoint('the root must be 32 bytes');
  return { origin, size: BigInt(size), root: hash };
}

/**
 * Returns the text of `note` once `trusted` is seen to have signed it; signatures of others are ignored.
 * Throws `note_malformed`, or `note_unverified` when `trusted` did not sign or a signature under its name and id fails.
 */
export async function verifyNote(note: string, trusted: VerifierKey): Promise<string> {
  const { text, signatures } = parseNote(note);
  const own = signatures.filter(({ name, id }) => name === trusted.name && sameBytes(id, trusted.id));
  if (own.length === 0) throw unverified(`not signed by the trusted key of ${trusted.name}`);
  for (const { signature } of own) {
    if (!(await crypto.subtle.verify({ name: 'Ed25519' }, trusted.key, signature, utf8(text)))) {
      throw unverified(`the signature of ${trusted.name} does not hold`);
    }
  }
  return text;
}

/** Returns the checkpoint in `note` once the log's key is seen to have signed it, and it names that log. */
export async function verifyCheckpoint(note: string, trusted: VerifierKey): Promise<Checkpoint> {
  const checkpoint = parseCheckpoint(await verifyNote(note, trusted));
  if (checkpoint.origin !== trusted.name) throw unverified('the checkpoint is of another log');
  return checkpoint;
}

/**
 * Returns the times (seconds) at which the witness `trusted` cosigned `note`, in the note's order; none when it did not.
 * Says nothing about the log's own signature. Throws `note_malformed`, or `note_unverified` when a signature under the
 * witness's name and id does not hold.
 */
export async function verifyCosignatures(note: string, trusted: VerifierKey): Promise<number[]> {
  const { text, signatures } = parseNote(note);
  const own = signatures.filter(({ name, id }) => name === trusted.name && sameBytes(id, trusted.id));
  const times: number[] = [];
  for (const { signature } of own) {
    if (signature.length < TIME_SIZE) throw unverified(`the cosignature of ${trusted.name} is too short`);
    const time = new DataView(signature.buffer, signature.byteOffset).getBigUint64(0);
    if (time > MAX_TIME_S) throw unverified(`the cosignature of ${trusted.name} names no time`);
    const cosigned = utf8(`cosignature/v1\ntime ${time}\n${text}`);
    if (!(await crypto.subtle.verify({ name: 'Ed25519' }, trusted.key, signature.slice(TIME_SIZE), cosigned))) {
      throw unverified(`the cosignature of ${trusted.name} does not hold`);
    }
    times.push(Number(time));
  }
  return times;
}

interface SignatureLine {
  name: string;
  id: Bytes;
  signature: Bytes;
}

function parseNote(note: string): { text: string; signatures: SignatureLine[] } {
  if (utf8(note).length > MAX_NOTE_BYTES) throw badNote('the note is too large');
  if (hasControlCharacters(note)) throw badNote('control characters in a note');
  // The last blank line divides: the text may hold blank lines of its own.
  const blank = note.lastIndexOf('\n\n');
  if (blank < 0 || !note.endsWith('\n') || blank + 2 === note.length) {
    throw badNote('a note is a text, a blank line and signature lines');
  }
  const lines = note.slice(blank + 2, -1).split('\n');
  if (lines.length > MAX_SIGNATURES) throw badNote('too many signatures');
  return { text: note.slice(0, blank + 1), signatures: lines.map(parseSignatureLine) };
}

function parseSignatureLine(line: string): SignatureLine {
  const [dash, name, base64, ...more] = line.split(' ');
  if (dash !== '—' || !name || !base64 || more.length > 0 || !NAME.test(name)) {
    throw badNote('a signature line is dash, name and base64');
  }
  const raw = parseBase64(base64, 'note_malformed');
  if (raw.length < 5) throw badNote('a signature is too short');
  return { name, id: raw.slice(0, 4), signature: raw.slice(4) };
}

function hasControlCharacters(text: string): boolean {
  return Array.from(text).some((character) => character < ' ' && character !== '\n');
}

const badPolicy = (message: string) => new ObjectionError('policy_malformed', message);
const badCheckpoint = (message: string) => new ObjectionError('checkpoint_malformed', message);
const badNote = (message: string) => new ObjectionError('note_malformed', message);
const unverified = (message: string) => new ObjectionError('note_unverified', message);
