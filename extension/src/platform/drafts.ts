/** Reviews that are open and not yet confirmed. In session storage: gone when the browser closes, but not with the worker. */
import { browser } from 'wxt/browser';
import type { Notice, Platform } from '../core/detection';
import type { Facts } from '../core/objection';
import type { Screenshot } from './capture';
import { announceChange } from './changes';
import { randomBase64url } from './keystore';

const PREFIX = 'draft:';

export interface Draft {
  id: string;
  tabId: number | undefined;
  jti: string;
  slots: Facts['slots'];
  notice: Notice | undefined;
  /** The one whose page the tab showed. */
  platform: Platform | undefined;
  screenshot: Screenshot;
  /** The tab in which the review itself is open. */
  reviewTabId: number | undefined;
  /** Set once confirmed: the receipt that came of it, as hex SHA-256. */
  receipt: string | undefined;
}

/** Opens a draft, in place of one that was open for the same tab. */
export async function openDraft(from: Pick<Draft, 'tabId' | 'notice' | 'platform' | 'screenshot'>): Promise<Draft> {
  const earlier = await openDraftOf(from.tabId);
  if (earlier) await closeDraft(earlier.id);
  const slot = () => ({ salt: randomBase64url(16), decoy: randomBase64url(32) });
  const draft: Draft = {
    ...from,
    id: randomBase64url(16),
    jti: randomBase64url(16),
    slots: { account: slot(), contact: slot(), person: slot() },
    reviewTabId: undefined,
    receipt: undefined,
  };
  return saveDraft(draft);
}

export async function findDraft(id: string): Promise<Draft | undefined> {
  const key = PREFIX + id;
  return (await browser.storage.session.get(key))[key] as Draft | undefined;
}

/** The draft of a tab that still awaits its person's decision. */
export async function openDraftOf(tabId: number | undefined): Promise<Draft | undefined> {
  return (await allDrafts()).find((draft) => draft.tabId === tabId && tabId !== undefined && !draft.receipt);
}

export async function draftReviewedIn(reviewTabId: number): Promise<Draft | undefined> {
  return (await allDrafts()).find((draft) => draft.reviewTabId === reviewTabId);
}

async function allDrafts(): Promise<Draft[]> {
  const stored = Object.entries(await browser.storage.session.get(null));
  return stored.filter(([key]) => key.startsWith(PREFIX)).map(([, draft]) => draft as Draft);
}

/** Returns the draft as it could be saved. */
export async function saveDraft(draft: Draft): Promise<Draft> {
  try {
    await browser.storage.session.set({ [PREFIX + draft.id]: draft });
  } catch (error) {
    // The session holds 10 MB, for all open reviews together: a picture must not keep this one from opening.
    if (draft.screenshot.state !== 'taken') throw error;
    console.warn(error);
    return saveDraft({ ...draft, screenshot: { state: 'no-room' } });
  }
  announceChange();
  return draft;
}

/** Changes a draft that may be confirmed or closed at the same moment: it is read and written under one lock. */
export async function changeDraft(id: string, change: (draft: Draft) => Draft): Promise<void> {
  await navigator.locks.request('confirm', async () => {
    const draft = await findDraft(id);
    if (draft) await saveDraft(change(draft));
  });
}

export async function closeDraft(id: string): Promise<void> {
  await browser.storage.session.remove(PREFIX + id);
  announceChange();
}
