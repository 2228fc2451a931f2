/**
 * Sends what waits. Each step leaves the database in a state from which the next wake goes on: the worker can be stopped
 * anywhere, and the register answers a repeated receipt with its first answer.
 */
import { browser } from 'wxt/browser';
import { parseAnswer, type VerifiedAnswer, verifyAnswer } from '../core/answers';
import type { Bytes } from '../core/encoding';
import { ObjectionError } from '../core/errors';
import { verifyReceipt } from '../core/receipts';
import { DNS_SILENT, isDue, nextAttemptAt, problemOf } from './attempts';
import { changed } from './badge';
import {
  evidenceIds,
  inTransaction,
  type QueuedLater,
  type QueuedObjection,
  type QueuedReceipt,
  type RecordedLater,
  type RecordedObjection,
  read,
  write,
} from './database';
import { clearPassingFiles } from './downloads';
import { askAboutAll, FIRST_CHECK_MS, keepUp, nextKeepingAt } from './keeping';
import { KEYS_CHANGED, namesClock, verifyByPinned } from './pins';
import { dequeue, filesOf } from './queued';
import { postReceipt, Refused } from './register';
import { postObjection } from './working';

export const ALARM = 'flush';
const MIN_ALARM_MS = 30_000;
const LOOK_PAUSE_MS = 10_000;
/** So often a receipt is tried before others of its objection stop waiting for it. */
const PATIENCE = 3;
/** So long a mail waits until somebody can look at its signature: what was signed becomes stale one day. */
export const DNS_PATIENCE_MS = 72 * 3_600_000;

let lookedAt = 0;

/** Does whatever is due: sends receipts, asks what became of them, fetches and saves proofs. Never two side by side. */
export function flush(): Promise<void> {
  return alone(async () => {
    await clearPassingFiles();
    for (const queued of await dueReceipts()) {
      if (!mustWait(queued, await all())) await attempt(queued);
    }
    await keepUp();
  });
}

/** The person looks: asks now about whatever is not anchored yet, but not at every look. */
export async function lookAgain(): Promise<void> {
  if (Math.abs(Date.now() - lookedAt) < LOOK_PAUSE_MS) return;
  lookedAt = Date.now();
  await alone(askAboutAll);
}

async function alone(work: () => Promise<void>): Promise<void> {
  // Before waiting for the lock: whoever is stopped from here on, in the midst of work or of an answer, is woken again.
  await browser.alarms.create(ALARM, { when: Date.now() + MIN_ALARM_MS });
  await navigator.locks.request('flush', async () => {
    try {
      await work();
    } finally {
      await scheduleNext();
    }
  });
}

/** Makes one receipt due now, whatever its back-off says, with those that go before it, and flushes. */
export async function attemptNow(receipt: string): Promise<void> {
  await write('queue', async (queue) => {
    const wanted = await queue.get(receipt);
    for (const queued of wanted ? [wanted, ...earlier(wanted, await queue.all())] : []) {
      if (queued.state !== 'refused') await queue.put({ ...queued, state: 'waiting', next_attempt_at: 0 });
    }
  });
  await flush();
}

/** Makes everything that waited for a decision about the register's keys due again. */
export async function releaseHeld(): Promise<void> {
  await inTransaction(['queue', 'objections'], 'readwrite', async (store) => {
    for (const queued of await store('queue').all()) {
      if (queued.state === 'held') await store('queue').put({ ...queued, state: 'waiting', next_attempt_at: 0 });
    }
    for (const objection of await store('objections').all()) {
      const { check_problem, ...kept } = objection;
      const asked = check_problem?.code === KEYS_CHANGED;
      const fetched = objection.bundle_problem?.code === KEYS_CHANGED;
      await store('objections').put({
        ...(asked ? kept : objection),
        ...(asked || kept.no_clock ? { next_check_at: 0 } : {}), // among the new keys may be a clock
        ...(fetched ? { bundle_next_attempt_at: 0 } : {}),
      });
    }
  });
  await flush();
}

/** Has a supplement recorded even when nobody can look at its mails' signatures. Only on the person's word, or in time. */
export async function keepUnchecked(receipt: string): Promise<void> {
  await write('queue', async (queue) => {
    const queued = await queue.get(receipt);
    if (queued?.kind === 'supplement') await queue.put({ ...queued, unchecked: true });
  });
  await attemptNow(receipt);
}

/**
 * Forgets a receipt that the register refused; a repeat is no error. Only on the person's word. Throws `not_refused` for
 * any other: the register may have recorded it, and its share exists only here.
 */
export async function discard(receipt: string): Promise<void> {
  const queued = await read('queue', (queue) => queue.get(receipt));
  if (queued && queued.state !== 'refused') throw new ObjectionError('not_refused', `it is ${queued.state}`);
  await dequeue(receipt);
  await changed();
}

const all = () => read('queue', (queue) => queue.all());

// In the order in which they were signed: a withdrawal must not overtake the supplement before it.
async function dueReceipts(): Promise<QueuedReceipt[]> {
  const due = (await all()).filter(({ state, next_attempt_at }) => state === 'waiting' && isDue(next_attempt_at));
  return due.sort((one, other) => signedAt(one) - signedAt(other));
}

// An erasure waits for nothing: what it overtakes would be erased with the rest. Nor does anything wait for what has
// failed again and again: a withdrawal must not be stuck behind a file that never gets through.
function mustWait(queued: QueuedReceipt, all: QueuedReceipt[]): boolean {
  return queued.kind !== 'erasure' && earlier(queued, all).some(({ attempts }) => attempts < PATIENCE);
}

/** What is still to be recorded for the same objection, and was signed before. */
function earlier(queued: QueuedReceipt, all: QueuedReceipt[]): QueuedLater[] {
  if (queued.kind === 'objection') return [];
  return all.filter(
    (one): one is QueuedLater =>
      one.kind !== 'objection' &&
      one.objection_sha256 === queued.objection_sha256 &&
      one.signed_at < queued.signed_at &&
      one.state !== 'refused',
  );
}

const signedAt = (queued: QueuedReceipt) => (queued.kind === 'objection' ? queued.objected_at : queued.signed_at);

async function attempt(queued: QueuedReceipt): Promise<void> {
  try {
    const files = await filesOf(queued);
    if (queued.kind === 'objection') await settle(queued, await postObjection(queued, files));
    else await settleLater(queued, await postReceipt(queued, files));
  } catch (error) {
    await write('queue', (queue) => queue.put(afterFailure(queued, error)));
  }
  await changed();
}

async function verified(queued: QueuedReceipt, rawAnswer: Bytes): Promise<VerifiedAnswer> {
  const receipt = await verifyReceipt(queued.receipt);
  return verifyByPinned((policy) => verifyAnswer(parseAnswer(rawAnswer), receipt, policy));
}

// In one transaction: the receipt is in the queue or among the objections, never in both and never in neither.
async function settle(queued: QueuedObjection, rawAnswer: Bytes): Promise<void> {
  const answer = await verified(queued, rawAnswer);
  const no_clock = !(await namesClock());
  await inTransaction(['queue', 'objections'], 'readwrite', async (store) => {
    await store('objections').add(recordedObjection(queued, answer, no_clock));
    await store('queue').delete(queued.receipt_sha256);
  });
}

function recordedObjection(
  queued: QueuedObjection,
  { answer, index, logOrigin }: VerifiedAnswer,
  no_clock: boolean,
): RecordedObjection {
  const { kind, state, attempts, next_attempt_at, problem, ...kept } = queued;
  return {
    ...kept,
    received_at: answer.received_at,
    token: answer.token,
    proof: answer.proof,
    log_origin: logOrigin,
    log_index: index,
    status: 'stands',
    later: [],
    anchored_told: 0,
    no_clock,
    checks: 0,
    next_check_at: firstCheck(no_clock),
    bundle_wanted: true,
    bundle_unsaved: false,
    bundle_attempts: 0,
    bundle_next_attempt_at: 0,
  };
}

// "Done" is said only after this: the acknowledgement is signed by the register and stands in its log.
async function settleLater(queued: QueuedLater, rawAnswer: Bytes): Promise<void> {
  const answer = await verified(queued, rawAnswer);
  await inTransaction(['queue', 'objections', 'kept'], 'readwrite', async (store) => {
    const objection = await store('objections').get(queued.objection_sha256);
    if (objection) await store('objections').put(withLater(objection, recordedLater(queued, answer)));
    await store('kept').delete(evidenceIds(queued.receipt_sha256));
    await store('queue').delete(queued.receipt_sha256);
  });
}

function recordedLater(queued: QueuedLater, { answer, index, mails }: VerifiedAnswer): RecordedLater {
  const { kind, receipt_sha256, jti, receipt, signed_at, evidence } = queued;
  return {
    ...{ kind, receipt_sha256, jti, receipt, signed_at },
    received_at: answer.received_at,
    log_index: index,
    acknowledgement: answer.token,
    proof: answer.proof,
    evidence,
    mails,
    remains: answer.remains ?? [],
  };
}

function withLater(objection: RecordedObjection, later: RecordedLater): RecordedObjection {
  const { bundle_problem, check_problem, ...kept } = objection;
  const known = kept.later.filter(({ receipt_sha256 }) => receipt_sha256 !== later.receipt_sha256);
  const all = [...known, later].sort((one, other) => one.log_index - other.log_index);
  // Nothing is left at the register to ask for.
  const ended = { status: 'erased', next_check_at: Number.POSITIVE_INFINITY, bundle_wanted: false } as const;
  if (later.kind === 'erasure') return { ...kept, later: all, ...ended };
  return {
    ...kept,
    later: all,
    status: later.kind === 'withdrawal' ? 'withdrawn' : kept.status,
    checks: 0,
    next_check_at: firstCheck(kept.no_clock),
    bundle_wanted: true,
    bundle_attempts: 0,
    bundle_next_attempt_at: 0,
  };
}

// Where there is no independent clock, nothing will come by itself.
function firstCheck(noClock: boolean): number {
  return noClock ? Number.POSITIVE_INFINITY : Date.now() + FIRST_CHECK_MS;
}

function afterFailure(queued: QueuedReceipt, error: unknown): QueuedReceipt {
  const problem = problemOf(error);
  if (error instanceof Refused) return { ...queued, state: 'refused', problem };
  if (problem.code === KEYS_CHANGED) return { ...queued, state: 'held', problem };
  const attempts = queued.attempts + 1;
  const failed = { ...queued, attempts, problem, next_attempt_at: nextAttemptAt(attempts, error) };
  if (problem.code !== DNS_SILENT || failed.kind === 'objection') return failed;
  return isOverdue(failed) ? { ...failed, unchecked: true } : failed;
}

function isOverdue({ signed_at }: QueuedLater): boolean {
  return Date.now() > signed_at * 1000 + DNS_PATIENCE_MS;
}

async function scheduleNext(): Promise<void> {
  const queued = await all();
  const waiting = queued.filter((one) => one.state === 'waiting' && !mustWait(one, queued));
  const planned = [...waiting.map(({ next_attempt_at }) => next_attempt_at), ...(await nextKeepingAt())];
  const times = planned.filter(Number.isFinite);
  if (times.length === 0) await browser.alarms.clear(ALARM);
  else await browser.alarms.create(ALARM, { when: Math.max(Math.min(...times), Date.now() + MIN_ALARM_MS) });
}
