/** What became of a confirmed objection: waiting, refused, or recorded. */
import { send } from '../platform/send';
import { formatTime, t, tName } from '../platform/text';
import type { ObjectionView, QueuedView, ReceiptView } from '../platform/views';
import { againDialog } from './again-dialog';
import { actionButton, type Child, facts, h, present } from './dom';
import { discardDialog } from './ending-dialogs';
import { keysDialog } from './keys-dialog';
import { errorText, problemText } from './problems';
import { anchoringText, warnings } from './states';

export interface Outcome {
  title: string;
  elements: (Node | string)[];
}

interface Actions {
  close(): void;
  /** Shows what becomes of another receipt, signed in the place of this one. */
  follow(receipt: string): void;
}

export function outcome(state: ReceiptView, actions: Actions): Outcome {
  if (state.kind === 'recorded') return recorded(state.objection, actions);
  if (state.kind === 'queued') return queued(state.queued, actions);
  return sheet(t('not_kept_title'), actions, h('p', {}, t('not_kept_text')));
}

function recorded(objection: ObjectionView, actions: Actions): Outcome {
  const { receipt, platform, receivedAt, logIndex, logOrigin, file, bundleProblem } = objection;
  const status = h('p', { role: 'status', class: 'status' });
  const failed = (error: unknown) => {
    status.textContent = errorText(error);
  };
  const button = (label: string, _: string, work: () => Promise<void>) => actionButton(label, { work, failed });
  const save = actionButton(t(file ? 'save_again' : 'save_proof'), {
    primary: true,
    work: async () => {
      status.textContent = t('saved_as', await send<string>({ kind: 'ui/save', receipt }));
    },
    failed,
  });
  const open = h(
    'a',
    { class: 'button', href: `/objection.html?receipt=${receipt}`, target: '_blank' },
    t('open_objection'),
  );
  return sheet(
    t('recorded_title'),
    { ...actions, buttons: [save, open] },
    h('p', { class: 'lead' }, t('recorded_lead', tName('platform', platform))),
    facts([
      [t('recorded_when'), formatTime(receivedAt)],
      [t('recorded_index'), t('recorded_index_value', String(logIndex), logOrigin)],
      [t('anchor_label'), anchoringText(objection)],
      [
        t('recorded_file'),
        file ? t('file_in_downloads', file) : t(bundleProblem ? 'not_saved_yet' : 'file_being_saved'),
      ],
      [t('receipt_hash'), h('code', {}, receipt)],
    ]),
    ...warnings(objection, button),
    h('section', { class: 'panel' }, h('h2', {}, t('next_title')), h('p', {}, t('next_text'))),
    proves(),
    status,
  );
}

function queued(view: QueuedView, actions: Actions): Outcome {
  const { receipt, state, problem, nextAttemptAt, working, maySignAgain } = view;
  const status = h('p', { role: 'status', class: 'status' });
  const action = (label: string, primary: boolean, work: () => Promise<void>) =>
    actionButton(label, {
      primary,
      work,
      failed: (error) => {
        status.textContent = errorText(error);
      },
    });
  const again = maySignAgain ? [action(t('sign_again'), true, () => againDialog(receipt, actions.follow))] : [];
  const reason = problem && h('p', { class: 'hint' }, problemText(problem), ' ', h('code', {}, problem.code));
  if (state === 'refused') {
    const discard = action(t('discard'), false, async () => discardDialog(receipt));
    return sheet(
      t('refused_title'),
      { ...actions, buttons: [...again, discard] },
      reason,
      h('p', {}, t('refused_text')),
      status,
    );
  }
  if (state === 'held') {
    const look = action(t('look_at_keys'), false, keysDialog);
    return sheet(t('held_title'), { ...actions, buttons: [look] }, reason, h('p', {}, t('held_text')), status);
  }
  const work = working && h('p', { class: 'soft' }, t('working'));
  if (!problem) return sheet(t('sending_title'), actions, h('p', { class: 'lead' }, t('sending_text')), work);
  const attempt = action(t('try_now'), !maySignAgain, async () => send<void>({ kind: 'ui/attempt', receipt }));
  return sheet(
    t('waiting_title'),
    { ...actions, buttons: [...again, attempt] },
    h('p', { class: 'lead' }, t('waiting_text')),
    reason,
    work,
    nextAttemptAt > 0 && h('p', { class: 'soft' }, t('next_attempt', formatTime(nextAttemptAt / 1000))),
    status,
  );
}

/** What the proof shows and what it does not; the same words before and after. */
export function proves(): HTMLElement {
  const list = (keys: Parameters<typeof t>[0][]) => h('ul', {}, ...keys.map((key) => h('li', {}, t(key))));
  return h(
    'section',
    { class: 'panel two' },
    h('div', {}, h('h2', {}, t('proves_title')), list(['proves_1', 'proves_2', 'proves_3'])),
    h('div', {}, h('h2', {}, t('proves_not_title')), list(['proves_not_1', 'proves_not_2'])),
  );
}

function sheet(
  title: string,
  { close, buttons = [] }: Pick<Actions, 'close'> & { buttons?: HTMLElement[] },
  ...content: Child[]
): Outcome {
  return {
    title,
    elements: [
      h('h1', { tabindex: '-1' }, title),
      ...present(content),
      h('div', { class: 'actions end' }, ...buttons, h('button', { type: 'button', onclick: close }, t('close'))),
    ],
  };
}
