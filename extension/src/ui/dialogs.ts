/** A modal dialog of one or more steps. The browser keeps the focus inside, closes it on Escape, and gives focus back. */
import { t } from '../platform/text';
import { actionButton, type Child, h, present } from './dom';
import { errorText } from './problems';

export interface Step {
  title: string;
  content: Child[];
  /** Beside the button that closes. */
  buttons: HTMLButtonElement[];
  /** The words of the button that closes without doing anything. */
  leave?: string;
}

export interface Dialog {
  show(step: Step): void;
  say(text: string): void;
  close(): void;
  button(label: string, look: 'primary' | 'danger' | undefined, work: () => Promise<void>): HTMLButtonElement;
}

export function openDialog(): Dialog {
  const heading = h('h2', { id: 'dialog-title', tabindex: '-1' });
  const body = h('div', {});
  const status = h('p', { role: 'alert', class: 'status' });
  const actions = h('div', { class: 'actions' });
  // The status stays in sight beside the buttons, however long the dialog is.
  const foot = h('div', { class: 'foot' }, status, actions);
  const element = h('dialog', { 'aria-labelledby': 'dialog-title' }, heading, body, foot);
  element.addEventListener('close', () => element.remove());
  document.body.append(element);

  const dialog: Dialog = {
    show({ title, content, buttons, leave = t('cancel') }) {
      heading.textContent = title;
      body.replaceChildren(...present(content));
      status.textContent = '';
      actions.replaceChildren(...buttons, h('button', { type: 'button', onclick: () => element.close() }, leave));
      if (!element.open) element.showModal();
      // A new step is read from its beginning, and no button is under a finger that only meant the last one.
      heading.focus();
      element.scrollTop = 0;
    },
    say(text) {
      status.textContent = text;
    },
    close: () => element.close(),
    button(label, look, work) {
      const made = actionButton(label, { work, failed: (error) => dialog.say(errorText(error)) });
      if (look) made.classList.add(look);
      return made;
    },
  };
  return dialog;
}
