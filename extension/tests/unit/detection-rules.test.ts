import { expect, test } from 'vitest';
import rawRules from '../../rules/notice-rules.json';
import { parseRules, rules } from '../../rules/rules';
import { foldText } from '../../src/core/detection';

type Raw = typeof rawRules;

function changed(change: (raw: Raw) => void): Raw {
  const raw = structuredClone(rawRules);
  change(raw);
  return raw;
}

test.each<[string, (raw: Raw) => void, RegExp]>([
  ['a ruleset of another form', (raw) => (raw.ruleset = '26.11'), /ruleset: 26\.11/],
  ['a host with a scheme', (raw) => raw.platforms.threads.push('https://threads.com'), /platforms\.threads: https/],
  ['a form id that is no number', (raw) => raw.forms.objection.push('71287672071558x'), /forms\.objection/],
  ['no third-party forms', (raw) => (raw.forms.third_party = []), /forms\.third_party: nothing/],
  ['an unknown channel', (raw) => (raw.places.page.channel = 'email'), /places\.page: email/],
  ['an unknown platform', (raw) => Object.assign(raw.platforms, { orkut: ['orkut.com'] }), /platforms: .*orkut/],
  ['an unknown place', (raw) => Object.assign(raw.places, { footer: raw.places.page }), /places: .*footer/],
  ['a language with a region', (raw) => Object.assign(raw.phrases, { 'pt-BR': raw.phrases.en }), /phrases: pt-BR/],
  ['an empty phrase, which is everywhere', (raw) => raw.phrases.fr.right.push(' '), /phrases\.fr\.right/],
  ['a path that is not anchored', (raw) => raw.content_paths.push('photo'), /content_paths: photo/],
  ['a nameless path without a host', (raw) => raw.nameless_paths.push({ host: '', path: '/' }), /nameless_paths/],
  ['a concept without phrases', (raw) => raw.enough.push([['consent']]), /enough: en has no phrases for consent/],
])('%s is refused', (_, change, message) => expect(() => parseRules(changed(change))).toThrow(message));

test('phrases and names are written as text is folded, or they would never match', () => {
  const { phrases, sponsored, persons_doing, notification_names } = rawRules;
  const all = [...Object.values(phrases).flatMap((concepts) => Object.values(concepts)), ...Object.values(sponsored)];
  const written = [...all, ...Object.values(persons_doing), ...Object.values(notification_names)].flat();
  expect(written.filter((phrase) => foldText(phrase) !== phrase)).toEqual([]);
});

test('every way of saying enough needs a phrase that the quick look knows', () => {
  for (const groups of rules.enough) {
    const quick = groups.some((group) => group.every((name) => ['title', 'basis', 'right', 'audience'].includes(name)));
    expect(quick).toBe(true);
  }
});

test('rule ids have the form that receipts ask for', () => {
  const places = [...Object.keys(rules.places), 'form'];
  const ids = ['practice', ...Object.keys(rules.platforms)].flatMap((platform) =>
    places.map((p) => `${platform}.${p}`),
  );
  for (const id of ids) expect(id).toMatch(/^[a-z0-9][a-z0-9.-]{0,63}$/);
});
