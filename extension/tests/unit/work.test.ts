import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { solveWork } from '../../src/core/work';
import { read } from '../../src/platform/database';
import { attemptNow, flush } from '../../src/platform/queue';
import { confirmDraft } from '../../src/platform/recording';
import { isWorking } from '../../src/platform/working';
// Made and solved with the Python library of ALTCHA.
import solved from '../fixtures/work/solved.json';
import { freshBrowser } from '../support/browser';
import { built, draftWithScreenshot } from '../support/draft';
import { problem, type Register, startRegister } from '../support/register';

const challenge = solved.challenge as Parameters<typeof solveWork>[0];

describe('the solver', () => {
  it('finds what the library finds', async () => {
    expect(await solveWork(challenge, Date.now() + 20_000)).toEqual(solved.solution);
  });

  it('gives up at its time, and before a register that asks for too much', async () => {
    expect(await solveWork(challenge, Date.now() - 1)).toBeUndefined();
    const greedy = { ...challenge, parameters: { ...challenge.parameters, cost: 1_000_000 } };
    expect(await solveWork(greedy, Date.now() + 20_000)).toBeUndefined();
  });
});

describe('an objection that is sent', () => {
  let register: Register;
  let receipt: string;
  let refusals: string[];

  beforeEach(async () => {
    await freshBrowser();
    register = await startRegister();
    refusals = [];
    vi.stubGlobal('fetch', (url: string, init?: RequestInit) => register.fetch(new Request(url, init)));
    const draft = await draftWithScreenshot();
    const { payload, disclosures } = await built(draft);
    receipt = await confirmDraft(draft.id, payload, disclosures);
  });

  afterEach(() => vi.useRealTimers());

  const works = () => register.posted.map((body) => body.get('work'));
  const asked = () => register.seen.filter((line) => line === `GET /v1/work/${receipt}`).length;
  const waitIsOver = () => vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 20_001 });
  const recorded = async () => (await read('objections', (store) => store.all())).length;

  function asking(refuse?: string): void {
    register.intercept = async (request) => {
      if (request.url.includes('/v1/work/')) return Response.json(challenge);
      if (request.method !== 'POST' || !refuse) return undefined;
      if (!(await request.clone().formData()).has('work')) return undefined;
      refusals.push(refuse);
      return problem(422, refuse);
    };
  }

  it('brings the work with it', async () => {
    asking();
    await flush();
    expect(works().map((work) => JSON.parse(String(work)))).toEqual([solved]);
    expect(await recorded()).toBe(1);
  });

  it('is recorded without, when the register asks for none', async () => {
    await flush();
    expect(works()).toEqual([null]);
    expect(await recorded()).toBe(1);
  });

  it.each(['work_expired', 'work_mismatch', 'work_malformed'])(
    'tries once more after %s, then without',
    async (code) => {
      asking(code);
      await flush();
      expect(refusals).toEqual([code, code]);
      expect(asked()).toBe(2);
      expect(works()).toEqual([null]);
      expect(await recorded()).toBe(1);
    },
  );

  it('stays refused, when it was not its work that was refused', async () => {
    asking('receipt_stale');
    await flush();
    expect(refusals).toEqual(['receipt_stale']);
    expect((await read('queue', (store) => store.all()))[0]).toMatchObject({ state: 'refused' });
  });

  it('brings new work when it is sent again', async () => {
    asking();
    const answers = register.intercept;
    register.intercept = async (request) => (await answers?.(request)) ?? problem(503, 'log_busy');
    await flush();
    register.intercept = answers;
    await attemptNow(receipt);
    expect(asked()).toBe(2);
    expect(works().map((work) => JSON.parse(String(work)))).toEqual([solved]);
  });

  it.each([
    ['does not answer', async () => Promise.reject(new TypeError('Failed to fetch'))],
    ['is busy', async () => problem(503, 'log_busy')],
  ])('waits for its work three times, and is then recorded without, when the register %s', async (_, answer) => {
    register.intercept = async ({ url }) => (url.includes('/v1/work/') ? answer() : undefined);
    for (let attempts = 1; attempts <= 3; attempts++) {
      await attemptNow(receipt);
      expect((await read('queue', (store) => store.all()))[0]).toMatchObject({ state: 'waiting', attempts });
    }
    expect(works()).toEqual([]);
    await attemptNow(receipt);
    expect(works()).toEqual([null]);
    expect(await recorded()).toBe(1);
  });

  it.each([
    ['is slower than our patience', async () => waitIsOver() && Response.json(challenge)],
    ['stands behind a portal', async () => new Response('<h1>Please log in</h1>')],
  ])('is recorded without, when the register %s', async (_, answer) => {
    register.intercept = async ({ url }) => (url.includes('/v1/work/') ? answer() : undefined);
    await flush();
    expect(works()).toEqual([null]);
    expect(await recorded()).toBe(1);
  });

  it('says that work is under way when it takes more than a moment, and gives up after a while', async () => {
    const never = { ...challenge, parameters: { ...challenge.parameters, keyPrefix: '00'.repeat(16) } };
    register.intercept = async ({ url }) => (url.includes('/v1/work/') ? Response.json(never) : undefined);
    const sent = flush();
    await vi.waitFor(() => expect(isWorking(receipt)).toBe(true), { timeout: 10_000 });
    expect(works()).toEqual([]);
    waitIsOver();
    await sent;
    expect(isWorking(receipt)).toBe(false);
    expect(works()).toEqual([null]);
  });

  it('is recorded without, when the challenge is none', async () => {
    register.intercept = async ({ url }) => (url.includes('/v1/work/') ? Response.json({ cost: 1 }) : undefined);
    await flush();
    expect(works()).toEqual([null]);
    expect(await recorded()).toBe(1);
  });
});
