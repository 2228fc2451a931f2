/** A report as people read it: verdict first, then what it means, what it says, and each check. */
import { printable } from '../core/printable';
import { ChangedCopy } from '../core/recognise';
import type { Check, Facts } from '../core/reports';
import { h, present } from '../ui/dom';
import { titleKey } from './export';
import { picture } from './pictures';
import { type Checked, headlineOf, type Unusable, verdictOf } from './results';
import type { Speech, WordKey } from './speech';

const PLATFORMS: Record<string, string> = {
  facebook: 'Facebook',
  instagram: 'Instagram',
  threads: 'Threads',
  messenger: 'Messenger',
  whatsapp: 'WhatsApp',
};
const MARKS = { passed: '✓', failed: '✗', 'not-checked': '·', 'not-present': '–' } as const;
const OUTCOMES: Record<Check['outcome'], WordKey> = {
  passed: 'outcome_passed',
  failed: 'outcome_failed',
  'not-checked': 'outcome_unchecked',
  'not-present': 'outcome_absent',
};
const UNUSABLE = {
  text: 'verdict_unusable_text',
  too_large: 'verdict_too_large',
  unreadable: 'verdict_unreadable',
} as const;
const MAX_INNER = 100;

/** `status`: what stands under "does it still stand?"; `actions`: what one can do with the report. */
export function reportView(
  checked: Checked,
  speech: Speech,
  { status, actions }: { status: Node; actions: Node },
): HTMLElement {
  const { report } = checked;
  const headline = headlineOf(checked);
  const trustworthy = report.verdict !== 'invalid';
  const { practice } = report.facts;
  const verdict = speech.t(`verdict_${headline}`);
  return h(
    'section',
    {
      class: practice ? 'result practice' : 'result',
      'data-verdict': verdictOf(checked),
      'data-headline': headline,
      'aria-labelledby': 'verdict',
    },
    verdictBox(headline, practice ? speech.t('practice', { verdict }) : verdict, [
      ...(practice ? [speech.t('practice_text')] : []),
      speech.t(`verdict_${headline}_text`),
      ...(checked.expected && trustworthy && headline !== 'mismatch' ? [speech.t('link_matches')] : []),
    ]),
    trustworthy && keysWarning(checked, speech),
    actions,
    trustworthy && meaning(checked, speech),
    trustworthy ? factsView(report.facts, speech) : undefined,
    trustworthy && status,
    checksView(report.checks, speech),
    h(
      'p',
      { class: 'fine' },
      speech.t('printed', {
        time: speech.time(checked.checkedAtS),
        file: checked.name === undefined ? speech.t('pasted') : printable(checked.name),
        sha256: checked.sha256,
      }),
    ),
  );
}

export function unusableView(why: Unusable, speech: Speech): HTMLElement {
  const code = why instanceof ChangedCopy ? why.code : why === 'text' ? 'file_unrecognised' : `file_${why}`;
  const box =
    why instanceof ChangedCopy
      ? copyBox(why, speech)
      : verdictBox('unusable', speech.t('verdict_unusable'), [speech.t(UNUSABLE[why])]);
  const about = { class: 'result', 'data-verdict': 'unusable', 'data-code': code, 'aria-labelledby': 'verdict' };
  return h('section', about, box);
}

function copyBox({ noticed, inner }: ChangedCopy, speech: Speech): HTMLElement {
  if (inner !== undefined) {
    const name = printable(inner.slice(0, MAX_INNER));
    return verdictBox('resaved', speech.t('verdict_zipped'), [speech.t('verdict_zipped_text', { name })]);
  }
  const why = `noticed_${noticed?.replaceAll('-', '_')}` as WordKey;
  return verdictBox('resaved', speech.t('verdict_resaved'), [speech.t(why), speech.t('verdict_resaved_text')]);
}

function verdictBox(kind: Parameters<typeof picture>[0], title: string, sentences: string[]): HTMLElement {
  return h(
    'div',
    { class: `verdict ${kind}` },
    picture(kind),
    h(
      'div',
      {},
      h('h2', { id: 'verdict', tabindex: '-1' }, title),
      ...sentences.map((sentence) => h('p', {}, sentence)),
    ),
  );
}

function keysWarning({ report }: Checked, speech: Speech): HTMLElement | undefined {
  const pinned = report.checks.find(({ id }) => id === 'pinned');
  if (report.facts.keys_from !== 'bundle' || !pinned) return undefined;
  const fingerprint = pinned.says.values.fingerprint;
  return h(
    'div',
    { class: 'warning' },
    h('p', {}, h('strong', {}, speech.t('keys_warning')), ` ${speech.t('keys_warning_text')}`),
    typeof fingerprint === 'string' && h('code', {}, fingerprint),
  );
}

function meaning({ report }: Checked, speech: Speech): HTMLElement {
  const list = (prefix: 'shows' | 'not', names: string[]) =>
    h('ul', { class: prefix }, ...names.map((name) => h('li', {}, speech.t(`${prefix}_${name}` as WordKey))));
  return h(
    'div',
    { class: 'meaning' },
    h('section', {}, h('h3', {}, speech.t('shows_heading')), list('shows', report.shows)),
    h('section', {}, h('h3', {}, speech.t('not_heading')), list('not', report.doesNotShow)),
  );
}

const ASSURANCES = { device: 'assurance_device', work: 'assurance_work' } as const;

function factsView(facts: Facts, speech: Speech): HTMLElement {
  const at = (seconds: number | undefined, clock: string): [string, string] | undefined =>
    seconds === undefined ? undefined : [speech.time(seconds), clock];
  const { log_origin, log_index, data_categories: categories } = facts;
  const rows: [WordKey, string | undefined, string?][] = [
    ['fact_platform', facts.platform && (PLATFORMS[facts.platform] ?? facts.platform)],
    ['fact_right', facts.right === 'eu-gdpr:A21' ? speech.t('right_a21') : facts.right],
    ['fact_categories', categories?.map((name) => categoryName(name, speech)).join(', ')],
    ['fact_objected_at', ...(at(facts.objected_at, speech.t('clock_holder')) ?? [undefined])],
    ['fact_received_at', ...(at(facts.received_at, speech.t('clock_register')) ?? [undefined])],
    stateRow(facts, speech),
    ...disclosedRows(facts),
    ['fact_issuer', facts.issuer],
    ['fact_assurance', facts.assurance && speech.t(ASSURANCES[facts.assurance])],
    ['fact_log', log_origin && speech.t('fact_log_value', { origin: printable(log_origin), index: log_index ?? '' })],
    ['fact_receipt', facts.receipt_sha256],
    ['fact_holder', facts.holder_key],
  ];
  return h(
    'section',
    {},
    h('h3', {}, speech.t('facts_heading')),
    h('dl', { class: 'facts' }, ...present(rows.map(([term, value, note]) => factRow(term, value, note, speech)))),
  );
}

/** Anchored, with the time; or recorded, and why no more is said. */
function stateRow(facts: Facts, speech: Speech): [WordKey, string | undefined, string?] {
  const { state, anchors = [], anchored_at, keys_from } = facts;
  if (anchored_at !== undefined) {
    const name = anchors.find(({ at, trusted }) => trusted && at === anchored_at)?.authority ?? '';
    return ['fact_anchored_at', speech.time(anchored_at), speech.t('clock_authority', { name })];
  }
  return ['fact_recorded', state && speech.t(keys_from === 'policy' ? 'state_recorded' : 'state_unpinned')];
}

function disclosedRows({ disclosed = {} }: Facts): [WordKey, string, string][] {
  return Object.entries(disclosed).map(([slot, value]) => [`slot_${slot}` as WordKey, value, 'declared']);
}

function factRow(
  term: WordKey,
  value: string | undefined,
  note: string | undefined,
  speech: Speech,
): HTMLElement | undefined {
  if (!value) return undefined;
  const technical = ['fact_receipt', 'fact_holder', 'fact_issuer', 'fact_log'].includes(term);
  return h(
    'div',
    { 'data-fact': term },
    h('dt', {}, speech.t(term)),
    h(
      'dd',
      {},
      technical ? h('code', {}, printable(value)) : h('bdi', {}, printable(value)),
      note && h('small', {}, note === 'declared' ? speech.t('declared') : printable(note)),
    ),
  );
}

function categoryName(name: string, speech: Speech): string {
  return speech.t(`category_${name.replaceAll('-', '_')}` as WordKey);
}

function checksView(checks: Check[], speech: Speech): HTMLElement {
  const count = (outcome: Check['outcome']) => checks.filter((check) => check.outcome === outcome).length;
  const summary = {
    passed: count('passed'),
    failed: count('failed'),
    unchecked: count('not-checked'),
    absent: count('not-present'),
  };
  return h(
    'section',
    {},
    h('h3', {}, speech.t('checks_heading')),
    h('p', { class: 'fine' }, speech.t('checks_summary', summary)),
    h('ol', { class: 'checks' }, ...checks.map((check) => checkView(check, speech))),
  );
}

function checkView({ id, outcome, says, code, detail }: Check, speech: Speech): HTMLElement {
  return h(
    'li',
    { 'data-check': id, 'data-outcome': outcome, 'data-code': code },
    h(
      'details',
      { open: outcome === 'failed' },
      h(
        'summary',
        {},
        h('span', { class: 'mark', 'aria-hidden': 'true' }, MARKS[outcome]),
        h('span', { class: 'check-title' }, speech.t(titleKey(id))),
        h('span', { class: 'outcome' }, speech.t(OUTCOMES[outcome])),
      ),
      h('p', {}, speech.say(says)),
      code !== undefined &&
        h('p', { class: 'fine' }, `${speech.t('code')} `, h('code', {}, code), detail && ` · ${printable(detail)}`),
    ),
  );
}
