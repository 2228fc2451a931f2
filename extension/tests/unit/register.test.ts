import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { browser } from 'wxt/browser';
import type { QueuedObjection } from '../../src/platform/database';
import { getPolicy, postReceipt, Refused, Unreachable } from '../../src/platform/register';
import { freshBrowser } from '../support/browser';
import { problem } from '../support/register';

const withCode = (code: string) => expect.objectContaining({ code });
let answer: (init: RequestInit) => Promise<Response>;

beforeEach(async () => {
  await freshBrowser();
  vi.useFakeTimers();
  vi.stubGlobal('fetch', (_: string, init: RequestInit) => answer(init));
});
afterEach(() => vi.useRealTimers());

const bytes = (size: number) => new Uint8Array(size);

function queued(evidenceBytes: number): QueuedObjection {
  const item = { name: 'screenshot.jpg', media_type: 'image/jpeg' as const, size: evidenceBytes, sha256: '' };
  return { receipt: 'r', holder_share: 's', evidence: [item] } as unknown as QueuedObjection;
}

/** A line that is stuck until it is given up. */
const stuck = (init: RequestInit) =>
  new Promise<Response>((_, reject) => {
    init.signal?.addEventListener('abort', () => reject(init.signal?.reason));
  });

/** Runs `work` until it fails, and returns after how many seconds. */
async function givenUpAfter(work: Promise<unknown>): Promise<number> {
  const from = Date.now();
  let at: number | undefined;
  work.catch(() => {
    at = Date.now();
  });
  while (at === undefined && Date.now() < from + 3_600_000) await vi.advanceTimersByTimeAsync(500);
  await expect(work).rejects.toEqual(withCode('unreachable'));
  return Math.floor(((at ?? 0) - from) / 1000);
}

describe('the time that a request is given', () => {
  it.each([
    [0, 20],
    [300_000, 57],
    [4_194_304, 544],
  ])('grows with what is sent: %d bytes', async (size, seconds) => {
    answer = stuck;
    expect(await givenUpAfter(postReceipt(queued(size), [bytes(size)]))).toBe(seconds);
  });

  it('grows with what comes, until nothing comes any more', async () => {
    let sent = 0;
    answer = async ({ signal }) =>
      new Response(
        new ReadableStream({
          start(controller) {
            signal?.addEventListener('abort', () => controller.error(signal.reason));
            const timer = setInterval(() => {
              if (sent === 900_000) return clearInterval(timer);
              sent += 450_000;
              controller.enqueue(bytes(450_000));
            }, 15_000);
          },
        }),
      );
    expect(await givenUpAfter(getPolicy())).toBe(50);
    expect(sent).toBe(900_000);
  });

  it('keeps the worker awake, and no longer than that', async () => {
    const calls = vi.spyOn(browser.runtime, 'getPlatformInfo');
    answer = stuck;
    expect(await givenUpAfter(postReceipt(queued(2_700_000), [bytes(2_700_000)]))).toBe(357);
    expect(calls).toHaveBeenCalledTimes(17);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(calls).toHaveBeenCalledTimes(17);
  });
});

it('an answer that is too large is not read to its end', async () => {
  let pulled = 0;
  answer = async () =>
    new Response(
      new ReadableStream({
        pull(controller) {
          pulled += 1;
          controller.enqueue(bytes(262_144));
        },
      }),
    );
  await expect(getPolicy()).rejects.toEqual(withCode('answer_too_large'));
  expect(pulled).toBeLessThan(10);
});

it.each([
  ['about the clock is not its last word', problem(401, 'dpop_refused'), Unreachable],
  ['about anything else is', problem(403, 'not_the_holder'), Refused],
])('a refusal %s', async (_, response, kind) => {
  answer = async () => response;
  await expect(postReceipt(queued(0), [bytes(0)])).rejects.toBeInstanceOf(kind);
});
