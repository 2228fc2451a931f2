/** Signing again what the register refused for its time: the new time is shown, and whose it is. */
import type { AgainView } from '../platform/resigning';
import { send } from '../platform/send';
import { formatDuration, formatTime, t } from '../platform/text';
import { openDialog } from './dialogs';
import { exactText, h } from './dom';

/** `signed` is called with the hash of the new receipt. */
export async function againDialog(receipt: string, signed: (receipt: string) => void = () => {}): Promise<void> {
  const { payload, header, atS, offsetS } = await send<AgainView>({ kind: 'ui/again', receipt });
  const dialog = openDialog();
  const go = dialog.button(t('sign_and_send'), 'primary', async () => {
    signed(await send<string>({ kind: 'ui/sign-again', receipt, payload }));
    dialog.close();
  });
  dialog.show({
    title: t('sign_again_title'),
    content: [
      h('p', {}, t('sign_again_text')),
      h('p', {}, t('sign_again_time'), ' ', h('strong', {}, formatTime(atS))),
      offsetS !== 0 && h('p', { class: 'hint' }, t('sign_again_register', formatDuration(Math.abs(offsetS)))),
      h(
        'details',
        {},
        h('summary', {}, t('exact_title')),
        h('h3', {}, t('exact_header')),
        exactText(t('exact_header'), header),
        h('h3', {}, t('exact_payload')),
        exactText(t('exact_payload'), payload),
      ),
    ],
    buttons: [go],
  });
}
