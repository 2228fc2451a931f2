import { beforeEach, describe, expect, it } from 'vitest';
import { formatJson, type Json, parseBase64url, parseJson, utf8 } from '../../src/core/encoding';
import { verifyReceipt } from '../../src/core/receipts';
import { evidenceId, read, write } from '../../src/platform/database';
import { closeDraft, findDraft, saveDraft } from '../../src/platform/drafts';
import { holderKey } from '../../src/platform/keystore';
import { confirmDraft } from '../../src/platform/recording';
import { freshBrowser } from '../support/browser';
import { built, draftWithScreenshot, JPEG_BASE64, NOTICE } from '../support/draft';

beforeEach(async () => void (await freshBrowser()));

const queue = () => read('queue', (store) => store.all());
const withCode = (code: string) => expect.objectContaining({ code });

describe('confirming a review', () => {
  it('signs the very bytes that were shown', async () => {
    const draft = await draftWithScreenshot();
    const { payload, disclosures } = await built(draft, { declared: { person: 'Ada' } });
    const hash = await confirmDraft(draft.id, payload, disclosures);
    const [queued] = await queue();
    expect(new TextDecoder().decode(parseBase64url(queued?.receipt.split('.')[1] ?? ''))).toBe(payload);
    expect((await verifyReceipt(queued?.receipt ?? '')).sha256Hex).toBe(hash);
    expect(queued).toMatchObject({ kind: 'objection', disclosures });
    expect(parseBase64url(queued?.holder_share ?? '').length).toBe(32);
  });

  it('keeps the evidence with the receipt', async () => {
    const draft = await draftWithScreenshot();
    const { payload } = await built(draft);
    await confirmDraft(draft.id, payload, {});
    const [queued] = await queue();
    const files = await read('kept', (kept) => kept.all());
    const bytesOf = (name: string) =>
      Buffer.from(files.find(({ id }) => id === evidenceId(queued?.receipt_sha256 ?? '', name))?.bytes ?? []);
    expect(queued?.evidence.map(({ name }) => name)).toEqual(['notice.txt', 'screenshot.jpg']);
    expect(bytesOf('notice.txt').toString()).toBe(NOTICE.text);
    expect(bytesOf('screenshot.jpg').toString('base64')).toBe(JPEG_BASE64);
  });

  it('makes one receipt of two clicks', async () => {
    const draft = await draftWithScreenshot();
    const { payload } = await built(draft);
    const [one, two] = await Promise.all([confirmDraft(draft.id, payload, {}), confirmDraft(draft.id, payload, {})]);
    expect(one).toBe(two);
    expect(await queue()).toHaveLength(1);
  });

  it('makes one receipt when the worker was stopped before it could note it in the draft', async () => {
    const draft = await draftWithScreenshot();
    const { payload } = await built(draft);
    const hash = await confirmDraft(draft.id, payload, {});
    await saveDraft({ ...draft, receipt: undefined });
    expect(await confirmDraft(draft.id, payload, {})).toBe(hash);
    expect((await findDraft(draft.id))?.receipt).toBe(hash);
  });

  it('refuses a review that was cancelled', async () => {
    const draft = await draftWithScreenshot();
    const { payload } = await built(draft);
    await closeDraft(draft.id);
    await expect(confirmDraft(draft.id, payload, {})).rejects.toEqual(withCode('draft_gone'));
  });

  it.each([
    ['another nonce', { jti: 'AAAAAAAAAAAAAAAAAAAAAA' }, 'not_what_was_shown'],
    ['a notice that was not seen', { notice: { channel: 'email' } }, 'not_what_was_shown'],
    ['a country that is none', { country: 'XX' }, 'field_invalid'],
    ['something beside', { extra: 1 }, 'field_invalid'],
    [
      'other evidence',
      { evidence: [{ name: 'notice.txt', media_type: 'text/plain', size: 3, sha256: 'a'.repeat(64) }] },
      'evidence_mismatch',
    ],
    [
      'evidence that is not there',
      { evidence: [{ name: 'more.txt', media_type: 'text/plain', size: 3, sha256: 'a'.repeat(64) }] },
      'evidence_missing',
    ],
  ])('refuses %s', async (_, change, code) => {
    const draft = await draftWithScreenshot();
    const { payload } = await built(draft);
    const changed = formatJson({ ...parseJson(utf8(payload)), ...(change as Record<string, Json>) });
    await expect(confirmDraft(draft.id, changed, {})).rejects.toEqual(withCode(code));
    expect(await queue()).toEqual([]);
  });

  it('refuses the same content in other bytes', async () => {
    const draft = await draftWithScreenshot();
    const { payload } = await built(draft);
    const spaced = JSON.stringify(JSON.parse(payload), null, 1);
    await expect(confirmDraft(draft.id, spaced, {})).rejects.toEqual(withCode('not_what_was_shown'));
  });

  it('refuses a disclosure that would never open', async () => {
    const draft = await draftWithScreenshot();
    const [silent, telling] = [await built(draft), await built(draft, { declared: { account: '@ada' } })];
    const confirmed = confirmDraft(draft.id, silent.payload, telling.disclosures);
    await expect(confirmed).rejects.toEqual(withCode('disclosure_unreferenced'));
  });
});

describe('the holder’s key', () => {
  it('is one, however many ask at once, and cannot be taken out', async () => {
    const keys = await Promise.all([holderKey(), holderKey(), holderKey()]);
    expect(new Set(keys.map(({ jwk }) => jwk.x)).size).toBe(1);
    const { privateKey } = await holderKey();
    expect(privateKey.extractable).toBe(false);
    await expect(crypto.subtle.exportKey('pkcs8', privateKey)).rejects.toThrow();
  });
});

it('a failed write leaves nothing behind', async () => {
  const failed = write('queue', async (store) => {
    await store.add({ receipt_sha256: 'x', jti: 'x' } as never);
    throw new Error('power cut');
  });
  await expect(failed).rejects.toThrow('power cut');
  expect(await queue()).toEqual([]);
});
