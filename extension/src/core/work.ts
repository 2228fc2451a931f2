/** The work proof (ALTCHA, version 2): finds the try whose key begins as the challenge says. */
import type { WorkChallenge, WorkSolution } from './contract.gen';
import { type Bytes, concat, formatHex, parseHex } from './encoding';

/** Beyond this a try would take a phone too long, whatever a register asks for. */
const MOST_ITERATIONS = 100_000;
/** Tries under way at once: the browser spreads them over its own threads. */
const SIDE_BY_SIDE = 32;

/** Returns the solution, or nothing when none was found by `deadlineMs` (milliseconds since 1970). */
export async function solveWork({ parameters }: WorkChallenge, deadlineMs: number): Promise<WorkSolution | undefined> {
  const { cost, keyPrefix } = parameters;
  const nonce = parseHex(parameters.nonce);
  const salt = parseHex(parameters.salt);
  if (cost > MOST_ITERATIONS) return undefined;
  for (let start = 0; Date.now() < deadlineMs; start += SIDE_BY_SIDE) {
    const tries = Array.from({ length: SIDE_BY_SIDE }, (_, i) => start + i);
    const keys = await Promise.all(tries.map((counter) => deriveKey(nonce, counter, salt, cost)));
    const found = keys.findIndex((key) => key.startsWith(keyPrefix));
    if (found >= 0) return { counter: start + found, derivedKey: keys[found] ?? '' };
  }
  return undefined;
}

async function deriveKey(nonce: Bytes, counter: number, salt: Bytes, iterations: number): Promise<string> {
  const number = new Uint8Array(4);
  new DataView(number.buffer).setUint32(0, counter);
  const password = await crypto.subtle.importKey('raw', concat(nonce, number), 'PBKDF2', false, ['deriveBits']);
  const bits = await crypto.subtle.deriveBits({ name: 'PBKDF2', hash: 'SHA-256', salt, iterations }, password, 256);
  return formatHex(new Uint8Array(bits));
}
