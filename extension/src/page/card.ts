/** The small card on Meta's page. Its styles and the page's cannot touch each other (shadow DOM). */

export interface CardTexts {
  language: string;
  label: string;
  title: string;
  explanation: string;
  record: string;
  dismiss: string;
}

export interface Card {
  hide(hidden: boolean): void;
  /** Says something to the person, in the card and to a screen reader. */
  say(text: string): void;
  remove(): void;
}

const STYLE = `
:host { all: initial; }
:host([hidden]) { display: none; }
section {
  --ink: #16213a; --soft: #47526b; --paper: #ffffff; --line: #d5dae5; --accent: #1d4ed8; --on-accent: #ffffff;
  position: fixed; z-index: 2147483647; inset: auto 16px 16px auto; box-sizing: border-box;
  width: min(340px, calc(100vw - 32px)); padding: 16px; border: 1px solid var(--line); border-radius: 14px;
  background: var(--paper); color: var(--ink); box-shadow: 0 8px 30px rgb(10 20 50 / 18%);
  font: 400 14px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; text-align: start;
  animation: rise 180ms ease-out;
}
p { margin: 0 0 8px; }
.title { font-size: 15px; font-weight: 600; }
.soft { color: var(--soft); }
.status:empty { display: none; }
.status { margin: 10px 0 0; font-weight: 600; }
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
@media print { :host { display: none; } }
`;

/** Shows the card. Only a person's own click counts: a page could dispatch events into an open shadow root. */
export function showCard(document: Document, texts: CardTexts, on: { record(): void; dismiss(): void }): Card {
  const host = document.createElement('proof-of-objection-card');
  const root = host.attachShadow({ mode: 'open' });
  const style = element('style', '', STYLE);
  const section = element('section', '');
  section.setAttribute('role', 'region');
  section.setAttribute('aria-label', texts.label);
  section.lang = texts.language;
  const record = element('button', 'primary', texts.record);
  const dismiss = element('button', '', texts.dismiss);
  const status = element('p', 'status');
  status.setAttribute('role', 'status');
  const actions = element('div', 'actions');
  actions.append(record, dismiss);
  section.append(element('p', 'title', texts.title), element('p', 'soft', texts.explanation), actions, status);
  root.append(style, section);

  record.addEventListener('click', (event) => event.isTrusted && on.record());
  dismiss.addEventListener('click', (event) => event.isTrusted && on.dismiss());
  section.addEventListener('keydown', (event) => {
    event.stopPropagation(); // the page's shortcuts are not meant for our buttons
    if (event.isTrusted && event.key === 'Escape') on.dismiss();
  });
  // Beside the body, not in it: single-page apps replace the body's children.
  document.documentElement.append(host);

  return {
    hide: (hidden) => host.toggleAttribute('hidden', hidden),
    say: (text) => {
      status.textContent = text;
    },
    remove: () => host.remove(),
  };

  function element<K extends keyof HTMLElementTagNameMap>(tag: K, name: string, text = ''): HTMLElementTagNameMap[K] {
    const made = document.createElement(tag);
    if (tag === 'button') (made as HTMLButtonElement).type = 'button';
    if (name) made.className = name;
    made.textContent = text;
    return made;
  }
}
