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
};
let card: Card | undefined;

afterEach(() => card?.remove());

function shown() {
  const on = { record: vi.fn(), dismiss: vi.fn() };
  card = showCard(document, TEXTS, on);
  const host = document.querySelector('proof-of-objection-card');
  const region = host?.shadowRoot?.querySelector('section');
  if (!host || !region) throw new Error('no card');
  return { on, host, region };
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
    const { host } = shown();
    card?.hide(true);
    expect(host.hasAttribute('hidden')).toBe(true);
    card?.hide(false);
    expect(host.hasAttribute('hidden')).toBe(false);
  });

  it('speaks to screen readers', () => {
    const { region } = shown();
    card?.say('Opened.');
    expect(region.querySelector('[role=status]')?.textContent).toBe('Opened.');
  });
});
