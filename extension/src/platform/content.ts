/** On Meta's pages: watches for the notice, shows the card, and answers the background. */
import { browser } from 'wxt/browser';
import { gistOf, type Notice } from '../core/detection';
import { type Card, showCard } from '../page/card';
import { type FoundNotice, watchForNotice } from '../page/watch';
import type { PageMessage, TabMessage } from './messages';
import { send } from './send';
import { t, textLanguage } from './text';

const PAINT_MS = 120;
/** A background that was stopped while it took a picture shows the card no more. */
const MAX_HIDDEN_MS = 3_000;

/** Runs until the returned function is called. */
export function startContent(document: Document): () => void {
  let card: Card | undefined;
  let shownFor = '';
  /** Stands for the newest question whether to show a card: an answer to an older one does not count. */
  let question = {};
  /** One message after the other, so that the last word is the newest. */
  let told: Promise<unknown> = Promise.resolve();
  let showing: ReturnType<typeof setTimeout> | undefined;

  const watch = watchForNotice(document, show);

  function show(found: FoundNotice | undefined): void {
    const gist = found ? gistOf(found) : '';
    if (gist === shownFor) {
      if (found) card?.standBy(found.element);
      return;
    }
    shownFor = gist;
    takeAway();
    const asked = question;
    const notice = found ? plain(found) : null;
    told = told.then(() => ask(notice, asked)).catch((error: unknown) => console.warn(error));
  }

  async function ask(notice: Notice | null, asked: object): Promise<void> {
    if (asked !== question) return;
    const { show } = await tell<{ show: boolean }>({ kind: 'page/notice', notice, dismissed: false });
    const latest = watch.current();
    if (!show || !latest || asked !== question) return;
    card = showCard(latest.element, cardTexts(), { record: () => void record(), dismiss });
    card.hide(showing !== undefined);
  }

  function takeAway(): void {
    question = {};
    card?.remove();
    card = undefined;
  }

  function dismiss(): void {
    takeAway();
    const found = watch.current();
    if (found) told = told.then(() => tell({ kind: 'page/notice', notice: plain(found), dismissed: true }));
  }

  async function record(): Promise<void> {
    const found = watch.current();
    const clicked = card;
    if (!found) return;
    try {
      await send({ kind: 'page/record', notice: plain(found) });
      clicked?.say(t('card_opened'));
    } catch (error) {
      // An updated extension leaves this script behind without a background to talk to.
      console.warn(error);
      clicked?.say(t('card_reload'));
    }
  }

  function hide(hidden: boolean): void {
    clearTimeout(showing);
    showing = hidden ? setTimeout(() => hide(false), MAX_HIDDEN_MS) : undefined;
    card?.hide(hidden);
  }

  const answerTab = (raw: unknown, sender: { id?: string }, sendResponse: (answer: unknown) => void) => {
    if (sender.id !== browser.runtime.id) return undefined;
    const message = raw as TabMessage;
    if (message.kind === 'tab/notice') {
      const found = watch.current();
      sendResponse(found ? plain(found) : null);
      return undefined;
    }
    if (message.kind === 'tab/answered') takeAway();
    if (message.kind !== 'tab/card') return undefined;
    hide(message.hidden);
    afterPaint(() => sendResponse(null));
    return true;
  };
  browser.runtime.onMessage.addListener(answerTab);

  return () => {
    watch.stop();
    clearTimeout(showing);
    takeAway();
    browser.runtime.onMessage.removeListener(answerTab);
  };
}

/** Tells the background, which may be gone after an update: the page then simply keeps quiet. */
async function tell<T>(message: PageMessage): Promise<T | { show: false }> {
  try {
    return await send<T>(message);
  } catch (error) {
    console.info('proof of objection:', error);
    return { show: false };
  }
}

function plain({ platform, channel, language, rule, ruleset, url, text }: Notice): Notice {
  return { platform, channel, language, rule, ruleset, url, text };
}

function cardTexts() {
  return {
    language: textLanguage(),
    label: t('card_label'),
    title: t('card_title'),
    explanation: t('card_explanation'),
    record: t('record_my_objection'),
    dismiss: t('not_now'),
    announcement: t('card_announcement'),
    again: t('card_again'),
  };
}

// Two frames: the first still belongs to the picture with the card. Hidden tabs have no frames, hence the timer.
function afterPaint(then: () => void): void {
  const timer = setTimeout(then, PAINT_MS);
  requestAnimationFrame(() =>
    requestAnimationFrame(() => {
      clearTimeout(timer);
      then();
    }),
  );
}
