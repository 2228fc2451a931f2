/** Merkle tree hashes and inclusion paths (RFC 6962, RFC 9162). */
import { type Bytes, concat, sha256 } from './encoding';
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

function mismatch(message: string): ObjectionError {
  return new ObjectionError('proof_mismatch', message);
}
