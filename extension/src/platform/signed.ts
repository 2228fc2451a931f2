/** What this browser has objected to already. */
import { gistOf, type Notice } from '../core/detection';
import { sha256Hex, utf8 } from '../core/encoding';
import { ObjectionError } from '../core/errors';
import { inTransaction, type QueuedObjection, type RecordedObjection } from './database';
import { type DraftView, nameOf } from './views';

/** By platform, the newest objection that stands or is on its way; a recorded one goes before. */
export async function objectedBefore(): Promise<DraftView['before']> {
  const { waiting, recorded } = await inForce();
  return Object.fromEntries([
    ...waiting.map((one) => [one.platform, { recorded: false, since: one.objected_at, name: nameOf(one) }]),
    ...recorded.map((one) => [one.platform, { recorded: true, since: one.received_at, name: nameOf(one) }]),
  ]);
}

/** The fingerprints of the notices that were objected to. A browser that keeps nothing knows none, and says so later. */
export async function answeredNotices(): Promise<Set<string | undefined>> {
  const { waiting, recorded } = await inForce().catch((error: unknown) => {
    if (error instanceof ObjectionError && error.code === 'storage_unusable') return { waiting: [], recorded: [] };
    throw error;
  });
  return new Set([...waiting, ...recorded].map(({ notice_fingerprint }) => notice_fingerprint));
}

/** Names a notice by what it says (SHA-256, hex): the same while its age on the page ticks on. */
export function fingerprint(notice: Notice): Promise<string> {
  return sha256Hex(utf8(gistOf(notice)));
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
