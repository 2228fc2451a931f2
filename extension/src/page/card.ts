/** The small card on Meta's page. What the page says and styles does not reach into it (closed shadow DOM). */

/** The card's element; its words are none of the notice's. */
export const CARD = 'proof-of-objection-card';

export interface CardTexts {
  language: string;
  label: string;
  title: string;
  explanation: string;
  record: string;
  dismiss: string;
  /** Said once, to those who cannot see that a card came. */
  announcement: string;
}

export interface Card {
  /** Moves to where `notice` is now. */
  standBy(notice: Element): void;
  hide(hidden: boolean): void;
  /** Says something to the person, in the card and to a screen reader. */
  say(text: string): void;
  remove(): void;
}

const STYLE = `
/* Important here is stronger than important in the page's styles and in the style attribute. */
:host {
  all: initial !important; direction: ltr !important; display: block !important;
  position: fixed !important; inset: auto 16px 16px auto !important; z-index: 2147483647 !important;
}
:host::backdrop { display: none !important; }
section[hidden] { display: none; }
section {
  --ink: #16213a; --soft: #47526b; --paper: #ffffff; --line: #d5dae5; --accent: #1d4ed8; --on-accent: #ffffff;
  position: relative; box-sizing: border-box; width: min(340px, calc(100vw - 32px)); padding: 16px;
  border: 1px solid var(--line); border-radius: 14px; background: var(--paper); color: var(--ink);
  box-shadow: 0 8px 30px rgb(10 20 50 / 18%);
  font: 400 14px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; text-align: start;
  animation: rise 180ms ease-out;
}
p { margin: 0 0 8px; }
.title { font-size: 15px; font-weight: 600; }
.soft { color: var(--soft); }
.status { margin: 10px 0 0; font-weight: 600; }
.status:empty { margin: 0; } /* not hidden: screen readers would miss what comes */
.unseen { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
.actions { display: flex; flex-wrap: wrap; gap: 8px; margin-top: 12px; }
button {
  font: inherit; font-weight: 600; min-height: 40px; padding: 0 14px; border-radius: 10px; cursor: pointer;
  border: 1px solid var(--line); background: transparent; color: var(--ink);
}
button.primary { border-color: var(--accent); background: var(--accent); color: var(--on-accent); }
button:hover { filter: brightness(.94); }
button:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
@keyframes rise { from { opacity: 0; transform: translateY(8px); } }
@media (prefers-color-scheme: dark) {
  section { --ink: #eef2fb; --soft: #b4bfd6; --paper: #1a2233; --line: #3a465f; --accent: #8fb0ff; --on-accent: #0d1526; }
}
@media (prefers-reduced-motion: reduce) { section { animation: none; } }
@media print { :host { display: none !important; } }
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

/** Shows the card where `notice` is. Only a person's own click counts: a page can aim events at our element. */
export function showCard(notice: Element, texts: CardTexts, on: { record(): void; dismiss(): void }): Card {
  const document = notice.ownerDocument;
  const host = document.createElement(CARD);
  host.setAttribute('popover', 'manual'); // the top layer, where a modal dialog is, too
  const root = host.attachShadow({ mode: 'closed' });
  const style = element('style', '', STYLE);
  const section = element('section', '');
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
  section.append(announcement, ...words, actions, status);
  root.append(style, section);

  record.addEventListener('click', (event) => event.isTrusted && on.record());
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
    say: (text) => {
      status.textContent = text;
    },
    remove: () => {
      clearTimeout(announcing);
      host.remove();
    },
  };

  function standBy(notice: Element): void {
    const modal = notice.closest(MODAL);
    if (host.checkVisibility() && host.parentElement?.closest(MODAL) === modal) return;
    if (modal) {
      // Before the last element that takes the focus: focus traps send Tab from there back to the first.
      const last = [...modal.querySelectorAll(FOCUSABLE)].filter((one) => one.checkVisibility()).at(-1);
      if (last) last.before(host);
      else modal.append(host);
    } else {
      // Beside the body, not in it: single-page apps replace the body's children.
      document.documentElement.append(host);
    }
    host.showPopover();
  }

  function element<K extends keyof HTMLElementTagNameMap>(tag: K, name: string, text = ''): HTMLElementTagNameMap[K] {
    const made = document.createElement(tag);
    if (tag === 'button') (made as HTMLButtonElement).type = 'button';
    if (name) made.className = name;
    made.textContent = text;
    return made;
  }
}
