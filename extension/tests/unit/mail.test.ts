import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { type Bytes, parseBase64 } from '../../src/core/encoding';
import { ObjectionError } from '../../src/core/errors';
import { recheckMail } from '../../src/core/mail';

interface Vector {
  name: string;
  mail: string;
  key_record: string;
  domain: string;
  selector: string;
  expect: string;
}

const vectors: Vector[] = JSON.parse(readFileSync(new URL('../fixtures/mails.json', import.meta.url), 'utf8'));
const bytes = (text: string) => parseBase64(text, 'test');

function outcome(raw: Bytes, { key_record, domain, selector }: Vector): Promise<string> {
  return recheckMail(raw, { keyRecord: bytes(key_record), domain, selector }).then(
    () => 'valid',
    (error: unknown) => (error instanceof ObjectionError ? error.code : String(error)),
  );
}

describe('mails that dkimpy signed, and what the register says of them', () => {
  it('are many, of both kinds', () => {
    expect(vectors.filter((vector) => vector.expect === 'valid').length).toBeGreaterThan(8);
    expect(vectors.filter((vector) => vector.expect === 'dkim_mismatch').length).toBeGreaterThan(12);
  });

  it.each(vectors)('$name', async (vector) => {
    expect(await outcome(bytes(vector.mail), vector)).toBe(vector.expect);
  });

  it('no altered mail breaks the reader, and none says something else', async () => {
    const vector = vectors[0] as Vector;
    const raw = bytes(vector.mail);
    for (let round = 0; round < 400; round++) {
      const altered = raw.slice();
      altered[(round * 7919) % raw.length] = (round * 104_729) % 256;
      expect(['valid', 'dkim_mismatch']).toContain(await outcome(altered, vector));
    }
  });

  it('another domain or selector did not sign it', async () => {
    const vector = vectors[0] as Vector;
    expect(await outcome(bytes(vector.mail), { ...vector, domain: 'example.org' })).toBe('dkim_mismatch');
    expect(await outcome(bytes(vector.mail), { ...vector, selector: 'other' })).toBe('dkim_mismatch');
  });
});
