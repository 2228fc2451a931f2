/**
 * Everything the parts of the extension say to each other: a closed list, checked when it arrives, and checked for who
 * may say it. A page's process can be taken over by the page; it must not be able to sign, discard or read anything.
 */
import { type Browser, browser } from 'wxt/browser';
import type { Notice } from '../core/detection';
import { ObjectionError } from '../core/errors';
import { MAX_FILES } from '../core/later';
import { type Disclosures, isNotice } from '../core/objection';
import { MAX_EVIDENCE_BYTES } from '../core/receipts';
import { SLOTS, type Slot } from '../core/tokens';

export const MAX_CHALLENGE_CHARACTERS = 256;
export const MAX_NAME_CHARACTERS = 80;
const MAX_FILE_BASE64 = Math.ceil(MAX_EVIDENCE_BYTES / 3) * 4;

/** From a content script. */
export type PageMessage =
  | { kind: 'page/notice'; notice: Notice | null; dismissed: boolean }
  | { kind: 'page/record'; notice: Notice };

/** From the popup, the review sheet and the page of an objection. */
export type UiMessage =
  | { kind: 'ui/popup'; tabId: number; opening: boolean }
  | { kind: 'ui/record'; tabId: number }
  | { kind: 'ui/draft'; draft: string }
  | { kind: 'ui/confirm'; draft: string; payload: string; disclosures: Disclosures }
  | { kind: 'ui/cancel'; draft: string }
  | { kind: 'ui/receipt'; receipt: string }
  | { kind: 'ui/attempt'; receipt: string }
  | { kind: 'ui/unchecked'; receipt: string }
  | { kind: 'ui/again'; receipt: string }
  | { kind: 'ui/sign-again'; receipt: string; payload: string }
  | { kind: 'ui/discard'; receipt: string }
  | { kind: 'ui/save'; receipt: string }
  | { kind: 'ui/objection'; receipt: string }
  | { kind: 'ui/name'; receipt: string; name: string }
  | { kind: 'ui/certificate'; receipt: string; language: string }
  | { kind: 'ui/later'; payload: string; files: Record<string, string> }
  | { kind: 'ui/present'; receipt: string; slots: Slot[]; challenge: Challenge | null }
  | { kind: 'ui/acknowledgement'; receipt: string }
  | { kind: 'ui/campaigns' }
  | { kind: 'ui/leave'; receipt: string }
  | { kind: 'ui/kit' }
  | { kind: 'ui/forget'; receipt: string }
  | { kind: 'ui/keys' }
  | { kind: 'ui/accept-keys'; fingerprint: string };

export type Message = PageMessage | UiMessage;

/** From the background to the content script of one tab. */
export type TabMessage = { kind: 'tab/notice' } | { kind: 'tab/card'; hidden: boolean } | { kind: 'tab/answered' };

/** From the background to its offscreen document. */
export type OffscreenMessage = { kind: 'offscreen/open'; file: string };

/** What somebody who checks a token gives out, so that the answer is good for them and for now only. */
export interface Challenge {
  nonce: string;
  audience: string;
}

export type Answer = { ok: unknown } | { error: { code: string; message: string } };

type Sender = Pick<Browser.runtime.MessageSender, 'id' | 'url' | 'tab'>;
type Fields = Record<string, unknown>;

const isHash = (value: unknown) => typeof value === 'string' && /^[0-9a-f]{64}$/.test(value);
const isDraft = (value: unknown) => typeof value === 'string' && /^[A-Za-z0-9_-]{22}$/.test(value);
const isTab = (value: unknown) => Number.isSafeInteger(value) && (value as number) >= 0;
const isText = (value: unknown) => typeof value === 'string' && value.length <= 16_384;

const PAGE_FIELDS: Record<PageMessage['kind'], Record<string, (value: unknown) => boolean>> = {
  'page/notice': {
    notice: (value) => value === null || isNotice(value),
    dismissed: (value) => typeof value === 'boolean',
  },
  'page/record': { notice: isNotice },
};

const UI_FIELDS: Record<UiMessage['kind'], Record<string, (value: unknown) => boolean>> = {
  'ui/popup': { tabId: isTab, opening: (value) => typeof value === 'boolean' },
  'ui/record': { tabId: isTab },
  'ui/draft': { draft: isDraft },
  'ui/confirm': { draft: isDraft, payload: isText, disclosures: isDisclosures },
  'ui/cancel': { draft: isDraft },
  'ui/receipt': { receipt: isHash },
  'ui/attempt': { receipt: isHash },
  'ui/unchecked': { receipt: isHash },
  'ui/again': { receipt: isHash },
  'ui/sign-again': { receipt: isHash, payload: isText },
  'ui/discard': { receipt: isHash },
  'ui/save': { receipt: isHash },
  'ui/objection': { receipt: isHash },
  'ui/name': { receipt: isHash, name: (value) => typeof value === 'string' && value.length <= MAX_NAME_CHARACTERS },
  'ui/certificate': { receipt: isHash, language: (value) => /^[a-z]{2}$/.test(String(value)) },
  'ui/later': { payload: isText, files: isFiles },
  'ui/present': { receipt: isHash, slots: isSlots, challenge: (value) => value === null || isChallenge(value) },
  'ui/acknowledgement': { receipt: isHash },
  'ui/campaigns': {},
  'ui/leave': { receipt: isHash },
  'ui/kit': {},
  'ui/forget': { receipt: isHash },
  'ui/keys': {},
  'ui/accept-keys': { fingerprint: isHash },
};

/** Returns the message once its shape and its sender are what the list allows. Throws `message_refused`. */
export function verifyMessage(raw: unknown, sender: Sender): Message {
  if (sender.id !== browser.runtime.id) throw refused('another extension');
  const fields = typeof raw === 'object' && raw !== null ? (raw as Fields) : {};
  const kind = String(fields.kind);
  if (Object.hasOwn(PAGE_FIELDS, kind)) {
    if (!isPlatformPage(sender)) throw refused('not one of the pages we run on');
    return shaped(fields, PAGE_FIELDS[kind as PageMessage['kind']]);
  }
  if (Object.hasOwn(UI_FIELDS, kind)) {
    if (!sender.url?.startsWith(browser.runtime.getURL('/'))) throw refused('not a page of this extension');
    return shaped(fields, UI_FIELDS[kind as UiMessage['kind']]);
  }
  throw refused('an unknown kind');
}

function shaped(fields: Fields, checks: Record<string, (value: unknown) => boolean>): Message {
  const names = Object.keys(fields).filter((name) => name !== 'kind');
  const fitting = Object.entries(checks).every(([name, check]) => check(fields[name]));
  if (!fitting || names.some((name) => !Object.hasOwn(checks, name))) throw refused('not the shape of its kind');
  return fields as unknown as Message;
}

function isPlatformPage({ url, tab }: Sender): boolean {
  if (!tab || !url || !URL.canParse(url)) return false;
  const { protocol, hostname, pathname } = new URL(url);
  if (__PRACTICE__ && protocol === 'http:' && hostname === '127.0.0.1') return pathname.startsWith('/practice');
  return protocol === 'https:' && /(?:^|\.)(?:facebook\.com|instagram\.com|threads\.net|threads\.com)$/.test(hostname);
}

function isDisclosures(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false;
  return Object.entries(value).every(([slot, text]) => (SLOTS as string[]).includes(slot) && isText(text));
}

function isSlots(value: unknown): boolean {
  return Array.isArray(value) && value.every((slot) => SLOTS.includes(slot)) && new Set(value).size === value.length;
}

function isChallenge(value: unknown): boolean {
  const { nonce, audience, ...others } = (value ?? {}) as Fields;
  return Object.keys(others).length === 0 && [nonce, audience].every(isShortText);
}

function isShortText(value: unknown): boolean {
  return typeof value === 'string' && value.length > 0 && value.length <= MAX_CHALLENGE_CHARACTERS;
}

/** Base64 texts by file name; their bytes are compared with the payload that names them. */
function isFiles(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false;
  const texts = Object.values(value);
  return texts.length <= MAX_FILES && texts.every((text) => typeof text === 'string' && text.length <= MAX_FILE_BASE64);
}

function refused(why: string): ObjectionError {
  return new ObjectionError('message_refused', `message refused: ${why}`);
}
