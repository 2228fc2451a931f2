/** Other keys of the register than those this browser knows: both are shown before they are accepted. */
import { send } from '../platform/send';
import { t } from '../platform/text';
import type { KeysView } from '../platform/views';
import { openDialog } from './dialogs';
import { facts, h } from './dom';

export async function keysDialog(): Promise<void> {
  const { pinned, shown } = await send<KeysView>({ kind: 'ui/keys' });
  const isOther = pinned !== shown;
  const dialog = openDialog();
  const accept = dialog.button(t('accept_keys'), 'danger', async () => {
    await send<void>({ kind: 'ui/accept-keys', fingerprint: shown });
    dialog.close();
  });
  dialog.show({
    title: t(isOther ? 'held_title' : 'keys_title'),
    content: [
      isOther && h('p', {}, t('held_text')),
      facts([
        [t('keys_known'), h('code', {}, grouped(pinned))],
        [t('keys_shown'), h('code', {}, grouped(shown))],
      ]),
      h('p', { class: 'hint' }, t(isOther ? 'keys_compare' : 'keys_same', `${__REGISTER_URL__}/v1/policy`)),
    ],
    buttons: isOther ? [accept] : [],
    leave: t(isOther ? 'keep_known_keys' : 'close'),
  });
}

/** In groups of eight, so that two people can read them to each other. */
function grouped(fingerprint: string): string {
  return fingerprint.replaceAll(/(.{8})(?=.)/g, '$1 ');
}
