/** Confirming a review: from the bytes that were shown to a signed receipt that cannot get lost. */
import { formatJson, type Json, parseBase64, parseJson, utf8 } from '../core/encoding';
import { ObjectionError } from '../core/errors';
import { type Disclosures, NOTICE_TEXT_FILE, SCREENSHOT_FILE } from '../core/objection';
import { signReceipt, verifyEvidence, verifyObjectionPayload, verifyReceipt } from '../core/receipts';
import { openSlots } from '../core/tokens';
import { inTransaction, type QueuedObjection } from './database';
import { closeDraft, type Draft, draftReviewedIn, findDraft, saveDraft } from './drafts';
import { holderKey, randomBase64url } from './keystore';
import { enqueue } from './queued';
import { fingerprint } from './signed';

/**
 * Signs exactly `shown`, the canonical JSON that the sheet displayed, and queues it with its evidence. Returns the
 * receipt's hash; a repeat returns the same one. Throws `draft_gone`, `not_what_was_shown` and the receipt's codes.
 */
export async function confirmDraft(id: string, shown: string, disclosures: Disclosures): Promise<string> {
  // One at a time: a double click must not sign two receipts.
  return navigator.locks.request('confirm', async () => {
    const draft = await findDraft(id);
    if (!draft) throw new ObjectionError('draft_gone', 'this review is no longer open');
    const hash = draft.receipt ?? (await alreadySigned(draft.jti)) ?? (await signDraft(draft, shown, disclosures));
    // The picture is in the queue now; a second copy in the session would serve nobody.
    await saveDraft({ ...draft, receipt: hash, screenshot: { state: 'not-wanted' } });
    return hash;
  });
}

/** Closes a review that was not confirmed; returns the receipt's hash of one that was, which lives on. */
export async function cancelDraft(id: string): Promise<string | undefined> {
  return navigator.locks.request('confirm', async () => {
    const draft = await findDraft(id);
    const signed = draft && (draft.receipt ?? (await alreadySigned(draft.jti)));
    if (draft && !signed) await closeDraft(id);
    return signed;
  });
}

/** Forgets the review whose tab or window was closed: what was confirmed is in the database. */
export async function forgetReviewIn(reviewTabId: number): Promise<void> {
  await navigator.locks.request('confirm', async () => {
    const draft = await draftReviewedIn(reviewTabId);
    if (draft) await closeDraft(draft.id);
  });
}

// The worker may have been stopped between queueing and noting it in the draft.
async function alreadySigned(jti: string): Promise<string | undefined> {
  return inTransaction(['queue', 'objections'], 'readonly', async (store) => {
    const found = (await store('queue').byJti(jti)) ?? (await store('objections').byJti(jti));
    return found?.receipt_sha256;
  });
}

async function signDraft(draft: Draft, shown: string, disclosures: Disclosures): Promise<string> {
  const payload = verifyObjectionPayload(parseJson(utf8(shown)));
  const sameText = formatJson(payload as unknown as Json) === shown;
  const sameNotice = draft.notice ? payload.notice.channel === draft.notice.channel : payload.notice.channel === 'none';
  if (!sameText || !sameNotice || payload.jti !== draft.jti) {
    throw new ObjectionError('not_what_was_shown', 'the review does not fit its draft');
  }
  const files = new Map([...draftFiles(draft)].filter(([name]) => payload.evidence.some((item) => item.name === name)));
  await verifyEvidence(payload.evidence, files);
  await openSlots(payload.self_asserted, Object.values(disclosures));
  const holder = await holderKey();
  // What our own verifier refuses, the register would: better to fail here, before anything is promised.
  const receipt = await verifyReceipt(await signReceipt(shown, holder.jwk, holder.privateKey));
  const queued: QueuedObjection = {
    kind: 'objection',
    receipt_sha256: receipt.sha256Hex,
    jti: payload.jti,
    receipt: receipt.raw,
    platform: payload.platform,
    notice_fingerprint: draft.notice && (await fingerprint(draft.notice)),
    objected_at: payload.iat,
    holder_share: randomBase64url(32),
    disclosures,
    evidence: payload.evidence,
    state: 'waiting',
    attempts: 0,
    next_attempt_at: 0,
  };
  await enqueue(queued, files);
  return queued.receipt_sha256;
}

function* draftFiles({ notice, screenshot }: Draft): Generator<[string, Uint8Array<ArrayBuffer>]> {
  if (notice) yield [NOTICE_TEXT_FILE, utf8(notice.text)];
  if (screenshot.state === 'taken') {
    yield [SCREENSHOT_FILE, parseBase64(screenshot.jpegBase64, 'not_what_was_shown')];
  }
}
