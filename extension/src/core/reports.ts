/** What a verifier found: numbered checks, facts, and a verdict. Words for people are made of it elsewhere, per language. */

import type { SignedMail } from './contract.gen';
import { ObjectionError } from './errors';
import type { MailFinding } from './mail';
import type { Slot } from './tokens';

/** In the order of the report. */
export const CHECK_IDS = [
  'container',
  'files',
  'container-time',
  'document',
  'policy',
  'pinned',
  'receipt',
  'evidence',
  'token',
  'disclosures',
  'token-receipt',
  'log',
  'witnesses',
  'anchor',
  'later',
  'mail',
  'status',
  'holder',
] as const;
export type CheckId = (typeof CHECK_IDS)[number];
export type Outcome = 'passed' | 'failed' | 'not-checked' | 'not-present';
export type Verdict = 'valid' | 'invalid' | 'withdrawn' | 'erased';

/** A value in a sentence; times are seconds since 1970, durations seconds. */
export type SayingValue = string | number | { time: number } | { duration: number } | { list: Saying[] };

/** A sentence to be: the key of its words in each language, and what stands in the gaps. */
export interface Saying {
  key: string;
  values: Record<string, SayingValue>;
}

/** One line of the report. `code` is there when it failed; `detail` is for people who read logs. */
export interface Check {
  id: CheckId;
  outcome: Outcome;
  says: Saying;
  code?: string;
  detail?: string;
}

/** What the proof says, as far as it holds; to be shown with the verdict beside it. */
export interface Facts {
  receipt_sha256?: string;
  holder_key?: string;
  platform?: string;
  right?: string;
  data_categories?: string[];
  notice_channel?: string;
  objected_at?: number;
  received_at?: number;
  issuer?: string;
  assurance?: 'device' | 'work';
  log_origin?: string;
  log_index?: number;
  log_size?: number;
  /** `anchored` with `anchored_at`: by a clock that the reader's own policy trusts, not the proof's. */
  state?: 'recorded' | 'anchored';
  witnesses?: { name: string; at: number }[];
  anchors?: { authority: string; at: number; trusted: boolean }[];
  anchored_at?: number;
  /** `anchored_at`: when an independent clock stamped it; each has its own. */
  later?: { kind: string; receipt_sha256: string; signed_at: number; received_at: number; anchored_at?: number }[];
  /** Who wrote what, and when, is for the reader of the mail. `kind` is the register's word. */
  mails?: (Partial<Pick<SignedMail, 'domain' | 'selector' | 'key_sha256' | 'kind'>> & {
    name: string;
    finding: MailFinding['finding'];
  })[];
  status?: 'stands' | 'withdrawn' | 'erased';
  status_at?: number;
  keys_from?: 'policy' | 'bundle';
  /** Made for practice, as holder or register signed; absent where it is not. */
  practice?: true;
  disclosed?: Partial<Record<Slot, string>>;
}

const STATUS_CODES: Record<string, Verdict> = { objection_withdrawn: 'withdrawn', objection_erased: 'erased' };

export function say(key: string, values: Saying['values'] = {}): Saying {
  return { key, values };
}

/** A check whose subject turned out not to be there. */
export interface Absent {
  absent: Saying;
}

export function absent(says: Saying): Absent {
  return { absent: says };
}

/** A check that failed, and has more to say than its code. */
export interface Failed {
  failed: Saying;
  code: string;
}

/** Collects the checks as they run. A failed one stops no other that can still run. */
export class Report {
  private readonly found: Check[] = [];
  readonly facts: Facts = {};
  /** Where the register's newest word on the status can be had. */
  statusUri: string | undefined;

  constructor(private readonly onCheck: (id: CheckId) => Promise<void> = async () => {}) {}

  /** In the order of the report, whatever order they ran in. */
  get checks(): Check[] {
    return [...this.found].sort((one, other) => CHECK_IDS.indexOf(one.id) - CHECK_IDS.indexOf(other.id));
  }

  /**
   * Adds a check that passes with what `work` says, is not present where that is `absent`, or fails with the code it
   * returns or throws.
   */
  async check(id: CheckId, work: () => Promise<Saying | Absent | Failed>): Promise<void> {
    await this.onCheck(id);
    try {
      const said = await work();
      if ('absent' in said) this.notPresent(id, said.absent);
      else if ('failed' in said) this.found.push({ id, outcome: 'failed', code: said.code, says: said.failed });
      else this.found.push({ id, outcome: 'passed', says: said });
    } catch (error) {
      // Anything else than our own errors is a defect here, or in the browser. It must not pass for an answer.
      const { code, message } = error instanceof ObjectionError ? error : { code: 'internal', message: String(error) };
      this.found.push({ id, outcome: 'failed', code, detail: message, says: say(`code_${code}`) });
    }
  }

  notPresent(id: CheckId, says: Saying): void {
    this.found.push({ id, outcome: 'not-present', says });
  }

  /** Adds checks that cannot run, because an earlier one failed. */
  unchecked(...ids: CheckId[]): void {
    for (const id of ids) this.found.push({ id, outcome: 'not-checked', says: say('not_checked') });
  }

  has(id: CheckId): boolean {
    return this.found.some((check) => check.id === id);
  }

  passed(id: CheckId): boolean {
    return this.found.some((check) => check.id === id && check.outcome === 'passed');
  }

  /** Whether the reader, and not the proof itself, said whose keys to trust. */
  get pinned(): boolean {
    return this.facts.keys_from === 'policy';
  }

  get verdict(): Verdict {
    const failed = this.found.filter(({ outcome }) => outcome === 'failed' || outcome === 'not-checked');
    const verdicts = failed.map(({ code = '' }) => STATUS_CODES[code]);
    if (this.found.length === 0 || verdicts.includes(undefined)) return 'invalid';
    return verdicts[0] ?? 'valid';
  }

  /** What the proof shows; nothing when it is not valid. */
  get shows(): string[] {
    if (this.verdict === 'invalid') return [];
    const shown = this.passed('receipt') ? ['objection', 'logged'] : ['token_alone'];
    if (this.independent('anchor')) shown.push('anchored');
    if (this.independent('witnesses')) shown.push('witnessed');
    if (this.passed('mail')) shown.push('mail');
    if (this.confirmed) shown.push('confirmed');
    if (this.passed('disclosures')) shown.push('disclosed');
    return shown;
  }

  /** What no reader should take from it. */
  get doesNotShow(): string[] {
    const names = [this.confirmed ? 'beyond_confirmation' : 'meta_received', 'identity'];
    if (!this.independent('anchor')) names.push('time');
    names.push('today');
    names.push(this.passed('receipt') ? 'readme' : 'token_alone');
    if (this.facts.keys_from === 'bundle') names.push('keys');
    return names;
  }

  /** Whether a mail is signed that the register knows as Meta's confirmation. */
  private get confirmed(): boolean {
    return this.passed('mail') && (this.facts.mails ?? []).some(({ kind }) => kind === 'confirmation');
  }

  /** Whether a check passed by keys that the proof itself did not bring. */
  private independent(id: CheckId): boolean {
    return this.pinned && this.passed(id);
  }
}
