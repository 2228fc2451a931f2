import { describe, expect, it } from 'vitest';
import { formatBase64url, formatJson, parseBase64, parseBase64url, parseJson, utf8 } from '../../src/core/encoding';

const code = (work: () => unknown): string => {
  try {
    work();
  } catch (error) {
    return (error as { code: string }).code;
  }
  return 'accepted';
};

describe('base64url', () => {
  it.each([
    ['padding', 'AA=='],
    ['set trailing bits', 'AB'],
    ['a lone last character', 'AAAAA'],
    ['standard alphabet', '+/+/'],
    ['white space', 'AA AA'],
    ['a line feed at the end', 'AAAA\n'],
  ])('refuses %s', (_, text) => expect(code(() => parseBase64url(text))).toBe('base64url_malformed'));

  it('refuses the wrong size', () => expect(code(() => parseBase64url('AAAA', 32))).toBe('base64url_malformed'));

  it('gives back what was written, for every length around a group of three', () => {
    for (let size = 0; size < 70; size++) {
      const data = crypto.getRandomValues(new Uint8Array(size));
      expect(parseBase64url(formatBase64url(data))).toEqual(data);
    }
  });

  it('reads a screenshot of a megabyte', () => {
    const data = new Uint8Array(1_000_000).fill(251);
    expect(parseBase64url(formatBase64url(data)).length).toBe(1_000_000);
  });
});

it('standard base64 wants its padding', () => expect(code(() => parseBase64('AA', 'x_malformed'))).toBe('x_malformed'));

describe('strict JSON', () => {
  it.each([
    ['{"a":1,"a":2}', 'json_duplicate_key'],
    ['{"a":{"b":1,"\\u0062":2}}', 'json_duplicate_key'],
    ['{"a":[{"b":1,"b":1}]}', 'json_duplicate_key'],
    ['{"__proto__":1,"__proto__":2}', 'json_duplicate_key'],
    ['{"a":1.0}', 'json_number_refused'],
    ['{"a":1e3}', 'json_number_refused'],
    ['{"a":-0}', 'json_number_refused'],
    ['{"a":NaN}', 'json_number_refused'],
    ['{"a":-Infinity}', 'json_number_refused'],
    ['{"a":12345678901234567}', 'json_number_refused'],
    ['{"a":01}', 'json_malformed'],
    ['{"a":+1}', 'json_malformed'],
    ['{"a":1,}', 'json_malformed'],
    ['{"a":1}x', 'json_malformed'],
    ['{"a":"\t"}', 'json_malformed'],
    ['{"a":"\\x"}', 'json_malformed'],
    ["{'a':1}", 'json_malformed'],
    ['\ufeff{}', 'json_malformed'],
    ['[]', 'json_malformed'],
    ['', 'json_malformed'],
    [`{"a":${'['.repeat(16)}${']'.repeat(16)}}`, 'json_malformed'],
  ])('%s: %s', (text, expected) => expect(code(() => parseJson(utf8(text)))).toBe(expected));

  it('refuses bytes that are not UTF-8', () => {
    expect(code(() => parseJson(Uint8Array.of(0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d)))).toBe('json_malformed');
  });

  it('reads what JSON.parse reads', () => {
    const text = ' {"a" : [1, -2, true, false, null, {}], "é\\n\\u20ac": "x\\"\\\\/", "deep": [[[[1]]]] }\n';
    expect(parseJson(utf8(text))).toEqual(JSON.parse(text));
  });

  it('keeps "__proto__" a key like any other', () => {
    expect(Object.keys(parseJson(utf8('{"__proto__":{"x":1}}')))).toEqual(['__proto__']);
  });

  it('writes keys by code point, which is not the order of UTF-16', () => {
    expect(formatJson({ '\u{10000}': 1, '\uffff': 2, b: 3, a: [4, 'ü'] })).toBe(
      '{"a":[4,"ü"],"b":3,"\uffff":2,"\u{10000}":1}',
    );
  });

  it('refuses to write what it would refuse to read', () => expect(() => formatJson({ a: 1.5 })).toThrow(RangeError));
});
