import { describe, expect, it } from 'vitest';
import { type Bytes, utf8 } from '../../src/core/encoding';
import { leafHash, nodeHash, rootFromPath, verifyConsistency } from '../../src/core/merkle';

/** The definitions of RFC 9162, sections 2.1.1 and 2.1.3.1, written as they stand there. */
const split = (n: number) => 2 ** Math.ceil(Math.log2(n) - 1);
async function treeHash(leaves: Bytes[]): Promise<Bytes> {
  if (leaves.length === 1) return leaves[0] as Bytes;
  const k = split(leaves.length);
  return nodeHash(await treeHash(leaves.slice(0, k)), await treeHash(leaves.slice(k)));
}
async function path(m: number, leaves: Bytes[]): Promise<Bytes[]> {
  if (leaves.length === 1) return [];
  const k = split(leaves.length);
  if (m < k) return [...(await path(m, leaves.slice(0, k))), await treeHash(leaves.slice(k))];
  return [...(await path(m - k, leaves.slice(k))), await treeHash(leaves.slice(0, k))];
}
const leavesOf = (size: number) => Promise.all(Array.from({ length: size }, (_, i) => leafHash(utf8(`entry ${i}`))));
const mismatch = expect.objectContaining({ code: 'proof_mismatch' });

describe.each([1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 33])('in a log of %i', (size) => {
  it('each leaf’s path leads to the root', async () => {
    const leaves = await leavesOf(size);
    const root = await treeHash(leaves);
    for (const [i, leaf] of leaves.entries()) {
      expect(await rootFromPath(leaf, BigInt(i), BigInt(size), await path(i, leaves))).toEqual(root);
    }
  });

  it('no leaf’s path leads there from another place', async () => {
    const leaves = await leavesOf(size);
    const root = await treeHash(leaves);
    for (let i = 0; i < size; i++) {
      for (let elsewhere = 0; elsewhere < size; elsewhere++) {
        if (elsewhere === i) continue;
        const found = rootFromPath(leaves[i] as Bytes, BigInt(elsewhere), BigInt(size), await path(i, leaves));
        await expect(found.catch(() => undefined)).resolves.not.toEqual(root);
      }
    }
  });

  it('a path of the wrong length is refused', async () => {
    const leaves = await leavesOf(size);
    const whole = await path(0, leaves);
    const from = (steps: Bytes[]) => rootFromPath(leaves[0] as Bytes, 0n, BigInt(size), steps);
    await expect(from([...whole, leaves[0] as Bytes])).rejects.toEqual(mismatch);
    if (size > 1) await expect(from(whole.slice(1))).rejects.toEqual(mismatch);
  });

  it('a place outside is refused', async () => {
    const [leaf] = await leavesOf(1);
    await expect(rootFromPath(leaf as Bytes, BigInt(size), BigInt(size), [])).rejects.toEqual(mismatch);
    await expect(rootFromPath(leaf as Bytes, -1n, BigInt(size), [])).rejects.toEqual(mismatch);
  });
});

it('counts beyond 2^53', async () => {
  const [leaf] = await leavesOf(1);
  const steps = Array.from({ length: 60 }, () => leaf as Bytes);
  await expect(rootFromPath(leaf as Bytes, 2n ** 60n - 1n, 2n ** 60n, steps)).resolves.toHaveLength(32);
});

/** The definition of RFC 9162, section 2.1.4.1. */
async function subproof(m: number, leaves: Bytes[], whole = true): Promise<Bytes[]> {
  if (m === leaves.length) return whole ? [] : [await treeHash(leaves)];
  const k = split(leaves.length);
  if (m <= k) return [...(await subproof(m, leaves.slice(0, k), whole)), await treeHash(leaves.slice(k))];
  return [...(await subproof(m - k, leaves.slice(k), false)), await treeHash(leaves.slice(0, k))];
}

describe.each([1, 2, 3, 4, 6, 7, 8, 9, 13, 17])('a log of %i', (size) => {
  const fork = expect.objectContaining({ code: 'consistency_mismatch' });
  const at = async (leaves: Bytes[]) => ({ size: BigInt(leaves.length), root: await treeHash(leaves) });

  it('begins with each of its earlier states, by their paths alone', async () => {
    const leaves = await leavesOf(size);
    const now = await at(leaves);
    for (let m = 1; m <= size; m++) {
      const before = await at(leaves.slice(0, m));
      const steps = await subproof(m, leaves);
      await expect(verifyConsistency(before, now, steps)).resolves.toBeUndefined();
      await expect(verifyConsistency(before, now, [...steps, now.root])).rejects.toEqual(fork);
      if (m < size) await expect(verifyConsistency(before, now, steps.slice(1))).rejects.toEqual(fork);
      await expect(verifyConsistency({ ...before, root: await leafHash(utf8('x')) }, now, steps)).rejects.toEqual(fork);
      await expect(verifyConsistency(before, { ...now, root: await leafHash(utf8('x')) }, steps)).rejects.toEqual(fork);
    }
  });

  it('does not begin with another log, nor with a larger one', async () => {
    const leaves = await leavesOf(size);
    const other = [await leafHash(utf8('another')), ...leaves.slice(1)];
    for (let m = 1; m <= size; m++) {
      const before = await at(other.slice(0, m));
      await expect(verifyConsistency(before, await at(leaves), await subproof(m, leaves))).rejects.toEqual(fork);
    }
    const larger = await at([...leaves, ...leaves]);
    await expect(verifyConsistency(larger, await at(leaves), [])).rejects.toEqual(fork);
  });
});
