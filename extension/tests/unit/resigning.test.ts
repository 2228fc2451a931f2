import { beforeEach, describe, expect, it, vi } from 'vitest';
import { parseBase64url, parseJson } from '../../src/core/encoding';
import { clockOffsetS } from '../../src/platform/clock';
import { read } from '../../src/platform/database';
import { flush } from '../../src/platform/queue';
import { confirmDraft } from '../../src/platform/recording';
import { prepareAgain, signAgain } from '../../src/platform/resigning';
import { freshBrowser } from '../support/browser';
import { built, draftWithScreenshot } from '../support/draft';
import { problem, RECEIVED_AT, type Register, startRegister } from '../support/register';

const HOUR_S = 3_600;
let register: Register;

beforeEach(async () => {
  await freshBrowser();
  register = await startRegister();
  vi.stubGlobal('fetch', (url: string, init?: RequestInit) => register.fetch(new Request(url, init)));
});

const queue = () => read('queue', (store) => store.all());
const objections = () => read('objections', (store) => store.all());
const payloadOf = (receipt = '') => parseJson(parseBase64url(receipt.split('.')[1] ?? ''));
const withCode = (code: string) => expect.objectContaining({ code });

/** Confirms an objection that the register refuses with `code`, at a time by its own clock. */
async function refused(code: string, registerNowMs = Date.now()): Promise<string> {
  register.intercept = async ({ method }) => {
    const response = method === 'POST' ? problem(422, code) : Response.json(register.policy);
    response.headers.set('Date', new Date(registerNowMs).toUTCString());
    return response;
  };
  const draft = await draftWithScreenshot();
  const { payload, disclosures } = await built(draft);
  const receipt = await confirmDraft(draft.id, payload, disclosures);
  await flush();
  return receipt;
}

describe('a clock that is ahead', () => {
  it('makes no refusal for good: the same receipt is sent again, and recorded when its time has come', async () => {
    const receipt = await refused('receipt_from_future');
    expect((await queue())[0]).toMatchObject({ state: 'waiting', problem: { code: 'receipt_from_future' } });
    register.intercept = undefined;
    vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 3_601_000 });
    await flush();
    vi.useRealTimers();
    expect((await objections())[0]?.receipt_sha256).toBe(receipt);
  });

  it('is known from the register’s answer, and forgotten when it is right', async () => {
    await refused('receipt_from_future', Date.now() - 5 * HOUR_S * 1000);
    expect(Math.abs((await clockOffsetS()) + 5 * HOUR_S)).toBeLessThan(5);
    await refused('receipt_from_future');
    expect(await clockOffsetS()).toBe(0);
  });

  it('lets it be signed again with the register’s time: nothing else changes, and nothing is lost', async () => {
    const receipt = await refused('receipt_from_future', RECEIVED_AT * 1000);
    const [before] = await queue();
    const { payload, atS, offsetS } = await prepareAgain(receipt);
    expect(Math.abs(atS - RECEIVED_AT)).toBeLessThan(5);
    expect(Math.abs(Date.now() / 1000 + offsetS - RECEIVED_AT)).toBeLessThan(5);
    const [again, twice] = await Promise.all([signAgain(receipt, payload), signAgain(receipt, payload)]);
    expect(twice).toBe(again);
    const [after] = await queue();
    expect(payloadOf(after?.receipt)).toEqual({ ...payloadOf(before?.receipt), iat: atS });
    expect(after).toMatchObject({ receipt_sha256: again, objected_at: atS, holder_share: before?.holder_share });
    register.intercept = undefined;
    await flush();
    expect((await objections()).map(({ receipt_sha256 }) => receipt_sha256)).toEqual([again]);
    expect(register.posted.at(-1)?.getAll('evidence')).toHaveLength(2);
  });
});

it('what was signed too long ago can be signed again, too', async () => {
  const receipt = await refused('receipt_stale');
  expect((await queue())[0]?.state).toBe('refused');
  await signAgain(receipt, (await prepareAgain(receipt)).payload);
  expect((await queue())[0]?.state).toBe('waiting');
});

it('nothing but the time may differ, and only what was refused for its time is signed again', async () => {
  const receipt = await refused('receipt_from_future');
  const { payload } = await prepareAgain(receipt);
  const other = payload.replace('"country":"DE"', '"country":"FR"');
  expect(other).not.toBe(payload);
  await expect(signAgain(receipt, other)).rejects.toEqual(withCode('not_what_was_shown'));
  await freshBrowser();
  const another = await refused('field_invalid');
  await expect(prepareAgain(another)).rejects.toEqual(withCode('not_refused'));
});

it('what a register says at length is bounded when it is kept', async () => {
  register.intercept = async () =>
    Response.json(
      {
        ...(await problem(422, 'field_invalid').json()),
        code: `c${'o'.repeat(300_000)}`,
        title: `\u202e${'t'.repeat(300_000)}`,
        detail: 'd'.repeat(300_000),
      },
      { status: 422 },
    );
  const draft = await draftWithScreenshot();
  const { payload, disclosures } = await built(draft);
  await confirmDraft(draft.id, payload, disclosures);
  await flush();
  const kept = (await queue())[0]?.problem;
  expect(JSON.stringify(kept).length).toBeLessThan(3_000);
  expect(kept?.title).not.toContain('\u202e');
});
