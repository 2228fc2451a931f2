/** Finding the notice in a page: by the place where it stands, then by its link or its wording. Class names mean nothing. */
import rules from '../../rules/notice-rules.json';
import {
  type Channel,
  findWording,
  isContentPath,
  isNotificationLabel,
  isNotificationPath,
  isObjectionForm,
  languageOf,
  MAX_TEXT,
  type Notice,
  type Place,
  platformOf,
  RULESET,
  readableText,
  sanitiseUrl,
} from '../core/detection';

export interface FoundNotice extends Notice {
  element: Element;
}

/** Where a notice may stand, most telling first. */
const PLACES = Object.entries(rules.places) as [Place, { channel: Channel; selector: string }][];
export const ANY_PLACE = PLACES.map(([, { selector }]) => selector).join(', ');

/** Users' own words, and what is not there to be read: never looked into. */
const NEVER = `${rules.other_peoples_words}, ${rules.hidden}, script, style, noscript, template`;
const BLOCK = /^(?:ADDRESS|ARTICLE|BR|DD|DIV|DL|DT|FORM|H[1-6]|HR|LI|MAIN|OL|P|SECTION|TABLE|TD|TH|TR|UL)$/;
/** Beyond this many nodes a place is no notice but a page. Keeps the cost of one look bounded. */
const MAX_NODES = 4_000;

/** Returns the notice in `root`, if there is one; `location` decides the platform. */
export function findNotice(root: Document | Element, location: Location | URL): FoundNotice | undefined {
  const form = findForm(root, location);
  if (form) return form;
  if (!platformOf(location.hostname) || isContentPath(location.pathname)) return undefined;
  for (const element of placesIn(root, location)) {
    const found = noticeAt(element, location);
    if (found) return found;
  }
  return undefined;
}

/** Yields where a notice may stand in `root`. Lists are looked through only where they are notifications. */
function* placesIn(root: Document | Element, location: Location | URL): Generator<Element> {
  yield* root.querySelectorAll(rules.places.dialog.selector);
  yield* root.querySelectorAll(rules.places.page.selector);
  const panes = isNotificationPath(location.pathname)
    ? [root]
    : [...root.querySelectorAll('[aria-label]')].filter(isNotificationPane);
  for (const pane of panes) yield* pane.querySelectorAll(rules.places.notification.selector);
}

/** Returns the notice that `element` itself is, if it stands in one of the places. */
export function noticeAt(element: Element, location: Location | URL): FoundNotice | undefined {
  const platform = platformOf(location.hostname);
  const place = placeOf(element, location);
  if (!platform || !place || isContentPath(location.pathname)) return undefined;
  if (element.closest(rules.other_peoples_words) || element.closest(rules.hidden)) return undefined;
  const { text, links } = readVisible(element);
  const wording = findWording(text);
  if (!wording && !links.some(isObjectionForm)) return undefined;
  // A list inside a dialog of notifications: the entry is the notice, not the dialog around it.
  if (place !== 'notification' && isNotificationPane(element)) return undefined;
  if (!isShown(element)) return undefined;
  return {
    platform,
    channel: rules.places[place].channel as Channel,
    language: wording?.language ?? languageAt(element),
    rule: ruleOf(platform, place, location),
    ruleset: RULESET,
    url: sanitiseUrl(location.href),
    text: text.slice(0, MAX_TEXT),
    element,
  };
}

/** Returns the objection form's own page: its address says all. */
function findForm(root: Document | Element, location: Location | URL): FoundNotice | undefined {
  const platform = platformOf(location.hostname);
  if (!platform || !isObjectionForm(location.href)) return undefined;
  const document = root.nodeType === Node.DOCUMENT_NODE ? (root as Document) : root.ownerDocument;
  const element = document?.querySelector('[role=main], main, form') ?? document?.body;
  if (!element) return undefined;
  const { text } = readVisible(element);
  return {
    platform,
    channel: 'form',
    language: findWording(text)?.language ?? languageAt(element),
    rule: `${platform}.form`,
    ruleset: RULESET,
    url: sanitiseUrl(location.href),
    text: text.slice(0, MAX_TEXT),
    element,
  };
}

function placeOf(element: Element, location: Location | URL): Place | undefined {
  const place = PLACES.find(([, { selector }]) => element.matches(selector))?.[0];
  if (place === 'notification') return isNotificationEntry(element, location) ? place : undefined;
  // Chats are lists of rows, and may stand in a dialog of their own.
  return element.closest(rules.message_lists) ? undefined : place;
}

function isNotificationEntry(element: Element, location: Location | URL): boolean {
  if (isNotificationPath(location.pathname)) return true;
  for (let outer = element.parentElement; outer; outer = outer.parentElement) {
    if (isNotificationPane(outer)) return true;
  }
  return false;
}

function isNotificationPane(element: Element): boolean {
  const label = element.getAttribute('aria-label');
  return label !== null && isNotificationLabel(label);
}

function ruleOf(platform: string, place: Place, location: Location | URL): string {
  if (__PRACTICE__ && location.protocol === 'http:') return `practice.${place}`;
  return `${platform}.${place}`;
}

/** Reads the text and the link targets of `element`, leaving out what must not be looked into. */
function readVisible(element: Element): { text: string; links: string[] } {
  const words: string[] = [];
  const links: string[] = [];
  let nodes = 0;
  const read = (node: Node): void => {
    if (++nodes > MAX_NODES) return;
    if (node.nodeType === Node.TEXT_NODE) words.push(node.nodeValue ?? '');
    if (node.nodeType !== Node.ELEMENT_NODE) return;
    const inner = node as Element;
    if (inner !== element && (inner.matches(NEVER) || inner.matches(rules.message_lists))) return;
    if (inner.tagName === 'A') {
      links.push((inner as HTMLAnchorElement).href);
      if (!inner.textContent?.trim()) words.push(` ${inner.getAttribute('aria-label') ?? ''} `);
    }
    const apart = BLOCK.test(inner.tagName);
    if (apart) words.push(' ');
    for (let child = inner.firstChild; child; child = child.nextSibling) read(child);
    if (apart) words.push(' ');
  };
  read(element);
  const text = readableText(words.join(''));
  return { text: nodes > MAX_NODES ? '' : text, links: nodes > MAX_NODES ? [] : links };
}

function isShown(element: Element): boolean {
  if (typeof element.checkVisibility === 'function') return element.checkVisibility({ visibilityProperty: true });
  const style = element.ownerDocument.defaultView?.getComputedStyle(element);
  return style?.display !== 'none' && style?.visibility !== 'hidden';
}

function languageAt(element: Element): string {
  return languageOf(element.closest('[lang]')?.getAttribute('lang')) ?? 'en';
}
