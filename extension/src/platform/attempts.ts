/** What a failed request leaves behind: the problem in words, and when to try again. */
import { ObjectionError } from '../core/errors';
import type { StoredProblem } from './database';
import { Refused, Unreachable } from './register';

const BACK_OFF_MINUTES = [1, 2, 5, 15, 30, 60];

/** Milliseconds since 1970 of the attempt after `attempts` failures, the last one with `error`. */
export function nextAttemptAt(attempts: number, error: unknown): number {
  const minutes = BACK_OFF_MINUTES[Math.min(attempts, BACK_OFF_MINUTES.length) - 1] ?? 60;
  const askedS = error instanceof Unreachable ? Math.min(error.retryAfterS ?? 0, 3600) : 0;
  return Date.now() + Math.max(minutes * 60, askedS) * 1000;
}

export function problemOf(error: unknown): StoredProblem {
  if (error instanceof Refused || error instanceof Unreachable) return error.problem;
  if (error instanceof ObjectionError) return { code: error.code, title: '', detail: error.message };
  console.error(error);
  return { code: 'internal', title: '', detail: String(error) };
}
