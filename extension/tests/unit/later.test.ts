import { describe, expect, it } from 'vitest';
import { parseJson, utf8 } from '../../src/core/encoding';
import { evidenceItem, formatLater, refuseTooMuch, verifyLaterPayload } from '../../src/core/later';
import { built, draftWithScreenshot } from '../support/draft';

const OBJECTION = 'b'.repeat(64);
const JTI = 'AAAAAAAAAAAAAAAAAAAAAA';
const withCode = (code: string) => expect.objectContaining({ code });
const name = async (original: string, taken: string[] = []) => (await evidenceItem(original, utf8('x'), taken)).name;

describe('a chosen file', () => {
  it.each([
    ['reply.eml', 'reply.eml', 'message/rfc822'],
    ['Meta – Bestätigung (1).EML', 'meta-bestatigung-1.eml', 'message/rfc822'],
    ['Photo.JPEG', 'photo.jpeg', 'image/jpeg'],
    ['..\\..\\etc.png', 'etc.png', 'image/png'],
    ['привет.webp', 'file.webp', 'image/webp'],
    [`${'x'.repeat(300)}.txt`, `${'x'.repeat(45)}.txt`, 'text/plain'],
  ])('%s goes as %s', async (original, expected, mediaType) => {
    const item = await evidenceItem(original, utf8('x'), []);
    expect([item.name, item.media_type, item.size]).toEqual([expected, mediaType, 1]);
    verifyLaterPayload(
      parseJson(utf8(formatLater({ kind: 'supplement', objection: OBJECTION, jti: JTI, evidence: [item] }, 1))),
    );
  });

  it('gets a name of its own', async () => {
    expect(await name('a.txt', ['a.txt'])).toBe('a-2.txt');
    expect(await name('A!.txt', ['a.txt', 'a-2.txt'])).toBe('a-3.txt');
  });

  it.each([
    ['page.html', utf8('x'), 'file_type_refused'],
    ['eml', utf8('x'), 'file_type_refused'],
    ['a.constructor', utf8('x'), 'file_type_refused'],
    ['empty.txt', utf8(''), 'file_empty'],
    ['huge.txt', new Uint8Array(4_194_305), 'file_too_large'],
  ])('%s is refused', async (original, bytes, code) => {
    await expect(evidenceItem(original, bytes, [])).rejects.toEqual(withCode(code));
  });

  it('of the largest size is taken', async () => {
    expect((await evidenceItem('large.txt', new Uint8Array(4_194_304), [])).size).toBe(4_194_304);
  });

  it('must fit beside what is there already', async () => {
    const item = await evidenceItem('a.txt', new Uint8Array(1000), []);
    expect(() => refuseTooMuch([item], 8_388_608 - 1000)).not.toThrow();
    expect(() => refuseTooMuch([item], 8_388_608 - 999)).toThrow(withCode('evidence_too_large'));
  });
});

describe('the bytes to sign', () => {
  it('are canonical and name the objection', () => {
    expect(formatLater({ kind: 'withdrawal', objection: OBJECTION, jti: JTI, evidence: [] }, 7)).toBe(
      `{"controller":"meta-platforms-ireland","iat":7,"jti":"${JTI}","kind":"withdrawal","objection_sha256":"${OBJECTION}"}`,
    );
  });

  it('of an objection are none of these', async () => {
    const { payload } = await built(await draftWithScreenshot());
    expect(() => verifyLaterPayload(parseJson(utf8(payload)))).toThrow(withCode('field_invalid'));
  });

  it.each([
    ['a supplement without files', { kind: 'supplement', evidence: [] }],
    ['a withdrawal with files', { kind: 'withdrawal', evidence: [] }],
    ['no hash', { kind: 'erasure', objection_sha256: 'B'.repeat(64) }],
    ['something beside', { kind: 'erasure', reason: 'none' }],
  ])('%s is refused', (_, change) => {
    const payload = { jti: JTI, iat: 7, controller: 'meta-platforms-ireland', objection_sha256: OBJECTION, ...change };
    expect(() => verifyLaterPayload(payload)).toThrow(withCode('field_invalid'));
  });
});
