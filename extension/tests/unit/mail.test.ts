import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { type Bytes, concat, parseBase64, utf8 } from '../../src/core/encoding';
import { findingsAbout, type MailFinding, recheckFinding } from '../../src/core/mail';

interface Vector {
  description: string;
  mail: string;
  key_record: string;
  domain: string;
  selector: string;
  expect: string;
}

const FOLDER = new URL('../../../schemas/vectors/mails/', import.meta.url);
const SLOW_MS = 2_000;
const names = readdirSync(FOLDER)
  .filter((name) => name.endsWith('.json'))
  .map((name) => name.replace(/\.json$/, ''));
const bytes = (text: string) => parseBase64(text, 'test');
const vectorNamed = (name: string): Vector => JSON.parse(readFileSync(new URL(`${name}.json`, FOLDER), 'utf8'));

const KEYED = ['signed', 'signature-mismatch', 'test-key', 'key-unusable'];
const STATIC = ['body-changed', 'not-covered'];
const OF_THE_MAIL = ['unsigned', 'unreadable', 'signature-refused'];
/** Of these only the register knows; the mail bears out that the signature stands there. */
const WORD_OF_THE_REGISTER = ['unchecked', 'expired', 'key-gone', 'sender-mismatch', 'domain-not-listed'];

function claimed(finding: string, { domain, selector, key_record }: Vector): [MailFinding, Bytes | undefined] {
  const about = OF_THE_MAIL.includes(finding) ? {} : { domain, selector };
  return [{ finding, ...about } as MailFinding, KEYED.includes(finding) ? bytes(key_record) : undefined];
}

/** What a mail is found to be when the register says that it is signed; `valid` if it is. */
async function outcome(raw: Bytes, vector: Vector): Promise<string> {
  const [found = 'other-signer', ...more] = await findingsAbout(raw, ...claimed('signed', vector));
  expect(more).toEqual([]);
  return found === 'signed' ? 'valid' : found;
}

describe('the mails that the register reads too', () => {
  it('are many, of both kinds', () => {
    const valid = names.filter((name) => name.startsWith('valid-'));
    expect(valid.length).toBeGreaterThan(40);
    expect(names.length - valid.length).toBeGreaterThan(60);
  });

  it.each(names)('%s', async (name) => {
    const vector = vectorNamed(name);
    const standsThere = ![...OF_THE_MAIL, 'other-signer'].includes(vector.expect);
    const borneOut: string[] = [];
    for (const finding of [...KEYED, ...STATIC, ...OF_THE_MAIL, ...WORD_OF_THE_REGISTER]) {
      const recheck = recheckFinding(bytes(vector.mail), ...claimed(finding, vector));
      if (await recheck.then(() => true).catch(({ code }) => code !== 'dkim_mismatch')) borneOut.push(finding);
    }
    const expected = new Set([vector.expect, ...(standsThere ? WORD_OF_THE_REGISTER : [])]);
    expected.delete('other-signer');
    expect(new Set(borneOut), vector.description).toEqual(expected);
  });
});

describe('mails that nobody wrote', () => {
  const vector = vectorNamed('valid-relaxed-relaxed');
  const raw = bytes(vector.mail);
  const FOUND = ['valid', 'other-signer', ...KEYED, ...STATIC, ...OF_THE_MAIL, 'key-gone'];
  /** The mail with more in front of it: unsigned headers. */
  const under = (text: string) => outcome(concat(utf8(text), raw), vector);

  it('altered bytes break nothing, and what is believed says the same', async () => {
    const said = (mail: Bytes) =>
      /\nSubject:(?:.|\r\n )*/i.exec(Buffer.from(mail).toString('latin1'))?.[0].replace(/\s+/g, ' ').toLowerCase();
    for (let round = 0; round < 600; round++) {
      const altered = raw.slice();
      for (let i = 0; i <= round % 3; i++) altered[(round * 7919 + i * 13) % raw.length] = (round * 104_729 + i) % 256;
      const found = await outcome(altered, vector);
      expect(FOUND).toContain(found);
      if (found === 'valid') expect(said(altered)).toBe(said(raw));
    }
  });

  it('cut anywhere, it is refused: all but its last line end is signed', async () => {
    for (let length = 0; length < raw.length - 2; length++) {
      expect(await outcome(raw.slice(0, length), vector), `${length} bytes`).not.toBe('valid');
    }
    expect(await outcome(raw.slice(0, -2), vector)).toBe('valid');
  });

  it('altered keys break nothing', async () => {
    const record = bytes(vector.key_record);
    for (let at = 0; at < record.length; at++) {
      const altered = record.slice();
      altered[at] = (altered[at] ?? 0) ^ 1;
      const key_record = Buffer.from(altered).toString('base64');
      expect(FOUND).toContain(await outcome(raw, { ...vector, key_record }));
    }
  });

  it('has bounds', async () => {
    expect(await under('X: y\r\n'.repeat(1_900))).toBe('valid');
    expect(await under('X: y\r\n'.repeat(2_001))).not.toBe('valid');
    expect(await under(`X: ${'y'.repeat(100_000)}\r\n`)).toBe('valid');
    expect(await under(`X: ${'y'.repeat(131_072)}\r\n`)).not.toBe('valid');
    expect(await outcome(concat(raw, new Uint8Array(1_048_577 - raw.length)), vector)).not.toBe('valid');
    const lines = utf8('\r\n'.repeat(500_000));
    expect(await outcome(concat(raw, lines), vector), 'empty lines at the end are not signed').toBe('valid');
    expect(await outcome(concat(raw, utf8('\r\n'.repeat(524_288))), vector)).not.toBe('valid');
  });

  it.each([
    ['form feeds in a header', 'To: ', `To: ${'\f'.repeat(100_000)}x`],
    ['folds in a header', 'To: ', `To: ${'\r\n \f'.repeat(1_900)}x`],
    ['spaces in pieces', 'To: ', `To: ${`${' '.repeat(200)}\t\v`.repeat(600)}x`],
    ['b= again and again', ' b=', `${' b='.repeat(900)}; b=`],
    ['spaces in the signature', ' b=', ` b${'\r\n '.repeat(1_000)}=`],
    ['spaces in pieces in the body', 'right', `${`${' '.repeat(200)}\v`.repeat(5_000)}x`],
  ])('takes no longer for %s', async (_, found, hostilePart) => {
    const text = Buffer.from(raw).toString('latin1');
    expect(text).toContain(found);
    const hostile = Uint8Array.from(Buffer.from(text.replace(found, hostilePart), 'latin1'));
    const start = performance.now();
    expect(await outcome(hostile, vector)).not.toBe('valid');
    expect(performance.now() - start).toBeLessThan(SLOW_MS);
  });

  it.each([' ', '\f', '=', 'a', ';', 'p=', '; '])('takes no longer for a key record full of "%s"', async (piece) => {
    const start = performance.now();
    for (const text of [`v=DKIM1; ${piece.repeat(200_000)}x`, `v=DKIM1; p=${piece.repeat(200_000)}!`]) {
      const key_record = Buffer.from(text).toString('base64');
      expect(await outcome(raw, { ...vector, key_record })).not.toBe('valid');
    }
    expect(performance.now() - start).toBeLessThan(SLOW_MS);
  });
});
