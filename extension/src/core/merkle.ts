/** Merkle tree hashes, inclusion and consistency (RFC 6962, RFC 9162). */
import { type Bytes, concat, sameBytes, sha256 } from './encoding';
import { ObjectionError } from './errors';

export const HASH_SIZE = 32;

export function leafHash(entry: Bytes): Promise<Bytes> {
  return sha256(concat(Uint8Array.of(0), entry));
}

export function nodeHash(left: Bytes, right: Bytes): Promise<Bytes> {
  return sha256(concat(Uint8Array.of(1), left, right));
}

/**
 * Returns the root that `path`, sibling of `leaf` first, connects `leaf` to in a log of `size` leaves.
 *
 * Means nothing alone: compare it with the root of a checkpoint whose signature you have verified.
 * Throws `proof_mismatch` when `index` lies outside the log, or `path` has not the length that the position needs.
 * (RFC 9162, section 2.1.3.2.)
 */
export async function rootFromPath(leaf: Bytes, index: bigint, size: bigint, path: Bytes[]): Promise<Bytes> {
  if (index < 0n || index >= size) throw mismatch('the index lies outside the log');
  let [node, last, root] = [index, size - 1n, leaf];
  for (const sibling of path) {
    if (last === 0n) throw mismatch('the path is too long');
    if (node & 1n || node === last) {
      root = await nodeHash(sibling, root);
      // A lone right edge rises until it becomes a right child.
      while (!(node & 1n) && node !== 0n) {
        node >>= 1n;
        last >>= 1n;
      }
    } else {
      root = await nodeHash(root, sibling);
    }
    node >>= 1n;
    last >>= 1n;
  }
  if (last !== 0n) throw mismatch('the path is too short');
  return root;
}

/**
 * Makes sure that the log of `size` leaves under `root` begins with the one of `oldSize` under `oldRoot`. A log's path to
 * itself is empty. Throws `consistency_mismatch`. (RFC 9162, section 2.1.4.2.)
 */
export async function verifyConsistency(
  { size: oldSize, root: oldRoot }: { size: bigint; root: Bytes },
  { size, root }: { size: bigint; root: Bytes },
  path: Bytes[],
): Promise<void> {
  if (oldSize < 1n || oldSize > size) throw inconsistent('the older log is the larger one');
  if (oldSize === size) {
    if (path.length > 0 || !sameBytes(oldRoot, root)) throw inconsistent('the same size with another root');
    return;
  }
  // A complete old tree is a node of the new one, which the path then leaves out.
  const [first, ...siblings] = (oldSize & (oldSize - 1n)) === 0n ? [oldRoot, ...path] : path;
  if (!first || path.length === 0) throw inconsistent('the path is too short');
  let [node, last, older, newer] = [oldSize - 1n, size - 1n, first, first];
  while (node & 1n) {
    node >>= 1n;
    last >>= 1n;
  }
  for (const sibling of siblings) {
    if (last === 0n) throw inconsistent('the path is too long');
    if (node & 1n || node === last) {
      older = await nodeHash(sibling, older);
      newer = await nodeHash(sibling, newer);
      while (!(node & 1n) && node !== 0n) {
        node >>= 1n;
        last >>= 1n;
      }
    } else {
      newer = await nodeHash(newer, sibling);
    }
    node >>= 1n;
    last >>= 1n;
  }
  if (last !== 0n || !sameBytes(older, oldRoot) || !sameBytes(newer, root)) {
    throw inconsistent('the newer log does not begin with the older one');
  }
}

function inconsistent(message: string): ObjectionError {
  return new ObjectionError('consistency_mismatch', message);
}

function mismatch(message: string): ObjectionError {
  return new ObjectionError('proof_mismatch', message);
}
