/** Saves a bundle to the downloads folder. */
import { browser } from 'wxt/browser';
import { ObjectionError } from '../core/errors';
import { type RecordedObjection, read } from './database';
import type { Answer, OffscreenMessage } from './messages';

const OFFSCREEN_PAGE = '/offscreen.html';
const MAX_WAIT_MS = 15_000;
const POLL_MS = 100;

export function bundleFileName({ platform, received_at, receipt_sha256 }: RecordedObjection): string {
  const day = new Date(received_at * 1000).toISOString().slice(0, 10);
  return `proof-of-objection/${platform}-${day}-${receipt_sha256.slice(0, 8)}.asice`;
}

/** Saves the bundle and returns its file name once it is on disk. Throws `download_failed`. */
export async function saveBundle(objection: RecordedObjection): Promise<string> {
  const filename = bundleFileName(objection);
  const link = await openLink(objection.receipt_sha256);
  try {
    const id = await browser.downloads.download({ url: link.url, filename, saveAs: false, conflictAction: 'uniquify' });
    await finished(id);
    return filename;
  } catch (error) {
    if (error instanceof ObjectionError) throw error;
    throw new ObjectionError('download_failed', String(error), { cause: error });
  } finally {
    await link.close();
  }
}

/** Returns a link to the bundle that lives until `close`. Chromium's worker cannot make one, so a hidden page does. */
async function openLink(receipt: string): Promise<{ url: string; close(): Promise<void> }> {
  if (typeof URL.createObjectURL === 'function') {
    const url = await bundleUrl(receipt);
    return { url, close: async () => URL.revokeObjectURL(url) };
  }
  // A page left over from a stopped worker still serves; only one may exist.
  const contexts = await browser.runtime.getContexts({ contextTypes: ['OFFSCREEN_DOCUMENT'] });
  if (contexts.length === 0) {
    await browser.offscreen.createDocument({
      url: OFFSCREEN_PAGE,
      reasons: ['BLOBS'],
      justification: 'Saves the proof to the downloads folder',
    });
  }
  const message: OffscreenMessage = { kind: 'offscreen/open', receipt };
  const answer: Answer = await browser.runtime.sendMessage(message);
  if ('error' in answer) throw new ObjectionError(answer.error.code, answer.error.message);
  return { url: String(answer.ok), close: () => browser.offscreen.closeDocument() };
}

/** Returns an object URL for a stored bundle; only a document can. */
export async function bundleUrl(receipt: string): Promise<string> {
  const objection = await read('objections', (objections) => objections.get(receipt));
  if (!objection?.bundle) throw new ObjectionError('download_failed', 'there is no bundle to save');
  return URL.createObjectURL(objection.bundle);
}

/** In the offscreen document: answers the background's requests for links. */
export function serveLinks(): void {
  browser.runtime.onMessage.addListener((raw: unknown, sender, sendResponse: (answer: Answer) => void) => {
    const message = raw as OffscreenMessage;
    // Other pages' messages to the background pass here too; they are not ours to answer.
    if (sender.id !== browser.runtime.id || sender.tab || message?.kind !== 'offscreen/open') return undefined;
    bundleUrl(message.receipt).then(
      (ok) => sendResponse({ ok }),
      (error: unknown) => sendResponse({ error: { code: 'download_failed', message: String(error) } }),
    );
    return true;
  });
}

// Polled, not by onChanged: the event of a small file can come before the listener is there.
async function finished(id: number): Promise<void> {
  for (let waited = 0; waited < MAX_WAIT_MS; waited += POLL_MS) {
    const [item] = await browser.downloads.search({ id });
    if (item?.state === 'complete') return;
    if (item?.state === 'interrupted') throw new ObjectionError('download_failed', item.error ?? 'interrupted');
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
  throw new ObjectionError('download_failed', 'the download did not finish');
}
