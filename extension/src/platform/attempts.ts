/** What a failed request leaves behind: the problem in words, and when to try again. */
import { ObjectionError } from '../core/errors';
import { printable } from '../core/printable';
import type { StoredProblem } from './database';
import { Refused, Unreachable } from './register';

/** The register could not ask the DNS for the key of a mail, and recorded nothing. */
export const DNS_SILENT = 'dns_unavailable';
const BACK_OFF_MINUTES = [1, 2, 5, 15, 30, 60];
const MAX_DELAY_MS = 3_600_000;
const MAX_CODE = 64;

/** Whether something planned for `atMs` is due. What is further away than it can be planned was planned by a wrong clock. */
export function isDue(atMs: number, maxDelayMs = MAX_DELAY_MS): boolean {
  return Number.isFinite(atMs) && (atMs <= Date.now() || atMs > Date.now() + maxDelayMs);
}

/** Milliseconds since 1970 of the attempt after `attempts` failures, the last one with `error`. */
export function nextAttemptAt(attempts: number, error: unknown): number {
  const minutes = BACK_OFF_MINUTES[Math.min(attempts, BACK_OFF_MINUTES.length) - 1] ?? 60;
  const askedS = error instanceof Unreachable ? (error.retryAfterS ?? 0) : 0;
  return Date.now() + Math.min(Math.max(minutes * 60, askedS) * 1000, MAX_DELAY_MS);
}

export function problemOf(error: unknown): StoredProblem {
  if (error instanceof Refused || error instanceof Unreachable) return bounded(error.problem);
  if (error instanceof ObjectionError) return bounded({ code: error.code, title: '', detail: error.message });
  console.error(error);
  return bounded({ code: 'internal', title: '', detail: String(error) });
}

// It is kept and shown: a register may say anything, at any length.
function bounded({ code, title, detail }: StoredProblem): StoredProblem {
  return { code: printable(code.slice(0, MAX_CODE)), title: printable(title), detail: printable(detail) };
}
