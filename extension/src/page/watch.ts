// Stand-in until detection is here: a dialog that mentions AI is the notice. NOT the real rules.
import type { Notice } from '../core/detection';
export interface FoundNotice extends Notice {
  element: Element;
}
export function watchForNotice(document: Document, onChange: (found: FoundNotice | undefined) => void) {
  let now: FoundNotice | undefined;
  const look = () => {
    const element = document.querySelector('[role=dialog]');
    const next = element?.textContent?.includes('AI')
      ? {
          platform: 'facebook' as const,
          channel: 'in-app' as const,
          language: 'en',
          rule: 'stand-in',
          ruleset: '2026.11.1',
          url:
            __PRACTICE__ && location.protocol === 'http:'
              ? `${location.origin}/practice`
              : location.origin + location.pathname,
          text: element.textContent.replace(/\s+/g, ' ').trim(),
          element,
        }
      : undefined;
    if (next?.text !== now?.text) {
      now = next;
      onChange(now);
    }
  };
  const observer = new MutationObserver(look);
  observer.observe(document, { subtree: true, childList: true, characterData: true });
  look();
  return { stop: () => observer.disconnect(), current: () => now };
}
