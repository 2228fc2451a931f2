import type { Notice } from '../../src/core/detection';
import { parseBase64 } from '../../src/core/encoding';
import { type BuiltObjection, buildObjection, type Choices, DATA_CATEGORIES } from '../../src/core/objection';
import { type Draft, openDraft } from '../../src/platform/drafts';

export const NOTICE: Notice = {
  platform: 'facebook',
  channel: 'in-app',
  language: 'en',
  rule: 'dialog.ai-at-meta',
  ruleset: '2026.11.1',
  url: 'https://www.facebook.com/privacy/center',
  text: 'Learn how we’ll use your information as we improve AI at Meta. You have the right to object.',
};

export const CHOICES: Choices = {
  platform: 'instagram',
  statementLanguage: 'en',
  dataCategories: DATA_CATEGORIES,
  country: 'DE',
  campaign: '',
  sendNoticeText: true,
  sendScreenshot: true,
  declared: {},
};

export const JPEG_BASE64 = '/9j/4AAQSkZJRg==';
export const NOW_S = 1_789_999_000;

export function draftWithScreenshot(): Promise<Draft> {
  return openDraft({
    tabId: 1,
    notice: NOTICE,
    platform: 'facebook',
    screenshot: { state: 'taken', jpegBase64: JPEG_BASE64 },
  });
}

export function built(draft: Draft, choices: Partial<Choices> = {}): Promise<BuiltObjection> {
  const screenshot = draft.screenshot.state === 'taken' ? parseBase64(draft.screenshot.jpegBase64, 'test') : undefined;
  const facts = { jti: draft.jti, notice: draft.notice, screenshot, slots: draft.slots };
  return buildObjection(facts, { ...CHOICES, ...choices }, NOW_S);
}
