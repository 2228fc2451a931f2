import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import contract from '../../../schemas/openapi.json';
import de from '../../public/_locales/de/messages.json';
import en from '../../public/_locales/en/messages.json';
import fr from '../../public/_locales/fr/messages.json';
import { DATA_CATEGORIES, PLATFORMS } from '../../src/core/objection';

type Messages = Record<string, { message: string }>;
const english: Messages = en;
const source = readdirSync(new URL('../../src/', import.meta.url), { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.ts'))
  .map((name) => readFileSync(new URL(`../../src/${name}`, import.meta.url), 'utf8'))
  .join('\n');
const placeholders = (text: string) => [...text.matchAll(/\$\d/g)].map(String).sort();

describe.each([
  ['fr', fr as Messages],
  ['de', de as Messages],
])('%s', (_, messages) => {
  it('has every text, and no other', () => expect(Object.keys(messages)).toEqual(Object.keys(english)));

  it('has the same places for values', () => {
    for (const [key, { message }] of Object.entries(english)) {
      expect(placeholders(messages[key]?.message ?? ''), key).toEqual(placeholders(message));
    }
  });
});

it('every text is used', () => {
  const byGroup = /^(?:category|platform|channel|problem|finding|mailkind)_/;
  const inManifest = ['name', 'short_name', 'description'];
  const unused = Object.keys(english).filter(
    (key) => !byGroup.test(key) && !inManifest.includes(key) && !source.includes(`'${key}'`),
  );
  expect(unused).toEqual([]);
});

it('there is a text for each platform and kind of data of the contract', () => {
  const keys = [
    ...PLATFORMS.map((one) => `platform_${one}`),
    ...DATA_CATEGORIES.map((one) => `category_${one.replaceAll('-', '_')}`),
  ];
  expect(keys.filter((key) => !english[key])).toEqual([]);
});

it('there is a text for each finding of a mail and for each kind of known mail', () => {
  const { SignedMail, KeyedMail, KeylessMail, UnsignedMail } = contract.components.schemas;
  const findings = [SignedMail, KeyedMail, KeylessMail, UnsignedMail].flatMap(
    ({ properties }) => properties.finding.enum,
  );
  expect(findings.length).toBe(14);
  const keys = [
    ...findings.map((one) => `finding_${one.replaceAll('-', '_')}`),
    ...SignedMail.properties.kind.enum.map((one) => `mailkind_${one}`),
  ];
  expect(keys.filter((key) => !english[key])).toEqual([]);
  expect(
    Object.keys(english)
      .filter((key) => /^(?:finding|mailkind)_/.test(key))
      .sort(),
  ).toEqual(keys.sort());
});

it.each([en, fr, de])('name and description fit the stores', ({ name, short_name, description }) => {
  expect(name.message.length).toBeLessThanOrEqual(45);
  expect(short_name.message.length).toBeLessThanOrEqual(12);
  expect(description.message.length).toBeLessThanOrEqual(132);
});
