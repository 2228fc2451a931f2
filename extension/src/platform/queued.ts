/** Receipts on their way, each with its evidence beside it: both are in the database, or neither is. */
import type { Bytes } from '../core/encoding';
import { ObjectionError } from '../core/errors';
import { evidenceId, evidenceIds, inTransaction, type QueuedReceipt, read } from './database';

/** Adds a receipt, with the bytes of its evidence by name. */
export async function enqueue(queued: QueuedReceipt, files: Map<string, Bytes>): Promise<void> {
  const { receipt_sha256, evidence } = queued;
  await inTransaction(['queue', 'kept'], 'readwrite', async (store) => {
    for (const { name } of evidence) {
      await store('kept').put({ id: evidenceId(receipt_sha256, name), bytes: files.get(name) ?? new Uint8Array() });
    }
    await store('queue').add(queued);
  });
}

/** Returns the bytes of its evidence, in order. Throws `evidence_lost`. */
export function filesOf({ receipt_sha256, evidence }: QueuedReceipt): Promise<Bytes[]> {
  return read('kept', async (kept) => {
    const files: Bytes[] = [];
    for (const { name } of evidence) {
      const file = await kept.get(evidenceId(receipt_sha256, name));
      if (!file) throw new ObjectionError('evidence_lost', `the browser does not keep ${name} any more`);
      files.push(file.bytes);
    }
    return files;
  });
}

/** Takes a receipt and its evidence out. */
export async function dequeue(receipt: string): Promise<void> {
  await inTransaction(['queue', 'kept'], 'readwrite', async (store) => {
    await store('kept').delete(evidenceIds(receipt));
    await store('queue').delete(receipt);
  });
}
