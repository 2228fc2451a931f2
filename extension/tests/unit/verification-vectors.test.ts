/** Whole files of which two verifiers might think differently: the register's verifier reads the same vectors. */
import { readdirSync, readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { ObjectionError } from '../../src/core/errors';
import { parsePinnedPolicy, verifyProofFile } from '../../src/core/verification';

const FOLDER = new URL('../../../schemas/vectors/verifications/', import.meta.url);
const names = readdirSync(FOLDER).filter((name) => name.endsWith('.json'));

interface Vector {
  description: string;
  expect: string;
  fails: Record<string, string>;
  file: string;
  policy?: string;
  status?: string;
  now: number;
}

const bytes = (base64: string) => Uint8Array.from(Buffer.from(base64, 'base64'));

/** Returns the verdict and each check that failed by itself with its code; or the code of the refusal. */
async function found({ file, policy, status, now }: Vector) {
  try {
    const pinned = policy === undefined ? undefined : await parsePinnedPolicy(bytes(policy), 'file');
    const report = await verifyProofFile(bytes(file), {
      pinned,
      nowS: now,
      status: status === undefined ? undefined : bytes(status),
    });
    const failed = report.checks.filter(({ outcome, code }) => outcome === 'failed' && code !== 'not_checked');
    return { expect: report.verdict as string, fails: Object.fromEntries(failed.map(({ id, code }) => [id, code])) };
  } catch (error) {
    if (error instanceof ObjectionError) return { expect: error.code, fails: {} };
    throw error;
  }
}

it('are there', () => expect(names.length).toBeGreaterThan(50));

it.each(names)('%s', async (name) => {
  const vector: Vector = JSON.parse(readFileSync(new URL(name, FOLDER), 'utf8'));
  expect(await found(vector), vector.description).toEqual({ expect: vector.expect, fails: vector.fails });
});
