import { type Bytes, formatBase64, utf8 } from '../../src/core/encoding';
import { evidenceItem, formatLater, type LaterKind } from '../../src/core/later';
import type { Choices } from '../../src/core/objection';
import { signLater } from '../../src/platform/amending';
import { bundleId, inTransaction, type RecordedObjection, read } from '../../src/platform/database';
import { randomBase64url } from '../../src/platform/keystore';
import { flush } from '../../src/platform/queue';
import { confirmDraft } from '../../src/platform/recording';
import { built, draftWithScreenshot } from './draft';

export const LATER_S = 1_789_999_500;
export const MAIL = [
  'From: case@support.facebook.com',
  'Subject: Your objection',
  'Date: Wed, 18 Nov 2026 11:00:00 +0000',
  '',
  'We have received your objection.',
  '',
].join('\r\n');

/** Records an objection at the register that `fetch` leads to; returns its hash. */
export async function recordObjection(choices: Partial<Choices> = {}): Promise<string> {
  const draft = await draftWithScreenshot();
  const { payload, disclosures } = await built(draft, choices);
  const hash = await confirmDraft(draft.id, payload, disclosures);
  await flush();
  return hash;
}

export async function objectionOf(hash: string): Promise<RecordedObjection> {
  const found = await read('objections', (store) => store.get(hash));
  if (!found) throw new Error('not recorded');
  return found;
}

/** The bundle that is kept for an objection; empty when there is none. */
export async function bundleOf(hash: string): Promise<Bytes> {
  return (await read('kept', (kept) => kept.get(bundleId(hash))))?.bytes ?? new Uint8Array();
}

/** Signs a later receipt as the page would; `mail` goes along with a supplement. Nothing is sent yet. */
export async function signed(kind: LaterKind, objection: string, mail = MAIL): Promise<string> {
  const item = await evidenceItem('reply.eml', utf8(mail), []);
  const plan = { kind, objection, jti: randomBase64url(16), evidence: kind === 'supplement' ? [item] : [] };
  const files = kind === 'supplement' ? { [item.name]: formatBase64(utf8(mail)) } : {};
  return signLater(formatLater(plan, LATER_S), files);
}

/** Lets all waiting times pass. */
export async function makeDue(): Promise<void> {
  await inTransaction(['queue', 'objections'], 'readwrite', async (store) => {
    for (const queued of await store('queue').all()) await store('queue').put({ ...queued, next_attempt_at: 0 });
    for (const one of await store('objections').all()) {
      const next_check_at = Number.isFinite(one.next_check_at) ? 0 : one.next_check_at;
      const bundle_next_attempt_at = Number.isFinite(one.bundle_next_attempt_at) ? 0 : one.bundle_next_attempt_at;
      await store('objections').put({ ...one, bundle_next_attempt_at, next_check_at });
    }
  });
}
