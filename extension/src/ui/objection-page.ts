/** The page of one objection. `update` shows a newer state and leaves alone what the person is typing. */
import type { Evidence } from '../core/contract.gen';
import type { MailFinding } from '../core/mail';
import { MAX_NAME_CHARACTERS } from '../platform/messages';
import { send } from '../platform/send';
import { formatDay, formatTime, t, textLanguage, tName } from '../platform/text';
import type { DetailView, LaterView, ObjectionView, QueuedView } from '../platform/views';
import {
  actionButton,
  type Child,
  countryName,
  facts,
  field,
  fileSize,
  h,
  languageName,
  present,
  section,
  select,
} from './dom';
import { eraseDialog, forgetDialog, withdrawDialog } from './ending-dialogs';
import { evidenceDialog } from './evidence-dialog';
import { errorText } from './problems';
import { showingSection } from './showing';
import { anchoringText, statusChip, waitingItem, warnings } from './states';

/** The certificate is written in these languages. */
const CERTIFICATE_LANGUAGES = ['de', 'en', 'fr'];
const SAID_MS = 12_000;

export interface ObjectionPage {
  title: string;
  elements: HTMLElement[];
  update(view: DetailView): void;
}

export function objectionPage(first: DetailView): ObjectionPage {
  let view = first;
  const { receipt, platform } = first.objection;
  const title = t('objection_title', tName('platform', platform));
  const status = h('p', { role: 'status', class: 'status said' });
  let fading: ReturnType<typeof setTimeout> | undefined;
  const failed = (error: unknown) => announce(errorText(error));
  const say = (text: string) => {
    announce(text);
    fading = setTimeout(() => announce(''), SAID_MS); // good news is in the history, too; a failure stays
  };
  const top = h('div', { class: 'top' });
  const proof = h('div', {});
  const record = h('div', {});
  const history = h('div', {});
  const adding = h('div', {});
  const ending = h('div', {});
  const showing = showingSection(first);
  const kit = h('div', {});
  const naming = h('div', {}, namingSection());
  const parts = [top, naming, proof, record, history, adding, showing, kit, ending];
  const language = select('certificate-language', CERTIFICATE_LANGUAGES, languageName, ownLanguage());

  show();
  return { title, elements: [h('h1', {}, title), top, status, ...parts.slice(1)], update };

  function announce(text: string): void {
    clearTimeout(fading);
    status.textContent = text;
    if (text) status.scrollIntoView({ block: 'nearest' });
  }

  function update(latest: DetailView): void {
    const before = new Set(view.later.map((one) => one.receipt));
    view = latest;
    const focused = document.activeElement?.getAttribute('data-key');
    show();
    // A refresh must not throw the keyboard user back to the top.
    if (focused) document.querySelector<HTMLElement>(`[data-key="${focused}"]`)?.focus();
    const news = latest.later.find((one) => !before.has(one.receipt));
    if (news) say(t(DONE[news.kind], formatTime(news.receivedAt)));
  }

  function show(): void {
    const { objection, queue } = view;
    top.replaceChildren(
      h('p', { class: 'chips' }, statusChip(objection), anchorChip(objection)),
      h('p', { class: 'lead' }, leadText(objection)),
      ...present(warnings(objection, button)),
      ...queue.map((queued) => waitingPanel(queued)),
    );
    proof.replaceChildren(proofSection());
    record.replaceChildren(recordSection());
    history.replaceChildren(historySection());
    adding.replaceChildren(...addingSection());
    ending.replaceChildren(...endingSection());
    kit.replaceChildren(kitSection());
    showing.hidden = objection.status === 'erased';
  }

  function waitingPanel(queued: QueuedView): HTMLElement {
    return h('section', { class: 'panel notice' }, ...waitingItem(queued, button));
  }

  function proofSection(): HTMLElement {
    const { objection } = view;
    const erased = objection.status === 'erased';
    const pdf = button(
      t('download_pdf'),
      'pdf',
      async () => say(t('saved_as', await send<string>({ kind: 'ui/certificate', receipt, language: language.value }))),
      true,
    );
    const asice = button(t(erased ? 'save_kept_proof' : 'download_asice'), 'asice', async () =>
      say(t('saved_as', await send<string>({ kind: 'ui/save', receipt }))),
    );
    const acknowledgement = button(t('save_acknowledgement'), 'acknowledgement', async () =>
      say(t('saved_as', await send<string>({ kind: 'ui/acknowledgement', receipt }))),
    );
    return section(
      t('proof_title'),
      h('p', {}, t(erased ? 'proof_text_erased' : 'proof_text')),
      erased
        ? h('div', { class: 'actions' }, asice, acknowledgement)
        : h('div', { class: 'actions bottom' }, languageField(), pdf, asice),
      h('p', { class: 'soft small' }, fileText(objection)),
    );
  }

  function languageField(): HTMLElement {
    return h('label', { class: 'field inline' }, h('span', {}, t('pdf_language')), language);
  }

  function recordSection(): HTMLElement {
    const { objection, payload, assurance } = view;
    const { platform, receivedAt, objectedAt, logIndex, logOrigin } = objection;
    return section(
      t('record_title'),
      facts([
        [t('platform_label'), tName('platform', platform)],
        [t('recorded_when'), formatTime(receivedAt)],
        [t('signed_when'), formatTime(objectedAt)],
        [t('anchor_label'), anchorFact(objection)],
        [t('recorded_index'), t('recorded_index_value', String(logIndex), logOrigin)],
        [
          t('categories_title'),
          payload.objection.data_categories.map((category) => tName('category', category)).join(', '),
        ],
        [t('country_label'), countryName(payload.country)],
        [t('assurance_label'), t(assurance === 'work' ? 'assurance_work' : 'assurance_device')],
        ...campaignFact(),
        [t('evidence_title'), evidenceList(payload.evidence)],
        [t('receipt_hash'), h('code', {}, receipt)],
      ]),
    );
  }

  function campaignFact(): [string, Child][] {
    const { payload, leftCampaign, assurance } = view;
    if (!payload.campaign) return [];
    const leave = button(t('campaign_leave'), 'leave', async () => {
      await send<void>({ kind: 'ui/leave', receipt });
      say(t('campaign_left'));
    });
    const mayLeave = !leftCampaign && !ended();
    const counts = assurance === 'work' ? 'campaign_is' : 'campaign_unsure';
    const text = t(leftCampaign ? 'campaign_was' : counts, payload.campaign);
    const note = mayLeave && h('p', { class: 'soft small' }, t('campaign_leave_text'));
    return [[t('campaign_label'), h('div', {}, text, note, mayLeave && h('div', { class: 'actions' }, leave))]];
  }

  function historySection(): Child & HTMLElement {
    const { later, objection } = view;
    return section(
      t('history_title'),
      h(
        'ol',
        { class: 'history' },
        historyItem(t('history_objection'), objection.receivedAt, objection.logIndex),
        ...later.map((one) =>
          historyItem(
            t(HISTORY[one.kind]),
            one.receivedAt,
            one.logIndex,
            one.kind !== 'erasure' && laterState(one),
            one.evidence.length > 0 && evidenceList(one.evidence, one.mails),
            one.remains.length > 0 && remainsList(one),
          ),
        ),
      ),
    );
  }

  /** Nothing can follow an erasure, not even one on its way. */
  function ended(): boolean {
    return view.objection.status === 'erased' || isOnItsWay('erasure');
  }

  // What the register refused keeps nobody from trying anew.
  function isOnItsWay(wanted: string): boolean {
    return view.queue.some(({ kind, state }) => kind === wanted && state !== 'refused');
  }

  function addingSection(): HTMLElement[] {
    if (ended()) return [];
    const add = button(t('add_evidence'), 'evidence', async () => evidenceDialog(view, say));
    return [section(t('add_title'), h('p', {}, t('add_text')), h('div', { class: 'actions' }, add))];
  }

  function endingSection(): HTMLElement[] {
    if (view.objection.status === 'erased') return [forgetSection()];
    if (ended()) return [];
    const withdrawn = view.objection.status === 'withdrawn' || isOnItsWay('withdrawal');
    const withdraw = button(t('withdraw'), 'withdraw', async () => withdrawDialog(view, say));
    const erase = button(t('erase'), 'erase', async () => eraseDialog(view, say));
    return [
      section(
        t('ending_title'),
        h('p', {}, t(withdrawn ? 'ending_text_withdrawn' : 'ending_text')),
        h('div', { class: 'actions' }, !withdrawn && withdraw, erase),
      ),
    ];
  }

  function forgetSection(): HTMLElement {
    const ask = button(t('forget'), 'forget', async () => forgetDialog(view));
    return section(t('forget_title'), h('p', {}, t('forget_text')), h('div', { class: 'actions' }, ask));
  }

  /** Made once: a newer state must not take away what is being typed. */
  function namingSection(): HTMLElement {
    const name = h('input', { type: 'text', id: 'own-name', value: first.objection.name, autocomplete: 'off' });
    name.maxLength = MAX_NAME_CHARACTERS;
    const save = button(t('own_name_save'), 'own-name', async () => {
      await send<void>({ kind: 'ui/name', receipt, name: name.value });
      say(t('own_name_kept'));
    });
    return h(
      'section',
      {},
      field(t('own_name_label'), name),
      h('p', { class: 'soft small' }, t('own_name_hint')),
      h('div', { class: 'actions' }, save),
    );
  }

  function kitSection(): HTMLElement {
    const save = button(t('kit_save'), 'kit', async () => say(t('saved_as', await send<string>({ kind: 'ui/kit' }))));
    return section(
      t('kit_title'),
      h('p', {}, t('kit_text', String(view.kept))),
      h('ul', {}, h('li', {}, t('kit_can')), h('li', {}, t('kit_cannot'))),
      h('p', { class: 'hint' }, t('kit_warning')),
      h('div', { class: 'actions' }, save),
    );
  }

  function button(label: string, key: string, work: () => Promise<void>, primary = false) {
    const answering = async () => {
      // Below the part in which it was asked for, where it covers nothing.
      parts.find((part) => part.contains(made))?.after(status);
      await work();
    };
    const made = actionButton(label, { primary, work: answering, failed });
    made.setAttribute('data-key', key);
    return made;
  }
}

const DONE = {
  supplement: 'done_supplement',
  withdrawal: 'done_withdrawal',
  erasure: 'done_erasure',
} as const;

const HISTORY = {
  supplement: 'history_supplement',
  withdrawal: 'history_withdrawal',
  erasure: 'history_erasure',
} as const;

const REMAINS: Record<string, Parameters<typeof t>[0]> = {
  'log-commitment': 'remains_log_commitment',
  'published-counts': 'remains_published_counts',
  'counting-mark': 'remains_counting_mark',
  'status-bit': 'remains_status_bit',
  'replay-guard': 'remains_replay_guard',
};

function leadText(objection: ObjectionView): string {
  const { status, receivedAt, changedAt, anchoring, noClock, asksAgain } = objection;
  if (status === 'erased') return t('lead_erased', formatDay(changedAt));
  if (status === 'withdrawn') return t('lead_withdrawn', formatDay(changedAt));
  if (anchoring !== 'recorded') return t('lead_anchored', formatDay(receivedAt));
  if (noClock) return t('lead_no_clock', formatDay(receivedAt));
  return t(asksAgain ? 'lead_recorded' : 'lead_recorded_idle', formatDay(receivedAt));
}

function anchorChip({ anchoring, status }: ObjectionView): Child {
  if (status === 'erased') return undefined;
  const known = anchoring !== 'recorded';
  return h('span', { class: known ? 'chip good' : 'chip' }, t(known ? 'chip_anchored' : 'chip_recorded'));
}

function anchorFact(objection: ObjectionView): Child {
  const text = anchoringText(objection);
  if (objection.anchoring === 'recorded') return text;
  return h('div', {}, text, h('div', { class: 'soft small' }, t('anchor_whose')));
}

function fileText({ file, bundleProblem }: ObjectionView): string {
  if (file) return t('file_newest', file);
  return bundleProblem ? t('not_saved_yet') : t('file_being_saved_long');
}

/** `mails`: what the register found of the mails among them. */
function evidenceList(evidence: Evidence[], mails: Record<string, MailFinding> = {}): Child {
  if (evidence.length === 0) return t('sent_no_evidence');
  const item = ({ name, size, sha256 }: Evidence) => {
    const found = mails[name];
    return h(
      'li',
      {},
      `${name} (${fileSize(size)})`,
      found && h('span', { class: 'small block' }, findingText(found)),
      h('code', { class: 'small soft' }, sha256),
    );
  };
  return h('ul', { class: 'files' }, ...evidence.map(item));
}

function findingText(found: MailFinding): string {
  const text = tName('finding', found.finding, 'domain' in found ? found.domain : '');
  return 'kind' in found ? `${text} ${tName('mailkind', found.kind)}` : text;
}

function historyItem(what: string, when: number, index: number, ...more: Child[]): HTMLElement {
  const place = h('span', { class: 'soft small' }, `${formatTime(when)} · ${t('log_number', String(index))}`);
  return h('li', {}, h('strong', {}, what), place, ...more);
}

function laterState({ anchoredAt }: LaterView): HTMLElement {
  const text = anchoredAt === undefined ? t('chip_recorded') : t('anchor_seen', formatTime(anchoredAt));
  return h('span', { class: 'small block' }, text);
}

function remainsList({ remains }: LaterView): HTMLElement {
  return h(
    'div',
    {},
    h('p', { class: 'soft small' }, t('remains_title')),
    h('ul', { class: 'small' }, ...remains.map((one) => h('li', {}, REMAINS[one] ? t(REMAINS[one]) : one))),
  );
}

function ownLanguage(): string {
  return CERTIFICATE_LANGUAGES.find((code) => code === textLanguage()) ?? 'en';
}
