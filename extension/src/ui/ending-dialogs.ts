/** Withdrawing and erasing: first what happens and what remains, then what is signed. Two clicks, never one. */
import type { LaterKind } from '../core/later';
import { send } from '../platform/send';
import { t } from '../platform/text';
import type { DetailView } from '../platform/views';
import { type Dialog, openDialog } from './dialogs';
import { type Child, h } from './dom';
import { newPlan, prepare, sign } from './signing';

type Key = Parameters<typeof t>[0];

export function withdrawDialog(view: DetailView, say: (text: string) => void): void {
  const dialog = openDialog();
  dialog.show({
    title: t('withdraw_title'),
    content: [
      consequences(
        ['withdraw_happens_1', 'withdraw_happens_2', 'withdraw_happens_3'],
        ['withdraw_remains_1', 'withdraw_remains_2', 'withdraw_remains_3'],
      ),
    ],
    buttons: [dialog.button(t('continue'), 'primary', async () => confirmStep(dialog, view, 'withdrawal', say))],
    leave: t('keep_objection'),
  });
}

export function eraseDialog(view: DetailView, say: (text: string) => void): void {
  const dialog = openDialog();
  dialog.show({
    title: t('erase_title'),
    content: [
      consequences(
        ['erase_happens_1', 'erase_happens_2', 'erase_happens_3', 'erase_happens_4'],
        ['erase_remains_1', 'erase_remains_2', 'erase_remains_3'],
      ),
      saveFirst(dialog, view),
    ],
    buttons: [dialog.button(t('continue'), 'primary', async () => confirmStep(dialog, view, 'erasure', say))],
    leave: t('keep_record'),
  });
}

/** After an erasure: what is left in this browser goes only when the person says so again. */
export function forgetDialog({ objection }: DetailView): void {
  const { receipt } = objection;
  const dialog = openDialog();
  const go = dialog.button(t('forget_sure'), 'danger', async () => {
    await send<void>({ kind: 'ui/forget', receipt });
    dialog.close();
  });
  dialog.show({
    title: t('forget_dialog_title'),
    content: [h('p', {}, t('forget_text'))],
    buttons: [go],
    leave: t('keep_it'),
  });
}

/** Takes a receipt that the register refused out of this browser. */
export function discardDialog(receipt: string): void {
  const dialog = openDialog();
  const go = dialog.button(t('discard_sure'), 'danger', async () => {
    await send<void>({ kind: 'ui/discard', receipt });
    dialog.close();
  });
  dialog.show({
    title: t('discard_dialog_title'),
    content: [h('p', {}, t('discard_dialog_text'))],
    buttons: [go],
    leave: t('keep_it'),
  });
}

/** Has a mail recorded that nobody could look at; what is recorded of it then never changes. */
export function uncheckedDialog(receipt: string): void {
  const dialog = openDialog();
  const go = dialog.button(t('unchecked_sure'), 'danger', async () => {
    await send<void>({ kind: 'ui/unchecked', receipt });
    dialog.close();
  });
  dialog.show({
    title: t('unchecked_title'),
    content: [h('p', {}, t('unchecked_text')), h('p', {}, t('unchecked_again'))],
    buttons: [go],
    leave: t('wait_on'),
  });
}

function confirmStep(
  dialog: Dialog,
  { objection, header }: DetailView,
  kind: Exclude<LaterKind, 'supplement'>,
  say: (text: string) => void,
): void {
  const { payload, shown } = prepare(newPlan(kind, objection.receipt), header);
  const withdrawal = kind === 'withdrawal';
  const go = dialog.button(t(withdrawal ? 'sign_withdraw' : 'sign_erase'), 'danger', async () => {
    await sign(payload);
    dialog.close();
    say(t('signed_and_kept'));
  });
  dialog.show({
    title: t(withdrawal ? 'withdraw_confirm_title' : 'erase_confirm_title'),
    content: [h('p', {}, t(withdrawal ? 'withdraw_confirm_text' : 'erase_confirm_text')), ...shown],
    buttons: [go],
    leave: t(withdrawal ? 'keep_objection' : 'keep_record'),
  });
}

function consequences(happens: Key[], remains: Key[]): HTMLElement {
  const list = (keys: Key[]) => h('ul', {}, ...keys.map((key) => h('li', {}, t(key))));
  return h('div', {}, h('h3', {}, t('happens_title')), list(happens), h('h3', {}, t('remains_title')), list(remains));
}

/** What the register deletes, nobody can fetch again: the offer comes before the button. */
function saveFirst(dialog: Dialog, { objection }: DetailView): HTMLElement {
  const { receipt, file } = objection;
  const text = h('p', {}, file ? t('save_first_saved', file) : t('save_first_missing'));
  const save = dialog.button(t('save_first'), undefined, async () => {
    text.textContent = t('saved_as', await send<string>({ kind: 'ui/save', receipt }));
  });
  const parts: Child[] = [h('h3', {}, t('save_first_title')), text, h('div', { class: 'actions' }, save)];
  return h('div', { class: 'panel notice' }, ...parts);
}
