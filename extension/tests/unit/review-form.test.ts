// @vitest-environment jsdom
import { beforeEach, describe, expect, it, vi } from 'vitest';
import { browser } from 'wxt/browser';
import { fakeBrowser } from 'wxt/testing/fake-browser';
import english from '../../public/_locales/en/messages.json';
import type { ObjectionReceipt } from '../../src/core/contract.gen';
import { sha256Hex } from '../../src/core/encoding';
import type { Draft } from '../../src/platform/drafts';
import { type ReviewForm, reviewForm } from '../../src/ui/review-form';
import { draftWithScreenshot, JPEG_BASE64 } from '../support/draft';

const on = { confirm: vi.fn(async () => {}), cancel: vi.fn(async () => {}) };
let form: ReviewForm;
let draft: Draft;

beforeEach(async () => {
  fakeBrowser.reset();
  vi.clearAllMocks();
  const messages: Record<string, { message: string }> = english;
  browser.i18n.getMessage = ((key: string, values: string[] = []) =>
    (messages[key]?.message ?? '').replace(/\$(\d)/g, (_, n) => values[Number(n) - 1] ?? '')) as never;
  browser.i18n.getUILanguage = () => 'en-IE';
  asked = [];
  browser.runtime.sendMessage = (async (message: unknown) => {
    asked.push(message);
    return { ok: CAMPAIGNS };
  }) as never;
  vi.spyOn(document, 'hasFocus').mockReturnValue(true);
  draft = await draftWithScreenshot();
  form = reviewForm({ draft, header: '{"alg":"ES256"}', before: {}, clockOffsetS: 0 }, on);
  document.body.replaceChildren(...form.elements);
  return () => form.stop();
});

const shownText = () => document.querySelector('#payload')?.textContent ?? '';
const shown = (): ObjectionReceipt => JSON.parse(shownText());
const settled = (check: () => void) => vi.waitFor(check, { timeout: 1000 });
const confirm = () =>
  [...document.querySelectorAll('button')].find(({ textContent }) => textContent === 'Confirm and record');
/** Clicks it once the sheet was before the person for long enough. */
async function clickConfirm(): Promise<void> {
  await vi.waitFor(() => expect(confirm()?.hasAttribute('aria-disabled')).toBe(false), { timeout: 3000 });
  confirm()?.click();
}
async function select(country: string): Promise<void> {
  const field = document.querySelector('#country') as HTMLSelectElement;
  field.value = country;
  field.dispatchEvent(new Event('change', { bubbles: true }));
  await settled(() => expect(shown().country).toBe(country));
}
const lookForCampaigns = () =>
  [...document.querySelectorAll('button')].find(({ textContent }) => textContent === 'See the campaigns')?.click();
let asked: unknown[] = [];
const CAMPAIGN = { link: 'https://group.example/', contact: 'a@group.example', open_figures: true };
const CAMPAIGNS = [
  { ...CAMPAIGN, slug: 'fair-ai', names: [{ language: 'en', name: 'Fair AI' }], countries: ['DE', 'AT'] },
  { ...CAMPAIGN, slug: 'only-fr', names: [{ language: 'fr', name: 'IA juste' }], countries: ['FR'] },
];
const input = (id: string) => document.querySelector(`#${id}`) as HTMLInputElement;

function choose(id: string, change: (control: HTMLInputElement) => void): void {
  change(input(id));
  input(id).dispatchEvent(new Event('input', { bubbles: true }));
}

describe('the review', () => {
  it('hands over exactly the text it shows', async () => {
    await settled(() => expect(shownText()).not.toBe(''));
    await clickConfirm();
    await settled(() => expect(on.confirm).toHaveBeenCalledWith(shownText(), {}));
  });

  it('shows what was typed last before handing it over', async () => {
    choose('account', (field) => {
      field.value = '@ada';
    });
    await clickConfirm();
    await settled(() => expect(on.confirm).toHaveBeenCalled());
    const [payload, disclosures] = on.confirm.mock.calls[0] as unknown as [string, { account: string }];
    expect(payload).toBe(shownText());
    expect(shown().self_asserted.account._sd[0]).not.toBe(draft.slots.account.decoy);
    expect(disclosures.account).toBeTruthy();
    expect(document.body.textContent).toContain('salted digests of what you wrote: 1');
  });

  it('asks for the campaigns only when told to, joins none by itself, and shows what is joined', async () => {
    await settled(() => expect(shownText()).not.toBe(''));
    expect(asked).toEqual([]);
    await select('FR');
    lookForCampaigns();
    await settled(() => expect(input('campaign-only-fr')).not.toBeNull());
    expect(asked).toEqual([{ kind: 'ui/campaigns' }]);
    expect(shown().campaign).toBeUndefined();
    await select('DE');
    expect(input('campaign-none').checked).toBe(true);
    expect(input('campaign-only-fr')).toBeNull();
    choose('campaign-fair-ai', (box) => {
      box.checked = true;
    });
    await settled(() => expect(shown().campaign).toBe('fair-ai'));
    expect(document.body.textContent).toContain('counts for the campaign “Fair AI”');
    await select('FR');
    expect(shown().campaign).toBeUndefined();
    await select('MT');
    expect(document.body.textContent).toContain('No campaign runs for this country now.');
  });

  it('goes on when the register cannot be asked for campaigns', async () => {
    browser.runtime.sendMessage = (async () => ({ error: { code: 'unreachable', message: '' } })) as never;
    lookForCampaigns();
    await settled(() => expect(document.body.textContent).toContain('The register does not answer now.'));
    await clickConfirm();
    await settled(() => expect(on.confirm).toHaveBeenCalled());
  });

  it('drops evidence that is unticked, from the list and from the bytes', async () => {
    choose('send-screenshot', (box) => {
      box.checked = false;
    });
    await settled(() => expect(shown().evidence.map(({ name }) => name)).toEqual(['notice.txt']));
    expect(document.body.textContent).toContain('Evidence: notice.txt (');
    expect(document.body.textContent).not.toContain('screenshot.jpg (');
  });

  it('names in the bytes the picture that it shows', async () => {
    await settled(() => expect(shown().evidence).toHaveLength(2));
    const source = document.querySelector('img')?.getAttribute('src') ?? '';
    const bytes = Uint8Array.from(Buffer.from(source.split(',')[1] ?? '', 'base64'));
    expect(shown().evidence[1]?.sha256).toBe(await sha256Hex(bytes));
  });

  it('warns of an objection that is there already, on the platform that is chosen', async () => {
    const before = { instagram: { recorded: true, since: 1_790_000_000, name: '@ada' } };
    form = reviewForm({ draft: { ...draft, notice: undefined }, header: '{}', before, clockOffsetS: 0 }, on);
    document.body.replaceChildren(...form.elements);
    const warning = () => document.querySelector('.lead + .hint:not([hidden])')?.textContent;
    await settled(() => expect(shownText()).not.toBe(''));
    expect(warning()).toBeUndefined();
    choose('platform', (field) => {
      field.value = 'instagram';
    });
    await settled(() => expect(warning()).toContain('on Instagram (@ada) is on record'));
    expect(warning()).toContain('one objection for each account');
  });

  it('without a notice names the platform of the tab, or insists on a choice', async () => {
    const show = (platform: Draft['platform']) => {
      form.stop();
      form = reviewForm(
        { draft: { ...draft, notice: undefined, platform }, header: '{}', before: {}, clockOffsetS: 0 },
        on,
      );
      document.body.replaceChildren(...form.elements);
    };
    show('instagram');
    await settled(() => expect(shown().platform).toBe('instagram'));
    show(undefined);
    await settled(() => expect(document.body.textContent).toContain('Please choose the platform'));
    await vi.waitFor(() => expect(confirm()?.getAttribute('aria-disabled')).not.toBe('true'), { timeout: 5_000 });
    confirm()?.click();
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(on.confirm).not.toHaveBeenCalled();
    choose('platform', (field) => {
      field.value = 'whatsapp';
    });
    await settled(() => expect(shown().platform).toBe('whatsapp'));
    const clicked = () => {
      confirm()?.click();
      expect(on.confirm).toHaveBeenCalled();
    };
    await vi.waitFor(clicked, { timeout: 5_000 });
  });

  it('takes a screenshot that comes later, and shows it before it can be confirmed unseen', async () => {
    let scrolledTo: Element | undefined;
    Element.prototype.scrollIntoView = function () {
      scrolledTo = this;
    };
    document.body.replaceChildren();
    form = reviewForm(
      { draft: { ...draft, screenshot: { state: 'refused' } }, header: '{}', before: {}, clockOffsetS: 0 },
      on,
    );
    document.body.replaceChildren(...form.elements);
    expect(document.body.textContent).toContain('click this extension’s icon');
    await settled(() => expect(shown().evidence).toHaveLength(1));
    form.update({ state: 'taken', jpegBase64: JPEG_BASE64 });
    await settled(() => expect(shown().evidence).toHaveLength(2));
    expect(document.querySelectorAll('img')).toHaveLength(1);
    expect(scrolledTo?.querySelector('img')).toBeTruthy();
    expect(document.querySelector('.confirm [role=status]')?.textContent).toContain('Look at it before you confirm');
  });

  it('does not record an objection to nothing', async () => {
    for (const box of document.querySelectorAll<HTMLInputElement>('fieldset input')) {
      choose(box.id, (one) => {
        one.checked = false;
      });
    }
    await settled(() => expect(document.querySelector('[role=alert]')?.textContent).toContain('at least one'));
    await clickConfirm();
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(on.confirm).not.toHaveBeenCalled();
  });

  it('shows the statement in the language that is signed', async () => {
    choose('statement-language', (select) => {
      select.value = 'de';
    });
    await settled(() => expect(shown().objection.statement.language).toBe('de'));
    expect(document.querySelector('blockquote')?.textContent).toContain('widerspreche');
    expect(document.querySelector('blockquote')?.lang).toBe('de');
  });

  it('says what went wrong, and can be tried again', async () => {
    vi.spyOn(console, 'error').mockImplementation(() => {});
    on.confirm.mockRejectedValueOnce(new Error('internal words'));
    await clickConfirm();
    await settled(() =>
      expect(document.querySelector('[role=alert]')?.textContent).toBe('Something went wrong (internal).'),
    );
    await clickConfirm();
    await settled(() => expect(on.confirm).toHaveBeenCalledTimes(2));
  });

  it('has a label for every control', () => {
    for (const control of document.querySelectorAll('input, select'))
      expect(control.closest('label')?.textContent).toBeTruthy();
  });
});
