// @vitest-environment jsdom
import { afterEach, describe, expect, it, vi } from 'vitest';
import { type Card, showCard } from '../../src/page/card';

const TEXTS = {
  language: 'fr',
  label: 'Proof of Objection',
  title: 'Found.',
  explanation: 'Nothing was sent.',
  record: 'Record my objection',
  dismiss: 'Not now',
  announcement: 'A card came.',
  again: 'Once more.',
};
let card: Card | undefined;

afterEach(() => {
  card?.remove();
  document.body.innerHTML = '';
});

/** Shows the card for `notice`. The closed root is handed to nobody: it is seen here as it is made. */
function shown(notice: Element = document.body) {
  const on = { record: vi.fn(), dismiss: vi.fn() };
  const attach = vi.spyOn(Element.prototype, 'attachShadow');
  card = showCard(notice, TEXTS, on);
  const root: ShadowRoot = attach.mock.results.at(-1)?.value;
  const host = root.host;
  const region = root.querySelector('section');
  if (!region) throw new Error('no card');
  return { on, host, region };
}

function dialog(html: string): Element {
  document.body.innerHTML = `<div aria-modal="true"><p id="notice">AI at Meta</p>${html}</div>`;
  return document.querySelector('#notice') as Element;
}

describe('the card', () => {
  it('is a labelled region in its own language, outside the page’s body', () => {
    const { host, region } = shown();
    expect(region.getAttribute('role')).toBe('region');
    expect(region.getAttribute('aria-label')).toBe(TEXTS.label);
    expect(region.lang).toBe('fr');
    expect(host.parentElement).toBe(document.documentElement);
  });

  it('does not take the focus', () => {
    const before = document.activeElement;
    shown();
    expect(document.activeElement).toBe(before);
  });

  it('ignores clicks and keys that the page made up', () => {
    const { on, region } = shown();
    for (const button of region.querySelectorAll('button')) button.click();
    region.dispatchEvent(new KeyboardEvent('keydown', { key: 'Escape', bubbles: true }));
    expect(on.record).not.toHaveBeenCalled();
    expect(on.dismiss).not.toHaveBeenCalled();
  });

  it('keeps keys from the page’s shortcuts', () => {
    const { region } = shown();
    const heard = vi.fn();
    document.addEventListener('keydown', heard);
    region.dispatchEvent(new KeyboardEvent('keydown', { key: 'l', bubbles: true, composed: true }));
    document.removeEventListener('keydown', heard);
    expect(heard).not.toHaveBeenCalled();
  });

  it('hides for a screenshot and comes back', () => {
    const { region } = shown();
    card?.hide(true);
    expect(region.hidden).toBe(true);
    card?.hide(false);
    expect(region.hidden).toBe(false);
  });

  it('speaks to screen readers', () => {
    const { region } = shown();
    card?.say('Opened.');
    expect([...region.querySelectorAll('[role=status]')].map((one) => one.textContent)).toEqual(['', 'Opened.']);
  });

  it('is announced once it is there, and not again when it moves', async () => {
    const { region } = shown(dialog(''));
    const announcement = region.querySelector('[role=status]') as Element;
    expect(announcement.textContent).toBe('');
    await vi.waitFor(() => expect(announcement.textContent).toBe(TEXTS.announcement));
    const said = new MutationObserver(() => {});
    said.observe(region, { subtree: true, childList: true, characterData: true });
    card?.standBy(dialog(''));
    expect(said.takeRecords()).toEqual([]);
  });

  it('is closed to the page, in a host without a name that the page could define, nor a style it could win', () => {
    const { host, region } = shown();
    expect(host.shadowRoot).toBeNull();
    expect(host.localName).toBe('div');
    expect(host.getAttributeNames()).toEqual([]);
    expect(region.parentNode?.querySelector('style')?.textContent).not.toMatch(/var\(|--|animation|transition/);
  });

  it('takes off what the page gave its host', () => {
    const { host } = shown();
    for (const name of ['inert', 'aria-hidden', 'hidden', 'style', 'popover']) host.setAttribute(name, 'true');
    card?.standBy(document.body);
    expect(host.getAttributeNames()).toEqual([]);
  });

  it('stands in the modal dialog of the notice, before the last element that takes the focus', () => {
    const { host } = shown(dialog('<a href="/x">Object</a><button id="last">OK</button><a hidden href="/y">n</a>'));
    expect(host.nextElementSibling?.id).toBe('last');
  });

  it('stands in a modal dialog that has nothing to focus', () => {
    expect(shown(dialog('')).host.parentElement?.hasAttribute('aria-modal')).toBe(true);
  });

  it('follows a notice that is drawn anew', () => {
    const { host } = shown(dialog('<button>1</button>'));
    const again = dialog('<button id="last">2</button>');
    expect(host.isConnected).toBe(false);
    card?.standBy(again);
    expect(host.nextElementSibling?.id).toBe('last');
    card?.standBy(document.body);
    expect(host.parentElement).toBe(document.documentElement);
  });

  it('keeps clicks from the dialog that it stands in', () => {
    const { region } = shown(dialog(''));
    const heard = vi.fn();
    document.body.addEventListener('click', heard);
    region.querySelector('button')?.click();
    document.body.removeEventListener('click', heard);
    expect(heard).not.toHaveBeenCalled();
  });
});
