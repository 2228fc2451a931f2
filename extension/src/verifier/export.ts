/** The report as JSON, in the form that the register's own verifier gives it (`objection verify --json`). */
import type { Report } from '../core/reports';
import type { Speech, WordKey } from './speech';

export function reportAsJson(report: Report, speech: Speech): string {
  const checks = report.checks.map(({ id, outcome, says, code, detail }) => ({
    id,
    title: speech.t(titleKey(id)),
    outcome,
    reason: [speech.say(says), detail].filter(Boolean).join(' '),
    ...(code === undefined ? {} : { code }),
  }));
  const { verdict, facts, shows, doesNotShow } = report;
  const sentences = (prefix: string, names: string[]) => names.map((name) => speech.t(`${prefix}_${name}` as WordKey));
  return JSON.stringify(
    {
      verdict,
      valid: verdict === 'valid',
      checks,
      facts,
      shows: sentences('shows', shows),
      does_not_show: sentences('not', doesNotShow),
    },
    null,
    2,
  );
}

export function titleKey(id: string): WordKey {
  return `check_${id.replaceAll('-', '_')}` as WordKey;
}
