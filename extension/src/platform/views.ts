/** What the popup and the review sheet are told: no keys, no shares, no evidence. */
import type { Notice } from '../core/detection';
import type { Platform } from '../core/objection';
import type { QueuedReceipt, RecordedObjection, StoredProblem } from './database';
import type { Draft } from './drafts';

export interface QueuedView {
  receipt: string;
  platform: Platform;
  objectedAt: number;
  state: QueuedReceipt['state'];
  problem: StoredProblem | undefined;
  nextAttemptAt: number;
}

export interface ObjectionView {
  receipt: string;
  platform: Platform;
  objectedAt: number;
  receivedAt: number;
  logOrigin: string;
  logIndex: number;
  token: string;
  file: string | undefined;
  bundleProblem: StoredProblem | undefined;
}

/** `header`: the canonical JSON that will stand before the payload in what is signed. */
export interface DraftView {
  draft: Draft;
  header: string;
}

export interface PopupView {
  notice: Notice | undefined;
  draft: { screenshot: Draft['screenshot']['state'] } | undefined;
  queue: QueuedView[];
  objections: ObjectionView[];
}

export type ReceiptView =
  | { kind: 'queued'; queued: QueuedView }
  | { kind: 'recorded'; objection: ObjectionView }
  | { kind: 'unknown' };

export function viewQueued(queued: QueuedReceipt): QueuedView {
  return {
    receipt: queued.receipt_sha256,
    platform: queued.platform,
    objectedAt: queued.objected_at,
    state: queued.state,
    problem: queued.problem,
    nextAttemptAt: queued.next_attempt_at,
  };
}

export function viewObjection(objection: RecordedObjection): ObjectionView {
  return {
    receipt: objection.receipt_sha256,
    platform: objection.platform,
    objectedAt: objection.objected_at,
    receivedAt: objection.received_at,
    logOrigin: objection.log_origin,
    logIndex: objection.log_index,
    token: objection.token,
    file: objection.file,
    bundleProblem: objection.bundle_problem,
  };
}
