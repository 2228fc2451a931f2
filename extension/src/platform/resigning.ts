/** Signing anew what the register refused for its time: with another one, and nothing else changed. */
import { formatJson, type JsonObject, parseBase64url, parseJson, utf8 } from '../core/encoding';
import { ObjectionError } from '../core/errors';
import { receiptHeader, signReceipt, verifyPayload, verifyReceipt } from '../core/receipts';
import { announceChange } from './changes';
import { clockOffsetS } from './clock';
import { evidenceId, evidenceIds, inTransaction, type QueuedReceipt, read, type StoredProblem } from './database';
import { holderKey } from './keystore';
import { getPolicy } from './register';

const TIME_PROBLEMS = ['receipt_from_future', 'receipt_stale'];

/** `payload` and `header`: the canonical JSON to show and to sign; the time in it is `atS`. */
export interface AgainView {
  payload: string;
  header: string;
  atS: number;
  /** What was added to this computer's time to get the register's; seconds. */
  offsetS: number;
}

export function maySignAgain(problem: StoredProblem | undefined): boolean {
  return problem !== undefined && TIME_PROBLEMS.includes(problem.code);
}

/** Returns what would be signed now. Asks the register for its time; without an answer, its last one counts. */
export async function prepareAgain(receipt: string): Promise<AgainView> {
  const queued = await refusedForItsTime(receipt);
  await getPolicy().catch((error: unknown) => console.info('the register does not tell its time:', error));
  const offsetS = await clockOffsetS();
  const atS = Math.floor(Date.now() / 1000) + offsetS;
  return {
    payload: formatJson({ ...payloadOf(queued), iat: atS }),
    header: formatJson(receiptHeader((await holderKey()).jwk)),
    atS,
    offsetS,
  };
}

/**
 * Signs exactly `shown`, and puts it with its evidence in the place of `receipt`. Returns the new receipt's hash; a repeat
 * returns the same one. The jti stays: of two receipts, the register can record one at most. Throws `not_what_was_shown`
 * and `not_refused`.
 */
export async function signAgain(receipt: string, shown: string): Promise<string> {
  return navigator.locks.request('flush', async () => {
    const payload = verifyPayload(parseJson(utf8(shown)));
    const signed = await read('queue', (queue) => queue.byJti(payload.jti));
    if (signed && signed.receipt_sha256 !== receipt) return signed.receipt_sha256;
    const before = await refusedForItsTime(receipt);
    if (formatJson({ ...payloadOf(before), iat: payload.iat }) !== shown) {
      throw new ObjectionError('not_what_was_shown', 'more than the time differs');
    }
    const holder = await holderKey();
    const { raw, sha256Hex } = await verifyReceipt(await signReceipt(shown, holder.jwk, holder.privateKey));
    const { problem: _, ...kept } = before;
    const next = { ...kept, receipt: raw, receipt_sha256: sha256Hex, state: 'waiting', attempts: 0 } as const;
    await replace(before, { ...withTime(next, payload.iat), next_attempt_at: 0 });
    announceChange();
    return sha256Hex;
  });
}

async function refusedForItsTime(receipt: string): Promise<QueuedReceipt> {
  const queued = await read('queue', (queue) => queue.get(receipt));
  if (queued && maySignAgain(queued.problem)) return queued;
  throw new ObjectionError('not_refused', 'there is no receipt of this hash that was refused for its time');
}

function payloadOf({ receipt }: QueuedReceipt): JsonObject {
  return parseJson(parseBase64url(receipt.split('.')[1] ?? ''));
}

function withTime<Q extends QueuedReceipt>(queued: Q, iat: number): Q {
  return queued.kind === 'objection' ? { ...queued, objected_at: iat } : { ...queued, signed_at: iat };
}

async function replace(before: QueuedReceipt, after: QueuedReceipt): Promise<void> {
  await inTransaction(['queue', 'kept'], 'readwrite', async (store) => {
    for (const { name } of before.evidence) {
      const file = await store('kept').get(evidenceId(before.receipt_sha256, name));
      if (file) await store('kept').put({ ...file, id: evidenceId(after.receipt_sha256, name) });
    }
    await store('kept').delete(evidenceIds(before.receipt_sha256));
    await store('queue').delete(before.receipt_sha256);
    await store('queue').add(after);
  });
}
