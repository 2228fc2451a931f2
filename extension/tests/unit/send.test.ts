import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { browser } from 'wxt/browser';
import { fakeBrowser } from 'wxt/testing/fake-browser';
import type { UiMessage } from '../../src/platform/messages';
import { send } from '../../src/platform/send';

const RECEIPT = 'a'.repeat(64);
let asked: number;

beforeEach(() => {
  fakeBrowser.reset();
  vi.useFakeTimers();
  asked = 0;
});
afterEach(() => vi.useRealTimers());

const answering = (answer: () => Promise<unknown>) => {
  browser.runtime.sendMessage = (async () => {
    asked += 1;
    return answer();
  }) as never;
};

it.each<UiMessage>([{ kind: 'ui/campaigns' }, { kind: 'ui/leave', receipt: RECEIPT }, { kind: 'ui/keys' }])(
  'waits for what waits for the network: $kind',
  async (message) => {
    answering(() => new Promise((resolve) => setTimeout(resolve, 60_000, { ok: 1 })));
    const answer = send(message);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(await answer).toBe(1);
    expect(asked).toBe(1);
  },
);

it('asks a background that does not answer again, and then says so under a code that has words', async () => {
  answering(() => new Promise(() => {}));
  const answer = expect(send({ kind: 'ui/receipt', receipt: RECEIPT })).rejects.toMatchObject({ code: 'no_answer' });
  await vi.advanceTimersByTimeAsync(20_000);
  await answer;
  expect(asked).toBe(3);
});
