import { beforeEach, describe, expect, it, vi } from 'vitest';
import { browser } from 'wxt/browser';
import { fakeBrowser } from 'wxt/testing/fake-browser';
import type { Notice } from '../../src/core/detection';
import { formatLater } from '../../src/core/later';
import { startBackground } from '../../src/platform/background';
import { read } from '../../src/platform/database';
import type { Draft } from '../../src/platform/drafts';
import type { Answer } from '../../src/platform/messages';
import type { DetailView, DraftView, PopupView, ReceiptView } from '../../src/platform/views';
import { freshBrowser } from '../support/browser';
import { built, JPEG_BASE64, NOTICE } from '../support/draft';
import { problem, RECEIVED_AT, type Register, startRegister } from '../support/register';

const TAB = 7;
const REVIEW_TAB = 70;
const ui = { id: browser.runtime.id, url: browser.runtime.getURL('/popup.html' as '/popup.html') };
const page = { id: browser.runtime.id, url: 'https://www.facebook.com/', tab: { id: TAB } };

/** What the tab in front shows, and whether the browser lets us photograph it. */
let tab: {
  active: boolean;
  url?: string;
  incognito?: boolean;
  notice: Notice | null;
  captures: 'allowed' | 'refused';
  card: string[];
  hangs: boolean;
};
let opened: string[];
let focused: number[];
let register: Register;
let listener: (message: unknown, sender: unknown, respond: (answer: Answer) => void) => boolean;

beforeEach(async () => {
  await freshBrowser();
  register = await startRegister();
  vi.stubGlobal('fetch', (url: string, init?: RequestInit) => register.fetch(new Request(url, init)));
  tab = { active: true, notice: NOTICE, captures: 'allowed', card: [], hangs: false };
  opened = [];
  focused = [];
  vi.spyOn(console, 'info').mockImplementation(() => {});
  Object.assign(fakeBrowser.tabs, {
    get: async () => ({ active: tab.active, windowId: 1, url: tab.url, incognito: tab.incognito }),
    captureVisibleTab: async () => {
      if (tab.captures === 'refused') throw new Error("Either the '<all_urls>' or 'activeTab' permission is required.");
      tab.card.push('photographed');
      return `data:image/jpeg;base64,${JPEG_BASE64}`;
    },
    sendMessage: async (_: number, message: { kind: string; hidden?: boolean }) => {
      if (tab.hangs) return new Promise(() => {});
      if (message.kind === 'tab/notice') return tab.notice;
      if (message.kind === 'tab/answered') tab.card.push('taken away');
      else tab.card.push(message.hidden ? 'hidden' : 'shown');
      return null;
    },
  });
  Object.assign(fakeBrowser.windows, {
    create: async ({ url }: { url: string }) => {
      opened.push(url);
      return { tabs: [{ id: REVIEW_TAB }] };
    },
    update: async () => ({}),
  });
  Object.assign(fakeBrowser.tabs, {
    update: async (id: number) => {
      focused.push(id);
      return { windowId: 2 };
    },
  });
  Object.assign(fakeBrowser.action, { setTitle: async () => {} });
  browser.i18n.getMessage = ((key: string) => key) as never;
  vi.spyOn(browser.runtime.onMessage, 'addListener').mockImplementation((added) => {
    listener = added as typeof listener;
  });
  startBackground();
});

async function say<T>(message: unknown, sender: unknown = ui): Promise<T> {
  const answer = await new Promise<Answer>((resolve) => expect(listener(message, sender, resolve)).toBe(true));
  if ('error' in answer) throw Object.assign(new Error(answer.error.message), answer.error);
  return answer.ok as T;
}

const draftId = () => new URL(opened.at(-1) ?? '').searchParams.get('draft') ?? '';
const draft = async () => (await say<{ draft: Draft }>({ kind: 'ui/draft', draft: draftId() })).draft;

const popup = (changes: { tabId?: number; opening?: boolean } = {}) =>
  say<PopupView>({ kind: 'ui/popup', tabId: TAB, opening: true, ...changes });

/** Records an objection to the notice, and returns its hash. */
async function recordOne(choices: Parameters<typeof built>[1] = {}): Promise<string> {
  await say({ kind: 'ui/record', tabId: TAB });
  const { payload, disclosures } = await built(await draft(), choices);
  const receipt = await say<string>({ kind: 'ui/confirm', draft: draftId(), payload, disclosures });
  await vi.waitFor(async () => expect((await read('objections', (store) => store.get(receipt)))?.file).toBeTruthy());
  return receipt;
}

describe('opening the review', () => {
  it('from the popup: with the notice that the tab shows now, and a picture without our card', async () => {
    await say({ kind: 'ui/record', tabId: TAB });
    expect(opened[0]).toContain('/review.html?draft=');
    expect((await draft()).notice).toEqual(NOTICE);
    expect((await draft()).screenshot).toEqual({ state: 'taken', jpegBase64: JPEG_BASE64 });
    expect(tab.card).toEqual(['hidden', 'photographed', 'shown']);
  });

  it('from the card: the browser may refuse the picture, and the review opens all the same', async () => {
    tab.captures = 'refused';
    await say({ kind: 'page/record', notice: NOTICE }, page);
    expect((await draft()).screenshot).toEqual({ state: 'refused' });
    expect(tab.card.at(-1)).toBe('shown');
  });

  it('never photographs a tab that shows no notice', async () => {
    tab.notice = null;
    await say({ kind: 'ui/record', tabId: TAB });
    expect((await draft()).notice).toBeUndefined();
    expect(tab.card).toEqual([]);
  });

  it.each<[string, object]>([
    ['the popup', { kind: 'ui/record', tabId: TAB }],
    ['the card', { kind: 'page/record', notice: NOTICE }],
  ])('from %s keeps no picture of a tab that left the notice in that moment', async (_, message) => {
    browser.tabs.captureVisibleTab = (async () => {
      tab.notice = null;
      return `data:image/jpeg;base64,${JPEG_BASE64}`;
    }) as never;
    await say(message, 'tabId' in message ? ui : page);
    expect((await draft()).screenshot).toEqual({ state: 'refused' });
  });

  it('never photographs another tab than the one that was meant', async () => {
    tab.active = false;
    await say({ kind: 'page/record', notice: NOTICE }, page);
    expect(tab.card).not.toContain('photographed');
  });

  it('does not believe a tab that answers with something else than a notice', async () => {
    tab.notice = { ...NOTICE, url: 'https://evil.example/' };
    await say({ kind: 'ui/record', tabId: TAB });
    expect((await draft()).notice).toBeUndefined();
  });

  it('happens once, however often it is asked for', async () => {
    const record = () => say({ kind: 'page/record', notice: NOTICE }, page);
    await Promise.all([record(), record()]);
    await say({ kind: 'ui/record', tabId: TAB });
    expect(opened).toHaveLength(1);
    expect(focused).toEqual([REVIEW_TAB, REVIEW_TAB]);
  });

  it('happens again when its window is gone', async () => {
    await say({ kind: 'ui/record', tabId: TAB });
    browser.tabs.update = (async () => Promise.reject(new Error('No tab with id: 70.'))) as never;
    await say({ kind: 'ui/record', tabId: TAB });
    expect(opened).toHaveLength(2);
    expect(opened[1]).toBe(opened[0]);
  });

  it('replaces the review of another notice in the same tab', async () => {
    await say({ kind: 'ui/record', tabId: TAB });
    const first = draftId();
    tab.notice = { ...NOTICE, text: 'Another notice.' };
    await say({ kind: 'ui/record', tabId: TAB });
    expect(await say({ kind: 'ui/draft', draft: first })).toBeUndefined();
    expect(await draft()).toBeDefined();
  });
});

it('a picture too large for the session does not keep the review from opening', async () => {
  vi.spyOn(console, 'warn').mockImplementation(() => {});
  vi.spyOn(browser.storage.session, 'set').mockRejectedValueOnce(new Error('QUOTA_BYTES exceeded'));
  await say({ kind: 'ui/record', tabId: TAB });
  expect((await draft()).screenshot).toEqual({ state: 'no-room' });
});

it('a picture that comes later and finds no room does not break the popup', async () => {
  vi.spyOn(console, 'warn').mockImplementation(() => {});
  tab.captures = 'refused';
  await say({ kind: 'page/record', notice: NOTICE }, page);
  tab.captures = 'allowed';
  vi.spyOn(browser.storage.session, 'set').mockRejectedValueOnce(new Error('QUOTA_BYTES exceeded'));
  expect((await popup()).draft).toEqual({ screenshot: 'no-room' });
});

describe('a review', () => {
  it('ends when its tab is closed, with its picture', async () => {
    await say({ kind: 'ui/record', tabId: TAB });
    await fakeBrowser.tabs.onRemoved.trigger(TAB, { windowId: 1, isWindowClosing: false });
    expect(await draft()).toBeDefined(); // the notice's own tab may go
    await fakeBrowser.tabs.onRemoved.trigger(REVIEW_TAB, { windowId: 2, isWindowClosing: true });
    await vi.waitFor(async () => expect(await browser.storage.session.get(null)).toEqual({}));
  });

  it('that was confirmed is sent all the same', async () => {
    await say({ kind: 'ui/record', tabId: TAB });
    const { payload } = await built(await draft());
    const confirmed = say<string>({ kind: 'ui/confirm', draft: draftId(), payload, disclosures: {} });
    await fakeBrowser.tabs.onRemoved.trigger(REVIEW_TAB, { windowId: 2, isWindowClosing: true });
    const receipt = await confirmed;
    await vi.waitFor(async () => expect((await read('objections', (store) => store.get(receipt)))?.file).toBeTruthy());
    expect(JSON.stringify(await browser.storage.session.get(null))).not.toContain('draft:');
  });

  it('says that there is an objection on this platform already', async () => {
    await recordOne();
    const before = { facebook: { recorded: true, since: RECEIVED_AT, name: '' } };
    expect((await popup()).before).toEqual(before);
    await say({ kind: 'ui/record', tabId: TAB });
    expect((await say<DraftView>({ kind: 'ui/draft', draft: draftId() })).before).toEqual(before);
  });
});

describe('without a notice', () => {
  it.each([
    ['https://www.instagram.com/direct/inbox/', 'instagram'],
    ['https://www.threads.com/', 'threads'],
    ['https://instagram.com.example/', undefined],
    [undefined, undefined],
  ])('on %s the platform is %s', async (url, platform) => {
    Object.assign(tab, { notice: null, url });
    await say({ kind: 'ui/record', tabId: TAB });
    expect((await draft()).platform).toBe(platform);
  });
});

it('two objections on one platform are told apart by what their person calls them', async () => {
  const first = await recordOne({ declared: { account: '@ada' } });
  const second = await recordOne({ declared: { account: '@ada.work' } });
  const names = async () => Object.fromEntries((await popup()).objections.map(({ receipt, name }) => [receipt, name]));
  expect(await names()).toEqual({ [first]: '@ada', [second]: '@ada.work' });
  await say({ kind: 'ui/name', receipt: first, name: ' my own ' });
  expect(await names()).toEqual({ [first]: 'my own', [second]: '@ada.work' });
  const posted = register.posted.flatMap((body) => [...body.values()].map(String)).join('');
  expect(posted).not.toContain('my own');
  await say({ kind: 'ui/name', receipt: first, name: '' });
  expect((await names())[first]).toBe('@ada');
});

it('what a tab shows is told as it is: no notice, not seen, or not looked for', async () => {
  const { sendMessage } = fakeBrowser.tabs;
  Object.assign(tab, { notice: null, url: 'https://www.facebook.com/' });
  expect((await popup()).page).toEqual({ state: 'none' });
  fakeBrowser.tabs.sendMessage = (async () => Promise.reject(new Error('no receiving end'))) as never;
  expect((await popup()).page).toEqual({
    state: 'unseen',
    withheld: { platform: 'facebook', origins: ['https://*.facebook.com/*'] },
  });
  tab.url = 'https://news.example/';
  expect((await popup()).page).toEqual({ state: 'elsewhere' });
  fakeBrowser.tabs.sendMessage = sendMessage;
});

describe('a private window', () => {
  beforeEach(() => {
    tab.incognito = true;
  });

  it('shows no card, and the badge all the same', async () => {
    const badge = vi.spyOn(browser.action, 'setBadgeText');
    const sender = { ...page, tab: { id: TAB, incognito: true } };
    expect(await say({ kind: 'page/notice', notice: NOTICE, dismissed: false }, sender)).toEqual({ show: false });
    expect(badge).toHaveBeenCalledWith({ tabId: TAB, text: '!' });
  });

  it('records nothing', async () => {
    await expect(say({ kind: 'page/record', notice: NOTICE }, page)).rejects.toMatchObject({ code: 'private_window' });
    await expect(say({ kind: 'ui/record', tabId: TAB })).rejects.toMatchObject({ code: 'private_window' });
    expect(opened).toEqual([]);
  });
});

it('a browser that keeps nothing shows the card, and says why it cannot record', async () => {
  const open = vi.spyOn(indexedDB, 'open').mockImplementation(() => {
    throw new DOMException('A mutation operation was attempted on a database', 'InvalidStateError');
  });
  expect(await say({ kind: 'page/notice', notice: NOTICE, dismissed: false }, page)).toEqual({ show: true });
  await say({ kind: 'page/record', notice: NOTICE }, page);
  await expect(say({ kind: 'ui/draft', draft: draftId() })).rejects.toMatchObject({ code: 'storage_unusable' });
  await expect(popup()).rejects.toMatchObject({ code: 'storage_unusable' });
  open.mockRestore();
});

describe('a tab that hangs', () => {
  beforeEach(async () => {
    await say({ kind: 'ui/record', tabId: TAB });
    tab.hangs = true;
  });

  it('does not hold up a confirmation', async () => {
    const { payload } = await built(await draft());
    const started = Date.now();
    await say<string>({ kind: 'ui/confirm', draft: draftId(), payload, disclosures: {} });
    expect(Date.now() - started).toBeLessThan(900);
  });

  it('does not keep the popup from opening', async () => {
    expect((await popup()).page).toEqual({ state: 'elsewhere' });
  });
});

it('what was confirmed can no longer be cancelled, and is followed', async () => {
  register.intercept = async () => problem(503, 'log_busy');
  await say({ kind: 'ui/record', tabId: TAB });
  const { payload } = await built(await draft());
  const unsaved = await browser.storage.session.get(null);
  const receipt = await say<string>({ kind: 'ui/confirm', draft: draftId(), payload, disclosures: {} });
  expect(await say({ kind: 'ui/cancel', draft: draftId() })).toBe(receipt);
  await browser.storage.session.set(unsaved); // stopped between queueing and noting it
  expect(await say({ kind: 'ui/cancel', draft: draftId() })).toBe(receipt);
  expect(await say({ kind: 'ui/cancel', draft: draftId() })).toBe(receipt);
  expect(await read('queue', (store) => store.all())).toHaveLength(1);
});

describe('a click on the toolbar icon while the review is open', () => {
  it('adds the picture that the card’s click could not take', async () => {
    tab.captures = 'refused';
    await say({ kind: 'page/record', notice: NOTICE }, page);
    tab.captures = 'allowed';
    expect((await popup()).draft).toEqual({ screenshot: 'taken' });
    expect((await draft()).screenshot).toEqual({ state: 'taken', jpegBase64: JPEG_BASE64 });
  });

  it('leaves other tabs alone', async () => {
    tab.captures = 'refused';
    await say({ kind: 'page/record', notice: NOTICE }, page);
    tab.captures = 'allowed';
    await popup({ tabId: TAB + 1 });
    expect((await draft()).screenshot).toEqual({ state: 'refused' });
  });

  it.each<[string, Notice | null]>([
    ['no notice any more', null],
    ['another notice', { ...NOTICE, text: 'Another notice.' }],
  ])('takes no picture of a tab that shows %s', async (_, notice) => {
    tab.captures = 'refused';
    await say({ kind: 'page/record', notice: NOTICE }, page);
    Object.assign(tab, { captures: 'allowed', notice });
    await popup();
    expect(tab.card).not.toContain('photographed');
    expect((await draft()).screenshot).toEqual({ state: 'refused' });
  });

  it('keeps no picture of a tab that left the notice in that moment', async () => {
    tab.captures = 'refused';
    await say({ kind: 'page/record', notice: NOTICE }, page);
    browser.tabs.captureVisibleTab = (async () => {
      tab.notice = null;
      return `data:image/jpeg;base64,${JPEG_BASE64}`;
    }) as never;
    await popup();
    expect((await draft()).screenshot).toEqual({ state: 'refused' });
  });

  it('takes it when the popup opens, not when it is refreshed', async () => {
    tab.captures = 'refused';
    await say({ kind: 'page/record', notice: NOTICE }, page);
    tab.captures = 'allowed';
    await popup({ opening: false });
    expect((await draft()).screenshot).toEqual({ state: 'refused' });
  });

  it('without a review takes no picture at all', async () => {
    await popup();
    expect(tab.card).toEqual([]);
  });
});

describe('a dismissed notice', () => {
  const found = (notice: Notice, dismissed = false) =>
    say<{ show: boolean }>({ kind: 'page/notice', notice, dismissed }, page);

  it('stays dismissed on that tab, and only that notice, and only there', async () => {
    expect(await found(NOTICE)).toEqual({ show: true });
    await found(NOTICE, true);
    expect(await found(NOTICE)).toEqual({ show: false });
    expect(await found({ ...NOTICE, text: 'Another notice.' })).toEqual({ show: true });
    const elsewhere = { ...page, tab: { id: TAB + 1 } };
    expect(await say({ kind: 'page/notice', notice: NOTICE, dismissed: false }, elsewhere)).toEqual({ show: true });
  });

  it('stays dismissed for a question that comes on the heels of the answer', async () => {
    const answers = await Promise.all([found(NOTICE, true), found(NOTICE)]);
    expect(answers).toEqual([{ show: false }, { show: false }]);
  });

  it('stays dismissed beside others that are dismissed at once', async () => {
    const others = ['one', 'two', 'three'].map((text) => ({ ...NOTICE, rule: `facebook.${text}` }));
    await Promise.all(others.map((notice) => found(notice, true)));
    for (const notice of others) expect(await found(notice)).toEqual({ show: false });
  });

  it('stays dismissed while its age on the page ticks on', async () => {
    const text = 'Learn how we’ll use your information as we improve AI at Meta.';
    await found({ ...NOTICE, text: `${text} 2 h` }, true);
    expect(await found({ ...NOTICE, text: `${text} 3 d` })).toEqual({ show: false });
  });
});

it('a notice that was objected to asks no more, in no tab, until the objection is withdrawn', async () => {
  const elsewhere = { ...page, tab: { id: TAB + 1 } };
  const asks = () => say({ kind: 'page/notice', notice: NOTICE, dismissed: false }, elsewhere);
  const objection = await recordOne();
  expect(await asks()).toEqual({ show: false });
  const aged = { ...NOTICE, text: `${NOTICE.text} 3 d` };
  expect(await say({ kind: 'page/notice', notice: aged, dismissed: false }, elsewhere)).toEqual({ show: false });
  const later = formatLater({ kind: 'withdrawal', objection, jti: 'AAAAAAAAAAAAAAAAAAAAAA', evidence: [] }, 7);
  await say({ kind: 'ui/later', payload: later, files: {} });
  await vi.waitFor(async () => expect(await asks()).toEqual({ show: true }));
});

it('a notice whose objection was refused asks again', async () => {
  register.intercept = async () => problem(422, 'receipt_stale');
  await say({ kind: 'ui/record', tabId: TAB });
  const { payload } = await built(await draft());
  await say<string>({ kind: 'ui/confirm', draft: draftId(), payload, disclosures: {} });
  await vi.waitFor(async () =>
    expect(await say({ kind: 'page/notice', notice: NOTICE, dismissed: false }, page)).toEqual({ show: true }),
  );
});

describe('from click to proof', () => {
  it('the card goes away and the picture is kept once, with the receipt', async () => {
    await say({ kind: 'ui/record', tabId: TAB });
    const { payload } = await built(await draft());
    await say<string>({ kind: 'ui/confirm', draft: draftId(), payload, disclosures: {} });
    await vi.waitFor(() => expect(tab.card.at(-1)).toBe('taken away'));
    expect(await say({ kind: 'page/notice', notice: NOTICE, dismissed: false }, page)).toEqual({ show: false });
    expect(JSON.stringify(await browser.storage.session.get(null))).not.toContain(JPEG_BASE64);
    await vi.waitFor(async () => expect((await read('objections', (store) => store.all()))[0]?.file).toBeTruthy());
  });

  it('goes all the way, and the sheet can follow it', async () => {
    await say({ kind: 'ui/record', tabId: TAB });
    const { payload, disclosures } = await built(await draft());
    const receipt = await say<string>({ kind: 'ui/confirm', draft: draftId(), payload, disclosures });
    await vi.waitFor(async () => {
      const view = await say<ReceiptView>({ kind: 'ui/receipt', receipt });
      expect(view).toMatchObject({ kind: 'recorded', objection: { receipt, platform: 'facebook' } });
      expect(view.kind === 'recorded' && view.objection.file).toContain(receipt.slice(0, 8));
    });
    const { objections, queue } = await popup();
    expect([objections.length, queue.length]).toEqual([1, 0]);
  });

  it('tells the pages no secrets', async () => {
    await say({ kind: 'ui/record', tabId: TAB });
    const { payload, disclosures } = await built(await draft(), { declared: { person: 'Ada' } });
    await say<string>({ kind: 'ui/confirm', draft: draftId(), payload, disclosures });
    const stored = await vi.waitFor(async () => {
      const [objection] = await read('objections', (store) => store.all());
      if (!objection?.file) throw new Error('not yet');
      return objection;
    });
    const told = JSON.stringify(await popup());
    const detail = JSON.stringify(await say<DetailView>({ kind: 'ui/objection', receipt: stored.receipt_sha256 }));
    expect(detail).toContain('"declared":{"person":"Ada"}');
    for (const text of [told, detail]) {
      expect(text).not.toContain(stored.holder_share);
      expect(text).not.toContain(String(stored.disclosures.person));
    }
    expect(told).not.toContain('Ada');
  });

  it('and back again: withdrawn from its page', async () => {
    await say({ kind: 'ui/record', tabId: TAB });
    const { payload, disclosures } = await built(await draft());
    const objection = await say<string>({ kind: 'ui/confirm', draft: draftId(), payload, disclosures });
    const view = () => say<DetailView | undefined>({ kind: 'ui/objection', receipt: objection });
    await vi.waitFor(async () => expect((await view())?.objection.file).toBeTruthy());
    const later = formatLater({ kind: 'withdrawal', objection, jti: 'AAAAAAAAAAAAAAAAAAAAAA', evidence: [] }, 7);
    await say({ kind: 'ui/later', payload: later, files: {} });
    await vi.waitFor(async () => expect((await view())?.objection.status).toBe('withdrawn'));
    expect((await view())?.later).toMatchObject([{ kind: 'withdrawal', logIndex: 2 }]);
  });

  it('an objection that is not here has no page', async () => {
    expect(await say({ kind: 'ui/objection', receipt: 'a'.repeat(64) })).toBeUndefined();
  });

  it('cancelling leaves nothing', async () => {
    await say({ kind: 'ui/record', tabId: TAB });
    await say({ kind: 'ui/cancel', draft: draftId() });
    expect(await browser.storage.session.get(null)).toEqual({});
    expect(await read('queue', (store) => store.all())).toEqual([]);
  });
});

it('what a page may not ask for is refused, not answered', async () => {
  await expect(say({ kind: 'ui/popup', tabId: TAB, opening: true }, page)).rejects.toMatchObject({
    code: 'message_refused',
  });
});
