/** Keeps recorded objections up to date: asks whether they are anchored, fetches the newest proof, saves it to disk. */

import { parseAnswer, type VerifiedAnswer, verifyAnswer } from '../core/answers';
import { MIME_TYPE as BUNDLE_TYPE } from '../core/asice';
import type { SubmissionAnswer } from '../core/contract.gen';
import { formatJson, utf8 } from '../core/encoding';
import { ObjectionError } from '../core/errors';
import { verifyReceipt } from '../core/receipts';
import type { Facts } from '../core/reports';
import { isDue, nextAttemptAt, problemOf } from './attempts';
import { changed } from './badge';
import { anchoredOf, verifyProofOf } from './checking';
import { bundleId, evidenceIds, inTransaction, type RecordedObjection, read, write } from './database';
import { SAVE_CANCELLED, saveFile } from './downloads';
import { namesClock, verifyByPinned } from './pins';
import { getAnswer, getBundle, getCertificate, leaveCampaign, PDF_TYPE, Refused } from './register';

const MINUTE_MS = 60_000;
const DAY_MS = 24 * 60 * MINUTE_MS;
/** How long to wait before each question whether a proof is anchored; then only when the person looks. */
const CHECK_DELAYS_MS = [MINUTE_MS / 2, 2 * MINUTE_MS, 10 * MINUTE_MS, 60 * MINUTE_MS, ...Array(7).fill(DAY_MS)];
export const FIRST_CHECK_MS = CHECK_DELAYS_MS[0];
/** A folder that cannot be written to is not asked for ever: then the popup offers it. */
const MAX_SAVES = 6;

/** Does what is due for recorded objections. The caller holds the flush lock. */
export async function keepUp(): Promise<void> {
  for (const objection of await those(({ next_check_at }) => isDue(next_check_at, DAY_MS))) {
    await check(objection, nextCheck(objection));
  }
  await fetchAndSave();
}

/** When something is due, in milliseconds since 1970; never is infinite. */
export async function nextKeepingAt(): Promise<number[]> {
  const all = await those(() => true);
  return [
    ...all.map(({ next_check_at }) => next_check_at),
    ...all.filter(bundleDue).map(({ bundle_next_attempt_at }) => bundle_next_attempt_at),
  ];
}

/**
 * Asks about whatever is not anchored yet, without using up a question of the schedule. The caller holds the flush lock.
 */
export async function askAboutAll(): Promise<void> {
  for (const objection of await those((one) => !isSettled(one))) {
    await check(objection, objection);
  }
  await fetchAndSave();
}

/** Saves a proof again: a newer bundle if the register gives one, else the one kept here. Returns the file name. */
export async function saveAgain(receipt: string): Promise<string> {
  return navigator.locks.request('flush', async () => {
    const objection = await recorded(receipt);
    const fresh = objection.status === 'erased' ? objection : await fetchBundle(objection);
    return saveNow(fresh);
  });
}

/** Fetches the certificate as it is now and saves it. Returns the file name. */
export async function saveCertificate(receipt: string, language: string): Promise<string> {
  return navigator.locks.request('flush', async () => {
    const objection = await recorded(receipt);
    const raw = await getCertificate(objection, language);
    await verifyProofOf(raw, objection);
    return saveFile(`${proofName(objection)}-${language}.pdf`, raw, PDF_TYPE);
  });
}

/**
 * Saves the erasure with the register's signed word for it: the bundle ends before it, and it must not exist only here.
 * Returns the file name. Throws `not_erased`.
 */
export async function saveAcknowledgement(receipt: string): Promise<string> {
  return navigator.locks.request('flush', async () => {
    const objection = await recorded(receipt);
    const erasure = objection.later.find(({ kind }) => kind === 'erasure');
    if (!erasure) throw new ObjectionError('not_erased', 'there is no erasure to show');
    const { receipt: signed, acknowledgement, proof } = erasure;
    const text = `${formatJson({ v: 1, receipt: signed, acknowledgement, proof })}\n`;
    return saveFile(`${proofName(objection)}-erased.json`, utf8(text), 'application/json');
  });
}

/** Forgets an objection that was erased at the register. Throws `not_erased` for any other: its share exists only here. */
export async function forget(receipt: string): Promise<void> {
  await navigator.locks.request('flush', async () => {
    const { status } = await recorded(receipt);
    if (status !== 'erased') throw new ObjectionError('not_erased', 'only an erased objection may be forgotten');
    await inTransaction(['objections', 'kept'], 'readwrite', async (store) => {
      await store('kept').delete(evidenceIds(receipt));
      await store('kept').delete(bundleId(receipt));
      await store('objections').delete(receipt);
    });
    await changed();
  });
}

/**
 * Has the objection count for its campaign no more; what was published with it stays published. Safe to repeat while the
 * week is open. Throws `campaign_not_joined` when it is too late.
 */
export async function leave(receipt: string): Promise<void> {
  await navigator.locks.request('flush', async () => {
    const objection = await recorded(receipt);
    if (objection.left_campaign) return;
    await leaveCampaign(objection);
    await write('objections', (objections) => objections.put({ ...objection, left_campaign: true }));
    await changed();
  });
}

/** Keeps what the person calls an objection; an empty name takes theirs away again. */
export async function nameObjection(receipt: string, name: string): Promise<void> {
  await navigator.locks.request('flush', async () => {
    const { own_name, ...unnamed } = await recorded(receipt);
    const named = name.trim() ? { ...unnamed, own_name: name.trim() } : unnamed;
    await write('objections', (objections) => objections.put(named));
    await changed();
  });
}

export async function recorded(receipt: string): Promise<RecordedObjection> {
  const objection = await read('objections', (objections) => objections.get(receipt));
  if (!objection) throw new ObjectionError('not_recorded', 'there is no recorded objection of this hash');
  return objection;
}

/** True when the register has nothing more to add by itself. */
export function isSettled(objection: RecordedObjection): boolean {
  return objection.status === 'erased' || anchoredOf(objection) === 1 + objection.later.length;
}

export function proofName(objection: RecordedObjection): string {
  const { platform, received_at, receipt_sha256, later } = objection;
  const anchored = anchoredOf(objection);
  const day = new Date(received_at * 1000).toISOString().slice(0, 10);
  const parts = [platform, day, receipt_sha256.slice(0, 8)];
  if (later.length > 0) parts.push(`plus-${later.length}`);
  if (anchored > 0) parts.push(anchored === 1 + later.length ? 'anchored' : 'partly-anchored');
  return parts.join('-');
}

async function those(wanted: (objection: RecordedObjection) => boolean): Promise<RecordedObjection[]> {
  return (await read('objections', (objections) => objections.all())).filter(wanted);
}

const bundleMissing = ({ bundle_wanted, status }: RecordedObjection) => bundle_wanted && status !== 'erased';
const bundleDue = (one: RecordedObjection) => bundleMissing(one) || (one.bundle_unsaved && !one.save_declined);

type Schedule = Pick<RecordedObjection, 'checks' | 'next_check_at'>;

/** Asks what became of an objection. `schedule` says when to ask again. */
async function check(objection: RecordedObjection, schedule: Schedule): Promise<void> {
  let found: RecordedObjection;
  try {
    const { answer } = await askedNow(objection);
    const no_clock = !(await namesClock());
    found = { ...(await withAnswer(objection, answer)), no_clock, ...scheduled(no_clock ? NEVER_AGAIN : schedule) };
  } catch (error) {
    // What it refuses it would refuse again.
    const again = error instanceof Refused ? NEVER_AGAIN : schedule;
    found = { ...objection, ...scheduled(again), check_problem: problemOf(error) };
  }
  await keep(objection, found);
}

const NEVER_AGAIN: Schedule = { checks: 0, next_check_at: Number.POSITIVE_INFINITY };

// Picked: a whole objection may come as a schedule, its own.
const scheduled = ({ checks, next_check_at }: Schedule): Schedule => ({ checks, next_check_at });

function nextCheck({ checks }: RecordedObjection): Schedule {
  const delay = CHECK_DELAYS_MS[checks + 1] ?? Number.POSITIVE_INFINITY;
  return { checks: checks + 1, next_check_at: Date.now() + delay };
}

async function askedNow(objection: RecordedObjection): Promise<VerifiedAnswer> {
  const raw = await getAnswer(objection);
  const receipt = await verifyReceipt(objection.receipt);
  const verified = await verifyByPinned((policy) => verifyAnswer(parseAnswer(raw), receipt, policy));
  if (verified.answer.token !== objection.token) {
    throw new ObjectionError('token_receipt_mismatch', 'the register gives another token than before');
  }
  return verified;
}

async function withAnswer(objection: RecordedObjection, answer: SubmissionAnswer): Promise<RecordedObjection> {
  const told = answer.anchored_entries ?? 0;
  // Only the holder can change the status: what this browser has not signed, nobody has.
  const strange = answer.status !== objection.status && !(await hasQueued(objection.receipt_sha256));
  const clean = without(objection, 'check_problem');
  const found = strange ? { ...clean, check_problem: strangeStatus(answer.status) } : clean;
  if (told <= objection.anchored_told) return found;
  // Only told so far: the proof itself must show it.
  return {
    ...found,
    proof: answer.proof,
    anchored_told: told,
    bundle_wanted: true,
    bundle_attempts: 0,
    bundle_next_attempt_at: 0,
  };
}

async function hasQueued(receipt: string): Promise<boolean> {
  const queued = await read('queue', (queue) => queue.all());
  return queued.some((one) => one.kind !== 'objection' && one.objection_sha256 === receipt);
}

function strangeStatus(status: string) {
  return { code: 'status_unexpected', title: '', detail: `the register says: ${status}` };
}

async function keep(before: RecordedObjection, after: RecordedObjection): Promise<void> {
  await write('objections', (objections) => objections.put(after));
  const news = (['no_clock', 'check_problem'] as const).some(
    (name) => JSON.stringify(before[name]) !== JSON.stringify(after[name]),
  );
  if (news) await changed();
}

async function fetchAndSave(): Promise<void> {
  const due = ({ bundle_next_attempt_at }: RecordedObjection) => isDue(bundle_next_attempt_at);
  for (const objection of await those((one) => bundleMissing(one) && due(one))) await fetchBundle(objection);
  const toSave = (one: RecordedObjection) => one.bundle_unsaved && !one.save_declined && due(one);
  for (const objection of await those(toSave)) await saveFirstTime(objection);
}

/** Returns the objection with the newest bundle; after a failure with the one it had, and the problem. */
async function fetchBundle(objection: RecordedObjection): Promise<RecordedObjection> {
  let next: RecordedObjection;
  try {
    const raw = await getBundle(objection);
    // Only what holds, and shows no later a time, may take the place of the one that is kept.
    const shown = withTimes(objection, await verifyProofOf(raw, objection));
    const fetched = { bundle_wanted: false, bundle_unsaved: true };
    next = { ...without(shown, 'bundle_problem'), ...fetched, bundle_attempts: 0, bundle_next_attempt_at: 0 };
    if (isSettled(next)) next = { ...next, ...NEVER_AGAIN };
    const bundle = { id: bundleId(objection.receipt_sha256), bytes: raw };
    await inTransaction(['objections', 'kept'], 'readwrite', async (store) => {
      await store('kept').put(bundle);
      await store('objections').put(next);
    });
  } catch (error) {
    const attempts = objection.bundle_attempts + 1;
    next = {
      ...objection,
      bundle_wanted: true,
      bundle_attempts: attempts,
      bundle_problem: problemOf(error),
      // What it refuses it would refuse again.
      bundle_next_attempt_at: error instanceof Refused ? Number.POSITIVE_INFINITY : nextAttemptAt(attempts, error),
    };
    await write('objections', (objections) => objections.put(next));
  }
  await changed();
  return next;
}

/** The objection with the independent times that a proof shows. */
function withTimes(objection: RecordedObjection, facts: Facts): RecordedObjection {
  const later = objection.later.map((one) => {
    const found = facts.later?.find(({ receipt_sha256 }) => receipt_sha256 === one.receipt_sha256);
    return { ...one, ...timeOf(found) };
  });
  return { ...objection, ...timeOf(facts), later };
}

const timeOf = ({ anchored_at }: { anchored_at?: number } = {}) => (anchored_at === undefined ? {} : { anchored_at });

async function saveFirstTime(objection: RecordedObjection): Promise<void> {
  try {
    await saveNow(objection);
  } catch (error) {
    const attempts = objection.bundle_attempts + 1;
    const next = {
      bundle_attempts: attempts,
      bundle_problem: problemOf(error),
      bundle_next_attempt_at: attempts < MAX_SAVES ? nextAttemptAt(attempts, error) : Number.POSITIVE_INFINITY,
    };
    // Whoever closes the browser's "Save as" has answered: from now on they save by themselves.
    const declined = next.bundle_problem.code === SAVE_CANCELLED ? { save_declined: true as const } : {};
    await write('objections', (objections) => objections.put({ ...objection, ...next, ...declined }));
    await changed();
  }
}

async function saveNow(objection: RecordedObjection): Promise<string> {
  const bundle = await read('kept', (kept) => kept.get(bundleId(objection.receipt_sha256)));
  if (!bundle) throw new ObjectionError('no_bundle', objection.bundle_problem?.detail ?? 'no bundle yet');
  const file = await saveFile(`${proofName(objection)}.asice`, bundle.bytes, BUNDLE_TYPE);
  // A newer one that could not be had is still a problem when the one that is kept was saved.
  const kept = objection.bundle_wanted ? objection : without(objection, 'bundle_problem');
  const saved = { ...without(kept, 'save_declined'), file, bundle_unsaved: false };
  await write('objections', (objections) => objections.put(saved));
  await changed();
  return file;
}

function without<N extends keyof RecordedObjection>(objection: RecordedObjection, name: N): RecordedObjection {
  const { [name]: _, ...rest } = objection;
  return rest as RecordedObjection;
}
