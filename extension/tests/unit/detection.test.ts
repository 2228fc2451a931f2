import { expect, test } from 'vitest';
import {
  boundedText,
  findWording,
  foldText,
  formAt,
  formLinked,
  gistOf,
  isNotificationPath,
  languageOf,
  leadsToPeoplesWords,
  MAX_TEXT,
  mayHaveWording,
  mayStandAt,
  type Notice,
  namesNotifications,
  platformOf,
  readableText,
  sanitiseUrl,
  startsSponsored,
  tellsWhatSomebodyDid,
} from '../../src/core/detection';

test.each([
  ['www.facebook.com', 'facebook'],
  ['fr-fr.facebook.com', 'facebook'],
  ['help.instagram.com', 'instagram'],
  ['www.threads.net', 'threads'],
  ['threads.com', 'threads'],
  ['notfacebook.com', undefined],
  ['facebook.com.example', undefined],
  ['facebook.com.', undefined],
  ['127.0.0.1', undefined],
])('%s is %s', (host, platform) => expect(platformOf(host)).toBe(platform));

test.each([
  ['https://www.facebook.com/help/contact/712876720715583', 'objection'],
  ['https://m.facebook.com/help/contact/6359191084165019/?ref=x', 'objection'],
  ['https://de-de.facebook.com/help/contact/712876720715583?locale=de_DE#top', 'objection'],
  ['https://www.facebook.com/help/instagram/contact/767264225370182', 'objection'],
  ['https://help.instagram.com/contact/767264225370182', 'objection'],
  ['https://help.instagram.com/contact/233964459562201/', 'objection'],
  ['https://www.facebook.com/help/contact/1266025207620918', 'third-party'],
  ['https://www.facebook.com/help/contact/510058597920541', 'third-party'],
  ['https://www.facebook.com/help/contact/7128767207155830', undefined],
  ['https://www.facebook.com/help/contact/712876720715583x', undefined],
  ['https://www.facebook.com/712876720715583', undefined],
  ['https://www.facebook.com/ana/contact/712876720715583', undefined],
  ['https://www.facebook.com/help/search?q=/contact/712876720715583', undefined],
  ['https://facebook.com.example/help/contact/712876720715583', undefined],
  ['https://l.facebook.com/l.php?u=https%3A%2F%2Fwww.facebook.com%2Fhelp%2Fcontact%2F712876720715583', undefined],
  ['not a link', undefined],
])('at %s is the form: %s', (url, form) => expect(formAt(url)).toBe(form));

const FORM = 'https%3A%2F%2Fwww.facebook.com%2Fhelp%2Fcontact%2F712876720715583%3Ffbclid%3D1';
test.each([
  ['https://www.facebook.com/help/contact/712876720715583', 'objection'],
  [`https://l.facebook.com/l.php?u=${FORM}&h=AT`, 'objection'],
  [`https://lm.facebook.com/l.php?h=AT&u=${FORM}`, 'objection'],
  [`https://www.facebook.com/flx/warn/?u=${FORM}`, 'objection'],
  [`https://l.instagram.com/?u=${FORM}`, 'objection'],
  [`https://l.threads.com/?u=${FORM}`, 'objection'],
  [`https://l.instagram.com/?u=https%3A%2F%2Fl.facebook.com%2Fl.php%3Fu%3D${encodeURIComponent(FORM)}`, 'objection'],
  ['https://l.facebook.com/l.php?u=https%3A%2F%2Fwww.facebook.com%2Fhelp%2Fcontact%2F510058597920541', 'third-party'],
  [`https://l.facebook.com.example/l.php?u=${FORM}`, undefined],
  [`https://www.facebook.com/sharer.php?u=${FORM}`, undefined],
  ['https://l.facebook.com/l.php?u=javascript:alert(1)', undefined],
  ['https://l.facebook.com/l.php?u=https%3A%2F%2Fevil.example%2Fhelp%2Fcontact%2F712876720715583', undefined],
  ['https://l.facebook.com/l.php', undefined],
])('a link to %s leads to the form: %s', (url, form) => expect(formLinked(url)).toBe(form));

test.each([
  ['https://www.instagram.com/anna_b/', 'https://www.instagram.com/'],
  ['https://www.threads.com/@anna_b', 'https://www.threads.com/'],
  ['https://www.facebook.com/anna.b/posts/7', 'https://www.facebook.com/'],
  ['https://www.instagram.com/anna_b/contact/767264225370182', 'https://www.instagram.com/'],
  ['https://www.facebook.com/help/contact/712876720715583/anna', 'https://www.facebook.com/'],
  ['https://www.facebook.com/notifications/anna', 'https://www.facebook.com/'],
  ['https://www.facebook.com/privacy/anna77', 'https://www.facebook.com/'],
  ['https://www.facebook.com/privacy/anna_mueller', 'https://www.facebook.com/'],
  ['https://www.facebook.com/privacy/guide/anna', 'https://www.facebook.com/'],
  ['https://www.facebook.com/policies/anna-mueller', 'https://www.facebook.com/'],
  ['https://privacycenter.instagram.com/anna', 'https://privacycenter.instagram.com/'],
  ['https://anna.mueller.facebook.com/', 'https://facebook.com/'],
  ['https://anna.instagram.com/accounts/activity/', 'https://instagram.com/accounts/activity/'],
  ['https://de-de.facebook.com/privacy/guide/generative-ai'],
  ['https://www.instagram.com/privacy/', 'https://www.instagram.com/'],
  ['https://accountscenter.facebook.com/profiles/17841400000/', 'https://accountscenter.facebook.com/'],
  ['https://user:pw@www.facebook.com:8443/groups/7?ref=a#b', 'https://www.facebook.com/'],
  ['https://www.facebook.com/ü?x', 'https://www.facebook.com/'],
  ['https://www.facebook.com/help/contact/712876720715583?ref=a#b'],
  ['https://m.facebook.com/help/instagram/contact/767264225370182/'],
  ['https://help.instagram.com/contact/767264225370182'],
  ['https://www.facebook.com/privacy/center/'],
  ['https://privacycenter.instagram.com/policy/'],
  ['https://www.facebook.com/notifications'],
  ['https://www.instagram.com/accounts/activity/'],
  ['https://www.threads.net/activity'],
])('of %s the receipt tells %s', (url, told = url.replace(/[?].*/, '')) => expect(sanitiseUrl(url)).toBe(told));

test.each([
  ['Improving AI at Meta: your right to object', 'en'],
  ['As we expand AI at Meta you can object.', 'en'],
  ['We train AI on public posts and comments. We rely on legitimate interests.', 'en'],
  ['L’IA de Meta et vos intérêts légitimes', 'fr'],
  ['Vous pouvez vous opposer à ce que l’IA de Meta apprenne', 'fr'],
  ['L’IA de Meta et vos inte\u0301re\u0302ts le\u0301gitimes', 'fr'],
  ['L‛IA\u202fde\u00a0Meta : droit d`opposition', 'fr'],
  ['Pour entraîner nos modèles d’IA : intérêts légitimes', 'fr'],
  ['KI bei Meta — dein Wider\u00adspruchsrecht', 'de'],
  ['KI bei Meta: Du kannst widersprechen', 'de'],
  ['Unsere KI\u2011Modelle: berechtigte Interessen', 'de'],
  ['AI\u00a0at\u2009Meta LEGITIMATE\nINTERESTS', 'en'],
  ['A\u200bI at Me\u2060ta, legitimate interests', 'en'],
  ['AI at Meta', undefined],
  ['How we improve AI at Meta', undefined],
  ['legitimate interests, right to object', undefined],
  ['AI features, legitimate interests, right to object', undefined],
  ['AI at Meta, intérêts légitimes', undefined],
  ['Ein Wiki bei Meta, berechtigte Interessen', undefined],
  ['Le média de Meta et vos intérêts légitimes', undefined],
  ['J’ai des intérêts légitimes, people aged 18', undefined],
  ['AI at Metaverse, legitimate interests', undefined],
])('%j is worded in %s', (text, language) => {
  expect(findWording(text)?.language).toBe(language);
  if (language) expect(mayHaveWording(text)).toBe(true);
});

test('the language with most of the wording is the one', () => {
  const text = 'AI at Meta, right to object. KI bei Meta, Widerspruch, berechtigte Interessen.';
  expect(findWording(text)?.language).toBe('de');
});

test('a phrase counts in whichever reading it stands', () => {
  expect(findWording('AI at MetaWe rely on legit')?.language).toBeUndefined();
  expect(
    findWording('AI at MetaWe rely on legitimate interests', 'AI at Meta We rely on legit imate interests'),
  ).toEqual({
    language: 'en',
    concepts: 3,
  });
});

test('the quick look joins what is split, and passes over what has none of it', () => {
  expect(mayHaveWording('legiti mateinte rests')).toBe(true);
  expect(mayHaveWording('We share public transport and lunch')).toBe(false);
});

test('what is read has no white space twice and nothing without width', () => {
  expect(readableText(' a\u200b\u00ad b\n\tc\ufeff ')).toBe('a b c');
});

test('folding is done once', () => {
  const text = 'L’INTÉRÊT\u00a0Légi\u00adtime ﬁn ´x';
  expect(foldText(text)).toBe("l'intérêt légitime fin 'x");
  expect(foldText(foldText(text))).toBe(foldText(text));
});

test('a text that is too long is not cut inside a character', () => {
  expect(boundedText('a'.repeat(MAX_TEXT + 1))).toHaveLength(MAX_TEXT);
  expect(boundedText(`${'a'.repeat(MAX_TEXT - 1)}😀`)).toBe('a'.repeat(MAX_TEXT - 1));
  expect(boundedText(`${'a'.repeat(MAX_TEXT - 2)}😀`)).toBe(`${'a'.repeat(MAX_TEXT - 2)}😀`);
});

test.each([
  ['/', 'anywhere'],
  ['/privacy/center', 'anywhere'],
  ['/photography.club', 'anywhere'],
  ['/watchmakers', 'anywhere'],
  ['/@ana', 'anywhere'],
  ['/watch', 'in a dialog'],
  ['/reels/Cabc', 'in a dialog'],
  ['/explore/', 'in a dialog'],
  ['/marketplace/berlin', 'in a dialog'],
  ['/marketplace/item/7', 'nowhere'],
  ['/photo/', 'nowhere'],
  ['/photo.php', 'nowhere'],
  ['/messages', 'nowhere'],
  ['/direct/t/42', 'nowhere'],
  ['/search', 'nowhere'],
  ['/reel/7', 'nowhere'],
  ['/p/Cabc', 'nowhere'],
  ['/ana/p/Cabc', 'nowhere'],
  ['/@ana/post/Dxyz', 'nowhere'],
])('at %s a notice may stand %s', (path, where) => {
  expect(mayStandAt('dialog', path)).toBe(where !== 'nowhere');
  expect(mayStandAt('page', path)).toBe(where === 'anywhere');
  expect(mayStandAt('notification', path)).toBe(where === 'anywhere');
});

test.each([
  ['https://www.facebook.com/ana/posts/pfbid02', true],
  ['https://www.facebook.com/ana?comment_id=7', true],
  ['https://m.facebook.com/story.php?story_fbid=7', true],
  ['https://www.facebook.com/groups/7/permalink/8/', true],
  ['https://www.instagram.com/p/Cabc/', true],
  ['https://www.threads.com/@ana/post/Dxyz', true],
  ['https://www.facebook.com/privacy/consent/?notif_id=7', false],
  ['https://www.facebook.com/help/contact/712876720715583', false],
  ['https://www.facebook.com/postscript', false],
  ['https://news.example/posts/1', false],
  ['not a link', false],
])('%s leads to people’s words: %s', (url, leads) => expect(leadsToPeoplesWords(url)).toBe(leads));

test('a notice is known again by what it says, not by when it came or whether it was read', () => {
  const gist = (text: string, rule = 'facebook.notification') => gistOf({ rule, language: 'en', text } as Notice);
  const first = gist('Unread Learn how we’ll use your information as we improve AI at Meta. 2 h');
  expect(gist('Learn how we’ll use your information as we improve AI at Meta. Yesterday at 09:12')).toBe(first);
  expect(gist('Learn how we’ll use your information as we improve AI at Meta. You can object. 2 h')).not.toBe(first);
  expect(gist('Learn how we’ll use your information as we improve AI at Meta. 2 h', 'facebook.dialog')).not.toBe(first);
});

test.each([
  ['/notifications', true],
  ['/notifications/', true],
  ['/accounts/activity', true],
  ['/notificationsclub', false],
  ['/ana/notifications', false],
])('%s is a page of notifications: %s', (path, is) => expect(isNotificationPath(path)).toBe(is));

test.each([
  ['Notifications', true],
  ['Notifications, 3 unread', true],
  ['BENACHRICHTIGUNGEN', true],
  ['Activité', true],
  ['Notification', false],
  ['Contacts', false],
])('%s names notifications: %s', (name, is) => expect(namesNotifications(name)).toBe(is));

test('advertising is known by its first word', () => {
  expect(startsSponsored('Sponsored · Learn')).toBe(true);
  expect(startsSponsored('Sponsorisé Apprenez')).toBe(true);
  expect(startsSponsored('Not sponsored')).toBe(false);
});

test('what somebody did is not what Meta says', () => {
  expect(tellsWhatSomebodyDid('Ben mentioned you in a comment: AI at Meta')).toBe(true);
  expect(tellsWhatSomebodyDid('Ben hat dich erwähnt')).toBe(true);
  expect(tellsWhatSomebodyDid('Zoé a répondu à votre commentaire')).toBe(true);
  expect(tellsWhatSomebodyDid('Information like your photos, and what you posted')).toBe(false);
  expect(tellsWhatSomebodyDid('Wir haben deine Einstellungen geändert: KI bei Meta')).toBe(false);
  expect(tellsWhatSomebodyDid('We use public posts and comments you shared a while ago')).toBe(false);
  expect(tellsWhatSomebodyDid('Meta hat einen neuen Weg: KI bei Meta')).toBe(false);
});

test.each([
  ['de-DE', 'de'],
  ['fr_FR', 'fr'],
  ['EN', 'en'],
  ['deu', undefined],
  ['', undefined],
  [null, undefined],
])('language of %j is %s', (tag, language) => expect(languageOf(tag)).toBe(language));
