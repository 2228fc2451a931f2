/** The background: receives messages, alarms and starts, and calls what does the work. */
import { type Browser, browser } from 'wxt/browser';
import type { Notice } from '../core/detection';
import { formatJson, sha256Hex, utf8 } from '../core/encoding';
import { ObjectionError } from '../core/errors';
import { isNotice } from '../core/objection';
import { receiptHeader } from '../core/receipts';
import { queuedFor, signLater } from './amending';
import { badgeNotice, badgeWaiting } from './badge';
import { captureTab, showCard } from './capture';
import { announceChange } from './changes';
import { inTransaction, read } from './database';
import { closeDraft, type Draft, findDraft, openDraft, openDraftOf, saveDraft } from './drafts';
import { forget, leave, lookAgain, recorded, saveAcknowledgement, saveAgain, saveCertificate } from './keeping';
import { holderKey } from './keystore';
import { type Answer, type Message, type TabMessage, verifyMessage } from './messages';
import { acceptShownKeys } from './pins';
import { presentation, saveKit } from './presenting';
import { ALARM, attemptNow, discard, flush, releaseHeld } from './queue';
import { confirmDraft } from './recording';
import { getCampaigns } from './register';
import {
  type DetailView,
  type DraftView,
  type PopupView,
  type ReceiptView,
  viewDetail,
  viewObjection,
  viewQueued,
} from './views';

const REVIEW_SIZE = { width: 680, height: 860 };
const DISMISSED_PREFIX = 'dismissed:';

export function startBackground(): void {
  // sendResponse and `true`: a returned promise does not work in Chromium.
  browser.runtime.onMessage.addListener((raw: unknown, sender, sendResponse: (answer: Answer) => void) => {
    answer(raw, sender).then(sendResponse);
    return true;
  });
  browser.alarms.onAlarm.addListener(({ name }) => {
    if (name === ALARM) void flush();
  });
  browser.tabs.onRemoved.addListener((tabId) => void browser.storage.session.remove(`${DISMISSED_PREFIX}${tabId}`));
  // Without a listener the background would not be woken when the browser starts.
  browser.runtime.onStartup.addListener(() => undefined);
  // At every wake: an earlier one may have been stopped between two steps.
  void badgeWaiting();
  void flush();
}

async function answer(raw: unknown, sender: Browser.runtime.MessageSender): Promise<Answer> {
  try {
    return { ok: await handle(verifyMessage(raw, sender), sender) };
  } catch (error) {
    if (error instanceof ObjectionError) return { error: { code: error.code, message: error.message } };
    console.error(error);
    return { error: { code: 'internal', message: String(error) } };
  }
}

async function handle(message: Message, sender: Browser.runtime.MessageSender): Promise<unknown> {
  switch (message.kind) {
    case 'page/notice':
      return noteNotice(tabOf(sender), message.notice, message.dismissed);
    case 'page/record':
      return openReview(tabOf(sender), message.notice);
    case 'ui/popup':
      void lookAgain();
      return viewPopup(message.tabId);
    case 'ui/record':
      return openReview(message.tabId, await noticeOn(message.tabId));
    case 'ui/draft':
      return viewDraft(message.draft);
    case 'ui/confirm': {
      const receipt = await confirmDraft(message.draft, message.payload, message.disclosures);
      await retireCard(await findDraft(message.draft));
      void flush(); // the sheet follows by 'ui/receipt'; it must not wait for the network
      return receipt;
    }
    case 'ui/cancel':
      return closeDraft(message.draft);
    case 'ui/receipt':
      return viewReceipt(message.receipt);
    case 'ui/attempt':
      return attemptNow(message.receipt);
    case 'ui/discard':
      return discard(message.receipt);
    case 'ui/save':
      return saveAgain(message.receipt);
    case 'ui/objection':
      void lookAgain();
      return viewOf(message.receipt);
    case 'ui/certificate':
      return saveCertificate(message.receipt, message.language);
    case 'ui/later': {
      const receipt = await signLater(message.payload, message.files);
      announceChange();
      void flush(); // the page follows by 'ui/objection'
      return receipt;
    }
    case 'ui/present':
      return presentation(await recorded(message.receipt), message.slots, message.challenge);
    case 'ui/acknowledgement':
      return saveAcknowledgement(message.receipt);
    case 'ui/campaigns':
      return getCampaigns();
    case 'ui/leave':
      return leave(message.receipt);
    case 'ui/kit':
      return saveKit();
    case 'ui/forget':
      return forget(message.receipt);
    case 'ui/accept-keys':
      await acceptShownKeys();
      return releaseHeld();
  }
}

function tabOf(sender: Browser.runtime.MessageSender): number {
  const id = sender.tab?.id;
  if (id === undefined) throw new ObjectionError('message_refused', 'not from a tab');
  return id;
}

/** Remembers a dismissal, and answers whether the card should be shown. */
async function noteNotice(tabId: number, notice: Notice | null, dismissed: boolean): Promise<{ show: boolean }> {
  await badgeNotice(tabId, notice !== null);
  if (!notice) return { show: false };
  if (dismissed) await dismiss(tabId, notice);
  return { show: !(await dismissedOn(tabId)).includes(await fingerprint(notice)) };
}

/** A notice that was answered asks no more. */
async function retireCard(draft: Draft | undefined): Promise<void> {
  if (draft?.tabId === undefined || !draft.notice) return;
  await dismiss(draft.tabId, draft.notice);
  await showCard(draft.tabId, false);
}

async function dismiss(tabId: number, notice: Notice): Promise<void> {
  const digests = new Set([...(await dismissedOn(tabId)), await fingerprint(notice)]);
  await browser.storage.session.set({ [`${DISMISSED_PREFIX}${tabId}`]: [...digests] });
}

async function dismissedOn(tabId: number): Promise<string[]> {
  const key = `${DISMISSED_PREFIX}${tabId}`;
  const stored = (await browser.storage.session.get(key))[key];
  return Array.isArray(stored) ? stored.map(String) : [];
}

function fingerprint({ rule, text }: Notice): Promise<string> {
  return sha256Hex(utf8(`${rule}\n${text}`));
}

/** Asks the tab itself: what a tab showed earlier may be gone. Undefined where our content script does not run. */
async function noticeOn(tabId: number): Promise<Notice | undefined> {
  const message: TabMessage = { kind: 'tab/notice' };
  const notice: unknown = await browser.tabs.sendMessage(tabId, message).catch(() => undefined);
  return isNotice(notice) ? notice : undefined;
}

async function openReview(tabId: number, notice: Notice | undefined): Promise<void> {
  // Without a notice there is nothing to photograph, and the tab may show anything: a bank, a letter.
  const screenshot = notice ? await captureTab(tabId) : ({ state: 'not-wanted' } as const);
  const { id } = await openDraft({ tabId, notice, screenshot });
  const url = browser.runtime.getURL(`/review.html?draft=${id}`);
  // Firefox for Android has no windows.
  if (browser.windows) await browser.windows.create({ url, type: 'popup', ...REVIEW_SIZE });
  else await browser.tabs.create({ url });
}

/** Adds a screenshot to the open review of a tab: possible once the toolbar icon was clicked there. */
async function addScreenshot(tabId: number): Promise<void> {
  const draft = await openDraftOf(tabId);
  if (!draft?.notice || draft.screenshot.state === 'taken') return;
  const screenshot = await captureTab(tabId);
  const latest = await findDraft(draft.id); // it may have been confirmed or cancelled meanwhile
  if (latest && !latest.receipt) await saveDraft({ ...latest, screenshot });
}

async function viewDraft(id: string): Promise<DraftView | undefined> {
  const draft = await findDraft(id);
  return draft && { draft, header: formatJson(receiptHeader((await holderKey()).jwk)) };
}

async function viewPopup(tabId: number): Promise<PopupView> {
  await addScreenshot(tabId);
  const draft = await openDraftOf(tabId);
  const lists = await inTransaction(['queue', 'objections'], 'readonly', async (store) => ({
    queue: (await store('queue').all()).map(viewQueued),
    objections: (await store('objections').all()).map(viewObjection),
  }));
  return {
    notice: await noticeOn(tabId),
    draft: draft && { screenshot: draft.screenshot.state },
    queue: lists.queue.sort((one, other) => other.signedAt - one.signedAt),
    objections: lists.objections.sort((one, other) => other.receivedAt - one.receivedAt),
  };
}

async function viewOf(receipt: string): Promise<DetailView | undefined> {
  const objections = await read('objections', (store) => store.all());
  const objection = objections.find(({ receipt_sha256 }) => receipt_sha256 === receipt);
  if (!objection) return undefined;
  const header = formatJson(receiptHeader((await holderKey()).jwk));
  return viewDetail(objection, { queued: await queuedFor(objection), header, kept: objections.length });
}

async function viewReceipt(receipt: string): Promise<ReceiptView> {
  return inTransaction(['queue', 'objections'], 'readonly', async (store) => {
    const objection = await store('objections').get(receipt);
    if (objection) return { kind: 'recorded', objection: viewObjection(objection) };
    const queued = await store('queue').get(receipt);
    return queued ? { kind: 'queued', queued: viewQueued(queued) } : { kind: 'unknown' };
  });
}
