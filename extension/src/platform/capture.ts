/** A picture of the tab as the person sees it, taken only after their click, without our own card on it. */
import { browser } from 'wxt/browser';
import { MAX_EVIDENCE_BYTES } from '../core/receipts';
import { askTab } from './tabs';

const DATA_URL = 'data:image/jpeg;base64,';

/**
 * `refused`: the browser gave no permission, because the toolbar icon was not clicked on this page, or the page did not
 * show the notice before and after. `no-room`: it was taken, and the browser's session storage cannot hold it.
 */
export type Screenshot =
  | { state: 'taken'; jpegBase64: string }
  | { state: 'refused' | 'too-large' | 'no-room' | 'not-wanted' };

/** Photographs `tab` if it is what its window shows. Never throws: an objection does not depend on a picture. */
export async function captureTab(tabId: number): Promise<Screenshot> {
  try {
    const { active, windowId } = await browser.tabs.get(tabId);
    if (!active) return { state: 'refused' };
    await hideCard(tabId, true);
    const url = await browser.tabs.captureVisibleTab(windowId, { format: 'jpeg', quality: 80 });
    if (!url.startsWith(DATA_URL)) return { state: 'refused' };
    const jpegBase64 = url.slice(DATA_URL.length);
    return jpegBase64.length > (MAX_EVIDENCE_BYTES / 3) * 4 ? { state: 'too-large' } : { state: 'taken', jpegBase64 };
  } catch (error) {
    // Both browsers only say so in words; without activeTab this is the normal case after a click on our card.
    console.info('no screenshot:', error);
    return { state: 'refused' };
  } finally {
    await hideCard(tabId, false);
  }
}

/** Hides our card on a tab, or shows it again; resolves once that is painted. */
async function hideCard(tabId: number, hidden: boolean): Promise<void> {
  await askTab(tabId, { kind: 'tab/card', hidden });
}
