/** One objection: what is on record, the proof, and everything its holder can still do. */
import { onChange } from '../platform/changes';
import { send } from '../platform/send';
import { t, textLanguage } from '../platform/text';
import type { DetailView } from '../platform/views';
import { h, practiceBanner } from './dom';
import { inOrder } from './in-order';
import { load } from './loading';
import { objectionPage } from './objection-page';

/** The background may be stopped at any time without saying so; asking wakes it, and it goes on where it stopped. */
const POLL_MS = 2_000;

export async function showObjection(document: Document): Promise<void> {
  document.documentElement.lang = textLanguage();
  document.title = t('name');
  const main = h('main', {});
  document.body.append(
    ...practiceBanner(),
    h(
      'header',
      { class: 'brand' },
      h('img', { src: '/icons/48.png', alt: '', width: '28', height: '28' }),
      h('span', {}, t('name')),
    ),
    main,
  );
  const receipt = new URLSearchParams(location.search).get('receipt') ?? '';
  const ask = () => send<DetailView | undefined>({ kind: 'ui/objection', receipt });

  const view = await load(main, ask);
  if (!view) return showGone();
  const page = objectionPage(view);
  document.title = page.title;
  main.replaceChildren(...page.elements);

  let shown = JSON.stringify(view);
  const read = inOrder();
  const refresh = (latest: DetailView | undefined) => {
    const fingerprint = JSON.stringify(latest ?? null);
    if (fingerprint === shown) return;
    shown = fingerprint;
    if (latest) page.update(latest);
    else showGone();
  };
  const safely = () => void read(ask, refresh).catch((error: unknown) => console.warn(error));
  onChange(safely);
  setInterval(safely, POLL_MS);

  function showGone(): void {
    main.replaceChildren(
      h('h1', { tabindex: '-1' }, t('not_here_title')),
      h('p', { class: 'lead' }, t('not_here_text')),
    );
    main.querySelector('h1')?.focus();
  }
}
