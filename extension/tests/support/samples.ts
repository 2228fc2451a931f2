/** The committed proofs (tests/fixtures/verifier_samples.py makes them), and ways to damage them. */
import { readFileSync } from 'node:fs';
import type { Bytes } from '../../src/core/encoding';
import type { Report } from '../../src/core/reports';
import { parsePinnedPolicy, verifyProofFile } from '../../src/core/verification';

export const NOW_S = 1_800_000_000;

export function sample(name: string): Bytes {
  return Uint8Array.from(readFileSync(new URL(`../fixtures/verifier/${name}`, import.meta.url)));
}

/** `raw` with the byte at `at` (from the end, when negative) changed in one bit. */
export function flipped(raw: Bytes, at: number): Bytes {
  const copy = raw.slice();
  const place = at < 0 ? raw.length + at : at;
  copy[place] = (copy[place] ?? 0) ^ 1;
  return copy;
}

export function indexOf(raw: Bytes, text: string, from = 0): number {
  return Buffer.from(raw).indexOf(text, from, 'latin1');
}

/** `raw` with `text` replaced once by as many other characters. */
export function replaced(raw: Bytes, text: string, by: string): Bytes {
  if (text.length !== by.length || indexOf(raw, text) < 0) throw new Error(`cannot replace ${text}`);
  const copy = raw.slice();
  copy.set(Buffer.from(by, 'latin1'), indexOf(raw, text));
  return copy;
}

export async function verified(raw: Bytes, { pinned = true } = {}): Promise<Report> {
  const policy = pinned ? await parsePinnedPolicy(sample('policy.json'), 'file') : undefined;
  return verifyProofFile(raw, { pinned: policy, nowS: NOW_S });
}

export function failures(report: Report): Record<string, string | undefined> {
  return Object.fromEntries(
    report.checks.filter(({ outcome }) => outcome === 'failed').map(({ id, code }) => [id, code]),
  );
}

/** Runs `work` and returns the code of what it throws; `none` when it throws nothing. */
export async function codeOf(work: () => Promise<unknown>): Promise<string> {
  return work().then(
    () => 'none',
    (error: { code?: string }) => error.code ?? String(error),
  );
}
