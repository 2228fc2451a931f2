/** Inclusion of a receipt in the log: the entry, and the proof file (C2SP tlog-proof). */
import { type Bytes, concat, formatBase64url, formatJson, parseBase64, sameBytes, sha256, utf8 } from './encoding';
import { ObjectionError } from './errors';
import { type LogPolicy, verifyWitnesses } from './log-policies';
import { HASH_SIZE, leafHash, rootFromPath, verifyConsistency } from './merkle';
import { type Checkpoint, verifyCheckpoint } from './notes';

const SALT_SIZE = 32;
const HEADER = 'c2sp.org/tlog-proof@v1';
const INDEX = /^index (0|[1-9][0-9]{0,15})$/;
const OLD_SIZE = /^old ([1-9][0-9]{0,15})$/;
const MAX_PATH = 63;
const MAX_PROOF_CHARACTERS = 131_072;

/** What a proof file says; nothing of it is checked yet. */
export interface UnverifiedProof {
  salt: Bytes;
  index: bigint;
  path: Bytes[];
  checkpointNote: string;
}

/** What the log must hold for the proof to be about this receipt. */
export interface Recorded {
  kind: string;
  receiptSha256: Bytes;
  receivedAtS: number;
}

/** The log entry of a receipt. Without `salt` nothing leads from it back to the receipt. */
export async function formatEntry({ kind, receiptSha256, receivedAtS }: Recorded, salt: Bytes): Promise<Bytes> {
  const commitment = formatBase64url(await sha256(concat(salt, receiptSha256)));
  return utf8(formatJson({ commitment, kind, time: receivedAtS, v: 1 }));
}

/** Reads a proof file with our 32-byte salt in its `extra` line. Throws `proof_malformed`. */
export function parseProof(text: string): UnverifiedProof {
  const blank = text.indexOf('\n\n');
  const [header, extra, index, ...hashes] = text.slice(0, Math.max(blank, 0)).split('\n');
  if (blank < 0 || text.length > MAX_PROOF_CHARACTERS || header !== HEADER || extra === undefined || !index) {
    throw malformed(`a proof starts with ${HEADER} and ends with a checkpoint`);
  }
  if (!extra.startsWith('extra ')) throw malformed('the extra line with the salt is missing');
  const salt = parseBase64(extra.slice('extra '.length), 'proof_malformed');
  const position = INDEX.exec(index)?.[1];
  const path = hashes.map((line) => parseBase64(line, 'proof_malformed'));
  const inBounds = salt.length === SALT_SIZE && path.length <= MAX_PATH && path.every((h) => h.length === HASH_SIZE);
  if (!inBounds || position === undefined) throw malformed('salt, index or path are out of bounds');
  return { salt, index: BigInt(position), path, checkpointNote: text.slice(blank + 2) };
}

/**
 * Makes sure by a consistency proof that the log under `after` begins with the one under `before`. Throws
 * `proof_malformed`; `proof_mismatch` when it starts at another size; `consistency_mismatch` when the two are not one log,
 * or the second is no larger.
 */
export async function verifyGrowth(text: string, before: Grown, after: Grown): Promise<void> {
  const { oldSize, path } = parseConsistency(text);
  if (oldSize !== before.size) throw new ObjectionError('proof_mismatch', 'the consistency proof starts elsewhere');
  if (after.size <= before.size) throw new ObjectionError('consistency_mismatch', 'the log did not grow');
  await verifyConsistency(before, after, path);
}

type Grown = Pick<Checkpoint, 'size' | 'root'>;

/** Reads a proof that a log begins with its first `oldSize` entries. Throws `proof_malformed`. */
function parseConsistency(text: string): { oldSize: bigint; path: Bytes[] } {
  const [first = '', ...lines] = text.split('\n');
  const oldSize = OLD_SIZE.exec(first)?.[1];
  if (oldSize === undefined || lines.pop() !== '' || lines.length > MAX_PATH) {
    throw malformed('a consistency proof is the old size and up to 63 hashes, a line each');
  }
  const path = lines.map((line) => parseBase64(line, 'proof_malformed'));
  if (path.some((hash) => hash.length !== HASH_SIZE)) throw malformed('a hash of a consistency proof has 32 bytes');
  return { oldSize: BigInt(oldSize), path };
}

/**
 * Returns the signed checkpoint under which the receipt stands in `log` at the proof's index. The cosignatures of known
 * witnesses hold then, too; whether they suffice is for the caller to ask: what was only recorded has none yet.
 *
 * Throws `proof_malformed`, `note_malformed`, `note_unverified`, `checkpoint_malformed`, `proof_mismatch`.
 */
export async function verifyProof(
  text: string,
  recorded: Recorded,
  log: LogPolicy,
): Promise<{ index: bigint; checkpoint: Checkpoint }> {
  const proof = parseProof(text);
  const leaf = await leafHash(await formatEntry(recorded, proof.salt));
  const checkpoint = await verifyCheckpoint(proof.checkpointNote, log.key);
  await verifyWitnesses(proof.checkpointNote, log);
  const root = await rootFromPath(leaf, proof.index, checkpoint.size, proof.path);
  if (!sameBytes(root, checkpoint.root)) {
    throw new ObjectionError('proof_mismatch', "the path does not lead from this receipt to the checkpoint's root");
  }
  return { index: proof.index, checkpoint };
}

function malformed(message: string): ObjectionError {
  return new ObjectionError('proof_malformed', message);
}
