/** What a check of one file came to, and the verdict that the page puts on top. */
import type { ChangedCopy } from '../core/recognise';
import type { Report } from '../core/reports';

/** `name`: the file's, undefined for pasted text. `expected`: the receipt hash (hex) of the link, when there was one. */
export interface Checked {
  report: Report;
  name: string | undefined;
  sha256: string;
  checkedAtS: number;
  expected: string | undefined;
  /** When the register was asked for its newest status list; undefined when it was not. */
  askedAtS?: number;
}

export type Unusable = 'text' | 'too_large' | 'unreadable' | ChangedCopy;

export type Headline = 'valid' | 'unpinned' | 'recorded' | 'token' | 'withdrawn' | 'erased' | 'invalid' | 'mismatch';

/** The one thing that a reader in a hurry takes away. */
export function headlineOf({ report, expected }: Checked): Headline {
  const { verdict, facts } = report;
  if (verdict === 'invalid') return 'invalid';
  if (expected !== undefined && facts.receipt_sha256 !== expected) return 'mismatch';
  if (verdict !== 'valid') return verdict;
  if (!report.passed('receipt')) return 'token';
  if (!report.pinned) return 'unpinned';
  return report.passed('anchor') ? 'valid' : 'recorded';
}

/** What `data-verdict` says: the report's own verdict, unless the file is not the one that the link names. */
export function verdictOf(checked: Checked): string {
  return headlineOf(checked) === 'mismatch' ? 'mismatch' : checked.report.verdict;
}
