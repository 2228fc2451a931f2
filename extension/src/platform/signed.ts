/** What this browser has objected to already. */
import { type JsonObject, parseBase64url, parseJson } from '../core/encoding';
import { inTransaction, type QueuedObjection, type RecordedObjection } from './database';
import type { DraftView } from './views';

/** By platform, the newest objection that stands or is on its way; a recorded one goes before. */
export async function objectedBefore(): Promise<DraftView['before']> {
  const { waiting, recorded } = await inForce();
  return Object.fromEntries([
    ...waiting.map(({ platform, objected_at }) => [platform, { recorded: false, since: objected_at }]),
    ...recorded.map(({ platform, received_at }) => [platform, { recorded: true, since: received_at }]),
  ]);
}

/** The SHA-256 (hex) of the notices' texts that were objected to. */
export async function signedNotices(): Promise<Set<string>> {
  const { waiting, recorded } = await inForce();
  return new Set([...waiting, ...recorded].flatMap(noticeOf));
}

async function inForce(): Promise<{ waiting: QueuedObjection[]; recorded: RecordedObjection[] }> {
  const { queue, objections } = await inTransaction(['queue', 'objections'], 'readonly', async (store) => ({
    queue: await store('queue').all(),
    objections: await store('objections').all(),
  }));
  const waiting = queue.filter((one): one is QueuedObjection => one.kind === 'objection' && one.state !== 'refused');
  return {
    waiting: waiting.sort((one, other) => one.objected_at - other.objected_at),
    recorded: objections
      .filter(({ status }) => status === 'stands')
      .sort((one, other) => one.received_at - other.received_at),
  };
}

// Signed and checked here, before it was kept.
function noticeOf({ receipt }: { receipt: string }): string[] {
  const { text_sha256 } = parseJson(parseBase64url(receipt.split('.')[1] ?? '')).notice as JsonObject;
  return typeof text_sha256 === 'string' ? [text_sha256] : [];
}
