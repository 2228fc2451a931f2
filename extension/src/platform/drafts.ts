/** Reviews that are open and not yet confirmed. In session storage: gone when the browser closes, but not with the worker. */
import { browser } from 'wxt/browser';
import type { Notice } from '../core/detection';
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
  screenshot: Screenshot;
  /** Set once confirmed: the receipt that came of it, as hex SHA-256. */
  receipt: string | undefined;
}

/** Opens a draft, in place of one that was open for the same tab. */
export async function openDraft(from: Pick<Draft, 'tabId' | 'notice' | 'screenshot'>): Promise<Draft> {
  const earlier = await openDraftOf(from.tabId);
  if (earlier) await closeDraft(earlier.id);
  const slot = () => ({ salt: randomBase64url(16), decoy: randomBase64url(32) });
  const draft: Draft = {
    ...from,
    id: randomBase64url(16),
    jti: randomBase64url(16),
    slots: { account: slot(), contact: slot(), person: slot() },
    receipt: undefined,
  };
  try {
    await saveDraft(draft);
    return draft;
  } catch (error) {
    // The session holds 10 MB: a huge picture must not keep the review from opening.
    if (draft.screenshot.state !== 'taken') throw error;
    console.warn(error);
    const without: Draft = { ...draft, screenshot: { state: 'too-large' } };
    await saveDraft(without);
    return without;
  }
}

export async function findDraft(id: string): Promise<Draft | undefined> {
  const key = PREFIX + id;
  return (await browser.storage.session.get(key))[key] as Draft | undefined;
}

/** The draft of a tab that still awaits its person's decision. */
export async function openDraftOf(tabId: number | undefined): Promise<Draft | undefined> {
  const drafts = Object.entries(await browser.storage.session.get(null)).filter(([key]) => key.startsWith(PREFIX));
  return drafts
    .map(([, draft]) => draft as Draft)
    .find((draft) => draft.tabId === tabId && tabId !== undefined && !draft.receipt);
}

export async function saveDraft(draft: Draft): Promise<void> {
  await browser.storage.session.set({ [PREFIX + draft.id]: draft });
  announceChange();
}

export async function closeDraft(id: string): Promise<void> {
  await browser.storage.session.remove(PREFIX + id);
  announceChange();
}
