import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { browser } from 'wxt/browser';
import type { AcknowledgementClaims } from '../../src/core/contract.gen';
import { formatBase64, parseBase64url, utf8 } from '../../src/core/encoding';
import { evidenceItem, formatLater, type LaterKind } from '../../src/core/later';
import { verifyReceipt } from '../../src/core/receipts';
import { signLater } from '../../src/platform/amending';
import { read, write } from '../../src/platform/database';
import { ALARM, attemptNow, discard, flush, keepUnchecked } from '../../src/platform/queue';
import { viewQueued } from '../../src/platform/views';
import { type Downloads, freshBrowser } from '../support/browser';
import { bundleOf, LATER_S, MAIL, makeDue, objectionOf, recordObjection, signed } from '../support/recorded';
import { problem, RECEIVED_AT, type Register, startRegister } from '../support/register';

const OTHER_KEY = {
  kty: 'EC',
  crv: 'P-256',
  x: 'axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY',
  y: 'T-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU',
} as const;
const JTI = 'AAAAAAAAAAAAAAAAAAAAAA';
let register: Register;
let downloads: Downloads;
let objection: string;

beforeEach(async () => {
  downloads = await freshBrowser();
  register = await startRegister();
  vi.stubGlobal('fetch', (url: string, init?: RequestInit) => register.fetch(new Request(url, init)));
  objection = await recordObjection();
});

const queue = () => read('queue', (store) => store.all());
const withCode = (code: string) => expect.objectContaining({ code });
const posts = () => register.posted.length - 1;
const sealedShare = async () => (await objectionOf(objection)).holder_share;

/** Answers posted receipts with what `change` makes of the register's true answer. */
function forge(change: (answer: Record<string, unknown>) => Record<string, unknown>): void {
  register.intercept = async (request) => {
    if (request.method !== 'POST') return undefined;
    const receipt = String((await request.formData()).get('receipt'));
    return Response.json(change({ ...(await register.record(receipt)) }));
  };
}

describe('signing', () => {
  it('signs the very bytes that were shown, with the objection’s share', async () => {
    const shown = formatLater({ kind: 'withdrawal', objection, jti: JTI, evidence: [] }, LATER_S);
    const hash = await signLater(shown, {});
    const [queued] = await queue();
    expect(new TextDecoder().decode(parseBase64url(queued?.receipt.split('.')[1] ?? ''))).toBe(shown);
    expect((await verifyReceipt(queued?.receipt ?? '')).sha256Hex).toBe(hash);
    expect(queued).toMatchObject({
      kind: 'withdrawal',
      objection_sha256: objection,
      holder_share: await sealedShare(),
    });
  });

  it('makes one receipt of two clicks, before and after it was recorded', async () => {
    const shown = formatLater({ kind: 'withdrawal', objection, jti: JTI, evidence: [] }, LATER_S);
    const [one, two] = await Promise.all([signLater(shown, {}), signLater(shown, {})]);
    expect(one).toBe(two);
    await flush();
    expect(await signLater(shown, {})).toBe(one);
    expect(await queue()).toEqual([]);
  });

  it.each<[string, (shown: string) => string, Record<string, string>, string]>([
    [
      'the same content in other bytes',
      (shown) => JSON.stringify(JSON.parse(shown), null, 1),
      {},
      'not_what_was_shown',
    ],
    ['an objection', (shown) => shown.replace('"withdrawal"', '"objection"'), {}, 'field_invalid'],
    ['an objection that is not ours', (shown) => shown.replace(objection, 'c'.repeat(64)), {}, 'not_recorded'],
    ['files that are not named', (shown) => shown, { 'a.txt': 'AAAA' }, 'evidence_unexpected'],
  ])('refuses %s', async (_, change, files, code) => {
    const shown = formatLater({ kind: 'withdrawal', objection, jti: JTI, evidence: [] }, LATER_S);
    await expect(signLater(change(shown), files)).rejects.toEqual(withCode(code));
    expect(await queue()).toEqual([]);
  });

  it.each([
    ['another content', { 'reply.eml': formatBase64(utf8('another')) }, 'evidence_mismatch'],
    ['no content', {}, 'evidence_missing'],
    ['something that is no base64', { 'reply.eml': '***' }, 'not_what_was_shown'],
  ])('refuses a file with %s', async (_, files: Record<string, string>, code) => {
    const evidence = [await evidenceItem('reply.eml', utf8(MAIL), [])];
    const shown = formatLater({ kind: 'supplement', objection, jti: JTI, evidence }, LATER_S);
    await expect(signLater(shown, files)).rejects.toEqual(withCode(code));
  });

  it.each<[LaterKind, LaterKind, string]>([
    ['withdrawal', 'withdrawal', 'already_withdrawn'],
    ['erasure', 'withdrawal', 'record_erased'],
    ['erasure', 'supplement', 'record_erased'],
    ['erasure', 'erasure', 'record_erased'],
  ])('after %s refuses %s, waiting or recorded', async (first, second, code) => {
    await signed(first, objection);
    await expect(signed(second, objection)).rejects.toEqual(withCode(code));
    await flush();
    await expect(signed(second, objection)).rejects.toEqual(withCode(code));
  });

  it('after a withdrawal that the register refused, another one may follow', async () => {
    await signed('withdrawal', objection);
    register.intercept = async () => problem(422, 'receipt_stale');
    await flush();
    register.intercept = undefined;
    await signed('withdrawal', objection);
    await flush();
    expect((await objectionOf(objection)).status).toBe('withdrawn');
  });

  it('refuses a seventeenth supplement', async () => {
    for (let i = 0; i < 16; i++) await signed('supplement', objection, `Mail ${i}`);
    await expect(signed('supplement', objection)).rejects.toEqual(withCode('too_many_supplements'));
  });

  it('counts all evidence of the objection', async () => {
    await signed('supplement', objection, 'x'.repeat(4_194_304));
    await expect(signed('supplement', objection, 'y'.repeat(4_194_304))).rejects.toEqual(
      withCode('evidence_too_large'),
    );
  });
});

describe('sending', () => {
  it('a supplement goes with its file and the objection’s share, and is part of the next proof', async () => {
    const hash = await signed('supplement', objection);
    await flush();
    const body = register.posted.at(-1);
    expect([...(body?.keys() ?? [])]).toEqual(['receipt', 'holder_share', 'evidence']);
    expect(body?.get('holder_share')).toBe(await sealedShare());
    const file = body?.get('evidence') as File;
    expect([file.name, file.type, await file.text()]).toEqual(['reply.eml', 'message/rfc822', MAIL]);
    const { later, status, file: saved } = await objectionOf(objection);
    expect(later).toMatchObject([{ kind: 'supplement', receipt_sha256: hash, received_at: RECEIVED_AT, log_index: 2 }]);
    expect(status).toBe('stands');
    expect(saved).toMatch(/-plus-1\.asice$/);
    expect(downloads.saved.at(-1)).toMatchObject({ filename: saved, content: expect.stringContaining('3 entries') });
  });

  describe('what the register saw in a mail', () => {
    const finding = {
      ...{
        finding: 'signed' as const,
        domain: 'facebookmail.com',
        selector: 's1024',
        from: 'facebookmail.com',
        subject: 'Yes',
      },
      ...{ key_sha256: 'e'.repeat(64), known: 'none', kind: 'unknown' as const },
    };

    it('is kept', async () => {
      register.dkim = { 'reply.eml': finding };
      await signed('supplement', objection);
      await flush();
      expect((await objectionOf(objection)).later[0]?.mails).toEqual({ 'reply.eml': finding });
    });

    it('is not believed of a file that is no mail', async () => {
      register.dkim = { 'note.txt': finding };
      const item = await evidenceItem('note.txt', utf8('x'), []);
      const shown = formatLater({ kind: 'supplement', objection, jti: JTI, evidence: [item] }, LATER_S);
      await signLater(shown, { 'note.txt': formatBase64(utf8('x')) });
      await flush();
      expect((await queue())[0]?.problem?.code).toBe('token_receipt_mismatch');
    });

    it('must be said of every mail', async () => {
      register.acknowledging = (claims) => ({
        ...claims,
        evidence: claims.evidence.map(({ dkim, ...item }) => item),
      });
      await signed('supplement', objection);
      await flush();
      expect((await queue())[0]?.problem?.code).toBe('token_receipt_mismatch');
    });
  });

  describe('when the register cannot ask the DNS for the key of a mail', () => {
    let answers: boolean;

    beforeEach(async () => {
      answers = false;
      vi.useFakeTimers({ toFake: ['Date'], now: LATER_S * 1000 });
      register.intercept = async (request) => {
        if (request.method !== 'POST' || answers) return undefined;
        const keep = (await request.clone().formData()).get('mails') === 'unchecked';
        return keep ? undefined : problem(503, 'dns_unavailable');
      };
      await signed('supplement', objection);
      await flush();
    });

    afterEach(() => vi.useRealTimers());

    const parts = () => [...(register.posted.at(-1)?.keys() ?? [])];

    it('the mail waits, and is tried again', async () => {
      expect((await queue()).map(viewQueued)).toMatchObject([
        { state: 'waiting', problem: { code: 'dns_unavailable' }, mayKeepUnchecked: true },
      ]);
      expect((await objectionOf(objection)).later).toEqual([]);
      answers = true;
      await makeDue();
      await flush();
      expect(await queue()).toEqual([]);
      expect((await objectionOf(objection)).later).toHaveLength(1);
      expect(parts()).toEqual(['receipt', 'holder_share', 'evidence']);
    });

    it('the person may have it kept without a check', async () => {
      const [{ receipt_sha256 = '' } = {}] = await queue();
      await keepUnchecked(receipt_sha256);
      expect(await queue()).toEqual([]);
      expect(parts()).toEqual(['receipt', 'holder_share', 'mails', 'evidence']);
    });

    it('it is kept without a check after three days, and not before', async () => {
      vi.setSystemTime(LATER_S * 1000 + 71 * 3_600_000);
      for (let i = 0; i < 2; i++) {
        await makeDue();
        await flush();
      }
      expect(await queue()).toHaveLength(1);
      vi.setSystemTime(LATER_S * 1000 + 73 * 3_600_000);
      await makeDue();
      await flush(); // asked once more, in vain
      expect((await queue()).map(viewQueued)).toMatchObject([{ mayKeepUnchecked: false }]);
      await makeDue();
      await flush();
      expect(await queue()).toEqual([]);
      expect(parts()).toContain('mails');
    });

    it('nothing but a supplement is ever sent so', async () => {
      const withdrawal = await signLater(
        formatLater({ kind: 'withdrawal', objection, jti: JTI, evidence: [] }, LATER_S + 1),
        {},
      );
      await keepUnchecked(withdrawal);
      expect(parts()).not.toContain('mails');
    });
  });

  it('a withdrawal changes the status once it is acknowledged, not before', async () => {
    await signed('withdrawal', objection);
    expect((await objectionOf(objection)).status).toBe('stands');
    await flush();
    expect((await objectionOf(objection)).status).toBe('withdrawn');
    expect(await queue()).toEqual([]);
  });

  it('an erasure ends it: nothing more is asked of the register, and nothing is lost here', async () => {
    const before = await objectionOf(objection);
    const kept = await bundleOf(objection);
    await signed('erasure', objection);
    await flush();
    const seen = register.seen.length;
    await makeDue();
    await flush();
    expect(register.seen.length).toBe(seen);
    const after = await objectionOf(objection);
    expect(after).toMatchObject({ status: 'erased', receipt: before.receipt, holder_share: before.holder_share });
    expect(after.later[0]?.remains).toEqual(['log-commitment', 'status-bit']);
    expect(await bundleOf(objection)).toEqual(kept);
    expect(kept.length).toBeGreaterThan(0);
    expect(await browser.alarms.get(ALARM)).toBeFalsy();
  });

  it('goes in the order of signing', async () => {
    const first = await signed('supplement', objection);
    const item = await evidenceItem('b.txt', utf8('b'), []);
    const later = formatLater({ kind: 'supplement', objection, jti: JTI, evidence: [item] }, LATER_S + 1);
    const second = await signLater(later, { 'b.txt': formatBase64(utf8('b')) });
    await flush();
    expect((await objectionOf(objection)).later.map((one) => one.receipt_sha256)).toEqual([first, second]);
  });

  describe('what was signed before and is not recorded yet', () => {
    const later = async (kind: 'withdrawal' | 'erasure') =>
      signLater(formatLater({ kind, objection, jti: JTI, evidence: [] }, LATER_S + 1), {});

    beforeEach(async () => {
      const recorded = await objectionOf(objection);
      await write('objections', (store) => store.put({ ...recorded, next_check_at: Number.POSITIVE_INFINITY }));
      await signed('supplement', objection);
      register.intercept = async ({ method }) => (method === 'POST' ? problem(503, 'log_busy') : undefined);
      await flush();
      register.intercept = undefined;
    });

    it('is waited for, and goes first when the later one is tried at once', async () => {
      const withdrawal = await later('withdrawal');
      await flush();
      expect((await queue()).map(({ attempts }) => attempts).sort()).toEqual([0, 1]);
      const { scheduledTime = 0 } = (await browser.alarms.get(ALARM)) ?? {};
      expect(scheduledTime).toBeGreaterThan(Date.now() + 50_000); // the earlier one's time
      await attemptNow(withdrawal);
      expect((await objectionOf(objection)).later.map(({ kind }) => kind)).toEqual(['supplement', 'withdrawal']);
    });

    it('is not waited for any more when it has failed three times', async () => {
      await later('withdrawal');
      register.intercept = async ({ method }) => (method === 'POST' ? problem(503, 'log_busy') : undefined);
      for (let i = 0; i < 2; i++) {
        await makeDue();
        await flush();
      }
      register.intercept = undefined;
      const queued = await queue();
      const supplement = queued.find(({ kind }) => kind === 'supplement');
      expect(supplement?.attempts).toBe(3);
      await write('queue', (store) =>
        store.put({ ...(supplement as never as object), next_attempt_at: Date.now() + 1e6 } as never),
      );
      for (const one of await queue()) {
        if (one.kind === 'withdrawal') await write('queue', (store) => store.put({ ...one, next_attempt_at: 0 }));
      }
      await flush();
      expect((await objectionOf(objection)).status).toBe('withdrawn');
    });

    it('does not hold up an erasure', async () => {
      await later('erasure');
      await flush();
      expect((await objectionOf(objection)).status).toBe('erased');
    });

    it('is not waited for once it was refused', async () => {
      register.intercept = async ({ method }) => (method === 'POST' ? problem(422, 'receipt_stale') : undefined);
      await makeDue();
      await flush();
      register.intercept = undefined;
      await later('withdrawal');
      await flush();
      expect((await objectionOf(objection)).status).toBe('withdrawn');
    });
  });

  it.each([
    ['no network', async () => Promise.reject(new TypeError('Failed to fetch'))],
    ['an error of its own', async () => problem(503, 'unavailable')],
  ])('%s: waits, is not lost, and is sent later', async (_, answer) => {
    await signed('withdrawal', objection);
    register.intercept = answer;
    await flush();
    expect((await queue())[0]).toMatchObject({ kind: 'withdrawal', state: 'waiting', attempts: 1 });
    expect((await objectionOf(objection)).status).toBe('stands');
    register.intercept = undefined;
    await makeDue();
    await flush();
    expect((await objectionOf(objection)).status).toBe('withdrawn');
  });

  it('sends the same receipt again when the answer got lost on the way', async () => {
    const hash = await signed('erasure', objection);
    register.intercept = async (request) => {
      if (request.method !== 'POST') return undefined;
      await register.record(String((await request.formData()).get('receipt')));
      throw new TypeError('connection reset');
    };
    await flush();
    register.intercept = undefined;
    await attemptNow(hash);
    expect((await objectionOf(objection)).later.map((one) => one.receipt_sha256)).toEqual([hash]);
  });

  it('keeps what the register refuses, with its reason, until it is discarded', async () => {
    const hash = await signed('withdrawal', objection);
    register.intercept = async () => problem(403, 'not_the_holder');
    await flush();
    expect((await queue())[0]).toMatchObject({ state: 'refused', problem: { code: 'not_the_holder' } });
    await attemptNow(hash);
    expect(posts()).toBe(0);
    await discard(hash);
    expect(await queue()).toEqual([]);
    expect((await objectionOf(objection)).status).toBe('stands');
  });
});

describe('an acknowledgement is not believed', () => {
  it.each<[string, (answer: Record<string, unknown>) => Record<string, unknown>, string]>([
    ['about another receipt', (a) => ({ ...a, receipt_sha256: 'c'.repeat(64) }), 'token_receipt_mismatch'],
    ['of another kind', (a) => ({ ...a, kind: 'supplement' }), 'token_receipt_mismatch'],
    ['with another time', (a) => ({ ...a, received_at: RECEIVED_AT + 1 }), 'token_receipt_mismatch'],
    ['that leaves the status as it was', (a) => ({ ...a, status: 'stands' }), 'token_receipt_mismatch'],
    [
      'that nobody signed',
      (a) => ({ ...a, token: `${String(a.token).slice(0, -86)}${'A'.repeat(86)}` }),
      'signature_invalid',
    ],
    [
      'without a proof of its place',
      (a) => ({ ...a, proof: String(a.proof).replace('index 2', 'index 1') }),
      'proof_mismatch',
    ],
    ['with what remains of an erasure', (a) => ({ ...a, remains: [] }), 'token_receipt_mismatch'],
  ])('%s', async (_, change, code) => {
    await signed('withdrawal', objection);
    forge(change);
    await flush();
    expect((await queue())[0]).toMatchObject({ state: 'waiting', problem: { code } });
    expect(await objectionOf(objection)).toMatchObject({ status: 'stands', later: [] });
    register.intercept = undefined;
    await makeDue();
    await flush();
    expect((await objectionOf(objection)).status).toBe('withdrawn');
  });

  it.each<[string, Partial<AcknowledgementClaims>, string]>([
    ['in another name', { iss: 'https://another.example' }, 'token_issuer_unknown'],
    ['for another key', { cnf: { jwk: OTHER_KEY } }, 'token_receipt_mismatch'],
    ['of another objection', { objection_sha256: 'c'.repeat(64) }, 'token_receipt_mismatch'],
    ['of another time of signing', { signed_at: LATER_S + 1 }, 'token_receipt_mismatch'],
    ['issued at another time', { iat: RECEIVED_AT + 1 }, 'token_receipt_mismatch'],
    ['of another place', { log: { origin: 'register.proof-of-objection.example/log', index: 1 } }, 'proof_mismatch'],
    ['of another log', { log: { origin: 'another.example/log', index: 2 } }, 'proof_mismatch'],
  ])('signed, but %s', async (_, change, code) => {
    register.acknowledging = (claims) => ({ ...claims, ...change });
    await signed('withdrawal', objection);
    await flush();
    expect((await queue())[0]?.problem?.code).toBe(code);
  });

  it('of what was received before it was signed', async () => {
    const signedAfter = formatLater({ kind: 'withdrawal', objection, jti: JTI, evidence: [] }, RECEIVED_AT + 301);
    await signLater(signedAfter, {});
    await flush();
    expect((await queue())[0]?.problem?.code).toBe('token_receipt_mismatch');
  });

  it('with the acknowledgement of another objection’s withdrawal', async () => {
    const other = await recordObjection();
    await signed('withdrawal', other);
    await flush();
    const [first] = (await objectionOf(other)).later;
    await signed('withdrawal', objection);
    forge((answer) => ({ ...answer, token: first?.acknowledgement }));
    await flush();
    expect((await queue())[0]?.problem?.code).toBe('token_receipt_mismatch');
  });

  it('with the acknowledgement of another receipt', async () => {
    await signed('supplement', objection);
    await flush();
    const [first] = (await objectionOf(objection)).later;
    await signed('withdrawal', objection);
    forge((answer) => ({ ...answer, token: first?.acknowledgement }));
    await flush();
    expect((await queue())[0]?.problem?.code).toBe('token_receipt_mismatch');
  });
});
