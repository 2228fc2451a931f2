// @vitest-environment jsdom
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
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
  stop = startContent(document);
});
afterEach(() => stop());

const found = (change: Partial<Notice> = {}) => watch.change({ ...NOTICE, ...change, element: document.body });
const cards = () => document.querySelectorAll('proof-of-objection-card').length;
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
    const card = document.querySelector('proof-of-objection-card');
    found({ text: text('3 h') });
    await new Promise((resolve) => setTimeout(resolve, 10));
    expect(document.querySelector('proof-of-objection-card')).toBe(card);
    expect(told).toHaveLength(1);
  });

  it('moves its card to a dialog that is drawn anew', async () => {
    document.body.innerHTML = '<div aria-modal="true">1</div><div aria-modal="true" id="again">2</div>';
    const [first, again] = document.querySelectorAll('[aria-modal]');
    watch.change({ ...NOTICE, element: first });
    await vi.waitFor(() => expect(cards()).toBe(1));
    first?.remove();
    watch.change({ ...NOTICE, element: again });
    expect(document.querySelector('proof-of-objection-card')?.parentElement?.id).toBe('again');
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
    watch.change(undefined);
    await vi.waitFor(() => expect(told).toHaveLength(2));
    await new Promise((resolve) => setTimeout(resolve, 10));
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
    const attach = vi.spyOn(Element.prototype, 'attachShadow');
    found();
    await vi.waitFor(() => expect(cards()).toBe(1));
    const respond = vi.fn();
    expect(answerTab({ kind: 'tab/card', hidden: true }, own, respond)).toBe(true);
    expect(respond).not.toHaveBeenCalled();
    expect(attach.mock.results.at(-1)?.value.querySelector('section').hidden).toBe(true);
    await vi.waitFor(() => expect(respond).toHaveBeenCalled());
  });

  it('answers nobody else', () => {
    const respond = vi.fn();
    expect(answerTab({ kind: 'tab/notice' }, { id: 'another' }, respond)).toBeUndefined();
    expect(respond).not.toHaveBeenCalled();
  });
});
