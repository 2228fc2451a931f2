/** The toolbar icon's badge: a notice on this tab, or receipts that wait. */
import { browser } from 'wxt/browser';
import { announceChange } from './changes';
import { read } from './database';
import { t } from './text';

const NOTICE_COLOUR = '#1d4ed8';
const WAITING_COLOUR = '#b45309';

export async function badgeNotice(tabId: number, found: boolean): Promise<void> {
  // An empty text for a tab would hide the count of waiting receipts there; null gives the tab back to it.
  const text = (found ? '!' : null) as string;
  await browser.action.setBadgeText({ tabId, text });
  await browser.action.setTitle({ tabId, title: t(found ? 'action_title_found' : 'name') });
  if (found) await browser.action.setBadgeBackgroundColor({ tabId, color: NOTICE_COLOUR });
}

/** Tells whoever shows our state that it changed. */
export async function changed(): Promise<void> {
  announceChange();
  await badgeWaiting();
}

export async function badgeWaiting(): Promise<void> {
  const waiting = (await read('queue', (queue) => queue.all())).length;
  await browser.action.setBadgeBackgroundColor({ color: WAITING_COLOUR });
  await browser.action.setBadgeText({ text: waiting > 0 ? String(waiting) : '' });
}
