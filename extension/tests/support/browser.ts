/** The parts of the browser's interface that fake-browser leaves out, as far as recording uses them. */
import { fakeBrowser } from 'wxt/testing/fake-browser';

export interface Downloads {
  /** Every file the browser was asked to save: name and content. */
  saved: { filename: string; content: string }[];
  fails: boolean;
  /** Why the browser stops each download, in its own words. */
  interrupted: string | undefined;
  /** How often the browser was told to replace a file that is there. */
  overwrites: number;
  /** The name that the browser gives a file. */
  named: (filename: string) => string;
}

/** A fresh browser: no storage, no database, no downloads. */
export async function freshBrowser(): Promise<Downloads> {
  fakeBrowser.reset();
  // Connections are closed after each transaction, so nothing blocks this.
  await new Promise<void>((resolve, reject) => {
    const request = indexedDB.deleteDatabase('objections');
    request.onsuccess = () => resolve();
    request.onerror = () => reject(request.error);
  });
  const downloads: Downloads = {
    saved: [],
    fails: false,
    interrupted: undefined,
    overwrites: 0,
    named: (filename) => filename,
  };
  Object.assign(fakeBrowser.downloads, {
    download: async ({ url, filename, conflictAction }: { url: string; filename: string; conflictAction: string }) => {
      if (downloads.fails) throw new Error('disk full');
      if (conflictAction !== 'uniquify') downloads.overwrites += 1;
      const { resolveObjectURL } = await import('node:buffer');
      downloads.saved.push({ filename, content: (await resolveObjectURL(url)?.text()) ?? 'nothing behind the link' });
      return downloads.saved.length;
    },
    search: async ({ id }: { id: number }) => [
      {
        ...(downloads.interrupted ? { state: 'interrupted', error: downloads.interrupted } : { state: 'complete' }),
        filename: `/home/ada/Downloads/${downloads.named(downloads.saved[id - 1]?.filename ?? '')}`,
      },
    ],
  });
  Object.assign(fakeBrowser.runtime, { getPlatformInfo: async () => ({ os: 'linux' }) });
  Object.assign(fakeBrowser.action, { setBadgeText: async () => {}, setBadgeBackgroundColor: async () => {} });
  return downloads;
}
