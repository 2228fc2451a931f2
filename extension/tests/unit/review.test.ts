// @vitest-environment jsdom
import { beforeEach, describe, expect, it, vi } from 'vitest';
import { browser } from 'wxt/browser';
import { fakeBrowser } from 'wxt/testing/fake-browser';
import english from '../../public/_locales/en/messages.json';
import type { Draft } from '../../src/platform/drafts';
import type { UiMessage } from '../../src/platform/messages';
import { showObjection } from '../../src/ui/objection';
import { showReview } from '../../src/ui/review';
import { draftWithScreenshot } from '../support/draft';

const RECEIPT = 'a'.repeat(64);
const QUEUED = {
  ...{
    kind: 'objection',
    receipt: RECEIPT,
    objection: RECEIPT,
    platform: 'facebook',
    name: '',
    signedAt: 1,
    evidence: [],
  },
  ...{ state: 'waiting', problem: undefined, nextAttemptAt: 0, working: false },
};
let answers: Partial<Record<UiMessage['kind'], unknown>>;
let sent: UiMessage['kind'][];
let draft: Draft;
let persisted: number;

beforeEach(async () => {
  fakeBrowser.reset();
  document.body.replaceChildren();
  const messages: Record<string, { message: string }> = english;
  browser.i18n.getMessage = ((key: string) => messages[key]?.message ?? '') as never;
  browser.i18n.getUILanguage = () => 'en-IE';
  vi.spyOn(document, 'hasFocus').mockReturnValue(true);
  draft = await draftWithScreenshot();
  answers = {
    'ui/draft': { ok: { draft, header: '{}', before: {} } },
    'ui/receipt': { ok: { kind: 'queued', queued: QUEUED } },
  };
  sent = [];
  browser.runtime.sendMessage = (async ({ kind }: UiMessage) => {
    sent.push(kind);
    return answers[kind];
  }) as never;
  persisted = 0;
  const persist = async () => ++persisted > 0;
  Object.defineProperty(navigator, 'storage', { value: { persist }, configurable: true });
  at(`?draft=${draft.id}`);
});

const at = (query: string) => history.replaceState(null, '', `/review.html${query}`);
const heading = () => document.querySelector('h1')?.textContent;
const settled = (check: () => void) => vi.waitFor(check, { timeout: 1000 });
const error = { error: { code: 'internal', message: '' } };

async function click(words: string): Promise<void> {
  const find = () => [...document.querySelectorAll('button')].find(({ textContent }) => textContent === words);
  // One that is to be seen first comes into use a moment later.
  await vi.waitFor(() => expect(find()?.hasAttribute('aria-disabled')).toBe(false), { timeout: 3000 });
  find()?.click();
}

describe('the review', () => {
  it('asks the browser not to clear away what it keeps', async () => {
    await showReview(document);
    expect(persisted).toBe(1);
  });

  it('remembers in its address what was confirmed, and follows it after a restart', async () => {
    answers['ui/confirm'] = { ok: RECEIPT };
    await showReview(document);
    await click('Confirm and record');
    await settled(() => expect(location.search).toBe(`?receipt=${RECEIPT}`));
    await settled(() => expect(heading()).toBe('Sending'));
    document.body.replaceChildren();
    answers['ui/draft'] = { ok: undefined };
    await showReview(document);
    await settled(() => expect(heading()).toBe('Sending'));
  });

  it('follows what was confirmed when it was to be cancelled, and closes otherwise', async () => {
    const closed = vi.spyOn(window, 'close').mockImplementation(() => {});
    answers['ui/cancel'] = { ok: RECEIPT };
    await showReview(document);
    await click('Cancel');
    await settled(() => expect(heading()).toBe('Sending'));
    expect(closed).not.toHaveBeenCalled();
    document.body.replaceChildren();
    at(`?draft=${draft.id}`);
    answers['ui/cancel'] = { ok: undefined };
    await showReview(document);
    await click('Cancel');
    await settled(() => expect(closed).toHaveBeenCalled());
  });

  it('says that it is closed only when it is, and offers to ask again when it cannot know', async () => {
    const draftAnswer = answers['ui/draft'];
    answers['ui/draft'] = error;
    void showReview(document);
    await settled(() => expect(heading()).toBe('This cannot be shown now'));
    answers['ui/draft'] = draftAnswer;
    await click('Try again');
    await settled(() => expect(heading()).toBe('Review before you record'));
    document.body.replaceChildren();
    answers['ui/draft'] = { ok: undefined };
    await showReview(document);
    expect(heading()).toBe('This review is closed');
  });
});

it('the page of an objection says that it is not here only when it is not', async () => {
  history.replaceState(null, '', `/objection.html?receipt=${RECEIPT}`);
  answers['ui/objection'] = error;
  void showObjection(document);
  await settled(() => expect(heading()).toBe('This cannot be shown now'));
  answers['ui/objection'] = { ok: undefined };
  await click('Try again');
  await settled(() => expect(heading()).toBe('Not in this browser'));
});
