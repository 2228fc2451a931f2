import { describe, expect, it } from 'vitest';
import { type Bytes, utf8 } from '../../src/core/encoding';
import { leafHash, nodeHash, rootFromPath } from '../../src/core/merkle';

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
