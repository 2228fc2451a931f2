/** Small typed helpers for building pages: text is only ever text. */
import { t, textLanguage } from '../platform/text';
import type { Gate } from './seen';

type Value = string | boolean | undefined | ((event: Event) => void);
export type Child = Node | string | undefined | false;

/** Makes an element: functions become listeners (`onclick`), booleans attributes that are there or not. */
export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  properties: Record<string, Value> = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (typeof value === 'function') element.addEventListener(name.replace(/^on/, ''), value);
    else if (typeof value === 'boolean') element.toggleAttribute(name, value);
    else if (value !== undefined) element.setAttribute(name, value);
  }
  element.append(...present(children));
  return element;
}

export function present(children: Child[]): (Node | string)[] {
  return children.filter((child): child is Node | string => child !== undefined && child !== false);
}

/** What stands on top of every page of a build for practice: its proofs look real, and must not pass for that. */
export function practiceBanner(): HTMLElement[] {
  return __PRACTICE__ ? [h('p', { class: 'practice', role: 'note' }, t('practice_banner'))] : [];
}

/** Text as it is, character for character, which the keyboard can scroll. */
export function exactText(label: string, text = ''): HTMLPreElement {
  return h('pre', { tabindex: '0', role: 'group', 'aria-label': label }, text);
}

/** Rows of term and description. */
export function facts(rows: [term: string, description: Child][]): HTMLDListElement {
  return h(
    'dl',
    { class: 'facts' },
    ...rows.map(([term, description]) => h('div', {}, h('dt', {}, term), h('dd', {}, description))),
  );
}

/** A button that is out of use while its work runs or its gate is closed, and says in `status` what went wrong. */
export function actionButton(
  label: string,
  {
    primary = false,
    gate,
    work,
    failed,
  }: { primary?: boolean; gate?: Gate; work: () => Promise<void>; failed: (error: unknown) => void },
): HTMLButtonElement {
  const button = h('button', { type: 'button', class: primary ? 'primary' : undefined }, label);
  let isBusy = false;
  const isInUse = () => !isBusy && (gate?.isOpen() ?? true);
  const show = () => {
    // Not `disabled`, which would throw the keyboard focus away.
    if (isInUse()) button.removeAttribute('aria-disabled');
    else button.setAttribute('aria-disabled', 'true');
  };
  gate?.onChange(show);
  show();
  button.addEventListener('click', async () => {
    if (!isInUse()) return;
    isBusy = true;
    show();
    try {
      await work();
    } catch (error) {
      failed(error);
    } finally {
      isBusy = false;
      show();
    }
  });
  return button;
}

export function section(title: string, ...content: Child[]): HTMLElement {
  return h('section', {}, h('h2', {}, title), ...present(content));
}

export function field(label: string, control: HTMLElement): HTMLLabelElement {
  return h('label', { class: 'field' }, h('span', {}, label), control);
}

export function select(
  id: string,
  values: readonly string[],
  name: (value: string) => string,
  chosen: string,
): HTMLSelectElement {
  const options = values.map((value) => h('option', { value, selected: value === chosen }, name(value)));
  return h('select', { id }, ...options);
}

export function checkbox(id: string, label: string, checked: boolean): { row: HTMLElement; box: HTMLInputElement } {
  const box = h('input', { type: 'checkbox', id, checked });
  return { box, row: h('label', { class: 'check' }, box, h('span', {}, label)) };
}

export function fileSize(bytes: number): string {
  const kilobytes = new Intl.NumberFormat(textLanguage(), { maximumFractionDigits: 1 }).format(bytes / 1000);
  return `${kilobytes} kB`;
}

export function languageName(code: string): string {
  return new Intl.DisplayNames(textLanguage(), { type: 'language' }).of(code) ?? code;
}

export function countryName(code: string): string {
  if (code === 'ZZ') return t('country_elsewhere');
  return new Intl.DisplayNames(textLanguage(), { type: 'region' }).of(code) ?? code;
}
