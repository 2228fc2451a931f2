import { beforeEach, describe, expect, it, vi } from 'vitest';
import { browser } from 'wxt/browser';
import { unpackContainer } from '../../src/core/asice';
import { type Bytes, parseJson, parseUtf8, utf8 } from '../../src/core/encoding';
import { verifyReceipt } from '../../src/core/receipts';
import { read, write } from '../../src/platform/database';
import { forget, leave, saveAcknowledgement, saveAgain, saveCertificate } from '../../src/platform/keeping';
import { ALARM, flush, lookAgain } from '../../src/platform/queue';
import { type Downloads, freshBrowser } from '../support/browser';
import { bundleOf, makeDue, objectionOf, recordObjection, signed } from '../support/recorded';
import { problem, RECEIVED_AT, type Register, startRegister } from '../support/register';
import { flipped, indexOf, sample } from '../support/samples';

let register: Register;
let downloads: Downloads;
let objection: string;

beforeEach(async () => {
  downloads = await freshBrowser();
  register = await startRegister();
  vi.stubGlobal('fetch', (url: string, init?: RequestInit) => register.fetch(new Request(url, init)));
  objection = await recordObjection();
});

const withCode = (code: string) => expect.objectContaining({ code });
const doesNotHold = (code: string) =>
  expect.objectContaining({ code: 'proof_does_not_hold', message: expect.stringContaining(code) });
const asked = () => register.seen.filter((line) => line === `GET /v1/receipts/${objection}`).length;
const bundles = () => register.seen.filter((line) => line.endsWith('/bundle')).length;

async function dueFlush(): Promise<void> {
  await makeDue();
  await flush();
}

/** Answers questions about the objection with what `change` makes of the register's true answer. */
function forge(change: (answer: Record<string, unknown>) => Record<string, unknown>): void {
  register.intercept = async (request) => {
    if (request.method !== 'GET' || request.url.endsWith('/bundle') || request.url.endsWith('/policy'))
      return undefined;
    const { receipt } = await objectionOf(objection);
    return Response.json(change({ ...(await register.record(receipt)) }));
  };
}

describe('leaving a campaign', () => {
  it('asks the register as the holder, and remembers', async () => {
    register.intercept = async (request) =>
      request.method === 'DELETE' && request.headers.get('DPoP') ? new Response(null, { status: 204 }) : undefined;
    await leave(objection);
    expect(register.seen).toContain(`DELETE /v1/receipts/${objection}/campaign`);
    expect((await objectionOf(objection)).left_campaign).toBe(true);
  });

  it('remembers nothing when the register refuses, however often', async () => {
    register.intercept = async ({ method }) => (method === 'DELETE' ? problem(404, 'campaign_not_joined') : undefined);
    for (let i = 0; i < 2; i++) {
      await expect(leave(objection)).rejects.toThrow(withCode('campaign_not_joined'));
      expect((await objectionOf(objection)).left_campaign).toBeUndefined();
    }
  });

  it('asks once, however often it is told', async () => {
    register.intercept = async ({ method }) => (method === 'DELETE' ? new Response(null, { status: 204 }) : undefined);
    await Promise.all([leave(objection), leave(objection)]);
    expect(register.seen.filter((line) => line.startsWith('DELETE'))).toHaveLength(1);
  });

  it('is not called done when it never was asked for in time', async () => {
    register.intercept = async ({ method }) =>
      method === 'DELETE' ? Promise.reject(new TypeError('reset')) : undefined;
    await expect(leave(objection)).rejects.toThrow(withCode('unreachable'));
    register.intercept = async ({ method }) => (method === 'DELETE' ? problem(404, 'campaign_not_joined') : undefined);
    await expect(leave(objection)).rejects.toThrow(withCode('campaign_not_joined'));
    expect((await objectionOf(objection)).left_campaign).toBeUndefined();
  });
});

describe('a recorded proof', () => {
  it('is asked about after half a minute, two, ten, an hour, and then daily for a week', async () => {
    const minutes: number[] = [];
    for (;;) {
      const { next_check_at } = await objectionOf(objection);
      if (!Number.isFinite(next_check_at)) break;
      minutes.push(Math.round((next_check_at - Date.now()) / 6000) / 10);
      await dueFlush();
    }
    const day = 24 * 60;
    expect(minutes).toEqual([0.5, 2, 10, 60, day, day, day, day, day, day, day]);
    expect(asked()).toBe(minutes.length);
    expect(bundles()).toBe(1); // nothing new was to be had
    expect(await browser.alarms.get(ALARM)).toBeFalsy();
  });

  it('is not asked about before its time', async () => {
    await flush();
    expect(asked()).toBe(0);
    const { scheduledTime = 0 } = (await browser.alarms.get(ALARM)) ?? {};
    expect(scheduledTime).toBeGreaterThan(Date.now());
    expect(scheduledTime).toBeLessThanOrEqual(Date.now() + 31_000);
  });
});

describe('an anchored proof', () => {
  it('is fetched, kept and saved beside the first, which stays', async () => {
    const { file: first } = await objectionOf(objection);
    register.anchor();
    await dueFlush();
    const { anchored_at, file } = await objectionOf(objection);
    expect(anchored_at).toBe(RECEIVED_AT + 60);
    expect(new TextDecoder().decode(await bundleOf(objection))).toContain('anchored');
    expect(file).toBe(first?.replace('.asice', '-anchored.asice'));
    expect(downloads.saved.map(({ filename }) => filename)).toEqual([first, file]);
    expect(downloads.overwrites).toBe(0);
  });

  it('is asked about no more', async () => {
    register.anchor();
    await dueFlush();
    const seen = register.seen.length;
    await dueFlush();
    await lookAgain();
    expect(register.seen.length).toBe(seen);
  });

  it('keeps its time whatever is added later, which has its own', async () => {
    register.anchor(RECEIVED_AT + 60);
    await dueFlush();
    await signed('supplement', objection);
    await flush();
    await dueFlush();
    const between = await objectionOf(objection);
    expect([between.anchored_at, between.later[0]?.anchored_at]).toEqual([RECEIVED_AT + 60, undefined]);
    expect(between.file).toMatch(/-plus-1-partly-anchored\.asice$/);
    register.anchor(RECEIVED_AT + 6000);
    await dueFlush();
    expect(await objectionOf(objection)).toMatchObject({
      anchored_at: RECEIVED_AT + 60,
      later: [{ anchored_at: RECEIVED_AT + 6000 }],
      next_check_at: Number.POSITIVE_INFINITY,
    });
    expect((await objectionOf(objection)).file).toMatch(/-plus-1-anchored\.asice$/);
  });

  it('is found when the person looks, without using up the schedule, and not at every look', async () => {
    vi.useFakeTimers({ toFake: ['Date'] });
    const before = await objectionOf(objection);
    vi.setSystemTime(Date.now() + 20_000);
    await lookAgain();
    await lookAgain();
    expect(asked()).toBe(1);
    const { checks, next_check_at } = await objectionOf(objection);
    expect([checks, next_check_at]).toEqual([before.checks, before.next_check_at]);
    register.anchor();
    vi.setSystemTime(Date.now() + 11_000);
    await lookAgain();
    expect((await objectionOf(objection)).anchored_at).toBe(RECEIVED_AT + 60);
    vi.useRealTimers();
  });
});

describe('an answer about the state is not believed', () => {
  it.each<[string, (answer: Record<string, unknown>) => Record<string, unknown>, string]>([
    ['about another receipt', (a) => ({ ...a, receipt_sha256: 'c'.repeat(64) }), 'token_receipt_mismatch'],
    [
      'with a checkpoint that nobody signed',
      (a) => ({ ...a, proof: String(a.proof).replace('\n2\n', '\n3\n') }),
      'note_unverified',
    ],
    ['with an unknown state', (a) => ({ ...a, state: 'eternal' }), 'field_invalid'],
    ['anchored without an entry', (a) => ({ ...a, state: 'anchored', anchored_entries: 0 }), 'token_receipt_mismatch'],
    ['recorded with an anchored entry', (a) => ({ ...a, anchored_entries: 1 }), 'token_receipt_mismatch'],
  ])('%s', async (_, change, code) => {
    register.anchor();
    forge(change);
    await dueFlush();
    expect(await objectionOf(objection)).toMatchObject({ anchored_told: 0, check_problem: { code } });
    register.intercept = undefined;
    await dueFlush();
    const found = await objectionOf(objection);
    expect(found.anchored_at).toBe(RECEIVED_AT + 60);
    expect(found.check_problem).toBeUndefined();
  });

  it('with another token than before', async () => {
    const recorded = await objectionOf(objection);
    await write('objections', (store) => store.put({ ...recorded, token: 'another~' }));
    forge((answer) => answer);
    await dueFlush();
    expect((await objectionOf(objection)).check_problem?.code).toBe('token_receipt_mismatch');
  });

  it('with a status that this browser has not signed', async () => {
    forge((answer) => ({ ...answer, status: 'withdrawn' }));
    await dueFlush();
    expect(await objectionOf(objection)).toMatchObject({
      status: 'stands',
      check_problem: { code: 'status_unexpected' },
    });
  });

  it('but a withdrawal of ours whose answer got lost is no surprise', async () => {
    await signed('withdrawal', objection);
    register.intercept = async (request) => (request.method === 'POST' ? problem(503, 'unavailable') : undefined);
    await flush();
    forge((answer) => ({ ...answer, status: 'withdrawn' }));
    const busy = register.intercept;
    register.intercept = async (request) =>
      request.method === 'POST' ? problem(503, 'unavailable') : busy?.(request as never);
    await dueFlush();
    expect((await objectionOf(objection)).check_problem).toBeUndefined();
  });
});

it('when the register refuses to answer, it is not asked again by itself', async () => {
  register.intercept = async () => problem(404, 'record_not_found');
  await dueFlush();
  expect((await objectionOf(objection)).check_problem?.code).toBe('record_not_found');
  expect(await browser.alarms.get(ALARM)).toBeFalsy();
});

describe('the certificate', () => {
  it('is asked for in the chosen language and saved as a PDF', async () => {
    await takeSample();
    register.certificate = sample('proof.pdf');
    const file = await saveCertificate(objection, 'fr');
    expect(register.languages).toEqual(['fr']);
    expect(file).toMatch(/^proof-of-objection\/facebook-.*-fr\.pdf$/);
    expect(downloads.saved.at(-1)).toEqual({ filename: file, content: new TextDecoder().decode(sample('proof.pdf')) });
    expect(await read('passing', (files) => files.all())).toEqual([]);
  });

  it.each<[string, () => Bytes, string]>([
    ['is no PDF', () => utf8('<h1>Please log in</h1>'), 'file_unrecognised'],
    [
      'was changed',
      () => flipped(sample('proof.pdf'), indexOf(sample('proof.pdf'), 'endstream') - 4),
      'document_altered',
    ],
    ['somebody else signed', () => sample('stranger.pdf'), 'document_signature_invalid'],
  ])('is not saved when it %s', async (_, certificate, code) => {
    await takeSample();
    register.certificate = certificate();
    await expect(saveCertificate(objection, 'fr')).rejects.toEqual(doesNotHold(code));
    expect(downloads.saved).toHaveLength(1);
  });

  it('is not saved when it is about another objection', async () => {
    const ours = objection;
    await takeSample();
    register.certificate = sample('proof.pdf');
    await expect(saveCertificate(ours, 'fr')).rejects.toEqual(doesNotHold('bundle_of_another'));
  });
});

/** Puts the objection of the committed proofs in place of ours, and has the register be theirs. */
async function takeSample(): Promise<void> {
  const ours = await objectionOf(objection);
  const receipt = parseUtf8((await unpackContainer(sample('recorded.asice'))).get('receipt.jws') ?? utf8(''), 'test');
  objection = (await verifyReceipt(receipt)).sha256Hex;
  await write('objections', (store) => store.put({ ...ours, jti: 'sample', receipt, receipt_sha256: objection }));
  const policy = parseJson(sample('policy.json'));
  register.policy = policy as never;
  await browser.storage.local.set({ 'pinned-policy': { policy } });
  register.intercept = async ({ headers, url }) => {
    if (!url.endsWith('/bundle')) return undefined;
    register.languages.push(headers.get('accept-language'));
    return new Response(register.certificate);
  };
}

describe('a bundle that does not hold', () => {
  const kept = async () => new TextDecoder().decode(await bundleOf(objection));

  /** Has the register give what `change` makes of the true bundle. */
  function damage(change: (bundle: Bytes) => Bytes): void {
    const request = register.fetch;
    vi.stubGlobal('fetch', async (url: string, init?: RequestInit) => {
      const response = await request(new Request(url, init));
      if (!url.endsWith('/bundle')) return response;
      return new Response(change(new Uint8Array(await response.arrayBuffer())));
    });
  }

  it.each<[string, (bundle: Bytes) => Bytes, string]>([
    ['is something else', () => utf8('<h1>Please log in</h1>'), 'file_unrecognised'],
    ['is cut', (raw) => raw.slice(0, -100), 'bundle_malformed'],
    ['has another file in it', (raw) => flipped(raw, indexOf(raw, 'recorded, ')), 'bundle_malformed'],
    ['is another register’s', () => sample('recorded.asice'), 'token_issuer_unknown'],
  ])('because it %s does not replace the one that is kept', async (_, change, code) => {
    const before = await kept();
    damage(change);
    await saveAgain(objection);
    expect(await kept()).toBe(before);
    expect((await objectionOf(objection)).bundle_problem?.detail).toContain(code);
    expect(downloads.saved.at(-1)?.content).toBe(before);
  });

  it('because it is about another objection does not replace it either', async () => {
    const other = await recordObjection();
    const wrong = await bundleOf(other);
    const before = await kept();
    damage(() => wrong);
    await saveAgain(objection);
    expect(await kept()).toBe(before);
    expect((await objectionOf(objection)).bundle_problem?.detail).toContain('bundle_of_another');
  });

  it('because what was added is missing does not replace it either', async () => {
    const old = await bundleOf(objection);
    await signed('supplement', objection);
    await flush();
    const before = await kept();
    damage(() => old);
    await saveAgain(objection);
    expect(await kept()).toBe(before);
    expect((await objectionOf(objection)).bundle_problem?.detail).toContain('bundle_incomplete');
  });

  it('because it is only recorded does not replace an anchored one', async () => {
    const recorded = await bundleOf(objection);
    register.anchor();
    await dueFlush();
    const before = await kept();
    damage(() => recorded);
    await saveAgain(objection);
    expect(await kept()).toBe(before);
    expect((await objectionOf(objection)).bundle_problem?.detail).toContain('quorum_missed');
  });

  it('because it shows a later independent time does not replace an earlier one', async () => {
    register.anchor(RECEIVED_AT + 60);
    await dueFlush();
    const before = await kept();
    register.anchor(RECEIVED_AT + 6000);
    register.loseAnchor();
    await saveAgain(objection);
    expect(await kept()).toBe(before);
    const { anchored_at, bundle_problem } = await objectionOf(objection);
    expect(anchored_at).toBe(RECEIVED_AT + 60);
    expect(bundle_problem?.detail).toContain('anchor_later');
    expect(downloads.saved.at(-1)?.content).toBe(before);
  });

  it('because it shows a later time of what was added does not replace an earlier one', async () => {
    register.anchor(RECEIVED_AT + 60);
    await signed('supplement', objection);
    await flush();
    register.anchor(RECEIVED_AT + 600);
    await dueFlush();
    const before = await kept();
    register.anchor(RECEIVED_AT + 6000);
    register.loseAnchor();
    register.loseAnchor();
    await saveAgain(objection);
    expect(await kept()).toBe(before);
    expect((await objectionOf(objection)).later[0]?.anchored_at).toBe(RECEIVED_AT + 600);
  });

  it('because it shows less than the register says is anchored does not replace one', async () => {
    const recorded = await bundleOf(objection);
    const before = await kept();
    register.anchor();
    damage(() => recorded);
    await dueFlush();
    expect(await kept()).toBe(before);
    const { anchored_at, bundle_problem } = await objectionOf(objection);
    expect(anchored_at).toBeUndefined();
    expect(bundle_problem?.detail).toContain('quorum_missed');
  });

  it('a withdrawn one does', async () => {
    await signed('withdrawal', objection);
    await flush();
    const { bundle_problem, file } = await objectionOf(objection);
    expect(bundle_problem).toBeUndefined();
    expect(file).toMatch(/-plus-1\.asice$/);
  });
});

describe('an erased objection', () => {
  beforeEach(async () => {
    await signed('erasure', objection);
    await flush();
  });

  it('can be saved from here without asking the register', async () => {
    const seen = register.seen.length;
    await saveAgain(objection);
    expect(downloads.saved).toHaveLength(2);
    expect(register.seen.length).toBe(seen);
  });

  it('can be saved with the acknowledgement', async () => {
    expect(await saveAcknowledgement(objection)).toMatch(/-erased\.json$/);
    const { receipt, acknowledgement, proof } = JSON.parse(downloads.saved.at(-1)?.content ?? '');
    const [erasure] = (await objectionOf(objection)).later;
    expect({ receipt, acknowledgement, proof }).toEqual({
      receipt: erasure?.receipt,
      acknowledgement: erasure?.acknowledgement,
      proof: erasure?.proof,
    });
  });

  it('is forgotten when told, and only then', async () => {
    await flush();
    expect(await objectionOf(objection)).toBeDefined();
    await forget(objection);
    await expect(objectionOf(objection)).rejects.toThrow();
  });
});

it('what is not erased is not forgotten', async () => {
  await expect(forget(objection)).rejects.toEqual(withCode('not_erased'));
  await expect(saveAcknowledgement(objection)).rejects.toEqual(withCode('not_erased'));
  expect(await objectionOf(objection)).toBeDefined();
});

describe('a register whose only clock is its own', () => {
  beforeEach(async () => {
    await freshBrowser();
    register = await startRegister({ clock: false });
    objection = await recordObjection();
  });

  it('is not waited for, and what it stamps is not called anchored', async () => {
    expect(await objectionOf(objection)).toMatchObject({ no_clock: true, next_check_at: Number.POSITIVE_INFINITY });
    expect(await browser.alarms.get(ALARM)).toBeFalsy();
    register.anchor();
    await dueFlush();
    expect([asked(), bundles()]).toEqual([0, 1]);
    await lookAgain();
    expect(asked()).toBe(1);
    const { anchored_at, anchored_told, file } = await objectionOf(objection);
    expect([anchored_at, anchored_told]).toEqual([undefined, 0]);
    await saveAgain(objection);
    const { file: again } = await objectionOf(objection);
    expect(new TextDecoder().decode(await bundleOf(objection))).toContain('anchors/local.tst');
    expect(again).toMatch(/[0-9a-f]{8}\.asice$/);
    expect(file).not.toContain('anchored');
  });
});

describe('a person who says no to "Save as"', () => {
  it('is asked no more, not for a newer proof either, and saves when they want to', async () => {
    downloads.interrupted = 'USER_CANCELED';
    await signed('supplement', objection);
    await flush();
    const asked = downloads.saved.length;
    expect((await objectionOf(objection)).bundle_problem?.code).toBe('save_cancelled');
    register.anchor();
    for (let i = 0; i < 3; i++) await dueFlush();
    expect(downloads.saved).toHaveLength(asked);
    downloads.interrupted = undefined;
    await saveAgain(objection);
    expect(downloads.saved.at(-1)?.content).toContain('anchored');
    expect((await objectionOf(objection)).save_declined).toBeUndefined();
  });

  it.each([
    ['FILE_ACCESS_DENIED', 'save_denied'],
    ['FILE_NO_SPACE', 'disk_full'],
    ['FILE_FAILED', 'download_failed'],
  ])('a disk that says %s is told as %s, and tried again', async (reason, code) => {
    downloads.interrupted = reason;
    await signed('supplement', objection);
    await flush();
    const { bundle_problem, bundle_next_attempt_at } = await objectionOf(objection);
    expect(bundle_problem?.code).toBe(code);
    expect(bundle_next_attempt_at).toBeGreaterThan(Date.now());
    expect(bundle_next_attempt_at).toBeLessThan(Number.POSITIVE_INFINITY);
  });
});

it('a browser without room keeps the proof that it has, and says why there is no newer one', async () => {
  const before = await bundleOf(objection);
  const { put } = IDBObjectStore.prototype;
  vi.spyOn(IDBObjectStore.prototype, 'put').mockImplementation(function (this: IDBObjectStore, value: unknown) {
    if (this.name === 'kept') throw new DOMException('full', 'QuotaExceededError');
    return put.call(this, value);
  });
  register.anchor();
  await dueFlush();
  expect((await objectionOf(objection)).bundle_problem?.code).toBe('no_room');
  expect(await bundleOf(objection)).toEqual(before);
  vi.mocked(IDBObjectStore.prototype.put).mockRestore();
  await dueFlush();
  expect((await objectionOf(objection)).bundle_problem).toBeUndefined();
});
