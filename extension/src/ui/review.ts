/** The review sheet: first exactly what will be sent, then what became of it. */
import { onChange } from '../platform/changes';
import { send } from '../platform/send';
import { t, textLanguage } from '../platform/text';
import type { DraftView, ReceiptView } from '../platform/views';
import { h, practiceBanner } from './dom';
import { inOrder } from './in-order';
import { load } from './loading';
import { outcome } from './outcome';
import { type ReviewForm, reviewForm } from './review-form';

/** The background may be stopped at any time without saying so; asking wakes it, and it goes on where it stopped. */
const POLL_MS = 1_000;

export async function showReview(document: Document): Promise<void> {
  document.documentElement.lang = textLanguage();
  document.title = t('review_title');
  const main = h('main', {});
  document.body.append(...practiceBanner(), main);
  const address = new URLSearchParams(location.search);
  const draft = address.get('draft') ?? '';
  const confirmed = address.get('receipt');
  const close = () => window.close();
  let form: ReviewForm | undefined;
  let following = false;
  // The key and the proofs exist only here: the browser must not clear them away when the disk gets full.
  void navigator.storage.persist();

  if (confirmed) return follow(confirmed);
  const view = await load(main, () => send<DraftView | undefined>({ kind: 'ui/draft', draft }));
  if (!view) return showGone();
  if (view.draft.receipt) return follow(view.draft.receipt);

  form = reviewForm(view, {
    confirm: async (payload, disclosures) => {
      const receipt = await send<string>({ kind: 'ui/confirm', draft, payload, disclosures });
      follow(receipt);
    },
    cancel: async () => {
      // It may have been confirmed, and only the answer was lost: then it is on its way, and that is to be seen.
      const signed = await send<string | undefined>({ kind: 'ui/cancel', draft });
      if (signed) follow(signed);
      else close();
    },
  });
  main.replaceChildren(...form.elements);
  const readDraft = inOrder();
  const refreshForm = (latest: DraftView | undefined) => {
    if (following) return;
    if (!latest) showGone();
    else if (latest.draft.receipt) follow(latest.draft.receipt);
    else form?.update(latest.draft.screenshot);
  };
  onChange(() => {
    const ask = () => send<DraftView | undefined>({ kind: 'ui/draft', draft });
    void readDraft(ask, refreshForm).catch((error: unknown) => console.warn(error));
  });

  function showGone(): void {
    form?.stop();
    main.replaceChildren(h('h1', {}, t('gone_title')), h('p', {}, t('gone_text')));
  }

  /** From the start: this page follows one receipt as long as it lives. */
  function refollow(receipt: string): void {
    location.search = `?receipt=${receipt}`;
  }

  function follow(receipt: string): void {
    if (following) return;
    following = true;
    form?.stop();
    // A restarted browser opens this page again, and knows nothing of drafts then.
    history.replaceState(null, '', `?receipt=${receipt}`);
    let shown = '';
    const readReceipt = inOrder();
    const ask = () => send<ReceiptView>({ kind: 'ui/receipt', receipt });
    const refresh = (state: ReceiptView) => {
      const fingerprint = JSON.stringify(state);
      if (fingerprint === shown) return;
      shown = fingerprint;
      const elements = outcome(state, { close, follow: refollow });
      const news = elements.title !== document.title;
      document.title = elements.title;
      const focused = focusedText(main);
      main.replaceChildren(...elements.elements);
      // What changed is what the person waits for: the heading takes the focus, so that it is seen and read out.
      if (news) main.querySelector<HTMLElement>('h1')?.focus();
      else [...main.querySelectorAll<HTMLElement>('h1, button')].find((one) => one.textContent === focused)?.focus();
    };
    const safely = () => void readReceipt(ask, refresh).catch((error: unknown) => console.warn(error));
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
