/** Signing a later receipt: from the bytes that were shown to a receipt in the queue that cannot get lost. */
import type { Evidence } from '../core/contract.gen';
import { type Bytes, formatJson, type Json, parseBase64, parseJson, utf8 } from '../core/encoding';
import { ObjectionError } from '../core/errors';
import { type LaterReceipt, refuseTooMuch, verifyLaterPayload } from '../core/later';
import { signReceipt, verifyEvidence, verifyReceipt } from '../core/receipts';
import { type QueuedLater, type RecordedObjection, read } from './database';
import { recorded } from './keeping';
import { holderKey } from './keystore';
import { enqueue } from './queued';

const MAX_SUPPLEMENTS = 16;

/**
 * Signs exactly `shown`, the canonical JSON that the page displayed, and queues it with its files (base64, by name).
 * Returns the receipt's hash; a repeat returns the same one. Throws `not_what_was_shown`, `record_erased`,
 * `already_withdrawn`, `too_many_supplements`, `evidence_too_large` and the receipt's codes.
 */
export async function signLater(shown: string, filesBase64: Record<string, string>): Promise<string> {
  const payload = verifyLaterPayload(parseJson(utf8(shown)));
  if (formatJson(payload as unknown as Json) !== shown) {
    throw new ObjectionError('not_what_was_shown', 'the payload is not in its canonical form');
  }
  // One at a time: a double click must not sign two receipts.
  return navigator.locks.request('confirm', async () => {
    const objection = await recorded(payload.objection_sha256);
    const signed = await alreadySigned(objection, payload.jti);
    if (signed) return signed;
    const before = await queuedFor(objection);
    refuseUseless(payload, objection, before);
    return sign(shown, payload, objection, parseFiles(filesBase64));
  });
}

/** What is on its way for an objection, in the order in which it was signed. */
export async function queuedFor({ receipt_sha256 }: { receipt_sha256: string }): Promise<QueuedLater[]> {
  const all = await read('queue', (queue) => queue.all());
  return all
    .filter((one): one is QueuedLater => one.kind !== 'objection' && one.objection_sha256 === receipt_sha256)
    .sort((one, other) => one.signed_at - other.signed_at);
}

/** All the evidence of an objection, with what was added and what is on its way; not what the register refused. */
export function evidenceOf(objection: RecordedObjection, queued: QueuedLater[]): Evidence[] {
  const coming = queued.filter(({ state }) => state !== 'refused');
  return [objection, ...coming, ...objection.later].flatMap(({ evidence }) => evidence);
}

async function alreadySigned(objection: RecordedObjection, jti: string): Promise<string | undefined> {
  const later = objection.later.find((one) => one.jti === jti);
  return later?.receipt_sha256 ?? (await read('queue', (queue) => queue.byJti(jti)))?.receipt_sha256;
}

// What the register would refuse anyway is refused before anything is signed.
function refuseUseless(payload: LaterReceipt, objection: RecordedObjection, queued: QueuedLater[]): void {
  // What the register refused was not recorded, and keeps nobody from trying anew.
  const kinds = [...objection.later, ...queued.filter(({ state }) => state !== 'refused')].map(({ kind }) => kind);
  if (kinds.includes('erasure')) throw new ObjectionError('record_erased', 'nothing can follow an erasure');
  if (payload.kind === 'withdrawal' && kinds.includes('withdrawal')) {
    throw new ObjectionError('already_withdrawn', 'it is withdrawn already');
  }
  if (payload.kind !== 'supplement') return;
  if (kinds.filter((kind) => kind === 'supplement').length >= MAX_SUPPLEMENTS) {
    throw new ObjectionError('too_many_supplements', `an objection has at most ${MAX_SUPPLEMENTS} supplements`);
  }
  const before = evidenceOf(objection, queued).reduce((sum, { size }) => sum + size, 0);
  refuseTooMuch(payload.evidence, before);
}

async function sign(
  shown: string,
  payload: LaterReceipt,
  objection: RecordedObjection,
  files: Map<string, Bytes>,
): Promise<string> {
  const items = payload.kind === 'supplement' ? payload.evidence : [];
  await verifyEvidence(items, files);
  const holder = await holderKey();
  // What our own verifier refuses, the register would: better to fail here, before anything is promised.
  const receipt = await verifyReceipt(await signReceipt(shown, holder.jwk, holder.privateKey));
  const queued: QueuedLater = {
    kind: payload.kind,
    receipt_sha256: receipt.sha256Hex,
    objection_sha256: objection.receipt_sha256,
    jti: payload.jti,
    receipt: receipt.raw,
    platform: objection.platform,
    signed_at: payload.iat,
    holder_share: objection.holder_share,
    evidence: items,
    state: 'waiting',
    attempts: 0,
    next_attempt_at: 0,
  };
  await enqueue(queued, files);
  return queued.receipt_sha256;
}

function parseFiles(filesBase64: Record<string, string>): Map<string, Bytes> {
  return new Map(Object.entries(filesBase64).map(([name, text]) => [name, parseBase64(text, 'not_what_was_shown')]));
}
