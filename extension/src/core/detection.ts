/** What Meta's notice is made of, without a page: wording, links, addresses. The rules are data. */
import rules from '../../rules/notice-rules.json';

export type Channel = 'in-app' | 'notification-list' | 'form';
export type Platform = 'facebook' | 'instagram' | 'threads';
export type Place = keyof typeof rules.places;

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

export const RULESET = rules.ruleset;
export const MAX_TEXT = 20_000;
const MAX_URL = 512;
const ENOUGH_CONCEPTS = 2;

/** A language in which Meta's wording was found. */
export interface Wording {
  language: string;
  concepts: number;
}

/** Returns the platform that `host` belongs to; a look-alike such as facebook.com.example belongs to none. */
export function platformOf(host: string): Platform | undefined {
  if (__PRACTICE__ && host === '127.0.0.1') return 'facebook';
  for (const [platform, domains] of Object.entries(rules.platforms)) {
    if (domains.some((domain) => isWithin(host, domain))) return platform as Platform;
  }
  return undefined;
}

/** Returns scheme, host and path: no query, no fragment, printable ASCII only, at most 512 characters. */
export function sanitiseUrl(url: string): string {
  const { protocol, host, hostname, pathname } = new URL(url);
  if (__PRACTICE__ && hostname === '127.0.0.1') return `${protocol}//${host}/practice`;
  return `https://${hostname}${pathname}`.slice(0, MAX_URL);
}

/** Returns whether `url`, unwrapped from Meta's redirectors, is an objection form against training AI. */
export function isObjectionForm(url: string): boolean {
  const target = unwrapLink(url);
  if (!target) return false;
  return rules.objection_forms.some(({ host, path, ids }) => {
    if (!isWithin(target.hostname, host) || !target.pathname.startsWith(path)) return false;
    const [id] = target.pathname.slice(path.length).split('/');
    return id !== undefined && ids.includes(id);
  });
}

/** Returns whether a page at `path` shows one person's words, so that nothing on it is taken for a notice. */
export function isContentPath(path: string): boolean {
  return rules.content_paths.some((prefix) => path.startsWith(prefix));
}

export function isNotificationPath(path: string): boolean {
  return rules.notification_paths.some((prefix) => path === prefix || path.startsWith(`${prefix}/`));
}

export function isNotificationLabel(label: string): boolean {
  return rules.notification_labels.includes(foldText(label));
}

/** Returns `text` as it is read: white space folded, without soft hyphens and characters that have no width. */
export function readableText(text: string): string {
  return text
    .replace(/[\u00ad\u200b-\u200f\u2060\ufeff]/g, '')
    .replace(/\s+/g, ' ')
    .trim();
}

/** Returns readable `text` without what typography varies: case and the form of apostrophes. */
function foldText(text: string): string {
  return readableText(text)
    .normalize('NFC')
    .replace(/[\u2018\u2019\u02bc\u0060\u00b4]/g, "'")
    .toLowerCase();
}

/**
 * Returns the language in which `text` says what the notice says, or undefined.
 *
 * That takes the subject, AI at Meta, and one more of title, legal basis, right to object and whose posts: a cookie
 * dialog has legitimate interests and a right to object, too.
 */
export function findWording(text: string): Wording | undefined {
  const folded = foldText(text);
  let best: Wording | undefined;
  for (const [language, phrases] of Object.entries(rules.phrases)) {
    if (!phrases.subject.some((phrase) => folded.includes(phrase))) continue;
    const concepts = Object.values(phrases).filter((some) => some.some((phrase) => folded.includes(phrase))).length;
    if (concepts >= ENOUGH_CONCEPTS && concepts > (best?.concepts ?? 0)) best = { language, concepts };
  }
  return best;
}

/** Returns a language tag as `xx`, or undefined for anything that is none. */
export function languageOf(tag: string | null | undefined): string | undefined {
  return tag?.match(/^([a-z]{2})(?:[-_]|$)/i)?.[1]?.toLowerCase();
}

function unwrapLink(url: string): URL | undefined {
  if (!URL.canParse(url)) return undefined;
  const parsed = new URL(url);
  const wrapper = rules.link_wrappers.find(({ host }) => host === parsed.hostname);
  if (!wrapper) return parsed;
  const target = parsed.searchParams.get(wrapper.parameter);
  return target && URL.canParse(target) ? new URL(target) : undefined;
}

function isWithin(host: string, domain: string): boolean {
  return host === domain || host.endsWith(`.${domain}`);
}
