/** What Meta's notice is made of, without a page: wording, links, addresses. The rules are data. */
import { type Channel, type Place, type Platform, rules } from '../../rules/rules';

export type { Channel, Place, Platform } from '../../rules/rules';

export interface Notice {
  platform: Platform;
  channel: Channel;
  language: string;
  rule: string;
  ruleset: string;
  url: string;
  /** The visible text, white space folded, at most MAX_TEXT characters. */
  text: string;
}

export const MAX_TEXT = 20_000;
const MAX_WRAPPERS = 3;

/** A language in which Meta's wording was found. */
export interface Wording {
  language: string;
  concepts: number;
}

/** The objection against training AI, or the form for data of people without an account, which is another right. */
export type Form = 'objection' | 'third-party';

/** Returns the platform that `host` belongs to; a look-alike such as facebook.com.example belongs to none. */
export function platformOf(host: string): Platform | undefined {
  if (__PRACTICE__ && host === '127.0.0.1') return 'facebook';
  for (const [platform, domains] of Object.entries(rules.platforms)) {
    if (domains.some((domain) => isWithin(host, domain))) return platform as Platform;
  }
  return undefined;
}

/** Returns match patterns for all pages of `platform`, as the manifest has them. */
export function originsOf(platform: Platform): string[] {
  return rules.platforms[platform].map((domain) => `https://*.${domain}/*`);
}

/**
 * Returns scheme, host and path where they name no person: over a profile the path is the account's handle, and a host may
 * hold one, too. Of an unknown host only Meta's domain is told, of an unknown path nothing.
 */
export function sanitiseUrl(url: string): string {
  const { protocol, host, hostname, pathname } = new URL(url);
  if (__PRACTICE__ && hostname === '127.0.0.1') return `${protocol}//${host}/practice`;
  const isNameless = rules.namelessPaths.some(({ host, path }) => isWithin(hostname, host) && path.test(pathname));
  return `https://${namelessHost(hostname)}${isNameless ? pathname : '/'}`;
}

function namelessHost(hostname: string): string {
  if (rules.namelessHosts.includes(hostname) || LANGUAGE_HOST.test(hostname)) return hostname;
  const domains = Object.values(rules.platforms).flat();
  return domains.find((domain) => isWithin(hostname, domain)) ?? hostname;
}

/** Facebook speaks a language on a host of its own: de-de, fr-fr. */
const LANGUAGE_HOST = /^[a-z]{2}-[a-z]{2}\.facebook\.com$/;

/** Returns which form stands at `url` itself: known by the number in its path, on any subdomain, in any language. */
export function formAt(url: string): Form | undefined {
  if (!URL.canParse(url)) return undefined;
  const { hostname, pathname } = new URL(url);
  const id = pathname.match(/\/contact\/([0-9]+)(?:\/|$)/)?.[1];
  if (!id || !rules.forms.sites.some(({ host, under }) => isWithin(hostname, host) && pathname.startsWith(under))) {
    return undefined;
  }
  if (rules.forms.objection.includes(id)) return 'objection';
  return rules.forms.thirdParty.includes(id) ? 'third-party' : undefined;
}

/** Returns which form a link to `url` leads to, through Meta's redirectors. */
export function formLinked(url: string): Form | undefined {
  let target = url;
  for (let depth = 0; depth < MAX_WRAPPERS; depth++) {
    const inner = wrappedIn(target);
    if (inner === undefined) break;
    target = inner;
  }
  return formAt(target);
}

/** Returns whether a notice may stand in `place` on a page at `path`: what people wrote or show is none. */
export function mayStandAt(place: Place, path: string): boolean {
  return !rules.contentPaths.test(path) && (place === 'dialog' || !rules.dialogsOnlyPaths.test(path));
}

/** Returns whether a link to `url` leads to what a person wrote or shows. */
export function leadsToPeoplesWords(url: string): boolean {
  if (!URL.canParse(url)) return false;
  const { hostname, pathname, searchParams } = new URL(url);
  if (!platformOf(hostname)) return false;
  const { segments, parameters } = rules.peoplesLinks;
  return (
    pathname.split('/').some((segment) => segments.includes(segment)) ||
    parameters.some((parameter) => searchParams.has(parameter))
  );
}

export function isNotificationPath(path: string): boolean {
  return rules.notificationPaths.test(path);
}

/** Returns whether something called `name` is a list of notifications. */
export function namesNotifications(name: string): boolean {
  return rules.notificationNames.test(foldText(name));
}

/** Returns whether `text` starts like an advertisement. */
export function startsSponsored(text: string): boolean {
  const found = foldText(text).match(rules.sponsored);
  return found?.index === 0;
}

/** Returns whether `text` tells what somebody did, and so may repeat that person's words. */
export function tellsWhatSomebodyDid(text: string): boolean {
  return rules.personsDoing.test(foldText(text));
}

/** Returns `text` as it is read: white space folded, without soft hyphens and characters that have no width. */
export function readableText(text: string): string {
  return text
    .replace(/\u034f|[\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]/g, '')
    .replace(/\s+/g, ' ')
    .trim();
}

/** Returns at most MAX_TEXT characters of `text`, none of them half of a pair. */
export function boundedText(text: string): string {
  return text.slice(0, MAX_TEXT).replace(/[\ud800-\udbff]$/, '');
}

/** Returns readable `text` without what typography varies: case, and the forms of apostrophes, hyphens and letters. */
export function foldText(text: string): string {
  return readableText(text)
    .replace(/[\u2018\u2019\u201b\u02bc\u2032\u0060\u00b4\uff07]/g, "'") // before NFKC, which makes spaces of some
    .normalize('NFKC')
    .replace(/[\u2010\u2011]/g, '-')
    .toLowerCase();
}

/**
 * Returns the language in which one or another of `texts`, readings of the same words, says what the notice says.
 *
 * Two phrases of one language, one of them about AI at Meta: a cookie dialog has legitimate interests and a right to
 * object, too. What is enough stands in the rules.
 */
export function findWording(...texts: string[]): Wording | undefined {
  const folded = texts.map(foldText);
  let best: Wording | undefined;
  for (const [language, phrases] of Object.entries(rules.phrases)) {
    const said = new Set<string>();
    for (const [concept, pattern] of Object.entries(phrases)) {
      if (folded.some((text) => pattern.test(text))) said.add(concept);
    }
    const enough = rules.enough.some((groups) => groups.every((group) => group.some((concept) => said.has(concept))));
    if (enough && said.size > (best?.concepts ?? 0)) best = { language, concepts: said.size };
  }
  return best;
}

/**
 * Returns whether `text`, read with no regard to where words begin and end, could have the notice's wording.
 *
 * Cheap, and never false where `findWording` finds something: it decides what is worth reading properly.
 */
export function mayHaveWording(text: string): boolean {
  const squeezed = squeeze(text);
  return SQUEEZED_PHRASES.some((phrase) => squeezed.includes(phrase));
}

/** Returns by what `notice` is known again: notifications tell how long ago they came, and whether they were read. */
export function gistOf({ rule, language, text }: Notice): string {
  const folded = foldText(text);
  const said = Object.values(rules.phrases[language] ?? {}).map((pattern) => folded.match(pattern)?.[0] ?? '');
  return [rule, language, ...said].join('\n');
}

/** Returns a language tag as `xx`, or undefined for anything that is none. */
export function languageOf(tag: string | null | undefined): string | undefined {
  return tag?.match(/^([a-z]{2})(?:[-_]|$)/i)?.[1]?.toLowerCase();
}

const SQUEEZED_PHRASES = [...new Set(rules.tellingPhrases.map(squeeze))];

function squeeze(text: string): string {
  return foldText(text).replaceAll(' ', '');
}

/** Returns the address that a redirector of Meta's leads to; undefined for any other address. */
function wrappedIn(url: string): string | undefined {
  if (!URL.canParse(url)) return undefined;
  const { hostname, pathname, searchParams } = new URL(url);
  const wrapper = rules.linkWrappers.find(({ host, path }) => isWithin(hostname, host) && path.test(pathname));
  return wrapper ? (searchParams.get(wrapper.parameter) ?? undefined) : undefined;
}

function isWithin(host: string, domain: string): boolean {
  return host === domain || host.endsWith(`.${domain}`);
}
