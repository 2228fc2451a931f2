import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import contract from '../../../schemas/openapi.json';
import { printable } from '../../src/core/printable';
import { NOTICED } from '../../src/core/recognise';
import { CHECK_IDS, say } from '../../src/core/reports';
import { allowedValues } from '../../src/core/schema';
import { titleKey } from '../../src/verifier/export';
import { chooseLanguage, LANGUAGES, Speech } from '../../src/verifier/speech';

const SOURCE = new URL('../../src/', import.meta.url);
/** Signing and answering: no part of the verifier's page. */
const NOT_VERIFYING = ['later.ts', 'answers.ts'];
const sources = ['core', 'verifier'].flatMap((folder) =>
  readdirSync(new URL(`${folder}/`, SOURCE))
    .filter((name) => name.endsWith('.ts') && !name.endsWith('.gen.ts') && !NOT_VERIFYING.includes(name))
    .map((name) => readFileSync(new URL(`${folder}/${name}`, SOURCE), 'utf8')),
);
const text = sources.join('\n');
const known = new Set(Object.keys(LANGUAGES.en));

/** Everything that a pattern's first group finds in the sources. */
function found(pattern: RegExp): string[] {
  return [...new Set([...text.matchAll(pattern)].map((match) => match[1] ?? ''))];
}

describe('the words of the verifier', () => {
  it.each(Object.entries(LANGUAGES))('%s has the same keys, and gaps, as English', (_, words) => {
    const gaps = (all: Record<string, string>) =>
      Object.entries(all).map(([key, value]) => [key, [...value.matchAll(/\{\w+\}/g)].map(String).sort()]);
    expect(Object.fromEntries(gaps(words))).toEqual(Object.fromEntries(gaps(LANGUAGES.en)));
    expect(Object.values(words).every((value) => value.trim() !== '')).toBe(true);
  });

  it('has words for whatever the checks say', () => {
    const said = found(/\bsay\(\s*'([a-z_]+)'/g);
    expect(said.length).toBeGreaterThan(20);
    expect(said.filter((key) => !known.has(key))).toEqual([]);
  });

  it('has words for every code that a check can fail with', () => {
    const thrown = found(/ObjectionError\(\s*'([a-z0-9_]+)'/g).concat(found(/\bcode(?:: | = )'([a-z0-9_]+)'/g));
    // Of choosing files: no check of this page throws them.
    const elsewhere = /^(file_\w+|too_large|unreadable|evidence_too_large)$/;
    expect(thrown.length).toBeGreaterThan(30);
    expect(thrown.filter((code) => !elsewhere.test(code) && !known.has(`code_${code}`))).toEqual([]);
  });

  it('has a title for every check and a name for every kind of data', () => {
    expect(CHECK_IDS.map(titleKey).filter((key) => !known.has(key))).toEqual([]);
    const categories = allowedValues('Objection', 'data_categories').map(
      (name) => `category_${name.replaceAll('-', '_')}`,
    );
    expect(categories.filter((key) => !known.has(key))).toEqual([]);
  });

  it('has words for each way in which a program changes a copy', () => {
    const keys = NOTICED.map((noticed) => `noticed_${noticed.replaceAll('-', '_')}`);
    expect(keys.filter((key) => !known.has(key))).toEqual([]);
  });

  it('has words for each finding of a mail and for each kind of known mail', () => {
    const { SignedMail, KeyedMail, KeylessMail, UnsignedMail } = contract.components.schemas;
    const findings = [SignedMail, KeyedMail, KeylessMail, UnsignedMail].flatMap(
      ({ properties }) => properties.finding.enum,
    );
    const kinds = SignedMail.properties.kind.enum.map((one) => `mail_kind_${one}`);
    const needed = [...findings.map((one) => `mail_${one.replaceAll('-', '_')}`), ...kinds];
    expect(needed.filter((key) => !known.has(key))).toEqual([]);
  });

  it('has no words that nothing says', () => {
    const quoted = new Set(found(/['"`]([a-z0-9_]+)['"`]/g));
    const composed = /^(code|check|category|shows|not|noticed|verdict|slot|later|mail|by|pinned|outcome)_|^language$/;
    expect([...known].filter((key) => !quoted.has(key) && !composed.test(key))).toEqual([]);
  });
});

describe('speech', () => {
  it('chooses the first language there are words for', () => {
    expect(chooseLanguage(['nl-NL', 'fr-CA', 'de'])).toBe('fr');
    expect(chooseLanguage(['constructor', 'nl'])).toBe('en');
  });

  it('makes what strangers wrote harmless', () => {
    expect(printable('a\nVALID\u202eb\u0000\u2028')).toBe('a\\u{a}VALID\\u{202e}b\\u{0}\\u{2028}');
    expect(printable('x'.repeat(2000)).length).toBe(1001);
    const speech = new Speech('en');
    expect(speech.say(say('container_time', { time: { time: 0 }, authority: '\u202egood' }))).not.toContain('\u202e');
  });

  it('tells times in UTC, and ages', () => {
    const speech = new Speech('en');
    expect(speech.time(1_795_000_000)).toBe('18 November 2026 at 11:06:40 UTC');
    expect(speech.time(9e15)).toBe('9000000000000000');
    const age = (duration: number) => speech.say(say('status', { time: { time: 0 }, age: { duration } }));
    expect(age(3 * 86_400)).toContain('3 days ago');
    expect(age(3 * 3600)).toContain('3 h ago');
    expect(age(-5)).toContain('0 min ago');
  });
});
