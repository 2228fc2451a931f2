/** What our pages are told: no keys, no shares, no evidence files. */
import type { Evidence, ObjectionReceipt, TokenClaims } from '../core/contract.gen';
import type { Notice } from '../core/detection';
import { parseBase64url, parseJson } from '../core/encoding';
import type { LaterKind } from '../core/later';
import type { MailFinding } from '../core/mail';
import type { Platform } from '../core/objection';
import { verifyReceipt } from '../core/receipts';
import { openSlots, parseDisclosure, type Slot } from '../core/tokens';
import { evidenceOf } from './amending';
import { DNS_SILENT } from './attempts';
import { anchoredOf } from './checking';
import type { QueuedLater, QueuedReceipt, RecordedLater, RecordedObjection, StoredProblem } from './database';
import type { Draft } from './drafts';
import { maySignAgain } from './resigning';
import { isWorking } from './working';

export interface QueuedView {
  kind: QueuedReceipt['kind'];
  receipt: string;
  /** The objection itself, or the one that a later receipt belongs to. */
  objection: string;
  platform: Platform;
  /** Of an objection, as in its view; else empty. */
  name: string;
  signedAt: number;
  evidence: Evidence[];
  state: QueuedReceipt['state'];
  problem: StoredProblem | undefined;
  nextAttemptAt: number;
  /** It was refused for its time, and may be signed again with another. */
  maySignAgain: boolean;
  /** It waits because nobody can look at a mail's signature, and may be kept without. */
  mayKeepUnchecked: boolean;
  /** Work for it has been under way for more than a moment. */
  working: boolean;
}

export interface ObjectionView {
  receipt: string;
  platform: Platform;
  objectedAt: number;
  receivedAt: number;
  /** As `nameOf` says; may be empty. */
  name: string;
  logOrigin: string;
  logIndex: number;
  status: RecordedObjection['status'];
  /** When the newest step was recorded: the withdrawal, the erasure. */
  changedAt: number;
  anchoring: 'recorded' | 'partly' | 'anchored';
  /** By an independent clock, as the proof shows it. */
  anchoredAt: number | undefined;
  /** The register has no independent clock. */
  noClock: boolean;
  file: string | undefined;
  bundleProblem: StoredProblem | undefined;
  /** What went wrong when the register was asked last. */
  checkProblem: StoredProblem | undefined;
  /** Whether this browser will ask again by itself. */
  asksAgain: boolean;
}

export interface LaterView {
  kind: LaterKind;
  receipt: string;
  receivedAt: number;
  logIndex: number;
  evidence: Evidence[];
  mails: Record<string, MailFinding>;
  remains: string[];
  anchoredAt: number | undefined;
}

/** `declared`: the person's own words, to choose from when showing the token. */
export interface DetailView {
  objection: ObjectionView;
  payload: ObjectionReceipt;
  header: string;
  later: LaterView[];
  queue: QueuedView[];
  declared: Partial<Record<Slot, string>>;
  evidenceBytes: number;
  leftCampaign: boolean;
  /** What the token says stands behind it: the key of a browser alone, or work besides. */
  assurance: TokenClaims['assurance'];
  /** How many objections the recovery kit of this browser holds. */
  kept: number;
}

/** An objection that stands or is on its way. `since`: seconds, when it was recorded, or else signed. */
export interface Before {
  name: string;
  recorded: boolean;
  since: number;
}

/**
 * `header`: the canonical JSON that will stand before the payload in what is signed. `before`: by platform, what was
 * objected to already.
 */
export interface DraftView {
  draft: Draft;
  header: string;
  before: Partial<Record<Platform, Before>>;
  /** How far the register's clock was from this computer's in its last answer; 0 when both agree, or none is known. */
  clockOffsetS: number;
}

/**
 * What a tab shows: a notice, or none; a page of a platform that our script does not see; or a page where none is looked
 * for. `withheld`: access to the platform that the person may give; `origins` are its match patterns.
 */
export interface PageView {
  state: 'found' | 'none' | 'unseen' | 'elsewhere';
  notice?: Notice;
  withheld?: { platform: Platform; origins: string[] };
}

export interface PopupView {
  page: PageView;
  before: DraftView['before'];
  draft: { screenshot: Draft['screenshot']['state'] } | undefined;
  queue: QueuedView[];
  objections: ObjectionView[];
}

/** SHA-256 (hex) of the register's policy as this browser knows it, and as the register shows it now. */
export interface KeysView {
  pinned: string;
  shown: string;
}

export type ReceiptView =
  | { kind: 'queued'; queued: QueuedView }
  | { kind: 'recorded'; objection: ObjectionView }
  | { kind: 'unknown' };

export function viewQueued(queued: QueuedReceipt): QueuedView {
  const later = queued.kind !== 'objection';
  return {
    kind: queued.kind,
    receipt: queued.receipt_sha256,
    objection: later ? queued.objection_sha256 : queued.receipt_sha256,
    platform: queued.platform,
    name: later ? '' : nameOf(queued),
    signedAt: later ? queued.signed_at : queued.objected_at,
    evidence: queued.evidence,
    state: queued.state,
    problem: queued.problem,
    nextAttemptAt: queued.next_attempt_at,
    maySignAgain: maySignAgain(queued.problem),
    mayKeepUnchecked: queued.kind === 'supplement' && queued.problem?.code === DNS_SILENT && !queued.unchecked,
    working: isWorking(queued.receipt_sha256),
  };
}

export function viewObjection(objection: RecordedObjection): ObjectionView {
  const { later, received_at } = objection;
  const ended = later.findLast(({ kind }) => kind === 'erasure') ?? later.findLast(({ kind }) => kind === 'withdrawal');
  return {
    receipt: objection.receipt_sha256,
    platform: objection.platform,
    objectedAt: objection.objected_at,
    receivedAt: received_at,
    name: nameOf(objection),
    logOrigin: objection.log_origin,
    logIndex: objection.log_index,
    status: objection.status,
    changedAt: ended?.received_at ?? received_at,
    anchoring: anchoringOf(objection),
    anchoredAt: objection.anchored_at,
    noClock: objection.no_clock,
    file: objection.file,
    bundleProblem: objection.bundle_problem,
    checkProblem: objection.check_problem,
    asksAgain: Number.isFinite(objection.next_check_at),
  };
}

/** By what a person tells an objection from others: their own name for it, else the account that they declared. */
export function nameOf({ own_name, disclosures }: Pick<RecordedObjection, 'own_name' | 'disclosures'>): string {
  return own_name ?? (disclosures.account ? parseDisclosure(disclosures.account).value : '');
}

// The token was checked before it was kept.
function assuranceOf({ token }: RecordedObjection): TokenClaims['assurance'] {
  return parseJson(parseBase64url(token.split('.')[1] ?? '')).assurance === 'work' ? 'work' : 'device';
}

function anchoringOf(objection: RecordedObjection): ObjectionView['anchoring'] {
  const anchored = anchoredOf(objection);
  if (anchored === 0) return 'recorded';
  return anchored === 1 + objection.later.length ? 'anchored' : 'partly';
}

/** `header`: what stands before the payload in a receipt that this browser signs. */
export async function viewDetail(
  objection: RecordedObjection,
  { queued, header, kept }: { queued: QueuedLater[]; header: string; kept: number },
): Promise<DetailView> {
  const { payload } = await verifyReceipt(objection.receipt);
  if (payload.kind !== 'objection') throw new Error('not an objection');
  return {
    objection: viewObjection(objection),
    payload,
    header,
    later: objection.later.map(viewLater),
    queue: queued.map(viewQueued),
    declared: Object.fromEntries(await openSlots(payload.self_asserted, Object.values(objection.disclosures))),
    evidenceBytes: evidenceOf(objection, queued).reduce((sum, { size }) => sum + size, 0),
    leftCampaign: objection.left_campaign ?? false,
    assurance: assuranceOf(objection),
    kept,
  };
}

function viewLater(later: RecordedLater): LaterView {
  return {
    kind: later.kind,
    receipt: later.receipt_sha256,
    receivedAt: later.received_at,
    logIndex: later.log_index,
    evidence: later.evidence,
    mails: later.mails,
    remains: later.remains,
    anchoredAt: later.anchored_at,
  };
}
