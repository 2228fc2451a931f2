import { beforeEach, describe, expect, it, vi } from 'vitest';
import { browser } from 'wxt/browser';
import { inTransaction, read, write } from '../../src/platform/database';
import { saveAgain } from '../../src/platform/keeping';
import { acceptShownKeys, compareKeys } from '../../src/platform/pins';
import { ALARM, attemptNow, discard, flush, lookAgain, releaseHeld } from '../../src/platform/queue';
import { confirmDraft } from '../../src/platform/recording';
import { type Downloads, freshBrowser } from '../support/browser';
import { built, draftWithScreenshot } from '../support/draft';
import { bundleOf } from '../support/recorded';
import { problem, RECEIVED_AT, type Register, startRegister } from '../support/register';

let register: Register;
let downloads: Downloads;

beforeEach(async () => {
  downloads = await freshBrowser();
  register = await startRegister();
  vi.stubGlobal('fetch', (url: string, init?: RequestInit) => register.fetch(new Request(url, init)));
});

const queue = () => read('queue', (store) => store.all());
const objections = () => read('objections', (store) => store.all());
const offline = async () => Promise.reject(new TypeError('Failed to fetch'));
const posts = () => register.seen.filter((line) => line === 'POST /v1/receipts').length;

async function confirmed(): Promise<string> {
  const draft = await draftWithScreenshot();
  const { payload, disclosures } = await built(draft);
  return confirmDraft(draft.id, payload, disclosures);
}

async function planCheck(next_check_at: number): Promise<void> {
  const [objection] = await objections();
  if (objection) await write('objections', (store) => store.put({ ...objection, next_check_at }));
}

async function makeDue(): Promise<void> {
  await inTransaction(['queue', 'objections'], 'readwrite', async (store) => {
    for (const queued of await store('queue').all()) await store('queue').put({ ...queued, next_attempt_at: 0 });
    for (const one of await store('objections').all()) {
      if (Number.isFinite(one.bundle_next_attempt_at)) {
        await store('objections').put({ ...one, bundle_next_attempt_at: 0 });
      }
    }
  });
}

/** Answers a posted receipt with what `change` makes of the register's true answer. */
function forge(change: (answer: Record<string, unknown>) => Record<string, unknown>): void {
  register.intercept = async (request) => {
    if (request.method !== 'POST') return undefined;
    const receipt = String((await request.formData()).get('receipt'));
    return Response.json(change({ ...(await register.record(receipt)) }));
  };
}

describe('when the register answers', () => {
  it('is woken again if it is stopped before', async () => {
    const wakes: (number | undefined)[] = [];
    register.intercept = async ({ method }) => {
      if (method === 'POST') wakes.push((await browser.alarms.get(ALARM))?.scheduledTime);
      return undefined;
    };
    await confirmed();
    await browser.alarms.clear(ALARM);
    await flush();
    expect(wakes).toHaveLength(1);
    expect(wakes[0]).toBeGreaterThan(Date.now());
  });

  it('is woken again if it is stopped while another one works', async () => {
    await confirmed();
    let release = () => {};
    const busy = navigator.locks.request('flush', () => new Promise<void>((resolve) => (release = resolve)));
    const waiting = flush();
    await vi.waitFor(async () => expect(await browser.alarms.get(ALARM)).toBeTruthy());
    release();
    await Promise.all([busy, waiting]);
  });

  it.each([
    ['flush', 0, () => flush()],
    ['a look', 200_000, () => lookAgain()],
  ])('plans the next wake even when %s fails', async (_, checkInMs, work) => {
    await confirmed();
    await flush();
    vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 11_000 });
    vi.spyOn(browser.action, 'setBadgeText').mockRejectedValue(new Error('no badge'));
    register.intercept = async () => problem(503, 'log_busy');
    await planCheck(Date.now() + checkInMs);
    await expect(work()).rejects.toThrow('no badge');
    expect((await browser.alarms.get(ALARM))?.scheduledTime ?? 0).toBeGreaterThan(Date.now() + 100_000);
    vi.mocked(browser.action.setBadgeText).mockRestore();
    vi.useRealTimers();
  });

  it('does what a wrong clock had planned for years ahead', async () => {
    await confirmed();
    const inYears = Date.now() + 5 * 365 * 86_400_000;
    const [queued] = await queue();
    if (queued) await write('queue', (store) => store.put({ ...queued, next_attempt_at: inYears }));
    await flush();
    await planCheck(inYears);
    await flush();
    expect((await objections())[0]?.checks).toBe(1);
    await flush();
    expect((await objections())[0]?.checks).toBe(1); // the next one is planned by the clock of now
  });

  it('tells the name that the browser gave the file', async () => {
    downloads.named = (filename) => filename.replace('.asice', ' (1).asice');
    const hash = await confirmed();
    await flush();
    expect((await objections())[0]?.file).toMatch(/^proof-of-objection\/facebook-.* \(1\)\.asice$/);
    downloads.named = () => 'elsewhere.asice';
    expect(await saveAgain(hash)).toBe('elsewhere.asice');
  });

  it('records, fetches the bundle and saves it', async () => {
    const hash = await confirmed();
    await flush();
    expect(await queue()).toEqual([]);
    const [objection] = await objections();
    expect(objection).toMatchObject({ receipt_sha256: hash, received_at: RECEIVED_AT, log_index: 1 });
    const day = new Date(RECEIVED_AT * 1000).toISOString().slice(0, 10);
    expect(objection?.file).toBe(`proof-of-objection/facebook-${day}-${hash.slice(0, 8)}.asice`);
    expect(downloads.saved).toEqual([
      { filename: objection?.file, content: new TextDecoder().decode(await bundleOf(hash)) },
    ]);
    expect((await browser.alarms.get(ALARM))?.scheduledTime).toBeGreaterThan(Date.now()); // asks whether it is anchored
  });

  it('sends exactly the receipt, the share and the evidence, under their names', async () => {
    await confirmed();
    const [queued] = await queue();
    await flush();
    const body = register.posted[0];
    expect([...(body?.keys() ?? [])]).toEqual(['receipt', 'holder_share', 'evidence', 'evidence']);
    expect(body?.get('receipt')).toBe(queued?.receipt);
    expect(body?.get('holder_share')).toBe(queued?.holder_share);
    const files = body?.getAll('evidence') as File[];
    expect(files.map(({ name, type }) => [name, type])).toEqual([
      ['notice.txt', 'text/plain'],
      ['screenshot.jpg', 'image/jpeg'],
    ]);
  });

  it('sends once when two flushes meet', async () => {
    await confirmed();
    await Promise.all([flush(), flush(), flush()]);
    expect(posts()).toBe(1);
    expect(await objections()).toHaveLength(1);
    expect(downloads.saved).toHaveLength(1);
  });

  it('saves again on demand, the kept bundle when the register is away', async () => {
    const hash = await confirmed();
    await flush();
    register.intercept = offline;
    await saveAgain(hash);
    expect(downloads.saved).toHaveLength(2);
  });
});

describe('when the register does not answer', () => {
  it.each([
    ['no network', offline],
    ['an error of its own', async () => problem(503, 'unavailable')],
    ['too many requests', async () => problem(429, 'rate_limited')],
    ['a proxy’s HTML', async () => new Response('<h1>Bad gateway</h1>', { status: 502 })],
    ['a proxy’s refusal', async () => new Response('<h1>Forbidden</h1>', { status: 403 })],
    ['a captive portal', async () => new Response('<h1>Please log in</h1>')],
  ])('%s: waits, is not lost, and is sent later', async (_, answer) => {
    const hash = await confirmed();
    register.intercept = answer;
    await flush();
    const [waiting] = await queue();
    expect(waiting).toMatchObject({ receipt_sha256: hash, state: 'waiting', attempts: 1 });
    expect(waiting?.next_attempt_at).toBeGreaterThan(Date.now());
    expect((await browser.alarms.get(ALARM))?.scheduledTime).toBeGreaterThan(Date.now());
    register.intercept = undefined;
    await flush();
    expect(await queue()).toHaveLength(1); // not due yet
    await makeDue();
    await flush();
    expect((await objections()).map((one) => one.receipt_sha256)).toEqual([hash]);
  });

  it('waits longer after each failure, and "try now" does not wait', async () => {
    const hash = await confirmed();
    register.intercept = offline;
    const waits: number[] = [];
    for (let i = 0; i < 7; i++) {
      await makeDue();
      await flush();
      waits.push(Math.round((((await queue())[0]?.next_attempt_at ?? 0) - Date.now()) / 60_000));
    }
    expect(waits).toEqual([1, 2, 5, 15, 30, 60, 60]);
    register.intercept = undefined;
    await attemptNow(hash);
    expect(await objections()).toHaveLength(1);
  });

  it('sends the same receipt again when the answer got lost on the way', async () => {
    const hash = await confirmed();
    register.intercept = async (request) => {
      if (request.method !== 'POST') return undefined;
      await register.record(String((await request.formData()).get('receipt')));
      throw new TypeError('connection reset');
    };
    await flush();
    register.intercept = undefined;
    await attemptNow(hash);
    expect((await objections())[0]?.receipt_sha256).toBe(hash);
  });

  it('fetches the bundle later when only that failed', async () => {
    const hash = await confirmed();
    register.intercept = async (request) => (request.url.endsWith('/bundle') ? problem(503, 'unavailable') : undefined);
    await flush();
    expect((await objections())[0]).toMatchObject({ bundle_problem: { code: 'unavailable' } });
    expect(await bundleOf(hash)).toHaveLength(0);
    register.intercept = undefined;
    await makeDue();
    await flush();
    expect(downloads.saved).toHaveLength(1);
    expect(posts()).toBe(1);
  });

  it('keeps the bundle when the disk is full, tries again after a while, but not for ever, and saves it when asked', async () => {
    const hash = await confirmed();
    downloads.fails = true;
    const waits: number[] = [];
    for (let i = 0; i < 6; i++) {
      await makeDue();
      await flush();
      await flush(); // not due yet
      const [objection] = await objections();
      expect(objection).toMatchObject({ bundle_problem: { code: 'download_failed' }, bundle_attempts: i + 1 });
      waits.push(Math.round(((objection?.bundle_next_attempt_at ?? 0) - Date.now()) / 60_000));
    }
    expect(waits).toEqual([1, 2, 5, 15, 30, Number.POSITIVE_INFINITY]);
    downloads.fails = false;
    expect(await saveAgain(hash)).toContain(hash.slice(0, 8));
    expect((await objections())[0]?.bundle_problem).toBeUndefined();
  });
});

describe('when the register says no', () => {
  it('keeps the receipt with the reason, does not send it again, and forgets it only when told', async () => {
    const hash = await confirmed();
    register.intercept = async () => problem(422, 'receipt_stale');
    await flush();
    expect((await queue())[0]).toMatchObject({
      state: 'refused',
      problem: { code: 'receipt_stale', title: 'Title of receipt_stale', detail: 'Details.' },
    });
    await makeDue();
    await attemptNow(hash);
    expect(posts()).toBe(1);
    await discard(hash);
    await discard(hash); // a repeat
    expect(await queue()).toEqual([]);
  });

  it.each(['waiting', 'held'] as const)('does not forget what is %s: the register may have it', async (state) => {
    const hash = await confirmed();
    const [queued] = await queue();
    if (queued) await write('queue', (store) => store.put({ ...queued, state }));
    await expect(discard(hash)).rejects.toMatchObject({ code: 'not_refused' });
    expect(await queue()).toHaveLength(1);
  });

  it('does not ask for a bundle again that it refuses', async () => {
    await confirmed();
    register.intercept = async ({ url }) => (url.endsWith('/bundle') ? problem(403, 'not_the_holder') : undefined);
    await flush();
    expect((await objections())[0]).toMatchObject({
      bundle_problem: { code: 'not_the_holder' },
      bundle_next_attempt_at: Number.POSITIVE_INFINITY,
    });
  });

  it('about the clock, asks again', async () => {
    await confirmed();
    register.intercept = async ({ url }) => (url.endsWith('/bundle') ? problem(401, 'dpop_refused') : undefined);
    await flush();
    const [objection] = await objections();
    expect(objection?.bundle_next_attempt_at).toBeLessThan(Date.now() + 61_000);
  });
});

describe('an answer is not believed', () => {
  const stranger = 'Z'.repeat(64).toLowerCase().replaceAll('z', 'c');

  it.each<[string, (answer: Record<string, unknown>) => Record<string, unknown>, string]>([
    ['about another receipt', (a) => ({ ...a, receipt_sha256: stranger }), 'token_receipt_mismatch'],
    ['with another time', (a) => ({ ...a, received_at: RECEIVED_AT + 1 }), 'token_receipt_mismatch'],
    ['with a broken token signature', (a) => ({ ...a, token: tampered(String(a.token)) }), 'signature_invalid'],
    ['with a key binding', (a) => ({ ...a, token: `${a.token}x` }), 'jws_malformed'],
    [
      'with a proof for another place',
      (a) => ({ ...a, proof: String(a.proof).replace('index 1', 'index 0') }),
      'proof_mismatch',
    ],
    [
      'with another salt',
      (a) => ({ ...a, proof: String(a.proof).replace(/extra .*/, `extra ${'A'.repeat(43)}=`) }),
      'proof_mismatch',
    ],
    [
      'with a checkpoint nobody signed',
      (a) => ({ ...a, proof: String(a.proof).replace('\n2\n', '\n3\n') }),
      'note_unverified',
    ],
    ['with a torn proof', (a) => ({ ...a, proof: String(a.proof).slice(0, 80) }), 'proof_malformed'],
    ['with something beside', (a) => ({ ...a, note: 'trust me' }), 'field_invalid'],
    ['without a token', ({ token, ...rest }) => rest, 'field_invalid'],
  ])('%s', async (_, change, code) => {
    await confirmed();
    forge(change);
    await flush();
    expect(await objections()).toEqual([]);
    expect((await queue())[0]).toMatchObject({ state: 'waiting', problem: { code } });
    register.intercept = undefined;
    await makeDue();
    await flush();
    expect(await objections()).toHaveLength(1);
  });

  it('with another receipt’s token', async () => {
    await confirmed();
    await flush();
    const first = (await objections())[0];
    await confirmed();
    forge((answer) => ({ ...answer, token: first?.token }));
    await flush();
    expect((await queue())[0]?.problem?.code).toBe('token_receipt_mismatch');
  });
});

describe('the register’s keys', () => {
  it('are pinned at first use: other keys hold the receipt until the person accepts them', async () => {
    await confirmed();
    await flush();
    register = await startRegister();
    const hash = await confirmed();
    await flush();
    expect((await queue())[0]).toMatchObject({ state: 'held', problem: { code: 'register_keys_changed' } });
    await makeDue();
    await flush();
    expect(posts()).toBe(1); // held is not tried by itself
    const { pinned, shown } = await compareKeys();
    expect(pinned).not.toBe(shown);
    await expect(acceptShownKeys(pinned)).rejects.toMatchObject({ code: 'keys_changed_again' });
    await acceptShownKeys(shown);
    await releaseHeld();
    expect((await objections()).map((one) => one.receipt_sha256)).toContain(hash);
  });

  it('once accepted, let a proof be fetched that was not believed', async () => {
    await confirmed();
    await flush();
    const [objection] = await objections();
    if (!objection) throw new Error('not recorded');
    const problem = { code: 'register_keys_changed', title: '', detail: '' };
    const waiting = { bundle_wanted: true, bundle_problem: problem, bundle_next_attempt_at: Date.now() + 600_000 };
    await write('objections', (store) => store.put({ ...objection, ...waiting }));
    await flush();
    expect((await objections())[0]?.bundle_problem).toEqual(problem);
    await releaseHeld();
    expect((await objections())[0]?.bundle_problem).toBeUndefined();
  });

  it('a forger who leaves the policy alone is only disbelieved', async () => {
    await confirmed();
    await flush();
    const honest = register;
    const forger = await startRegister();
    await confirmed();
    honest.intercept = async (request) => (request.method === 'POST' ? forger.fetch(request) : undefined);
    await flush();
    expect((await queue())[0]).toMatchObject({ state: 'waiting', problem: { code: 'token_issuer_unknown' } });
  });

  it('an unusable policy is not pinned', async () => {
    await confirmed();
    const { policy } = register;
    register.policy = { ...policy, log: policy.log.replace('quorum none', 'quorum any') };
    await flush();
    expect((await queue())[0]).toMatchObject({ state: 'waiting', problem: { code: 'policy_malformed' } });
    register.policy = policy;
    await makeDue();
    await flush();
    expect(await objections()).toHaveLength(1);
  });
});

it('a redirect is an error, and no cookies travel', async () => {
  const seen: RequestInit[] = [];
  vi.stubGlobal('fetch', (url: string, init: RequestInit = {}) => {
    seen.push(init);
    return register.fetch(new Request(url, init));
  });
  await confirmed();
  await flush();
  expect(seen.length).toBeGreaterThanOrEqual(3);
  expect(seen.every(({ credentials, redirect }) => credentials === 'omit' && redirect === 'error')).toBe(true);
});

function tampered(token: string): string {
  const [head, payload, signature = ''] = token.split('.');
  return `${head}.${payload}.${signature.startsWith('A') ? 'B' : 'A'}${signature.slice(1)}`;
}
