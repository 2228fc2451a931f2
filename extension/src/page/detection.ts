/** Finding the notice in a page: by the place where it stands, then by its link or its wording. Class names mean nothing. */
import { type Place, rules } from '../../rules/rules';
import {
  boundedText,
  findWording,
  formAt,
  formLinked,
  isNotificationPath,
  languageOf,
  leadsToPeoplesWords,
  mayHaveWording,
  mayStandAt,
  type Notice,
  namesNotifications,
  type Platform,
  platformOf,
  readableText,
  sanitiseUrl,
  startsSponsored,
  tellsWhatSomebodyDid,
} from '../core/detection';

export interface FoundNotice extends Notice {
  element: Element;
}

const { dialog: DIALOG, page: PAGE, notification: ENTRY } = mapSelectors();
/** Users' own words, and what is not there to be read: never looked into. Our card is not: its root is closed. */
const NEVER = `${rules.otherPeoplesWords}, ${rules.messageLists}, ${rules.hidden}, script, style, noscript, template`;
/** Set apart when read, although they may be inline. */
const APART = 'br, button, [role=button]';
const FORM_IN_PAGE = 'form:not([role=search], [role=search] *, header *, [role=banner] *)';
const PANE_HEADING = 'h1, h2, h3, [role=heading]';
const MAX_PANE_NAME = 60;
/** Beyond these a place is no notice but a page. They bound the cost of one look. */
const MAX_CHARACTERS = 30_000;
const MAX_NODES = 4_000;
/** Meta's pages are less than a hundred elements deep; in a page of nested dialogs each would be read with all below it. */
const MAX_DEPTH = 256;
/** How many places that hold words of a notice are read, and turn out to be none, in one look. */
const MAX_READ = 50;

/** Returns the notice in `root`, if there is one; `location` decides the platform. */
export function findNotice(root: Document | Element, location: Location | URL): FoundNotice | undefined {
  return lookFor(root, location).found;
}

/** Returns the notice in `root`, and whether a change of style alone could show or hide one. */
export function lookFor(
  root: Document | Element,
  location: Location | URL,
): { found: FoundNotice | undefined; isWaiting: boolean } {
  const platform = platformOf(location.hostname);
  if (!platform) return { found: undefined, isWaiting: false };
  const form = formAt(location.href);
  if (form) return { found: form === 'objection' ? formPage(root, location, platform) : undefined, isWaiting: true };
  let isWaiting = false;
  let read = 0;
  for (const [place, element] of candidatesIn(root, location)) {
    isWaiting = true;
    if (++read > MAX_READ) break;
    const found = noticeAt(place, element, location, platform);
    if (found) return { found, isWaiting };
  }
  return { found: undefined, isWaiting };
}

/**
 * Yields where a notice may stand in `root`, itself included: dialogs, then regions of the page, then notifications.
 *
 * Cheap reasons only: what is yielded has a right place, and words or links that deserve to be read properly.
 */
export function* candidatesIn(root: Document | Element, location: Location | URL): Generator<[Place, Element]> {
  const { pathname } = location;
  if (mayStandAt('dialog', pathname)) {
    for (const element of within(root, DIALOG)) if (isCandidate('dialog', element)) yield ['dialog', element];
  }
  if (mayStandAt('page', pathname)) {
    for (const element of within(root, PAGE)) if (isCandidate('page', element)) yield ['page', element];
  }
  if (!mayStandAt('notification', pathname)) return;
  for (const pane of panesIn(root, location)) {
    for (const element of within(pane, ENTRY)) {
      if (isCandidate('notification', element) && isNotificationEntry(element, location)) {
        yield ['notification', element];
      }
    }
  }
}

/** Yields what holds `element` and may itself be a notice, innermost first. */
export function* candidatesAround(element: Element, location: Location | URL): Generator<[Place, Element]> {
  for (let around: Element | null = element; around; around = around.parentElement) {
    const place = placeOf(around);
    if (!place || !mayStandAt(place, location.pathname) || !isCandidate(place, around)) continue;
    if (place !== 'notification' || isNotificationEntry(around, location)) yield [place, around];
  }
}

/** Returns the outermost place or pane around `element`: whether it is a notice depends on what else stands in there. */
export function outermostPlace(element: Element): Element {
  let outermost = element;
  for (let around: Element | null = element; around; around = around.parentElement) {
    if (placeOf(around) || around.matches(rules.notificationPanes)) outermost = around;
  }
  return outermost;
}

/** Returns whether `element` is, or stands in, what other people write: no change in there concerns us. */
export function isOtherPeoplesWords(element: Element): boolean {
  return element.closest(rules.otherPeoplesWords) !== null;
}

function isCandidate(place: Place, element: Element): boolean {
  if (isTooDeep(element)) return false;
  if (isOtherPeoplesWords(element) || element.closest(rules.hidden)) return false;
  if (place !== 'notification') {
    // Chats are lists of rows, and may stand in a dialog of their own. A post opens in a dialog, too.
    if (element.closest(rules.messageLists) || element.querySelector(rules.showsOtherPeoplesWords)) return false;
    if (element.parentElement?.closest(DIALOG)?.querySelector(rules.showsOtherPeoplesWords)) return false;
  }
  return mayBeNotice(element);
}

function isTooDeep(element: Element): boolean {
  let around: Element | null = element;
  for (let depth = 0; depth < MAX_DEPTH; depth++) {
    around = around.parentElement;
    if (!around) return false;
  }
  return true;
}

function mayBeNotice(element: Element): boolean {
  const text = element.textContent ?? '';
  if (text.length > MAX_CHARACTERS) return false;
  const links = [...element.querySelectorAll<HTMLAnchorElement>('a[href*=contact]')];
  if (links.some(({ href }) => formLinked(href))) return true;
  const labels = [...element.querySelectorAll('a[aria-label]')].map(labelOf);
  return mayHaveWording(text + labels.join(''));
}

function noticeAt(
  place: Place,
  element: Element,
  location: Location | URL,
  platform: Platform,
): FoundNotice | undefined {
  // The entry in a pane is the notice, not the pane around it.
  if (place !== 'notification' && isNotificationPane(element)) return undefined;
  if (!isShown(element)) return undefined;
  const { text, apart, links } = readShown(element);
  const forms = links.map(formLinked);
  const wording = findWording(text, apart);
  if (!forms.includes('objection') && (!wording || forms.includes('third-party'))) return undefined;
  if (place !== 'dialog' && (startsSponsored(text) || tellsWhatSomebodyDid(text))) return undefined;
  if (place === 'notification' && [...links, ...linkAround(element)].some(leadsToPeoplesWords)) return undefined;
  return {
    platform,
    channel: rules.places[place].channel,
    language: wording?.language ?? languageAt(element),
    rule: ruleOf(platform, place, location),
    ruleset: rules.ruleset,
    url: sanitiseUrl(location.href),
    text: boundedText(text),
    element,
  };
}

/** Returns the objection form's own page: its address says all. */
function formPage(root: Document | Element, location: Location | URL, platform: Platform): FoundNotice | undefined {
  const document = root.nodeType === Node.DOCUMENT_NODE ? (root as Document) : root.ownerDocument;
  if (!document) return undefined;
  // The first form of a page is often the search in its header.
  for (const selector of ['[role=main], main', FORM_IN_PAGE, 'body']) {
    const element = document.querySelector(selector);
    const { text, apart } = element ? readShown(element) : NOTHING_READ;
    if (!element || !text) continue;
    return {
      platform,
      channel: 'form',
      language: findWording(text, apart)?.language ?? languageAt(element),
      rule: `${platform}.form`,
      ruleset: rules.ruleset,
      url: sanitiseUrl(location.href),
      text: boundedText(text),
      element,
    };
  }
  return undefined;
}

function placeOf(element: Element): Place | undefined {
  if (element.matches(DIALOG)) return 'dialog';
  if (element.matches(PAGE)) return 'page';
  return element.matches(ENTRY) ? 'notification' : undefined;
}

/** Returns the lists in `root` whose entries are notifications, or `root` where it stands in one itself. */
function panesIn(root: Document | Element, location: Location | URL): Iterable<Document | Element> {
  if (isNotificationPath(location.pathname)) return [root];
  if (root.nodeType === Node.ELEMENT_NODE && paneAround(root as Element)) return [root];
  return [...within(root, rules.notificationPanes)].filter(isNotificationPane);
}

function isNotificationEntry(element: Element, location: Location | URL): boolean {
  // Around entries there may be a group of them, or a row: what has the words is the inner one.
  if ([...element.querySelectorAll(ENTRY)].some(mayBeNotice)) return false;
  const pane = paneAround(element);
  const landmark = element.closest(rules.besideNotifications);
  if (pane) return !landmark || landmark === pane || landmark.contains(pane);
  if (!isNotificationPath(location.pathname) || landmark) return false;
  // Chats float beside the main content, on the page of notifications too.
  return element.closest('[role=main], main') !== null || !element.ownerDocument.querySelector('[role=main], main');
}

function paneAround(element: Element): Element | undefined {
  for (let around = element.parentElement; around; around = around.parentElement) {
    if (around.matches(rules.notificationPanes) && isNotificationPane(around)) return around;
  }
  return undefined;
}

function isNotificationPane(element: Element): boolean {
  const name = nameOf(element);
  return name.length <= MAX_PANE_NAME && namesNotifications(name) && element.querySelector(ENTRY) !== null;
}

/** Returns what `element` is called: its label, or the heading it starts with. */
function nameOf(element: Element): string {
  const label = element.getAttribute('aria-label');
  if (label) return label;
  const ids = element.getAttribute('aria-labelledby')?.split(/\s+/) ?? [];
  const labels = ids.map((id) => element.ownerDocument.getElementById(id)?.textContent ?? '').join(' ');
  return labels.trim() || (element.querySelector(PANE_HEADING)?.textContent ?? '');
}

function ruleOf(platform: Platform, place: Place, location: Location | URL): string {
  if (__PRACTICE__ && location.protocol === 'http:') return `practice.${place}`;
  return `${platform}.${place}`;
}

/** What a person reads in an element. */
interface Reading {
  text: string;
  /** The same with a space wherever an element begins or ends: styles may set them apart although they are inline. */
  apart: string;
  links: string[];
}

const NOTHING_READ: Reading = { text: '', apart: '', links: [] };

/** Reads the text and the link targets that `element` shows, leaving out what must not be looked into. */
function readShown(element: Element): Reading {
  const words: string[] = [];
  const links: string[] = [];
  let nodes = 0;
  const read = (node: Node): void => {
    if (++nodes > MAX_NODES) return;
    if (node.nodeType === Node.TEXT_NODE && isVisible(node.parentElement)) words.push(node.nodeValue ?? '');
    if (node.nodeType !== Node.ELEMENT_NODE) return;
    const inner = node as Element;
    if (inner !== element && isLeftOut(inner)) return;
    const display = styleOf(inner)?.display;
    if (display === 'none') return;
    const isApart = inner.matches(APART) || (!display?.startsWith('inline') && display !== 'contents');
    words.push(isApart ? ' ' : EDGE);
    if (inner.tagName === 'A' && isVisible(inner)) {
      links.push((inner as HTMLAnchorElement).href);
      words.push(` ${labelOf(inner)} `);
    }
    for (let child = inner.firstChild; child; child = child.nextSibling) read(child);
    words.push(isApart ? ' ' : EDGE);
  };
  read(element);
  if (nodes > MAX_NODES) return NOTHING_READ;
  const all = words.join('');
  return { text: readableText(all.replaceAll(EDGE, '')), apart: readableText(all.replaceAll(EDGE, ' ')), links };
}

/** Where an inline element begins or ends; no text node has this character, HTML cannot carry it. */
const EDGE = '\u0000';

function isLeftOut(element: Element): boolean {
  if (element.matches(NEVER)) return true;
  // Places of their own: a dialog in the page's banner, the notifications that open there.
  return element.matches(DIALOG) || (element.matches(rules.notificationPanes) && isNotificationPane(element));
}

/** Returns the label of a link that shows no words of its own. */
function labelOf(link: Element): string {
  return link.textContent?.trim() ? '' : (link.getAttribute('aria-label') ?? '');
}

/** Returns whether `element` is displayed at all. Boxes without size and off-screen ones count as shown. */
function isShown(element: Element): boolean {
  for (let around: Element | null = element; around; around = around.parentElement) {
    const style = styleOf(around);
    if (style?.display === 'none' || style?.opacity === '0') return false;
  }
  return true;
}

function isVisible(element: Element | null): boolean {
  const visibility = element && styleOf(element)?.visibility;
  return visibility !== 'hidden' && visibility !== 'collapse';
}

function styleOf(element: Element): CSSStyleDeclaration | undefined {
  return element.ownerDocument.defaultView?.getComputedStyle(element);
}

function languageAt(element: Element): string {
  return languageOf(element.closest('[lang]')?.getAttribute('lang')) ?? 'en';
}

/** Returns the target of the link that `element` stands in, if it does. */
function linkAround(element: Element): string[] {
  const link = element.closest<HTMLAnchorElement>('a[href]');
  return link ? [link.href] : [];
}

function* within(root: Document | Element, selector: string): Generator<Element> {
  if (root.nodeType === Node.ELEMENT_NODE && (root as Element).matches(selector)) yield root as Element;
  yield* root.querySelectorAll(selector);
}

function mapSelectors(): Record<Place, string> {
  const { dialog, page, notification } = rules.places;
  return { dialog: dialog.selector, page: page.selector, notification: notification.selector };
}
