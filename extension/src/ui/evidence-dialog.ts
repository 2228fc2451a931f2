/** Adding evidence: choose files, see exactly what they are and what is sent, sign. */
import type { Evidence } from '../core/contract.gen';
import { type Bytes, formatBase64 } from '../core/encoding';
import { ObjectionError } from '../core/errors';
import { evidenceItem, FILE_ENDINGS, MAX_FILES, refuseTooMuch } from '../core/later';
import { printable } from '../core/printable';
import { t } from '../platform/text';
import type { DetailView } from '../platform/views';
import { openDialog } from './dialogs';
import { fileSize, h } from './dom';
import { errorText } from './problems';
import { newPlan, prepare, sign } from './signing';

interface Chosen {
  item: Evidence;
  original: string;
  bytes: Bytes;
}

export function evidenceDialog({ objection, header, evidenceBytes }: DetailView, say: (text: string) => void): void {
  const dialog = openDialog();
  const plan = newPlan('supplement', objection.receipt);
  let chosen: Chosen[] = [];
  let payload: string | undefined;

  const list = h('ul', { class: 'files chosen' });
  const review = h('div', {});
  const input = h('input', {
    type: 'file',
    id: 'files',
    multiple: true,
    accept: FILE_ENDINGS.join(','),
    onchange: add,
  });
  const go = dialog.button(t('sign_and_send'), 'primary', async () => {
    if (!payload) return dialog.say(t('no_file_chosen'));
    await sign(payload, Object.fromEntries(chosen.map(({ item, bytes }) => [item.name, formatBase64(bytes)])));
    dialog.close();
    say(t('signed_and_kept'));
  });

  dialog.show({
    title: t('add_title'),
    content: [
      h('p', {}, t('add_intro')),
      h(
        'details',
        {},
        h('summary', {}, t('eml_title')),
        h('p', {}, t('eml_why')),
        h(
          'ul',
          {},
          h('li', {}, t('eml_gmail')),
          h('li', {}, t('eml_outlook')),
          h('li', {}, t('eml_thunderbird')),
          h('li', {}, t('eml_apple')),
        ),
      ),
      h('label', { class: 'field', for: 'files' }, h('span', {}, t('choose_files')), input),
      h('p', { class: 'soft small' }, t('choose_limits')),
      list,
      review,
    ],
    buttons: [go],
  });

  async function add(): Promise<void> {
    const files = [...(input.files ?? [])];
    input.value = ''; // the same file can be chosen again after it was removed
    dialog.say('');
    for (const file of files) {
      try {
        await addFile(file);
      } catch (error) {
        dialog.say(error instanceof ObjectionError ? `${printable(file.name)}: ${errorText(error)}` : errorText(error));
      }
    }
    show();
  }

  async function addFile(file: File): Promise<void> {
    if (chosen.length >= MAX_FILES) throw new ObjectionError('too_many_files', file.name);
    const bytes = new Uint8Array(await file.arrayBuffer());
    const item = await evidenceItem(
      file.name,
      bytes,
      chosen.map((one) => one.item.name),
    );
    if (chosen.some((one) => one.item.sha256 === item.sha256)) throw new ObjectionError('file_twice', file.name);
    refuseTooMuch([...chosen.map((one) => one.item), item], evidenceBytes);
    chosen.push({ item, original: file.name, bytes });
  }

  function show(): void {
    list.replaceChildren(...chosen.map(row));
    payload = undefined;
    if (chosen.length === 0) {
      review.replaceChildren();
      return;
    }
    const prepared = prepare({ ...plan, evidence: chosen.map(({ item }) => item) }, header);
    payload = prepared.payload;
    review.replaceChildren(
      ...(chosen.some(isMail) ? [h('p', { class: 'hint' }, t('mail_warning'))] : []),
      ...prepared.shown,
    );
  }

  function row({ item, original }: Chosen): HTMLElement {
    const remove = () => {
      chosen = chosen.filter((one) => one.item.name !== item.name);
      show();
      input.focus();
    };
    return h(
      'li',
      {},
      h(
        'span',
        { class: 'between' },
        h('strong', {}, `${item.name} (${fileSize(item.size)})`),
        h(
          'button',
          { type: 'button', class: 'small', 'aria-label': t('remove_file', item.name), onclick: remove },
          t('remove'),
        ),
      ),
      original !== item.name && h('span', { class: 'soft small' }, t('file_called', printable(original))),
      h('code', { class: 'small soft' }, `SHA-256 ${item.sha256}`),
    );
  }
}

const isMail = ({ item }: Chosen) => item.media_type === 'message/rfc822';
