/** The last step before a later receipt is signed: everything that leaves the browser, character for character. */

import { formatBase64url, parseJson, utf8 } from '../core/encoding';
import { formatLater, type LaterPlan, verifyLaterPayload } from '../core/later';
import { send } from '../platform/send';
import { formatTime, t } from '../platform/text';
import { exactText, h } from './dom';

/** What will be signed, and the part of a page that shows it. */
export interface Prepared {
  payload: string;
  shown: HTMLElement[];
}

export function newPlan(kind: LaterPlan['kind'], objection: string): LaterPlan {
  return { kind, objection, jti: formatBase64url(crypto.getRandomValues(new Uint8Array(16))), evidence: [] };
}

/** Builds the bytes to sign now and what says so. Throws what the register would refuse. */
export function prepare(plan: LaterPlan, header: string): Prepared {
  const nowS = Math.floor(Date.now() / 1000);
  const payload = formatLater(plan, nowS);
  verifyLaterPayload(parseJson(utf8(payload)));
  const register = new URL(__REGISTER_URL__).host;
  const shown = [
    h('h3', {}, t('sent_title', register)),
    h(
      'ul',
      { class: 'plain' },
      h('li', {}, t('sent_kind', t(KINDS[plan.kind]))),
      plan.evidence.length > 0 ? h('li', {}, t('sent_files', String(plan.evidence.length))) : '',
      h('li', {}, t('sent_time'), ' ', formatTime(nowS)),
      h('li', {}, t('sent_which', plan.objection.slice(0, 8))),
      h('li', {}, t('sent_share_again')),
      h('li', {}, t('sent_number', plan.jti)),
      h('li', {}, t('sent_key')),
      h('li', {}, t('sent_address')),
    ),
    h(
      'details',
      {},
      h('summary', {}, t('exact_title')),
      h('h3', {}, t('exact_header')),
      exactText(t('exact_header'), header),
      h('h3', {}, t('exact_payload')),
      exactText(t('exact_payload'), payload),
    ),
  ];
  return { payload, shown };
}

const KINDS = { supplement: 'kind_supplement', withdrawal: 'kind_withdrawal', erasure: 'kind_erasure' } as const;

/** Has the background sign exactly `payload`; it is sent from there. `files`: base64 by name. */
export function sign(payload: string, files: Record<string, string> = {}): Promise<string> {
  return send<string>({ kind: 'ui/later', payload, files });
}
