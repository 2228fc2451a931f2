/** What a page shows before it has anything to show. */
import { t } from '../platform/text';
import { h } from './dom';
import { errorText } from './problems';

/** Returns what `ask` answers. As long as it fails, `place` says what went wrong and offers to ask again. */
export async function load<T>(place: HTMLElement, ask: () => Promise<T>): Promise<T> {
  try {
    return await ask();
  } catch (error) {
    await new Promise<void>((again) => {
      const button = h('button', { type: 'button', class: 'primary', onclick: () => again() }, t('try_again'));
      place.replaceChildren(
        h('h1', {}, t('trouble_title')),
        h('p', { class: 'lead', role: 'alert' }, errorText(error)),
        h('div', { class: 'actions' }, button),
      );
    });
    return load(place, ask);
  }
}
