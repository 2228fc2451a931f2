import { expect, test } from 'vitest';
import {
  findWording,
  isObjectionForm,
  languageOf,
  platformOf,
  readableText,
  sanitiseUrl,
} from '../../src/core/detection';

test.each([
  ['www.facebook.com', 'facebook'],
  ['fr-fr.facebook.com', 'facebook'],
  ['help.instagram.com', 'instagram'],
  ['www.threads.net', 'threads'],
  ['threads.com', 'threads'],
  ['notfacebook.com', undefined],
  ['facebook.com.example', undefined],
  ['127.0.0.1', undefined],
])('%s is %s', (host, platform) => expect(platformOf(host)).toBe(platform));

test.each([
  ['https://www.facebook.com/help/contact/712876720715583', true],
  ['https://m.facebook.com/help/contact/6359191084165019/?ref=x', true],
  ['https://help.instagram.com/contact/767264225370182', true],
  [
    'https://l.facebook.com/l.php?u=https%3A%2F%2Fwww.facebook.com%2Fhelp%2Fcontact%2F712876720715583%3Ffbclid%3D1&h=AT',
    true,
  ],
  ['https://l.instagram.com/?u=https%3A%2F%2Fhelp.instagram.com%2Fcontact%2F233964459562201', true],
  ['https://www.facebook.com/help/contact/1266025207620918', false],
  ['https://www.facebook.com/help/contact/510058597920541', false],
  ['https://www.facebook.com/help/contact/7128767207155830', false],
  ['https://www.facebook.com/712876720715583', false],
  ['https://help.instagram.com/contact/712876720715583', false],
  ['https://facebook.com.example/help/contact/712876720715583', false],
  ['https://l.facebook.com/l.php?u=javascript:alert(1)', false],
  ['not a link', false],
])('%s is the objection form: %s', (url, is) => expect(isObjectionForm(url)).toBe(is));

test('an address keeps host and path, and nothing that identifies', () => {
  expect(sanitiseUrl('https://user:pw@www.facebook.com:8443/groups/7?ref=a#b')).toBe(
    'https://www.facebook.com/groups/7',
  );
  expect(sanitiseUrl('https://www.facebook.com/ü?x')).toBe('https://www.facebook.com/%C3%BC');
  expect(sanitiseUrl(`https://www.facebook.com/${'a'.repeat(600)}`)).toHaveLength(512);
});

test.each([
  ['Improving AI at Meta: your right to object', 'en'],
  ['L’IA de Meta et vos intérêts légitimes', 'fr'],
  ['KI bei Meta — dein Wider\u00adspruchsrecht', 'de'],
  ['AI\u00a0at\u2009Meta LEGITIMATE\nINTERESTS', 'en'],
  ['AI at Meta', undefined],
  ['legitimate interests, right to object', undefined],
  ['AI at Meta, intérêts légitimes', undefined],
])('%j is worded in %s', (text, language) => expect(findWording(text)?.language).toBe(language));

test('what is read has no white space twice and nothing without width', () => {
  expect(readableText(' a\u200b\u00ad b\n\tc\ufeff ')).toBe('a b c');
});

test.each([
  ['de-DE', 'de'],
  ['fr_FR', 'fr'],
  ['EN', 'en'],
  ['deu', undefined],
  ['', undefined],
  [null, undefined],
])('language of %j is %s', (tag, language) => expect(languageOf(tag)).toBe(language));
