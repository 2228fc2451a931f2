// @vitest-environment jsdom
import { beforeEach, expect, it } from 'vitest';
import { browser } from 'wxt/browser';
import { fakeBrowser } from 'wxt/testing/fake-browser';
import type { QueuedView } from '../../src/platform/views';
import { outcome } from '../../src/ui/outcome';

const QUEUED: QueuedView = {
  ...{
    kind: 'objection',
    receipt: 'a'.repeat(64),
    objection: 'a'.repeat(64),
    platform: 'facebook',
    name: '',
    signedAt: 1,
  },
  ...{
    evidence: [],
    state: 'waiting',
    problem: undefined,
    nextAttemptAt: 0,
    maySignAgain: false,
    mayKeepUnchecked: false,
    working: false,
  },
};
const PROBLEM = { code: 'log_busy', title: '', detail: '' };

beforeEach(() => {
  fakeBrowser.reset();
  browser.i18n.getMessage = ((key: string) => key) as never;
});

it.each<[string, Partial<QueuedView>, string, boolean]>([
  ['on its way', {}, 'sending_title', false],
  ['being worked for', { working: true }, 'sending_title', true],
  ['waiting', { problem: PROBLEM }, 'waiting_title', false],
  ['being worked for again', { problem: PROBLEM, working: true }, 'waiting_title', true],
])('an objection that is %s', (_, changes, title, works) => {
  const sheet = outcome(
    { kind: 'queued', queued: { ...QUEUED, ...changes } },
    { close: () => undefined, follow: () => undefined },
  );
  const shown = sheet.elements.map((element) => (element as HTMLElement).textContent);
  expect(shown[0]).toBe(title);
  expect(shown.includes('working')).toBe(works);
});
