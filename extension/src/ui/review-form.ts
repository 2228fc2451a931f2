/** The form of the review sheet. What it shows under "exact bytes" is what will be signed, character for character. */
import { parseBase64, parseJson, utf8 } from '../core/encoding';
import {
  type BuiltObjection,
  buildObjection,
  type Choices,
  COUNTRIES,
  type Country,
  DATA_CATEGORIES,
  type Disclosures,
  type Facts,
  guessCountry,
  guessStatementLanguage,
  MAX_VALUE_CHARACTERS,
  PLATFORMS,
  type Platform,
  STATEMENTS,
} from '../core/objection';
import { verifyObjectionPayload } from '../core/receipts';
import type { Slot } from '../core/tokens';
import type { Screenshot } from '../platform/capture';
import { formatDuration, formatTime, t, textLanguage, tName } from '../platform/text';
import type { DraftView } from '../platform/views';
import { campaignChoice, campaignName } from './campaign-choice';
import {
  actionButton,
  checkbox,
  countryName,
  exactText,
  facts,
  field,
  fileSize,
  h,
  languageName,
  section,
  select,
} from './dom';
import { proves } from './outcome';
import { errorText } from './problems';
import { watchSeen } from './seen';
import { beforeText, noPictureText } from './states';

/** How often the time on the sheet, and so the bytes to sign, are brought up to date. */
const CLOCK_MS = 30_000;
/** For so long the sheet must have been before the person, in front and with the focus, before it can be confirmed. */
export const SEEN_MS = 1_000;

export interface ReviewForm {
  elements: (Node | string)[];
  update(screenshot: Screenshot): void;
  stop(): void;
}

export function reviewForm(
  { draft, header, before, clockOffsetS }: DraftView,
  on: { confirm(payload: string, disclosures: Disclosures): Promise<void>; cancel(): Promise<void> },
): ReviewForm {
  const { notice } = draft;
  const register = new URL(__REGISTER_URL__).host;
  let screenshot = draft.screenshot;
  let shown: BuiltObjection | undefined;
  let building: Promise<void> = Promise.resolve();

  const status = h('p', { role: 'alert', class: 'status' });
  const news = h('p', { role: 'status', class: 'status' });
  const already = h('p', { class: 'hint' });
  const exact = exactText(t('exact_payload'));
  exact.id = 'payload';
  const clock = h('span', {});
  const sent = h('ul', { class: 'plain' });
  const picture = h('div', { class: 'evidence' });

  const platform = select('platform', ['', ...PLATFORMS], platformName, draft.platform ?? '');
  const country = select('country', sortedCountries(), countryName, guessCountry(navigator.languages));
  const language = select(
    'statement-language',
    Object.keys(STATEMENTS),
    languageName,
    guessStatementLanguage([textLanguage(), ...navigator.languages]),
  );
  const statement = h('blockquote', {});
  const categories = DATA_CATEGORIES.map((category) =>
    checkbox(`category-${category}`, tName('category', category), true),
  );
  const noticeText = checkbox('send-notice-text', t('include_notice_text'), true);
  const includePicture = checkbox('send-screenshot', t('include_screenshot'), true);
  const declared: Record<Slot, HTMLInputElement> = {
    account: textField('account', 'username'),
    contact: textField('contact', 'email'),
    person: textField('person', 'name'),
  };

  const campaign = campaignChoice(country, rebuild);

  const seen = watchSeen(document, SEEN_MS);
  const confirm = actionButton(t('confirm_and_record'), {
    primary: true,
    gate: seen,
    work: async () => {
      await building; // what was typed last must be on the sheet before it is signed
      if (shown) await on.confirm(shown.payload, shown.disclosures);
    },
    failed: (error) => {
      status.textContent = errorText(error);
    },
  });
  const cancel = actionButton(t('cancel'), { work: on.cancel, failed: (error) => console.warn(error) });

  const elements = [
    h('h1', {}, t('review_title')),
    h('p', { class: 'lead' }, t('review_lead', register)),
    clockOffsetS !== 0 && h('p', { class: 'hint' }, t('clock_off', formatDuration(Math.abs(clockOffsetS)))),
    already,
    section(
      t('statement_title'),
      statement,
      field(t('statement_language'), language),
      h('p', { class: 'soft small' }, t('statement_hint')),
    ),
    h(
      'fieldset',
      {},
      h('legend', {}, t('categories_title')),
      h('div', { class: 'checks' }, ...categories.map(({ row }) => row)),
    ),
    section(
      t('about_title'),
      notice ? noticeFacts() : h('p', {}, t('no_notice_text')),
      h(
        'div',
        { class: 'fields' },
        notice ? '' : field(t('platform_label'), platform),
        field(t('country_label'), country),
      ),
    ),
    section(t('evidence_title'), ...evidence()),
    section(
      t('you_title'),
      h('p', {}, t('you_text')),
      h(
        'div',
        { class: 'fields' },
        field(t('account_label'), declared.account),
        field(t('contact_label'), declared.contact),
        field(t('person_label'), declared.person),
      ),
    ),
    campaign.element,
    section(
      t('sent_title', register),
      h('p', {}, t('sent_text')),
      sent,
      h(
        'details',
        {},
        h('summary', {}, t('exact_title')),
        h('p', { class: 'soft small' }, t('exact_text')),
        h('h3', {}, t('exact_header')),
        exactText(t('exact_header'), header),
        h('h3', {}, t('exact_payload')),
        exact,
      ),
    ),
    proves(),
    h('div', { class: 'confirm' }, news, status, h('div', { class: 'actions' }, confirm, cancel)),
  ].filter((element) => element !== false);

  for (const element of elements) {
    element.addEventListener('input', rebuild);
    element.addEventListener('change', rebuild);
  }
  showPicture();
  rebuild();
  const timer = setInterval(rebuild, CLOCK_MS);

  return {
    elements,
    update: (latest) => {
      if (latest.state === screenshot.state) return;
      screenshot = latest;
      showPicture();
      rebuild();
      if (latest.state !== 'taken') return;
      // What is sent changed under the person's eyes: they are told, and shown what came.
      news.textContent = t('screenshot_added');
      picture.scrollIntoView({ block: 'start' });
    },
    stop: () => {
      clearInterval(timer);
      seen.stop();
    },
  };

  function rebuild(): void {
    // One after the other: an earlier, slower build must not overwrite a later one.
    building = building.then(build).catch((error: unknown) => {
      shown = undefined;
      status.textContent = errorText(error);
    });
  }

  async function build(): Promise<void> {
    const nowS = Math.floor(Date.now() / 1000);
    shown = undefined;
    statement.textContent = STATEMENTS[language.value] ?? '';
    statement.lang = language.value;
    if (!notice && platform.value === '') return refuse('no_platform');
    const built = await buildObjection(currentFacts(), currentChoices(), nowS);
    clock.textContent = formatTime(nowS);
    exact.textContent = built.payload;
    showSent(built);
    showBefore(currentChoices().platform);
    if (!categories.some(({ box }) => box.checked)) return refuse('no_category');
    verifyObjectionPayload(parseJson(utf8(built.payload)));
    status.textContent = '';
    shown = built;
  }

  /** Says what is missing; as long as it is, nothing can be signed. */
  function refuse(key: 'no_platform' | 'no_category'): void {
    status.textContent = t(key);
    if (key === 'no_platform') exact.textContent = '';
  }

  function currentFacts(): Facts {
    const bytes = screenshot.state === 'taken' ? parseBase64(screenshot.jpegBase64, 'not_what_was_shown') : undefined;
    return { jti: draft.jti, notice, screenshot: bytes, slots: draft.slots };
  }

  function currentChoices(): Choices {
    return {
      platform: platform.value as Platform,
      statementLanguage: language.value,
      dataCategories: DATA_CATEGORIES.filter((_, i) => categories[i]?.box.checked),
      country: country.value as Country,
      campaign: campaign.chosen()?.slug ?? '',
      sendNoticeText: noticeText.box.checked,
      sendScreenshot: includePicture.box.checked,
      declared: {
        account: declared.account.value,
        contact: declared.contact.value,
        person: declared.person.value,
      },
    };
  }

  function noticeFacts(): HTMLElement {
    if (!notice) throw new Error('no notice');
    return facts([
      [t('platform_label'), tName('platform', notice.platform)],
      [t('notice_where'), tName('channel', notice.channel)],
      [t('notice_language'), languageName(notice.language)],
      [t('notice_address'), h('code', {}, notice.url)],
      [t('notice_rule'), t('notice_rule_value', notice.rule, notice.ruleset)],
    ]);
  }

  function evidence(): HTMLElement[] {
    if (!notice) return [h('p', {}, t('evidence_none'))];
    return [
      h('p', {}, t('evidence_text')),
      h(
        'div',
        { class: 'evidence' },
        noticeText.row,
        h('details', {}, h('summary', {}, t('show_notice_text')), h('pre', { lang: notice.language }, notice.text)),
      ),
      picture,
    ];
  }

  function showPicture(): void {
    if (screenshot.state !== 'taken') {
      picture.replaceChildren(h('p', { class: 'hint' }, noPictureText(screenshot.state)));
      return;
    }
    const image = h('img', {
      src: `data:image/jpeg;base64,${screenshot.jpegBase64}`,
      alt: t('screenshot_alt'),
      class: 'screenshot',
    });
    picture.replaceChildren(includePicture.row, h('p', { class: 'soft small' }, t('screenshot_warning')), image);
  }

  function showBefore(chosen: Platform): void {
    const on = notice?.platform ?? chosen;
    const earlier = before[on];
    already.hidden = earlier === undefined;
    already.textContent = earlier ? beforeText(on, earlier) : '';
  }

  function showSent({ evidence: files, disclosures }: BuiltObjection): void {
    const joined = campaign.chosen();
    const declaredCount = Object.keys(disclosures).length;
    sent.replaceChildren(
      h('li', {}, t('sent_statement')),
      h('li', {}, t('sent_time'), ' ', clock),
      h('li', {}, t('sent_country', countryName(country.value))),
      ...(joined ? [h('li', {}, t('sent_campaign', campaignName(joined)))] : []),
      h('li', {}, files.length === 0 ? t('sent_no_evidence') : t('sent_evidence', files.map(fileText).join(', '))),
      h('li', {}, declaredCount === 0 ? t('sent_decoys') : t('sent_digests', String(declaredCount))),
      h('li', {}, t('sent_number', draft.jti)),
      h('li', {}, t('sent_key')),
      h('li', {}, t('sent_share')),
      h('li', {}, t('sent_address')),
    );
  }
}

function fileText({ name, bytes }: { name: string; bytes: Uint8Array }): string {
  return `${name} (${fileSize(bytes.length)})`;
}

function textField(id: string, autocomplete: string): HTMLInputElement {
  return h('input', { type: 'text', id, autocomplete, maxlength: String(MAX_VALUE_CHARACTERS), spellcheck: 'false' });
}

function platformName(one: string): string {
  return one ? tName('platform', one) : t('platform_choose');
}

function sortedCountries(): Country[] {
  const collator = new Intl.Collator(textLanguage());
  const named = COUNTRIES.filter((code) => code !== 'ZZ');
  return [...named.sort((one, other) => collator.compare(countryName(one), countryName(other))), 'ZZ'];
}
