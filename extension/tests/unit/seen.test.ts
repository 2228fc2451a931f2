// @vitest-environment jsdom
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { inOrder } from '../../src/ui/in-order';
import { watchSeen } from '../../src/ui/seen';

let page: { hasFocus: boolean; hidden: boolean };

beforeEach(() => {
  vi.useFakeTimers();
  page = { hasFocus: true, hidden: false };
  vi.spyOn(document, 'hasFocus').mockImplementation(() => page.hasFocus);
  vi.spyOn(document, 'hidden', 'get').mockImplementation(() => page.hidden);
});
afterEach(() => vi.useRealTimers());

it('a page was seen once it was in front for a second at a stretch', () => {
  const seen = watchSeen(document, 1000);
  const changes = vi.fn();
  seen.onChange(changes);
  vi.advanceTimersByTime(900);
  expect(seen.isOpen()).toBe(false);
  vi.advanceTimersByTime(200);
  expect(seen.isOpen()).toBe(true);
  expect(changes).toHaveBeenCalledTimes(1);
  seen.stop();
});

it.each([
  ['lies behind another window', { hasFocus: false }],
  ['is in a tab at the back', { hidden: true }],
])('a page that %s starts anew when it comes back', (_, left) => {
  const seen = watchSeen(document, 1000);
  vi.advanceTimersByTime(1500);
  Object.assign(page, left);
  expect(seen.isOpen()).toBe(false);
  vi.advanceTimersByTime(1500);
  page = { hasFocus: true, hidden: false };
  expect(seen.isOpen()).toBe(false);
  vi.advanceTimersByTime(1100);
  expect(seen.isOpen()).toBe(true);
  seen.stop();
});

it('an answer that comes after that to a later question is dropped, and a slow one that comes in order is not', async () => {
  const read = inOrder();
  const used: string[] = [];
  const after = (ms: number, answer: string) => () => new Promise<string>((resolve) => setTimeout(resolve, ms, answer));
  const use = (answer: string) => used.push(answer);
  void read(after(500, 'slow'), use);
  void read(after(100, 'quick'), use);
  void read(after(900, 'last'), use);
  await vi.advanceTimersByTimeAsync(1000);
  expect(used).toEqual(['quick', 'last']);
});
