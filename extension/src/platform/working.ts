/**
 * The work proof of an objection that is about to be sent: asked for, done, sent along. Without one the objection is
 * recorded all the same, and not counted.
 */
import { type Bytes, formatJson, type Json } from '../core/encoding';
import { solveWork } from '../core/work';
import { problemOf } from './attempts';
import { changed } from './badge';
import type { QueuedObjection } from './database';
import { getChallenge, postReceipt, Refused, Unreachable } from './register';

const ATTEMPTS = 2;
/** How often an objection waits for a challenge that cannot be had, before it is sent without work: to be counted is less. */
const PATIENT_ATTEMPTS = 3;
const PATIENCE_MS = 20_000;
/** What takes no longer needs no words. */
const MOMENT_MS = 1_000;
const working = new Set<string>();

/** Whether work for this receipt has been under way for more than a moment. */
export function isWorking(receipt: string): boolean {
  return working.has(receipt);
}

/**
 * Sends an objection, with work if the register asks for any and it could be done; returns the raw answer. Throws
 * Unreachable when the challenge could not be had and there is time to try again.
 */
export async function postObjection(queued: QueuedObjection, files: Bytes[]): Promise<Bytes> {
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const work = await doWork(queued);
    if (work === undefined) break;
    try {
      return await postReceipt(queued, files, work);
    } catch (error) {
      // Too late, for example, on a slow line: the objection itself was not refused.
      if (!(error instanceof Refused && error.code.startsWith('work_'))) throw error;
    }
  }
  return postReceipt(queued, files);
}

/** Nothing of it is kept: a worker that was stopped meanwhile starts with another challenge. */
async function doWork({ receipt_sha256: receipt, attempts }: QueuedObjection): Promise<string | undefined> {
  const deadlineMs = Date.now() + PATIENCE_MS;
  const moment = setTimeout(() => {
    working.add(receipt);
    void changed();
  }, MOMENT_MS);
  try {
    const challenge = await getChallenge(receipt);
    const solution = await solveWork(challenge, deadlineMs);
    return solution && formatJson({ challenge, solution } as unknown as Json);
  } catch (error) {
    if (error instanceof Unreachable && attempts < PATIENT_ATTEMPTS) throw error;
    problemOf(error); // names in the console what is not ours
    return undefined;
  } finally {
    clearTimeout(moment);
    if (working.delete(receipt)) await changed();
  }
}
