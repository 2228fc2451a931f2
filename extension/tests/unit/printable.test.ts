import { expect, it } from 'vitest';
import { isolated, printable } from '../../src/core/printable';

it.each([
  ['\u202eevil', String.raw`\u{202e}evil`],
  ['one\ntwo', String.raw`one\u{a}two`],
  ['\u2066name\u2069', String.raw`\u{2066}name\u{2069}`],
  ['Für faire KI – l’IA juste', 'Für faire KI – l’IA juste'],
])('what turns or breaks a line is written out: %j', (text, shown) => {
  expect(printable(text)).toBe(shown);
  expect(isolated(text)).toBe(shown);
});

it('a name that is read from right to left stays by itself', () => {
  expect(isolated('عدالة 7 2')).toBe('\u2068عدالة 7 2\u2069');
});

it('is bounded', () => expect(printable('x'.repeat(300_000))).toHaveLength(1001));
