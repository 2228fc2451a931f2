/** Saves files to the downloads folder. */
import { browser } from 'wxt/browser';
import type { Bytes } from '../core/encoding';
import { ObjectionError } from '../core/errors';
import { read, write } from './database';
import { randomBase64url } from './keystore';
import type { Answer, OffscreenMessage } from './messages';

const OFFSCREEN_PAGE = '/offscreen.html';
const FOLDER = 'proof-of-objection';
const MAX_WAIT_MS = 15_000;
/** So long a person may look at the browser's "Save as". */
const MAX_ASKED_MS = 300_000;
const POLL_MS = 100;
export const SAVE_CANCELLED = 'save_cancelled';
/** What browsers call an interruption, and what a person can do about it. */
const INTERRUPTIONS: Record<string, string> = {
  USER_CANCELED: SAVE_CANCELLED,
  FILE_ACCESS_DENIED: 'save_denied',
  FILE_NO_SPACE: 'disk_full',
};

/**
 * Saves `bytes` under `name` in our folder and returns where the browser put it, once it is on disk. Never replaces a
 * file, what lies there may be the only copy: the browser then gives it another name. The caller holds the flush lock.
 * Throws `download_failed`, `save_cancelled` when a person said no, `save_denied` and `disk_full`.
 */
export async function saveFile(name: string, bytes: Bytes, type: string): Promise<string> {
  const filename = `${FOLDER}/${name}`;
  const id = randomBase64url(16);
  // Through the database: the page that makes the link cannot be handed a file by message.
  await write('passing', (files) => files.put({ id, bytes, type }));
  try {
    const link = await openLink(id);
    try {
      const url = link.url;
      const options = { url, filename, saveAs: false, conflictAction: 'uniquify' } as const;
      return placeOf(await finished(await browser.downloads.download(options)));
    } finally {
      await link.close();
    }
  } catch (error) {
    if (error instanceof ObjectionError) throw error;
    // Firefox tells some interruptions in words alone.
    const code = /cancell?ed/i.test(String(error)) ? SAVE_CANCELLED : 'download_failed';
    throw new ObjectionError(code, String(error), { cause: error });
  } finally {
    await write('passing', (files) => files.delete(id));
  }
}

/** Removes what a stopped background left behind. The caller holds the flush lock. */
export async function clearPassingFiles(): Promise<void> {
  await write('passing', (files) => files.clear());
}

/** Returns a link to the file that lives until `close`. Chromium's worker cannot make one, so a hidden page does. */
async function openLink(id: string): Promise<{ url: string; close(): Promise<void> }> {
  if (typeof URL.createObjectURL === 'function') {
    const url = await fileUrl(id);
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
  const message: OffscreenMessage = { kind: 'offscreen/open', file: id };
  const answer: Answer = await browser.runtime.sendMessage(message);
  if ('error' in answer) throw new ObjectionError(answer.error.code, answer.error.message);
  return { url: String(answer.ok), close: () => browser.offscreen.closeDocument() };
}

/** Returns an object URL for a file on its way; only a document can. */
async function fileUrl(id: string): Promise<string> {
  const passing = await read('passing', (files) => files.get(id));
  if (!passing) throw new ObjectionError('download_failed', 'there is no file to save');
  return URL.createObjectURL(new Blob([passing.bytes], { type: passing.type }));
}

/** In the offscreen document: answers the background's requests for links. */
export function serveLinks(): void {
  browser.runtime.onMessage.addListener((raw: unknown, sender, sendResponse: (answer: Answer) => void) => {
    const message = raw as OffscreenMessage;
    // Other pages' messages to the background pass here too; they are not ours to answer.
    if (sender.id !== browser.runtime.id || sender.tab || message?.kind !== 'offscreen/open') return undefined;
    fileUrl(message.file).then(
      (ok) => sendResponse({ ok }),
      (error: unknown) => sendResponse({ error: { code: 'download_failed', message: String(error) } }),
    );
    return true;
  });
}

// Polled, not by onChanged: the event of a small file can come before the listener is there.
/** Returns the path that the file got. */
async function finished(id: number): Promise<string> {
  // A file has no name as long as the browser asks the person for it.
  let isAsked = true;
  for (let waited = 0; waited < (isAsked ? MAX_ASKED_MS : MAX_WAIT_MS); waited += POLL_MS) {
    const [item] = await browser.downloads.search({ id });
    if (!item) break;
    if (item.state === 'complete') return item.filename;
    if (item.state === 'interrupted') throw interrupted(item.error ?? 'interrupted');
    isAsked = item.filename === '';
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
  if (!isAsked) throw new ObjectionError('download_failed', 'the download did not finish');
  await browser.downloads.cancel(id);
  throw interrupted('USER_CANCELED');
}

function interrupted(reason: string): ObjectionError {
  return new ObjectionError(INTERRUPTIONS[reason] ?? 'download_failed', reason);
}

/** The end of a path: what lies in our folder is told with it. */
function placeOf(path: string): string {
  const [folder, name = ''] = path.split(/[\\/]/).slice(-2);
  return folder === FOLDER ? `${FOLDER}/${name}` : name;
}
