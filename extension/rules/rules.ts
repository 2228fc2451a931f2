/** The detection rules, checked once and made ready to match. They are data: notice-rules.json says what, this file only how. */
import rawRules from './notice-rules.json' with { type: 'json' };

export const PLATFORMS = ['facebook', 'instagram', 'threads'] as const;
export const CHANNELS = ['in-app', 'notification-list', 'form'] as const;
export const PLACES = ['dialog', 'page', 'notification'] as const;
export type Platform = (typeof PLATFORMS)[number];
export type Channel = (typeof CHANNELS)[number];
export type Place = (typeof PLACES)[number];

export interface NoticeRules {
  ruleset: string;
  platforms: Record<Platform, string[]>;
  forms: { sites: { host: string; under: string }[]; objection: string[]; thirdParty: string[] };
  linkWrappers: { host: string; path: RegExp; parameter: string }[];
  /** Whole hosts that name no person; of others, the domain is kept. */
  namelessHosts: string[];
  /** Whole paths that name no person: others are not kept. */
  namelessPaths: { host: string; path: RegExp }[];
  places: Record<Place, { channel: Channel; selector: string }>;
  notificationPaths: RegExp;
  notificationPanes: string;
  notificationNames: RegExp;
  /** Landmarks which, on a page of notifications, stand beside them. */
  besideNotifications: string;
  /** Paths of pages that are made of people's own words. */
  contentPaths: RegExp;
  /** The same, but where Meta may open a dialog above them. */
  dialogsOnlyPaths: RegExp;
  /** What the address of something has that a person wrote or shows. */
  peoplesLinks: { segments: string[]; parameters: string[] };
  otherPeoplesWords: string;
  messageLists: string;
  /** What a dialog or region has inside when it shows or takes people's words: Meta's notice has none of it. */
  showsOtherPeoplesWords: string;
  hidden: string;
  sponsored: RegExp;
  /** Somebody did something: the words after it are theirs. */
  personsDoing: RegExp;
  /** Each way of saying enough: groups of concepts, one of each group is needed. */
  enough: string[][][];
  /** Language, then concept. */
  phrases: Record<string, Record<string, RegExp>>;
  /** Every phrase that a notice cannot do without, in any language. */
  tellingPhrases: string[];
}

const RULESET = /^[0-9]{4}\.[0-9]{1,2}\.[0-9]{1,3}$/;
const HOST = /^(?:[a-z0-9-]+\.)+[a-z]{2,}$/;
const FORM_ID = /^[0-9]{6,20}$/;
const LANGUAGE = /^[a-z]{2}$/;
const NOT_EMPTY = /\S/;

/** Returns `raw` checked and with its patterns compiled; throws an Error that names the first rule which is wrong. */
export function parseRules(raw: typeof rawRules): NoticeRules {
  const phrases = mapValues(byLanguage(raw.phrases, 'phrases'), (concepts, language) =>
    mapValues<string[], RegExp>(concepts, (some, concept) => anyPhrase(some, `phrases.${language}.${concept}`)),
  );
  for (const group of raw.enough.flat(2)) {
    for (const [language, concepts] of Object.entries(phrases)) {
      if (!concepts[group]) throw new Error(`enough: ${language} has no phrases for ${group}`);
    }
  }
  return {
    ruleset: matching([raw.ruleset], RULESET, 'ruleset')[0] ?? '',
    platforms: mapValues(exactly(raw.platforms, PLATFORMS, 'platforms'), (hosts, platform) =>
      matching(hosts, HOST, `platforms.${platform}`),
    ),
    forms: {
      sites: raw.forms.sites,
      objection: matching(raw.forms.objection, FORM_ID, 'forms.objection'),
      thirdParty: matching(raw.forms.third_party, FORM_ID, 'forms.third_party'),
    },
    linkWrappers: raw.link_wrappers.map((wrapper) => ({ ...wrapper, path: new RegExp(wrapper.path) })),
    namelessHosts: Object.entries(exactly(raw.nameless_hosts, PLATFORMS, 'nameless_hosts')).flatMap(
      ([platform, hosts]) => matching(hosts, HOST, `nameless_hosts.${platform}`),
    ),
    namelessPaths: raw.nameless_paths.map(({ host, path }) => ({
      host: matching([host], HOST, 'nameless_paths')[0] ?? '',
      path: new RegExp(`^(?:${path})/?$`),
    })),
    places: mapValues(exactly(raw.places, PLACES, 'places'), ({ channel, selector }, place) => {
      const known = CHANNELS.find((some) => some === channel);
      if (!known) throw new Error(`places.${place}: ${channel} is no channel`);
      return { channel: known, selector };
    }),
    notificationPaths: anyPath(raw.notification_paths, 'notification_paths'),
    notificationPanes: raw.notification_panes,
    notificationNames: anyPhrase(allLanguages(raw.notification_names, 'notification_names'), 'notification_names'),
    besideNotifications: raw.beside_notifications,
    contentPaths: anyPath(raw.content_paths, 'content_paths'),
    dialogsOnlyPaths: anyPath(raw.dialogs_only_paths, 'dialogs_only_paths'),
    peoplesLinks: {
      segments: matching(raw.peoples_links.segments, NOT_EMPTY, 'peoples_links.segments'),
      parameters: matching(raw.peoples_links.parameters, NOT_EMPTY, 'peoples_links.parameters'),
    },
    otherPeoplesWords: raw.other_peoples_words,
    messageLists: raw.message_lists,
    showsOtherPeoplesWords: raw.shows_other_peoples_words,
    hidden: raw.hidden,
    sponsored: anyPhrase(allLanguages(raw.sponsored, 'sponsored'), 'sponsored'),
    personsDoing: anyPhrase(allLanguages(raw.persons_doing, 'persons_doing'), 'persons_doing'),
    enough: raw.enough,
    phrases,
    tellingPhrases: Object.values(raw.phrases).flatMap(({ title, basis, right, audience }) =>
      [title, basis, right, audience].flat(),
    ),
  };
}

/** A pattern for any of `phrases`, as whole words: "ia de meta" is not in "média de meta". */
function anyPhrase(phrases: string[], where: string): RegExp {
  const quoted = matching(phrases, NOT_EMPTY, where).map((phrase) =>
    phrase.replace(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`),
  );
  return new RegExp(String.raw`(?<![\p{L}\p{N}])(?:${quoted.join('|')})(?![\p{L}\p{N}])`, 'u');
}

function anyPath(paths: string[], where: string): RegExp {
  return new RegExp(`^(?:${matching(paths, /^\//, where).join('|')})`);
}

function matching(values: string[], pattern: RegExp, where: string): string[] {
  const wrong = values.find((value) => !pattern.test(value));
  if (wrong !== undefined || values.length === 0) throw new Error(`${where}: ${wrong ?? 'nothing there'}`);
  return values;
}

function exactly<K extends string, V>(values: Record<K, V>, keys: readonly K[], where: string): Record<K, V> {
  const given = Object.keys(values).sort().join();
  if (given !== [...keys].sort().join()) throw new Error(`${where}: ${given}`);
  return values;
}

function byLanguage<V>(values: Record<string, V>, where: string): Record<string, V> {
  matching(Object.keys(values), LANGUAGE, where);
  return values;
}

function allLanguages(values: Record<string, string[]>, where: string): string[] {
  return Object.values(byLanguage(values, where)).flat();
}

function mapValues<V, R, K extends string = string>(values: Record<K, V>, make: (value: V, key: K) => R): Record<K, R> {
  const entries = Object.entries(values) as [K, V][];
  return Object.fromEntries(entries.map(([key, value]) => [key, make(value, key)])) as Record<K, R>;
}

export const rules = parseRules(rawRules);
