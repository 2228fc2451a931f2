import { beforeEach, describe, expect, it, vi } from 'vitest';
import { solveWork } from '../../src/core/work';
import { read } from '../../src/platform/database';
import { flush } from '../../src/platform/queue';
import { confirmDraft } from '../../src/platform/recording';
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
  let refusals: string[];

  beforeEach(async () => {
    await freshBrowser();
    register = await startRegister();
    refusals = [];
    vi.stubGlobal('fetch', (url: string, init?: RequestInit) => register.fetch(new Request(url, init)));
    const draft = await draftWithScreenshot();
    const { payload, disclosures } = await built(draft);
    await confirmDraft(draft.id, payload, disclosures);
  });

  const works = () => register.posted.map((body) => body.get('work'));
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

  it.each(['work_expired', 'work_mismatch', 'work_malformed'])('is recorded without, after %s', async (code) => {
    asking(code);
    await flush();
    expect(refusals).toEqual([code]);
    expect(works()).toEqual([null]);
    expect(await recorded()).toBe(1);
  });

  it('is recorded without, when the challenge is none', async () => {
    register.intercept = async ({ url }) => (url.includes('/v1/work/') ? Response.json({ cost: 1 }) : undefined);
    await flush();
    expect(works()).toEqual([null]);
    expect(await recorded()).toBe(1);
  });
});
