/** Asks the content script of a tab. */
import { browser } from 'wxt/browser';
import type { TabMessage } from './messages';

const PATIENCE_MS = 1_000;

/** Returns what the tab answers; undefined where our script does not run, or hangs with its page. */
export async function askTab(tabId: number, message: TabMessage): Promise<unknown> {
  const late = new Promise<undefined>((resolve) => setTimeout(resolve, PATIENCE_MS, undefined));
  return Promise.race([browser.tabs.sendMessage(tabId, message).catch(() => undefined), late]);
}
