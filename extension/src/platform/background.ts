/** The background: receives messages, alarms and starts, and calls what does the work. */
import { type Browser, browser } from 'wxt/browser';
import { type Notice, originsOf, type Platform, platformOf } from '../core/detection';
import { formatJson } from '../core/encoding';
import { ObjectionError } from '../core/errors';
import { isNotice } from '../core/objection';
import { receiptHeader } from '../core/receipts';
import { queuedFor, signLater } from './amending';
import { problemOf } from './attempts';
import { badgeNotice, badgeWaiting } from './badge';
import { captureTab, type Screenshot } from './capture';
import { announceChange } from './changes';
import { clockOffsetS } from './clock';
import { inTransaction, read } from './database';
import { changeDraft, type Draft, findDraft, openDraft, openDraftOf } from './drafts';
import { forget, leave, nameObjection, recorded, saveAcknowledgement, saveAgain, saveCertificate } from './keeping';
import { holderKey } from './keystore';
import { type Answer, type Message, verifyMessage } from './messages';
import { acceptShownKeys, compareKeys } from './pins';
import { presentation, saveKit } from './presenting';
import { ALARM, attemptNow, discard, flush, keepUnchecked, lookAgain, releaseHeld } from './queue';
import { cancelDraft, confirmDraft, forgetReviewIn } from './recording';
import { getCampaigns } from './register';
import { prepareAgain, signAgain } from './resigning';
import { answeredNotices, fingerprint, objectedBefore } from './signed';
import { askTab } from './tabs';
import {
  type DetailView,
  type DraftView,
  type PageView,
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
    if (name === ALARM) unwatched(flush());
  });
  browser.tabs.onRemoved.addListener((tabId) => {
    void browser.storage.session.remove(`${DISMISSED_PREFIX}${tabId}`);
    void forgetReviewIn(tabId);
  });
  // Without a listener the background would not be woken when the browser starts.
  browser.runtime.onStartup.addListener(() => undefined);
  // At every wake: an earlier one may have been stopped between two steps.
  unwatched(badgeWaiting());
  unwatched(flush());
}

async function answer(raw: unknown, sender: Browser.runtime.MessageSender): Promise<Answer> {
  try {
    return { ok: await handle(verifyMessage(raw, sender), sender) };
  } catch (error) {
    const { code, detail } = problemOf(error);
    return { error: { code, message: detail } };
  }
}

async function handle(message: Message, sender: Browser.runtime.MessageSender): Promise<unknown> {
  switch (message.kind) {
    case 'page/notice':
      return noteNotice(sender, message.notice, message.dismissed);
    case 'page/record':
      return openReview(tabOf(sender), message.notice);
    case 'ui/popup':
      unwatched(lookAgain());
      // At the opening alone: it follows the click that allows a picture, and a refresh must not take one after the other.
      if (message.opening) await addScreenshot(message.tabId);
      return viewPopup(message.tabId);
    case 'ui/record':
      return openReview(message.tabId, (await pageOn(message.tabId)).notice);
    case 'ui/draft':
      return viewDraft(message.draft);
    case 'ui/confirm': {
      const receipt = await confirmDraft(message.draft, message.payload, message.disclosures);
      unwatched(flush()); // the sheet follows by 'ui/receipt'; it must not wait for the network
      void takeCardOf(message.draft); // nor for a tab that hangs
      return receipt;
    }
    case 'ui/cancel':
      return cancelDraft(message.draft);
    case 'ui/receipt':
      return viewReceipt(message.receipt);
    case 'ui/attempt':
      return attemptNow(message.receipt);
    case 'ui/unchecked':
      return keepUnchecked(message.receipt);
    case 'ui/again':
      return prepareAgain(message.receipt);
    case 'ui/sign-again': {
      const receipt = await signAgain(message.receipt, message.payload);
      unwatched(flush());
      return receipt;
    }
    case 'ui/discard':
      return discard(message.receipt);
    case 'ui/save':
      return saveAgain(message.receipt);
    case 'ui/objection':
      unwatched(lookAgain());
      return viewOf(message.receipt);
    case 'ui/name':
      return nameObjection(message.receipt, message.name);
    case 'ui/certificate':
      return saveCertificate(message.receipt, message.language);
    case 'ui/later': {
      const receipt = await signLater(message.payload, message.files);
      announceChange();
      unwatched(flush()); // the page follows by 'ui/objection'
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
    case 'ui/keys':
      return compareKeys();
    case 'ui/accept-keys':
      await acceptShownKeys(message.fingerprint);
      return releaseHeld();
  }
}

function tabOf(sender: Browser.runtime.MessageSender): number {
  const id = sender.tab?.id;
  if (id === undefined) throw new ObjectionError('message_refused', 'not from a tab');
  return id;
}

/** Remembers a dismissal, and answers whether the card should be shown. */
async function noteNotice(
  sender: Browser.runtime.MessageSender,
  notice: Notice | null,
  dismissed: boolean,
): Promise<{ show: boolean }> {
  const tabId = tabOf(sender);
  // In the order in which they came: the badge is for the newest, and a question sees the dismissals before it.
  return navigator.locks.request('notice', async () => {
    await badgeNotice(tabId, notice !== null);
    // Nothing is recorded from a private window; the popup says so.
    if (!notice || sender.tab?.incognito) return { show: false };
    if (dismissed) await dismiss(tabId, notice);
    const name = await fingerprint(notice);
    // A notice that was answered asks no more, in whichever tab.
    return { show: !(await dismissedOn(tabId)).includes(name) && !(await answeredNotices()).has(name) };
  });
}

async function takeCardOf(draftId: string): Promise<void> {
  const draft = await findDraft(draftId);
  if (draft?.tabId !== undefined) await askTab(draft.tabId, { kind: 'tab/answered' });
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

/** Asks the tab itself: what a tab showed earlier may be gone. */
async function pageOn(tabId: number): Promise<PageView> {
  const answer = await askTab(tabId, { kind: 'tab/notice' });
  const notice = isNotice(answer) ? answer : undefined;
  const platform = notice?.platform ?? (await platformShown(tabId));
  if (!platform) return { state: answer === null ? 'none' : 'elsewhere' };
  const page: PageView = notice ? { state: 'found', notice } : { state: answer === null ? 'none' : 'unseen' };
  const origins = originsOf(platform);
  const isWithheld = page.state === 'unseen' || (await lacksAccess(origins));
  return isWithheld ? { ...page, withheld: { platform, origins } } : page;
}

/** Firefox runs our script after a click on the icon even where a person took the access away. Chromium tells nothing. */
async function lacksAccess(origins: string[]): Promise<boolean> {
  return import.meta.env.FIREFOX && !(await browser.permissions.contains({ origins }));
}

async function noticeOn(tabId: number): Promise<Notice | undefined> {
  return (await pageOn(tabId)).notice;
}

/** Opens the review, or brings to the front the one that is open for the same tab and notice. */
async function openReview(tabId: number, notice: Notice | undefined): Promise<void> {
  await refusePrivate(tabId);
  // One at a time: a double click must not open two.
  await navigator.locks.request('review', async () => {
    const earlier = await openDraftOf(tabId);
    if (earlier && (await sameNotice(earlier.notice, notice))) return showReview(earlier);
    // Without a notice there is nothing to photograph, and the tab may show anything: a bank, a letter.
    const screenshot = notice ? await photograph(tabId, notice) : ({ state: 'not-wanted' } as const);
    const platform = notice?.platform ?? (await platformShown(tabId));
    return showReview(await openDraft({ tabId, notice, platform, screenshot: screenshot ?? { state: 'refused' } }));
  });
}

/** A private window is meant to leave nothing behind, and what is recorded stays: in the ordinary profile. */
async function refusePrivate(tabId: number): Promise<void> {
  if ((await tabOn(tabId))?.incognito) throw new ObjectionError('private_window', 'nothing is recorded from there');
}

/** The platform whose page a tab shows. The browser names the address only after a click on the toolbar's icon. */
async function platformShown(tabId: number): Promise<Platform | undefined> {
  const url = (await tabOn(tabId))?.url ?? '';
  return URL.canParse(url) ? platformOf(new URL(url).hostname) : undefined;
}

/** Work that nobody waits for: what went wrong is kept with the record, and storage that does not open is told when asked. */
function unwatched(work: Promise<void>): void {
  work.catch((error: unknown) => console.warn(error));
}

/** Undefined when the tab is gone. */
function tabOn(tabId: number): Promise<Browser.tabs.Tab | undefined> {
  return browser.tabs.get(tabId).catch(() => undefined);
}

async function showReview(draft: Draft): Promise<void> {
  if (draft.reviewTabId !== undefined && (await focusTab(draft.reviewTabId))) return;
  const url = browser.runtime.getURL(`/review.html?draft=${draft.id}`);
  const opened = await browser.windows.create({ url, type: 'popup', ...REVIEW_SIZE });
  await changeDraft(draft.id, (latest) => ({ ...latest, reviewTabId: opened?.tabs?.[0]?.id }));
}

/** Brings a tab to the front; false when it is gone. */
async function focusTab(tabId: number): Promise<boolean> {
  try {
    const tab = await browser.tabs.update(tabId, { active: true });
    if (tab) await browser.windows.update(tab.windowId, { focused: true });
    return true;
  } catch (error) {
    console.info('the review is gone:', error);
    return false;
  }
}

async function sameNotice(one: Notice | undefined, other: Notice | undefined): Promise<boolean> {
  if (!one || !other) return one === other;
  return (await fingerprint(one)) === (await fingerprint(other));
}

/** Adds a screenshot to the open review of a tab: possible once the toolbar icon was clicked there. */
async function addScreenshot(tabId: number): Promise<void> {
  // Not while another one is taken: that one's end would bring the card back into this picture.
  await navigator.locks.request('review', async () => {
    const draft = await openDraftOf(tabId);
    if (!draft?.notice || draft.screenshot.state === 'taken') return;
    const screenshot = await photograph(tabId, draft.notice);
    if (screenshot) await changeDraft(draft.id, (latest) => (latest.receipt ? latest : { ...latest, screenshot }));
  });
}

/**
 * Photographs a tab that shows `notice`, before and after: it may have gone to a bank, or to a letter. Undefined for a tab
 * that does not.
 */
async function photograph(tabId: number, notice: Notice): Promise<Screenshot | undefined> {
  const isShown = async () => sameNotice(notice, await noticeOn(tabId));
  if (!(await isShown())) return undefined;
  const screenshot = await captureTab(tabId);
  return (await isShown()) ? screenshot : undefined;
}

async function viewDraft(id: string): Promise<DraftView | undefined> {
  const draft = await findDraft(id);
  if (!draft) return undefined;
  const header = formatJson(receiptHeader((await holderKey()).jwk));
  return { draft, header, before: await objectedBefore(), clockOffsetS: await clockOffsetS() };
}

async function viewPopup(tabId: number): Promise<PopupView> {
  const draft = await openDraftOf(tabId);
  const lists = await inTransaction(['queue', 'objections'], 'readonly', async (store) => ({
    queue: (await store('queue').all()).map(viewQueued),
    objections: (await store('objections').all()).map(viewObjection),
  }));
  return {
    page: await pageOn(tabId),
    before: await objectedBefore(),
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
