/**
 * Sends what waits. Each step leaves the database in a state from which the next wake goes on: the worker can be stopped
 * anywhere, and the register answers a repeated receipt with its first answer.
 */
import { browser } from 'wxt/browser';
import { parseAnswer, type VerifiedAnswer, verifyAnswer } from '../core/answers';
import type { Bytes } from '../core/encoding';
import { ObjectionError } from '../core/errors';
import { verifyReceipt } from '../core/receipts';
import { badgeWaiting } from './badge';
import { announceChange } from './changes';
import { inTransaction, type QueuedReceipt, type RecordedObjection, read, type StoredProblem, write } from './database';
import { saveBundle } from './downloads';
import { pinnedPolicy, refuseChangedKeys } from './pins';
import { getBundle, postReceipt, Refused, Unreachable } from './register';

export const ALARM = 'flush';
const BACK_OFF_MINUTES = [1, 2, 5, 15, 30, 60];
/** What a register with other keys than the pinned ones makes the verifiers say. */
const UNKNOWN_KEY_CODES = ['token_issuer_unknown', 'note_unverified'];

/** Does whatever is due: sends receipts, fetches bundles, saves them. Two calls never run side by side. */
export async function flush(): Promise<void> {
  await navigator.locks.request('flush', async () => {
    for (const queued of await dueReceipts()) await attempt(queued);
    for (const objection of await dueBundles()) await fetchBundle(objection);
    for (const objection of await unsavedBundles()) await saveFirstTime(objection);
    await scheduleNext();
  });
}

/** Makes one receipt due now, whatever its back-off says, and flushes. */
export async function attemptNow(receipt: string): Promise<void> {
  await write('queue', async (queue) => {
    const queued = await queue.get(receipt);
    if (queued && queued.state !== 'refused') await queue.put({ ...queued, state: 'waiting', next_attempt_at: 0 });
  });
  await flush();
}

/** Makes everything that waited for a decision about the register's keys due again. */
export async function releaseHeld(): Promise<void> {
  await write('queue', async (queue) => {
    for (const queued of await queue.all()) {
      if (queued.state === 'held') await queue.put({ ...queued, state: 'waiting', next_attempt_at: 0 });
    }
  });
  await flush();
}

/** Forgets a receipt that was not recorded. Only on the person's word; the flush lock keeps it from being under way. */
export async function discard(receipt: string): Promise<void> {
  await navigator.locks.request('flush', async () => {
    await write('queue', (queue) => queue.delete(receipt));
    await changed();
  });
}

/** Saves a proof again: a newer bundle if the register gives one, else the one kept here. Returns the file name. */
export async function saveAgain(receipt: string): Promise<string> {
  return navigator.locks.request('flush', async () => {
    const objection = await read('objections', (objections) => objections.get(receipt));
    if (!objection) throw new ObjectionError('not_recorded', 'there is no recorded objection of this hash');
    const fresh = await fetchBundle(objection);
    if (!fresh.bundle) throw new ObjectionError('no_bundle', fresh.bundle_problem?.detail ?? 'no bundle yet');
    return saveNow(fresh);
  });
}

async function dueReceipts(): Promise<QueuedReceipt[]> {
  const all = await read('queue', (queue) => queue.all());
  return all.filter(({ state, next_attempt_at }) => state === 'waiting' && next_attempt_at <= Date.now());
}

async function dueBundles(): Promise<RecordedObjection[]> {
  const all = await read('objections', (objections) => objections.all());
  return all.filter(({ bundle, bundle_next_attempt_at }) => !bundle && bundle_next_attempt_at <= Date.now());
}

async function unsavedBundles(): Promise<RecordedObjection[]> {
  const all = await read('objections', (objections) => objections.all());
  return all.filter(({ bundle, file, bundle_problem }) => bundle && !file && !bundle_problem);
}

async function attempt(queued: QueuedReceipt): Promise<void> {
  try {
    await settle(queued, await verified(queued, await postReceipt(queued)));
  } catch (error) {
    await write('queue', (queue) => queue.put(afterFailure(queued, error)));
  }
  await changed();
}

async function verified(queued: QueuedReceipt, rawAnswer: Bytes): Promise<VerifiedAnswer> {
  const receipt = await verifyReceipt(queued.receipt);
  const policy = await pinnedPolicy();
  try {
    return await verifyAnswer(parseAnswer(rawAnswer), receipt, policy);
  } catch (error) {
    if (error instanceof ObjectionError && UNKNOWN_KEY_CODES.includes(error.code)) await refuseChangedKeys();
    throw error;
  }
}

// In one transaction: the receipt is in the queue or among the objections, never in both and never in neither.
async function settle(queued: QueuedReceipt, { answer, index, logOrigin }: VerifiedAnswer): Promise<void> {
  const { state, attempts, next_attempt_at, problem, ...kept } = queued;
  const objection: RecordedObjection = {
    ...kept,
    received_at: answer.received_at,
    token: answer.token,
    proof: answer.proof,
    log_origin: logOrigin,
    log_index: index,
    bundle_attempts: 0,
    bundle_next_attempt_at: 0,
  };
  await inTransaction(['queue', 'objections'], 'readwrite', async (store) => {
    await store('objections').add(objection);
    await store('queue').delete(queued.receipt_sha256);
  });
}

function afterFailure(queued: QueuedReceipt, error: unknown): QueuedReceipt {
  const problem = problemOf(error);
  if (error instanceof Refused) return { ...queued, state: 'refused', problem };
  if (problem.code === 'register_keys_changed') return { ...queued, state: 'held', problem };
  const attempts = queued.attempts + 1;
  return { ...queued, attempts, problem, next_attempt_at: nextAttemptAt(attempts, error) };
}

function nextAttemptAt(attempts: number, error: unknown): number {
  const minutes = BACK_OFF_MINUTES[Math.min(attempts, BACK_OFF_MINUTES.length) - 1] ?? 60;
  const askedS = error instanceof Unreachable ? Math.min(error.retryAfterS ?? 0, 3600) : 0;
  return Date.now() + Math.max(minutes * 60, askedS) * 1000;
}

function problemOf(error: unknown): StoredProblem {
  if (error instanceof Refused || error instanceof Unreachable) return error.problem;
  if (error instanceof ObjectionError) return { code: error.code, title: '', detail: error.message };
  console.error(error);
  return { code: 'internal', title: '', detail: String(error) };
}

/** Returns the objection with the newest bundle; after a failure with the one it had, and the problem. */
async function fetchBundle(objection: RecordedObjection): Promise<RecordedObjection> {
  const { bundle_problem, ...clean } = objection;
  let next: RecordedObjection;
  try {
    next = { ...clean, bundle: await getBundle(objection), bundle_attempts: 0 };
  } catch (error) {
    const attempts = objection.bundle_attempts + 1;
    next = {
      ...objection,
      bundle_attempts: attempts,
      bundle_problem: problemOf(error),
      bundle_next_attempt_at: nextAttemptAt(attempts, error),
    };
  }
  await write('objections', (objections) => objections.put(next));
  await changed();
  return next;
}

async function saveFirstTime(objection: RecordedObjection): Promise<void> {
  try {
    await saveNow(objection);
  } catch (error) {
    // Not tried again by itself: a folder that cannot be written to would be asked forever. The popup offers it.
    await write('objections', (objections) => objections.put({ ...objection, bundle_problem: problemOf(error) }));
    await changed();
  }
}

async function saveNow(objection: RecordedObjection): Promise<string> {
  const file = await saveBundle(objection);
  const { bundle_problem, ...saved } = objection;
  await write('objections', (objections) => objections.put({ ...saved, file }));
  await changed();
  return file;
}

async function scheduleNext(): Promise<void> {
  const queued = await read('queue', (queue) => queue.all());
  const objections = await read('objections', (store) => store.all());
  const times = [
    ...queued.filter(({ state }) => state === 'waiting').map(({ next_attempt_at }) => next_attempt_at),
    ...objections.filter(({ bundle }) => !bundle).map(({ bundle_next_attempt_at }) => bundle_next_attempt_at),
  ];
  if (times.length === 0) await browser.alarms.clear(ALARM);
  else await browser.alarms.create(ALARM, { when: Math.max(Math.min(...times), Date.now() + 30_000) });
}

async function changed(): Promise<void> {
  announceChange();
  await badgeWaiting();
}
