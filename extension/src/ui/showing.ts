/** "Show to somebody": a token with what the person chooses to open, for one reader when they gave a challenge. */
import { SLOTS, type Slot } from '../core/tokens';
import { MAX_CHALLENGE_CHARACTERS } from '../platform/messages';
import { send } from '../platform/send';
import { t } from '../platform/text';
import type { DetailView } from '../platform/views';
import { actionButton, checkbox, field, h, section } from './dom';
import { errorText } from './problems';

const LABELS = { account: 'account_label', contact: 'contact_label', person: 'person_label' } as const;

export function showingSection({ objection, declared }: DetailView): HTMLElement {
  const { receipt } = objection;
  const status = h('p', { role: 'status', class: 'status' });
  const boxes = SLOTS.filter((slot) => declared[slot] !== undefined).map((slot) => ({
    slot,
    ...checkbox(`open-${slot}`, `${t(LABELS[slot])}: ${declared[slot]}`, false),
  }));
  const nonce = challengeField('nonce');
  const audience = challengeField('audience');
  const token = h('textarea', {
    id: 'token',
    readonly: true,
    rows: '4',
    spellcheck: 'false',
    'aria-label': t('token_label'),
  });
  const copy = button(t('copy_token'), async () => {
    await navigator.clipboard.writeText(token.value);
    status.textContent = t('token_copied');
  });
  const result = h('div', { hidden: true }, token, h('div', { class: 'actions' }, copy));
  const make = button(t('make_token'), async () => {
    const challenge = { nonce: nonce.value.trim(), audience: audience.value.trim() };
    const given = Object.values(challenge).filter(Boolean).length;
    if (given === 1) {
      status.textContent = t('challenge_both');
      return;
    }
    const slots: Slot[] = boxes.filter(({ box }) => box.checked).map(({ slot }) => slot);
    token.value = await send<string>({ kind: 'ui/present', receipt, slots, challenge: given ? challenge : null });
    result.hidden = false;
    status.textContent = t(given ? 'token_for_one' : 'token_for_all');
  });

  const element = section(
    t('show_title'),
    h('p', {}, t('show_text')),
    boxes.length > 0
      ? h('fieldset', {}, h('legend', { class: 'small' }, t('show_choose')), ...boxes.map(({ row }) => row))
      : h('p', { class: 'soft' }, t('show_nothing_declared')),
    h(
      'details',
      {},
      h('summary', {}, t('challenge_title')),
      h('p', {}, t('challenge_text')),
      h('div', { class: 'fields' }, field(t('nonce_label'), nonce), field(t('audience_label'), audience)),
    ),
    h('div', { class: 'actions' }, make),
    status,
    result,
  );
  // What is shown must be what was chosen: a changed choice takes the old token away.
  element.addEventListener('input', ({ target }) => {
    if (target === token) return;
    result.hidden = true;
    status.textContent = '';
  });
  return element;

  function button(label: string, work: () => Promise<void>): HTMLButtonElement {
    return actionButton(label, {
      work,
      failed: (error) => {
        status.textContent = errorText(error);
      },
    });
  }
}

function challengeField(id: string): HTMLInputElement {
  const maxlength = String(MAX_CHALLENGE_CHARACTERS);
  return h('input', { type: 'text', id, maxlength, autocomplete: 'off', spellcheck: 'false' });
}
