// @vitest-environment jsdom
import { afterEach, beforeEach, describe, expect, it, type MockInstance, vi } from 'vitest';
import { browser } from 'wxt/browser';
import { fakeBrowser } from 'wxt/testing/fake-browser';
import type { Notice } from '../../src/core/detection';
import { NOTICE } from '../support/draft';

/** Detection has tests of its own; here it is a hand that says what is found. */
const watch = vi.hoisted(() => ({ found: undefined as unknown, change: (_: unknown) => {} }));
vi.mock('../../src/page/watch', () => ({
  watchForNotice: (_: Document, onChange: (found: unknown) => void) => {
    watch.change = (found) => {
      watch.found = found;
      onChange(found);
    };
    return { stop: () => {}, current: () => watch.found };
  },
}));
const { startContent } = await import('../../src/platform/content');

let told: { kind: string; notice: Notice | null; dismissed?: boolean }[];
let show: boolean;
let answerTab: (message: unknown, sender: unknown, respond: (answer: unknown) => void) => boolean | undefined;
let stop: () => void;
let attached: MockInstance<Element['attachShadow']>;

beforeEach(() => {
  fakeBrowser.reset();
  told = [];
  show = true;
  browser.i18n.getMessage = ((key: string) => key) as never;
  browser.runtime.sendMessage = (async (message: (typeof told)[number]) => {
    told.push(message);
    return { ok: { show } };
  }) as never;
  vi.spyOn(browser.runtime.onMessage, 'addListener').mockImplementation((added) => {
    answerTab = added as typeof answerTab;
  });
  attached = vi.spyOn(Element.prototype, 'attachShadow').mockClear();
  stop = startContent(document);
});
afterEach(() => stop());

const found = (change: Partial<Notice> = {}) => watch.change({ ...NOTICE, ...change, element: document.body });
/** The hosts of our cards, which have closed roots: seen as they are made. */
const hosts = () =>
  attached.mock.results.map(({ value }) => (value as ShadowRoot).host).filter((one) => one.isConnected);
const cards = () => hosts().length;
const own = { id: browser.runtime.id };

describe('on a page', () => {
  it('shows one card for one notice, however often it is found', async () => {
    found();
    found();
    await vi.waitFor(() => expect(cards()).toBe(1));
    expect(told).toEqual([{ kind: 'page/notice', notice: NOTICE, dismissed: false }]);
  });

  it('keeps its card, and does not ask again, while a notice only grows older', async () => {
    const text = (age: string) => `Learn how we’ll use your information as we improve AI at Meta. ${age}`;
    found({ text: text('2 h') });
    await vi.waitFor(() => expect(cards()).toBe(1));
    const [card] = hosts();
    found({ text: text('3 h') });
    await new Promise((resolve) => setTimeout(resolve, 10));
    expect(hosts()).toEqual([card]);
    expect(told).toHaveLength(1);
  });

  it('moves its card to a dialog that is drawn anew', async () => {
    document.body.innerHTML = '<div aria-modal="true">1</div><div aria-modal="true" id="again">2</div>';
    const [first, again] = document.querySelectorAll('[aria-modal]');
    watch.change({ ...NOTICE, element: first });
    await vi.waitFor(() => expect(cards()).toBe(1));
    first?.remove();
    watch.change({ ...NOTICE, element: again });
    expect(hosts()[0]?.parentElement?.id).toBe('again');
    document.body.innerHTML = '';
  });

  it('takes the card away with the notice, and says so', async () => {
    found();
    await vi.waitFor(() => expect(cards()).toBe(1));
    watch.change(undefined);
    await vi.waitFor(() => expect(told.at(-1)).toEqual({ kind: 'page/notice', notice: null, dismissed: false }));
    expect(cards()).toBe(0);
  });

  it('shows nothing when it was dismissed before', async () => {
    show = false;
    found();
    await vi.waitFor(() => expect(told).toHaveLength(1));
    await new Promise((resolve) => setTimeout(resolve, 10));
    expect(cards()).toBe(0);
  });

  it('shows nothing when the notice went while the background was asked', async () => {
    found();
    await vi.waitFor(() => expect(told).toHaveLength(1));
    watch.change(undefined);
    await vi.waitFor(() => expect(told).toHaveLength(2));
    await new Promise((resolve) => setTimeout(resolve, 10));
    expect(cards()).toBe(0);
  });

  it('shows one card when a notice came, went and came while the background was asked', async () => {
    let answer = () => {};
    browser.runtime.sendMessage = (async (message: (typeof told)[number]) => {
      told.push(message);
      await new Promise<void>((resolve) => {
        answer = resolve;
      });
      return { ok: { show: true } };
    }) as never;
    found();
    await vi.waitFor(() => expect(told).toHaveLength(1));
    watch.change(undefined);
    found();
    for (let questions = 1; questions <= told.length; questions++) {
      answer();
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    expect(told.map(({ notice }) => notice !== null)).toEqual([true, true]);
    expect(cards()).toBe(1);
    expect(attached).toHaveBeenCalledTimes(1);
  });

  it('asks about the newest wording alone, and after what was asked before', async () => {
    const texts = ['one', 'two', 'three'].map((text) => `AI at Meta. Right to object. ${text}`);
    for (const text of texts) found({ text, rule: `facebook.${text.slice(-3)}` });
    await vi.waitFor(() => expect(cards()).toBe(1));
    expect(told.map(({ notice }) => notice?.text)).toEqual([texts[2]]);
  });

  it('takes its card away once the notice was answered', async () => {
    found();
    await vi.waitFor(() => expect(cards()).toBe(1));
    answerTab({ kind: 'tab/answered' }, own, vi.fn());
    expect(cards()).toBe(0);
  });

  it('keeps quiet when the extension was updated under it', async () => {
    vi.spyOn(console, 'info').mockImplementation(() => {});
    browser.runtime.sendMessage = (async () => {
      throw new Error('Extension context invalidated.');
    }) as never;
    found();
    await new Promise((resolve) => setTimeout(resolve, 10));
    expect(cards()).toBe(0);
  });

  it('tells the background what is there now, without the element', () => {
    watch.found = { ...NOTICE, element: document.body };
    const respond = vi.fn();
    answerTab({ kind: 'tab/notice' }, own, respond);
    expect(respond).toHaveBeenCalledWith(NOTICE);
  });

  it('hides the card for the picture, and answers once that is painted', async () => {
    found();
    await vi.waitFor(() => expect(cards()).toBe(1));
    const respond = vi.fn();
    expect(answerTab({ kind: 'tab/card', hidden: true }, own, respond)).toBe(true);
    expect(respond).not.toHaveBeenCalled();
    const isHidden = () => attached.mock.results.at(-1)?.value.querySelector('section').hidden;
    expect(isHidden()).toBe(true);
    found({ rule: 'facebook.page' });
    await vi.waitFor(() => expect(attached).toHaveBeenCalledTimes(2));
    expect(isHidden()).toBe(true);
    await vi.waitFor(() => expect(respond).toHaveBeenCalled());
  });

  it('answers nobody else', () => {
    const respond = vi.fn();
    expect(answerTab({ kind: 'tab/notice' }, { id: 'another' }, respond)).toBeUndefined();
    expect(respond).not.toHaveBeenCalled();
  });
});
