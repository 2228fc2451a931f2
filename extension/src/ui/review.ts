/** The review sheet: first exactly what will be sent, then what became of it. */
import { onChange } from '../platform/changes';
import { send } from '../platform/send';
import { t, textLanguage } from '../platform/text';
import type { DraftView, ReceiptView } from '../platform/views';
import { h } from './dom';
import { outcome } from './outcome';
import { errorText } from './problems';
import { reviewForm } from './review-form';

/** The background may be stopped at any time without saying so; asking wakes it, and it goes on where it stopped. */
const POLL_MS = 1_000;

export async function showReview(document: Document): Promise<void> {
  document.documentElement.lang = textLanguage();
  document.title = t('review_title');
  const main = h('main', {});
  document.body.append(main);
  const draft = new URLSearchParams(location.search).get('draft') ?? '';
  const close = () => window.close();

  const view = await send<DraftView | undefined>({ kind: 'ui/draft', draft }).catch(() => undefined);
  if (!view) return void main.replaceChildren(h('h1', {}, t('gone_title')), h('p', {}, t('gone_text')));
  if (view.draft.receipt) return follow(view.draft.receipt);

  const form = reviewForm(view, {
    confirm: async (payload, disclosures) => {
      const receipt = await send<string>({ kind: 'ui/confirm', draft, payload, disclosures });
      form.stop();
      follow(receipt);
    },
    cancel: async () => {
      form.stop();
      await send({ kind: 'ui/cancel', draft });
      close();
    },
  });
  main.replaceChildren(...form.elements);
  onChange(async () => {
    const latest = await send<DraftView | undefined>({ kind: 'ui/draft', draft }).catch(() => undefined);
    if (latest && !latest.draft.receipt) form.update(latest.draft.screenshot);
  });

  function follow(receipt: string): void {
    let shown = '';
    const refresh = async () => {
      const state = await send<ReceiptView>({ kind: 'ui/receipt', receipt });
      const fingerprint = JSON.stringify(state);
      if (fingerprint === shown) return;
      shown = fingerprint;
      const elements = outcome(state, { close });
      const news = elements.title !== document.title;
      document.title = elements.title;
      const focused = focusedText(main);
      main.replaceChildren(...elements.elements);
      // What changed is what the person waits for: the heading takes the focus, so that it is seen and read out.
      if (news) main.querySelector<HTMLElement>('h1')?.focus();
      else [...main.querySelectorAll<HTMLElement>('h1, button')].find((one) => one.textContent === focused)?.focus();
    };
    const safely = () => void refresh().catch((error: unknown) => console.warn(errorText(error)));
    onChange(safely);
    setInterval(safely, POLL_MS);
    safely();
  }
}

/** The words of what has the keyboard focus, by which its successor is found again. */
function focusedText(within: HTMLElement): string | undefined {
  const focused = document.activeElement;
  return focused && within.contains(focused) ? focused.textContent : undefined;
}
