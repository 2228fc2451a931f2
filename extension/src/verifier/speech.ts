/** The verifier's findings in a language. Whatever came out of a file is made harmless to read first. */
import { printable } from '../core/printable';
import type { Saying, SayingValue } from '../core/reports';
import { de } from './words/de';
import { en, type Words } from './words/en';
import { fr } from './words/fr';

export const LANGUAGES = { en, fr, de } as const satisfies Record<string, Words>;
export type Language = keyof typeof LANGUAGES;
export type WordKey = keyof Words;

const LOCALES: Record<Language, string> = { en: 'en-GB', fr: 'fr-FR', de: 'de-DE' };

/** The first of the reader's languages that there are words for. */
export function chooseLanguage(wanted: readonly string[]): Language {
  const codes = wanted.map((tag) => tag.slice(0, 2).toLowerCase());
  return codes.find(isLanguage) ?? 'en';
}

function isLanguage(code: string): code is Language {
  return Object.hasOwn(LANGUAGES, code);
}

export class Speech {
  private readonly words: Words;

  constructor(readonly language: Language) {
    this.words = LANGUAGES[language];
  }

  t(key: WordKey, values: Record<string, string | number> = {}): string {
    return this.words[key].replace(/\{([a-z_0-9]+)\}/g, (_, name: string) => String(values[name] ?? '?'));
  }

  /** The words under `key`, or under `otherwise` when there are none: keys that are put together from codes. */
  tName(key: string, otherwise: WordKey): string {
    return this.t(Object.hasOwn(this.words, key) ? (key as WordKey) : otherwise);
  }

  say({ key, values }: Saying): string {
    const filled = Object.entries(values).map(([name, value]): [string, string] => [name, this.value(value)]);
    return this.t(Object.hasOwn(this.words, key) ? (key as WordKey) : 'code_other', Object.fromEntries(filled));
  }

  /** In UTC, always: a time that depends on where it is read is no use in a file. */
  time(seconds: number): string {
    const at = new Date(seconds * 1000);
    if (Number.isNaN(at.getTime())) return String(seconds);
    const format = new Intl.DateTimeFormat(LOCALES[this.language], {
      dateStyle: 'long',
      timeStyle: 'medium',
      timeZone: 'UTC',
    });
    return `${format.format(at)} UTC`;
  }

  private value(value: SayingValue): string {
    if (typeof value === 'string') return printable(value);
    if (typeof value === 'number') return new Intl.NumberFormat(LOCALES[this.language]).format(value);
    if ('time' in value) return this.time(value.time);
    if ('duration' in value) return this.duration(value.duration);
    const said = value.list.map((item) => this.say(item));
    return said.join(said.every((one) => one.endsWith('.')) ? ' ' : '; ');
  }

  private duration(seconds: number): string {
    const [minutes, hours, days] = [60, 3600, 86_400].map((unit) => Math.floor(Math.max(seconds, 0) / unit));
    if (days && days >= 2) return this.t('duration_days', { count: days });
    if (hours && hours >= 2) return this.t('duration_hours', { count: hours });
    return this.t('duration_minutes', { count: minutes ?? 0 });
  }
}
