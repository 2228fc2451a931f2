/** The interface's words, in the browser's language. */
import { browser } from 'wxt/browser';
import type english from '../../public/_locales/en/messages.json';

export type TextKey = keyof typeof english;

/** Returns the text of `key` with `values` in the places $1, $2, …; the key itself would show a missing translation. */
export function t(key: TextKey, ...values: string[]): string {
  const getMessage = browser.i18n.getMessage as (key: string, values: string[]) => string;
  return getMessage(key, values) || key;
}

/** The language that the texts are really in: the browser's when we have it, else English. For `lang` and for dates. */
export function textLanguage(): string {
  return t('language_code');
}

/** The person's own way of writing dates, as long as it is in the language of the texts. */
function dateLocale(): string {
  const own = browser.i18n.getUILanguage();
  return own.startsWith(textLanguage()) ? own : textLanguage();
}

/** To the second and with the time zone: it may be compared with other papers. */
export function formatTime(seconds: number): string {
  return new Intl.DateTimeFormat(dateLocale(), { dateStyle: 'long', timeStyle: 'long' }).format(seconds * 1000);
}

export function formatDay(seconds: number): string {
  return new Intl.DateTimeFormat(dateLocale(), { dateStyle: 'medium' }).format(seconds * 1000);
}

/** About how long, in the largest unit that fits. */
export function formatDuration(seconds: number): string {
  const units = [
    ['day', 86_400],
    ['hour', 3_600],
    ['minute', 60],
  ] as const;
  const [unit, size] = units.find(([, size]) => seconds >= size) ?? ['second', 1];
  return new Intl.NumberFormat(textLanguage(), { style: 'unit', unit, unitDisplay: 'long' }).format(
    Math.round(seconds / size),
  );
}

type Group = 'category' | 'platform' | 'channel' | 'problem' | 'finding' | 'mailkind';

/** A text that exists only for some values of `name`, such as a platform; falls back to the value as it is written. */
export function tName(group: Group, name: string, ...values: string[]): string {
  const key = `${group}_${name.replaceAll('-', '_')}`;
  const getMessage = browser.i18n.getMessage as (key: string, values: string[]) => string;
  return getMessage(key, values) || name;
}
