import { beforeEach, describe, expect, it } from 'vitest';
import { fakeBrowser } from 'wxt/testing/fake-browser';
import type { ObjectionReceipt } from '../../src/core/contract.gen';
import { parseJson, sha256Hex, utf8 } from '../../src/core/encoding';
import { guessCountry, guessStatementLanguage, isNotice } from '../../src/core/objection';
import { verifyObjectionPayload } from '../../src/core/receipts';
import { openSlots } from '../../src/core/tokens';
import { openDraft } from '../../src/platform/drafts';
import { built, draftWithScreenshot, NOTICE } from '../support/draft';

beforeEach(() => fakeBrowser.reset());

const payloadOf = (text: string): ObjectionReceipt => verifyObjectionPayload(parseJson(utf8(text)));

describe('building an objection', () => {
  it('gives the same bytes for the same facts, choices and time', async () => {
    const draft = await draftWithScreenshot();
    expect((await built(draft)).payload).toBe((await built(draft)).payload);
  });

  it('is accepted by the rules of the register, and says what was seen', async () => {
    const payload = payloadOf((await built(await draftWithScreenshot())).payload);
    expect(payload.platform).toBe('facebook');
    expect(payload.notice).toEqual({
      channel: 'in-app',
      language: 'en',
      rule: NOTICE.rule,
      ruleset: NOTICE.ruleset,
      url: NOTICE.url,
      text_sha256: await sha256Hex(utf8(NOTICE.text)),
    });
    expect(payload.evidence.map(({ name }) => name)).toEqual(['notice.txt', 'screenshot.jpg']);
  });

  it('leaves out the evidence that the person took away', async () => {
    const { payload, evidence } = await built(await draftWithScreenshot(), {
      sendScreenshot: false,
      sendNoticeText: false,
    });
    expect(payloadOf(payload).evidence).toEqual([]);
    expect(evidence).toEqual([]);
  });

  it('without a notice says so, on the platform that was chosen', async () => {
    const draft = await openDraft({
      tabId: 1,
      notice: undefined,
      platform: undefined,
      screenshot: { state: 'not-wanted' },
    });
    const payload = payloadOf((await built(draft)).payload);
    expect(payload).toMatchObject({ notice: { channel: 'none' }, platform: 'instagram', evidence: [] });
  });

  it('keeps declared values out of the payload, and opens only what was declared', async () => {
    const { payload, disclosures } = await built(await draftWithScreenshot(), {
      declared: { contact: '  ada@example.org ', person: '   ' },
    });
    expect(payload).not.toContain('ada');
    expect(Object.keys(disclosures)).toEqual(['contact']);
    const opened = await openSlots(payloadOf(payload).self_asserted, Object.values(disclosures));
    expect([...opened]).toEqual([['contact', 'ada@example.org']]);
  });

  it('looks the same whether or not something was declared', async () => {
    const draft = await draftWithScreenshot();
    const [silent, telling] = [await built(draft), await built(draft, { declared: { account: '@ada' } })];
    expect(silent.payload.length).toBe(telling.payload.length);
    const digests = Object.values(payloadOf(silent.payload).self_asserted).map(({ _sd }) => _sd[0]);
    expect(new Set(digests).size).toBe(3);
  });

  it('writes data categories in the order of the contract, whatever the order of clicks', async () => {
    const { payload } = await built(await draftWithScreenshot(), { dataCategories: ['ai-interactions', 'posts'] });
    expect(payloadOf(payload).objection.data_categories).toEqual(['posts', 'ai-interactions']);
  });
});

describe('first guesses', () => {
  it.each([
    [['de-AT', 'en-US'], 'AT'],
    [['en-US', 'fr-BE'], 'BE'],
    [['zh-Hant-TW', 'pt-PT'], 'PT'],
    [['en-US'], 'ZZ'],
    [['fr'], 'ZZ'],
    [[], 'ZZ'],
  ])('country for %j: %s', (languages, country) => expect(guessCountry(languages)).toBe(country));

  it('offers a statement in a language that has one', () => {
    expect(guessStatementLanguage(['nl-NL', 'de-DE', 'fr'])).toBe('de');
    expect(guessStatementLanguage(['nl'])).toBe('en');
  });
});

describe('a notice from a page', () => {
  it('is taken when it is whole', () => expect(isNotice(NOTICE)).toBe(true));

  it.each([
    ['an unknown platform', { platform: 'friendster' }],
    ['an unknown channel', { channel: 'none' }],
    ['another host', { url: 'https://facebook.com.evil.example/' }],
    ['a query', { url: 'https://www.facebook.com/?id=1' }],
    ['an address that names a person', { url: 'https://www.instagram.com/anna_b/' }],
    ['plain http', { url: 'http://www.facebook.com/' }],
    ['no text', { text: '' }],
    ['endless text', { text: 'a'.repeat(100_001) }],
    ['something else beside', { extra: 1 }],
    ['a rule that is no name', { rule: '<b>' }],
  ])('is refused with %s', (_, change) => expect(isNotice({ ...NOTICE, ...change })).toBe(false));

  it.each([null, undefined, 1, 'text', []])('is refused when it is %j', (value) => expect(isNotice(value)).toBe(false));
});
