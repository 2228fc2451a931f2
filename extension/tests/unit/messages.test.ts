import { describe, expect, it } from 'vitest';
import { browser } from 'wxt/browser';
import { verifyMessage } from '../../src/platform/messages';
import { NOTICE } from '../support/draft';

const id = browser.runtime.id;
const ui = { id, url: browser.runtime.getURL('/popup.html' as '/popup.html') };
const facebook = { id, url: 'https://www.facebook.com/home', tab: { id: 1 } as never };
const HASH = 'a'.repeat(64);
const DRAFT = 'A'.repeat(22);

const UI_MESSAGES = [
  { kind: 'ui/popup', tabId: 1, opening: true },
  { kind: 'ui/record', tabId: 1 },
  { kind: 'ui/draft', draft: DRAFT },
  { kind: 'ui/confirm', draft: DRAFT, payload: '{}', disclosures: { account: 'x' } },
  { kind: 'ui/cancel', draft: DRAFT },
  { kind: 'ui/receipt', receipt: HASH },
  { kind: 'ui/attempt', receipt: HASH },
  { kind: 'ui/discard', receipt: HASH },
  { kind: 'ui/save', receipt: HASH },
  { kind: 'ui/keys' },
  { kind: 'ui/accept-keys', fingerprint: HASH },
  { kind: 'ui/objection', receipt: HASH },
  { kind: 'ui/certificate', receipt: HASH, language: 'fr' },
  { kind: 'ui/later', payload: '{}', files: { 'reply.eml': 'AAAA' } },
  { kind: 'ui/present', receipt: HASH, slots: ['account'], challenge: null },
  { kind: 'ui/present', receipt: HASH, slots: [], challenge: { nonce: 'n', audience: 'a' } },
  { kind: 'ui/acknowledgement', receipt: HASH },
  { kind: 'ui/kit' },
  { kind: 'ui/forget', receipt: HASH },
];
const PAGE_MESSAGES = [
  { kind: 'page/notice', notice: NOTICE, dismissed: false },
  { kind: 'page/notice', notice: null, dismissed: false },
  { kind: 'page/record', notice: NOTICE },
];
const refused = expect.objectContaining({ code: 'message_refused' });

describe('who may say what', () => {
  it.each(UI_MESSAGES)('our pages: $kind', (message) => expect(verifyMessage(message, ui)).toEqual(message));
  it.each(PAGE_MESSAGES)('content scripts: $kind', (message) =>
    expect(verifyMessage(message, facebook)).toEqual(message),
  );

  it.each(UI_MESSAGES)('not content scripts: $kind', (message) => {
    expect(() => verifyMessage(message, facebook)).toThrow(refused);
  });
  it.each(PAGE_MESSAGES)('not our pages: $kind', (message) => {
    expect(() => verifyMessage(message, ui)).toThrow(refused);
  });

  it.each([
    ['another extension', { ...facebook, id: 'another' }],
    ['no tab', { id, url: facebook.url }],
    ['no address', { id, tab: facebook.tab }],
    ['plain http', { ...facebook, url: 'http://www.facebook.com/' }],
    ['a look-alike host', { ...facebook, url: 'https://notfacebook.com/' }],
    ['a host that ends elsewhere', { ...facebook, url: 'https://www.facebook.com.evil.example/' }],
    ['the practice page, in the production build', { ...facebook, url: 'http://127.0.0.1:8000/practice' }],
  ])('not %s', (_, sender) => {
    expect(() => verifyMessage({ kind: 'page/record', notice: NOTICE }, sender)).toThrow(refused);
  });

  it.each([
    ['another extension', { ...ui, id: 'another' }],
    ['a web page that names us in its path', { id, url: `https://evil.example/${ui.url}` }],
  ])('our messages, not from %s', (_, sender) => {
    expect(() => verifyMessage({ kind: 'ui/keys' }, sender)).toThrow(refused);
  });
});

describe('shapes', () => {
  it.each([
    null,
    'ui/popup',
    {},
    { kind: 'ui/unknown' },
    { kind: 'toString' },
    { kind: 'ui/record' },
    { kind: 'ui/record', tabId: '1' },
    { kind: 'ui/record', tabId: -1 },
    { kind: 'ui/record', tabId: 1, more: 1 },
    { kind: 'ui/popup', tabId: 1 },
    { kind: 'ui/receipt', receipt: HASH.toUpperCase() },
    { kind: 'ui/draft', draft: '../..' },
    { kind: 'ui/confirm', draft: DRAFT, payload: 'x'.repeat(16_385), disclosures: {} },
    { kind: 'ui/confirm', draft: DRAFT, payload: '{}', disclosures: { password: 'x' } },
    { kind: 'ui/certificate', receipt: HASH, language: 'fr, de' },
    { kind: 'ui/later', payload: '{}', files: null },
    { kind: 'ui/later', payload: '{}', files: { 'reply.eml': 7 } },
    { kind: 'ui/later', payload: '{}', files: Object.fromEntries(Array.from('123456789', (n) => [n, ''])) },
    { kind: 'ui/present', receipt: HASH, slots: ['account', 'account'], challenge: null },
    { kind: 'ui/present', receipt: HASH, slots: ['password'], challenge: null },
    { kind: 'ui/present', receipt: HASH, slots: [], challenge: { nonce: 'n', audience: '' } },
    { kind: 'ui/present', receipt: HASH, slots: [], challenge: { nonce: 'n', audience: 'a', more: 1 } },
    { kind: 'ui/present', receipt: HASH, slots: [] },
  ])('refuses %j', (message) => expect(() => verifyMessage(message, ui)).toThrow(refused));

  it('refuses a file larger than evidence may be', () => {
    const files = (characters: number) => ({
      kind: 'ui/later',
      payload: '{}',
      files: { 'a.txt': 'A'.repeat(characters) },
    });
    expect(() => verifyMessage(files(5_592_409), ui)).toThrow(refused);
    expect(verifyMessage(files(5_592_408), ui)).toBeTruthy();
  });

  it('refuses a notice that is none', () => {
    const message = { kind: 'page/record', notice: { ...NOTICE, url: 'https://evil.example/' } };
    expect(() => verifyMessage(message, facebook)).toThrow(refused);
  });
});
