/**
 * The small card on Meta's page. What the page says and styles does not reach into it: the host is a plain `div`, for the
 * page may define what any name of an own element does, and look into its closed root; and what is shown in the top layer
 * stands inside that root, where no style, event or script of the page gets to it.
 */
import { watchSight } from './sight';

export interface CardTexts {
  language: string;
  label: string;
  title: string;
  explanation: string;
  record: string;
  dismiss: string;
  /** Said once, to those who cannot see that a card came. */
  announcement: string;
  /** Said when a click did not count. */
  again: string;
}

export interface Card {
  /** Moves to where `notice` is now. */
  standBy(notice: Element): void;
  hide(hidden: boolean): void;
  /** Says something to the person, in the card and to a screen reader. */
  say(text: string): void;
  remove(): void;
}

// Literal colours: the page can register any custom property, and so decide what it may hold. Generic fonts: the page can
// define any other, and so what its letters look like. No animations: the page can ask for those, and for what they move.
const STYLE = `
/* Important here is stronger than important in the page's styles and in the style attribute. */
:host { all: initial !important; direction: ltr !important; unicode-bidi: isolate !important; display: contents !important; }
section {
  position: fixed; inset: auto 16px 16px auto; box-sizing: border-box; width: min(340px, calc(100vw - 32px));
  max-height: calc(100vh - 32px); overflow: auto; margin: 0; padding: 16px; border: 1px solid #d5dae5;
  border-radius: 14px; background: #ffffff; color: #16213a; box-shadow: 0 8px 30px rgb(10 20 50 / 18%);
  font: 400 14px/1.45 system-ui, sans-serif; text-align: start; cursor: default;
}
section::backdrop { display: none; }
section[hidden] { display: none; }
p { margin: 0 0 8px; }
.title { font-size: 15px; font-weight: 600; }
.soft { color: #47526b; }
.status { margin: 10px 0 0; font-weight: 600; }
.status:empty { margin: 0; } /* not hidden: screen readers would miss what comes */
.unseen { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
.actions { display: flex; flex-wrap: wrap; gap: 8px; margin-top: 12px; }
button {
  font: inherit; font-weight: 600; min-height: 40px; padding: 0 14px; border-radius: 10px; cursor: pointer;
  border: 1px solid #d5dae5; background: transparent; color: #16213a;
}
button.primary { border-color: #1d4ed8; background: #1d4ed8; color: #ffffff; }
button:hover { filter: brightness(.94); }
button:focus-visible { outline: 3px solid #1d4ed8; outline-offset: 2px; }
@media (prefers-color-scheme: dark) {
  section { border-color: #3a465f; background: #1a2233; color: #eef2fb; }
  .soft { color: #b4bfd6; }
  button { border-color: #3a465f; color: #eef2fb; }
  button.primary { border-color: #8fb0ff; background: #8fb0ff; color: #0d1526; }
  button:focus-visible { outline-color: #8fb0ff; }
}
@media print { section { display: none; } }
`;

/** What is outside of one cannot be reached: by the browser's rules, a screen reader's, or the page's focus trap. */
const MODAL = 'dialog[open], [aria-modal=true]';
const FOCUSABLE =
  ':is(a[href], button, input, select, textarea, summary, [tabindex]):not([disabled], [tabindex="-1"], [type=hidden])';
/** The page's handlers are not meant for our buttons: its dialog may close at a click, its shortcuts act on keys. */
const OURS = [
  'click',
  'pointerdown',
  'pointerup',
  'mousedown',
  'mouseup',
  'touchstart',
  'touchend',
  'keydown',
  'keyup',
];
/** Screen readers read what changes in an element they know, not what comes with it. */
const ANNOUNCE_MS = 300;
/** For so long the card must have been seen before a click on it opens anything. */
const STILL_MS = 500;

/**
 * Shows the card where `notice` is. Only a person's own click counts, for a page can aim events at our element; and only
 * one on a card that the person could see, for a page can lure a click anywhere.
 */
export function showCard(notice: Element, texts: CardTexts, on: { record(): void; dismiss(): void }): Card {
  const document = notice.ownerDocument;
  const host = document.createElement('div');
  const root = host.attachShadow({ mode: 'closed' });
  const style = element('style', '', STYLE);
  const section = element('section', '');
  section.setAttribute('popover', 'manual'); // the top layer, where a modal dialog is, too
  section.setAttribute('role', 'region');
  section.setAttribute('aria-label', texts.label);
  section.lang = texts.language;
  const record = element('button', 'primary', texts.record);
  const dismiss = element('button', '', texts.dismiss);
  const announcement = element('p', 'unseen');
  const status = element('p', 'status');
  for (const live of [announcement, status]) live.setAttribute('role', 'status');
  const actions = element('div', 'actions');
  actions.append(record, dismiss);
  const words = [element('p', 'title', texts.title), element('p', 'soft', texts.explanation)];
  // The status above the buttons: the card stands on its lower edge, and what it says must not move them.
  section.append(announcement, ...words, status, actions);
  root.append(style, section);
  const sight = watchSight(host, section);
  const reopening = new MutationObserver(raise);

  record.addEventListener('click', (event) => {
    if (!event.isTrusted) return;
    const isSeen = sight.heldMs() >= STILL_MS;
    say(isSeen ? '' : texts.again);
    if (isSeen) on.record();
  });
  dismiss.addEventListener('click', (event) => event.isTrusted && on.dismiss());
  for (const type of OURS) section.addEventListener(type, (event) => event.stopPropagation());
  section.addEventListener('keydown', (event) => {
    if (!event.isTrusted || event.key !== 'Escape') return;
    event.preventDefault(); // or the browser closes the dialog around us
    on.dismiss();
  });
  standBy(notice);
  const announcing = setTimeout(() => {
    announcement.textContent = texts.announcement;
  }, ANNOUNCE_MS);

  return {
    standBy,
    hide: (hidden) => {
      section.hidden = hidden;
    },
    say,
    remove: () => {
      clearTimeout(announcing);
      sight.stop();
      reopening.disconnect();
      host.remove();
    },
  };

  function standBy(notice: Element): void {
    // Whatever the page gave our host: inert, aria-hidden, a place of its own in the top layer.
    for (const name of host.getAttributeNames()) host.removeAttribute(name);
    const modal = notice.closest(MODAL);
    if (isShown() && host.parentElement?.closest(MODAL) === modal) return;
    reopening.disconnect();
    for (let around = modal; around; around = around.parentElement?.closest(MODAL) ?? null) {
      reopening.observe(around, { attributes: true, attributeFilter: ['open'] });
    }
    const puts = [
      ...(modal ? [() => putInto(modal)] : []),
      // Beside the body, not in it: single-page apps replace the body's children.
      () => document.documentElement.append(host),
    ];
    for (const put of puts) {
      put();
      if (host.isConnected) section.showPopover();
      if (isShown()) return;
    }
  }

  /** Before the last element that takes the focus: focus traps send Tab from there back to the first. */
  function putInto(modal: Element): void {
    const last = [...modal.querySelectorAll(FOCUSABLE)].filter((one) => one.checkVisibility()).at(-1);
    if (last) last.before(host);
    else modal.append(host);
  }

  function isShown(): boolean {
    return (
      host.ownerDocument === document &&
      host.isConnected &&
      (section.hasAttribute('hidden') || section.checkVisibility())
    );
  }

  /** A dialog that was closed and opened again is above the card that stands in it. */
  function raise(): void {
    sight.restart();
    if (!host.isConnected) return;
    const focused = root.activeElement as HTMLElement | null;
    section.hidePopover();
    section.showPopover();
    focused?.focus({ preventScroll: true });
  }

  function say(text: string): void {
    status.textContent = text;
  }

  function element<K extends keyof HTMLElementTagNameMap>(tag: K, name: string, text = ''): HTMLElementTagNameMap[K] {
    const made = document.createElement(tag);
    if (tag === 'button') (made as HTMLButtonElement).type = 'button';
    if (name) made.className = name;
    made.textContent = text;
    return made;
  }
}
