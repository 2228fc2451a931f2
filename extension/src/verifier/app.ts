/** The page: what to check, whom to trust, what came out. Everything runs here; nothing is sent anywhere. */
import { type Bytes, sha256Hex, utf8 } from '../core/encoding';
import { ObjectionError } from '../core/errors';
import { printable } from '../core/printable';
import { ChangedCopy } from '../core/recognise';
import type { Report } from '../core/reports';
import { type PinnedPolicy, parsePinnedPolicy, verifyProofFile } from '../core/verification';
import { actionButton, h, present } from '../ui/dom';
import { reportAsJson, titleKey } from './export';
import { fragmentOf, isLink, receiptNamedBy } from './inputs';
import { reportView, unusableView } from './report-view';
import type { Checked, Unusable } from './results';
import { chooseLanguage, LANGUAGES, type Language, Speech, type WordKey } from './speech';

const MAX_FILE_BYTES = 16_777_216;
const MAX_POLICY_BYTES = 262_144;
/** How long the page may stand still before it shows how far it is. */
const PAINT_AFTER_MS = 60;

/** Answers to "does it still stand?" that are answers. */
const STANDING = ['objection_withdrawn', 'objection_erased'];

type Result = { checked: Checked } | { unusable: Unusable };

/** What the page needs from around it; `register` is undefined when it was opened as a file. */
export interface Surroundings {
  register: PinnedPolicy | undefined;
  /** The origin that serves the page, when it is a register's: the only one that may be asked, and only when told to. */
  origin: string | undefined;
  fragment: string;
  languages: readonly string[];
  nowS: () => number;
}

export class App {
  private speech: Speech;
  private expected: string | undefined;
  private linkUnusable = false;
  private loaded: PinnedPolicy | undefined;
  private policyProblem: string | undefined;
  private result: Result | undefined;
  private text = '';
  private input: { name: string | undefined; raw: Bytes } | undefined;
  private statusProblem: string | undefined;
  private runs = 0;

  constructor(
    private readonly root: HTMLElement,
    private readonly around: Surroundings,
  ) {
    this.speech = new Speech(chooseLanguage(around.languages));
    this.followFragment(around.fragment);
  }

  /** Takes the receipt that the address names; an empty one names none, and that is fine. */
  followFragment(fragment: string): void {
    const named = receiptNamedBy(fragment);
    this.expected = named;
    this.linkUnusable = named === undefined && fragment.replace(/^#/, '') !== '';
    this.result = undefined;
    this.render();
    if (this.input) void this.run(this.input);
  }

  private t(key: WordKey, values: Record<string, string | number> = {}): string {
    return this.speech.t(key, values);
  }

  private render(): void {
    document.documentElement.lang = this.speech.language;
    document.title = `${this.t('title')} · ${this.t('name')}`;
    this.root.replaceChildren(
      h('a', { class: 'skip', href: '#check', onclick: (event) => this.skip(event) }, this.t('skip')),
      this.header(),
      h(
        'main',
        { id: 'main' },
        h('h1', {}, this.t('title')),
        h('p', { class: 'lead' }, this.t('lead')),
        this.linkNotice(),
        this.form(),
        this.trust(),
        h('div', { id: 'progress', role: 'status' }),
        h('div', { id: 'result' }, ...present([this.resultView()])),
      ),
      h('footer', {}, this.t('footer')),
    );
  }

  // An ordinary link to #check would put itself in the place of the receipt that the address names.
  private skip(event: Event): void {
    event.preventDefault();
    this.element('#check').focus(); // not the file field: the same key press would open its chooser
  }

  private header(): HTMLElement {
    const switches = Object.entries(LANGUAGES).map(([code, words]) =>
      h(
        'button',
        {
          type: 'button',
          lang: code,
          'aria-pressed': String(code === this.speech.language),
          onclick: () => this.speak(code as Language),
        },
        words.language,
      ),
    );
    return h(
      'header',
      {},
      h('strong', {}, this.t('name')),
      h('nav', { 'aria-label': this.t('languages') }, ...switches),
    );
  }

  private speak(language: Language): void {
    this.speech = new Speech(language);
    this.render();
    this.root.querySelector<HTMLElement>(`nav [lang=${language}]`)?.focus();
  }

  private linkNotice(): HTMLElement | undefined {
    if (this.linkUnusable) return h('p', { class: 'warning', id: 'link' }, this.t('link_unusable'));
    if (!this.expected) return undefined;
    return h(
      'div',
      { class: 'notice', id: 'link' },
      h('p', {}, this.t('link_named')),
      h('code', {}, this.expected),
      h('button', { type: 'button', class: 'quiet', onclick: () => this.forgetLink() }, this.t('link_forget')),
    );
  }

  private forgetLink(): void {
    history.replaceState(null, '', location.pathname + location.search);
    this.followFragment('');
    this.element('#file').focus();
  }

  private form(): HTMLElement {
    const text = h('textarea', {
      id: 'text',
      rows: '3',
      spellcheck: 'false',
      autocomplete: 'off',
      autocapitalize: 'off',
      oninput: () => {
        this.text = text.value;
      },
    });
    text.value = this.text;
    const file = h('input', {
      type: 'file',
      id: 'file',
      accept: '.pdf,.asice,.txt,application/pdf',
      'aria-describedby': 'hint',
    });
    file.addEventListener('change', () => {
      const [chosen] = file.files ?? [];
      if (chosen) void this.take(chosen);
      file.value = ''; // so that the same file can be chosen again
    });
    // Enter opens the chooser; a file input in a form would send the form instead.
    file.addEventListener('keydown', (event) => {
      if (event.key !== 'Enter') return;
      event.preventDefault();
      file.click();
    });
    return h(
      'form',
      { id: 'check', tabindex: '-1', onsubmit: (event) => this.submit(event) },
      h(
        'div',
        { class: 'drop' },
        h('p', { class: 'drop-text', 'aria-hidden': 'true' }, this.t('drop')),
        file,
        h('label', { for: 'file', class: 'button' }, this.t('choose')),
        h('p', { id: 'hint', class: 'fine' }, this.t('choose_hint')),
      ),
      h(
        'div',
        { class: 'paste' },
        h('label', { for: 'text' }, this.t('text_label')),
        text,
        h('button', { type: 'submit' }, this.t('check')),
      ),
    );
  }

  private submit(event: Event): void {
    event.preventDefault();
    const { text } = this;
    if (text.trim() === '') {
      this.say(this.t('text_empty'));
      this.element('#text').focus();
    } else if (isLink(text)) {
      this.followFragment(fragmentOf(text) || '?');
      this.element('#file').focus();
    } else {
      // As it was pasted: which white space may stand around a token is for the verifier to say.
      void this.run({ name: undefined, raw: utf8(text) });
    }
  }

  private trust(): HTMLElement {
    const policy = this.loaded ?? this.around.register;
    const key = this.loaded ? 'trust_file' : policy ? 'trust_register' : 'trust_bundle';
    const file = h('input', { type: 'file', id: 'policy-file', accept: '.json,application/json' });
    file.addEventListener('change', () => {
      const [chosen] = file.files ?? [];
      if (chosen) void this.loadPolicy(chosen);
      file.value = '';
    });
    return h(
      'details',
      { class: 'trust', open: this.policyProblem !== undefined || this.loaded !== undefined },
      h('summary', {}, this.t('trust_heading')),
      h('p', {}, this.t(key), policy && ' ', policy && h('code', {}, printable(policy.policy.issuer))),
      policy && h('p', { class: 'fine' }, `${this.t('trust_fingerprint')}: `, h('code', {}, policy.fingerprint)),
      this.policyProblem !== undefined &&
        h('p', { class: 'warning', role: 'alert' }, this.t('trust_failed', { code: this.policyProblem })),
      file,
      h('label', { for: 'policy-file', class: 'button quiet' }, this.t('trust_load')),
      this.loaded &&
        h(
          'button',
          { type: 'button', class: 'quiet', onclick: () => this.usePolicy(undefined) },
          this.t('trust_reset'),
        ),
    );
  }

  private async loadPolicy(file: File): Promise<void> {
    this.policyProblem = undefined;
    try {
      if (file.size > MAX_POLICY_BYTES) throw new ObjectionError('policy_malformed', 'too large');
      this.usePolicy(await parsePinnedPolicy(new Uint8Array(await file.arrayBuffer()), 'file'));
    } catch (error) {
      this.policyProblem = error instanceof ObjectionError ? error.code : 'unreadable';
      this.usePolicy(undefined);
    }
  }

  private usePolicy(policy: PinnedPolicy | undefined): void {
    this.loaded = policy;
    this.result = undefined;
    this.render();
    if (this.input) void this.run(this.input);
    else this.element('#policy-file').focus();
  }

  /** Checks a file that was chosen or dropped. */
  async take(file: File): Promise<void> {
    if (file.size > MAX_FILE_BYTES) return this.show({ unusable: 'too_large' });
    let raw: Bytes;
    try {
      raw = new Uint8Array(await file.arrayBuffer());
    } catch {
      return this.show({ unusable: 'unreadable' }); // a folder, or gone since
    }
    await this.run({ name: file.name, raw });
  }

  private async run(input: { name: string | undefined; raw: Bytes }): Promise<void> {
    this.input = input;
    const run = ++this.runs;
    const result = await this.verify(input, run);
    if (run === this.runs) this.show(result); // else another file was chosen meanwhile
  }

  private async verify(
    { name, raw }: { name: string | undefined; raw: Bytes },
    run: number,
    status?: Bytes,
  ): Promise<Result> {
    let painted = performance.now();
    const progress = h('progress', {});
    progress.setAttribute('aria-label', this.t('working'));
    this.element('#progress').replaceChildren(progress, ` ${this.t('working')}`);
    this.element('#result').replaceChildren();
    let report: Report;
    try {
      report = await verifyProofFile(raw, {
        pinned: this.loaded ?? this.around.register,
        nowS: this.around.nowS(),
        status,
        onCheck: async (id) => {
          if (performance.now() - painted < PAINT_AFTER_MS || run !== this.runs) return;
          this.element('#progress').replaceChildren(
            progress,
            ` ${this.t('working_at', { title: this.t(titleKey(id)) })}`,
          );
          await new Promise((resolve) => setTimeout(resolve));
          painted = performance.now();
        },
      });
    } catch (error) {
      if (error instanceof ChangedCopy) return { unusable: error };
      if (error instanceof ObjectionError && error.code === 'file_unrecognised') return { unusable: 'text' };
      throw error;
    }
    const sha256 = await sha256Hex(raw);
    return { checked: { report, name, sha256, checkedAtS: this.around.nowS(), expected: this.expected } };
  }

  private show(result: Result): void {
    this.result = result;
    this.statusProblem = undefined;
    this.say('');
    this.element('#result').replaceChildren(...present([this.resultView()]));
    this.element('#verdict').focus();
  }

  private say(text: string): void {
    this.element('#progress').replaceChildren(text);
  }

  private resultView(): HTMLElement | undefined {
    if (!this.result) return undefined;
    if ('unusable' in this.result) return unusableView(this.result.unusable, this.speech);
    const { checked } = this.result;
    return reportView(checked, this.speech, { status: this.statusView(checked), actions: this.actions(checked) });
  }

  private statusView({ report, askedAtS }: Checked): HTMLElement {
    const status = report.checks.find(({ id }) => id === 'status');
    const { statusUri } = report;
    const code = this.statusProblem;
    const mayAsk = statusUri !== undefined && this.around.origin === originOf(statusUri);
    return h(
      'section',
      { class: 'status' },
      h('h3', {}, this.t('status_heading')),
      askedAtS !== undefined && h('p', {}, this.t('status_newer', { time: this.speech.time(askedAtS) })),
      h('p', { id: 'status', tabindex: '-1' }, status ? this.speech.say(status.says) : this.t('status_unknown')),
      mayAsk
        ? actionButton(this.t('status_ask'), {
            work: () => this.askStatus(statusUri),
            failed: (error) => this.showStatusProblem(error),
          })
        : h('p', { class: 'fine' }, this.t('status_offline')),
      code !== undefined &&
        h(
          'p',
          { id: 'status-problem', class: 'warning', tabindex: '-1' },
          `${this.t('status_failed', { code })} ${this.speech.tName(`code_${code}`, 'code_other')}`,
        ),
    );
  }

  private showStatusProblem(error: unknown): void {
    this.statusProblem = error instanceof ObjectionError ? error.code : 'unreachable';
    this.render(); // what was known before stays
    this.element('#status-problem').focus();
  }

  /** Checks the file again with the register's newest status list, when that list holds. */
  private async askStatus(uri: string): Promise<void> {
    const { input } = this;
    if (!input) return;
    this.say(this.t('status_asking'));
    const response = await fetch(uri, { cache: 'no-store', credentials: 'omit', redirect: 'error' });
    if (!response.ok) throw new ObjectionError('unreachable', String(response.status));
    const status = new Uint8Array(await response.arrayBuffer());
    const [nowS, run] = [this.around.nowS(), ++this.runs];
    const result = await this.verify(input, run, status);
    if (run !== this.runs || !('checked' in result)) return;
    const code = result.checked.report.checks.find(({ id }) => id === 'status')?.code;
    if (code && !STANDING.includes(code)) throw new ObjectionError(code, 'the list does not hold');
    this.show({ checked: { ...result.checked, askedAtS: nowS } });
    this.element('#status').focus();
  }

  private actions(checked: Checked): HTMLElement {
    return h(
      'div',
      { class: 'actions' },
      h('button', { type: 'button', class: 'quiet', onclick: () => print() }, this.t('print')),
      h('button', { type: 'button', class: 'quiet', onclick: () => this.save(checked) }, this.t('save')),
      h('button', { type: 'button', class: 'quiet', onclick: () => this.again() }, this.t('again')),
    );
  }

  private save({ report }: Checked): void {
    const url = URL.createObjectURL(new Blob([reportAsJson(report, this.speech)], { type: 'application/json' }));
    const link = h('a', { href: url, download: 'report.json' });
    link.click();
    setTimeout(() => URL.revokeObjectURL(url), 10_000);
  }

  private again(): void {
    this.result = undefined;
    this.input = undefined;
    this.text = '';
    this.render();
    this.element('#file').focus();
  }

  private element(selector: string): HTMLElement {
    const found = this.root.querySelector<HTMLElement>(selector);
    if (!found) throw new Error(`the page has no ${selector}`);
    return found;
  }
}

function originOf(uri: string): string | undefined {
  return URL.canParse(uri) ? new URL(uri).origin : undefined;
}
