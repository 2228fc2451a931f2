/** What a failure means, in the person's words; the register's own words where ours would guess. */
import { ObjectionError } from '../core/errors';
import type { StoredProblem } from '../platform/database';
import { t, tName } from '../platform/text';

export function problemText({ code, title, detail }: StoredProblem): string {
  const own = tName('problem', code);
  if (own !== code) return own;
  // Only the register gives its problems titles; our own messages are for people who read logs.
  return title ? [title, detail].filter(Boolean).join(': ') : t('problem_other', code);
}

export function errorText(error: unknown): string {
  if (error instanceof ObjectionError) return problemText({ code: error.code, title: '', detail: error.message });
  console.error(error);
  return t('problem_other', 'internal');
}
