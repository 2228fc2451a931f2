/** Watching a single-page application for the notice: only what a change touches is looked at again. */
import rules from '../../rules/notice-rules.json';
import { ANY_PLACE, type FoundNotice, findNotice, noticeAt } from './detection';

export type { FoundNotice };

const ATTRIBUTES = ['role', 'hidden', 'aria-hidden', 'aria-modal', 'aria-label', 'open', 'inert', 'href'];
/** Style changes are not watched, there are too many: places with few words left are looked at again this often. */
const RECHECK_MS = 1_000;

export interface Watch {
  stop(): void;
  current(): FoundNotice | undefined;
}

/** Calls `onChange` when a notice appears, changes or goes, after single-page navigations too. */
export function watchForNotice(document: Document, onChange: (found: FoundNotice | undefined) => void): Watch {
  const location = document.location;
  let address = location.href;
  let current: FoundNotice | undefined;

  const show = (found: FoundNotice | undefined) => {
    const changed = found?.element !== current?.element || found?.text !== current?.text || found?.url !== current?.url;
    current = found;
    if (changed) onChange(found);
  };
  const look = () => {
    address = location.href;
    show(findNotice(document, location));
  };
  const lookAt = (changes: MutationRecord[]) => {
    if (address !== location.href) return look();
    const touched = placesTouched(changes);
    if (current) {
      // A form's page, or a notice that is still as it was.
      const still = current.channel === 'form' || (current.element.isConnected && !touched.has(current.element));
      if (still) return undefined;
      return look();
    }
    for (const place of touched) {
      const found = noticeAt(place, location);
      if (found) return show(found);
    }
    return undefined;
  };

  const observer = new MutationObserver(lookAt);
  observer.observe(document, {
    subtree: true,
    childList: true,
    characterData: true,
    attributes: true,
    attributeFilter: ATTRIBUTES,
  });
  // What appears or goes by style alone, and addresses changed without any other change.
  const timer = setInterval(look, RECHECK_MS);
  look();
  return {
    stop: () => {
      observer.disconnect();
      clearInterval(timer);
    },
    current: () => current,
  };
}

/** Returns the places that changed, or that hold something which changed. */
export function placesTouched(changes: MutationRecord[]): Set<Element> {
  const places = new Set<Element>();
  const roots = new Set<Element>();
  for (const { target, addedNodes, type } of changes) {
    const element = target.nodeType === Node.ELEMENT_NODE ? (target as Element) : target.parentElement;
    if (element) roots.add(element);
    if (type !== 'childList') continue;
    for (const added of addedNodes) {
      if (added.nodeType === Node.ELEMENT_NODE && !(added as Element).matches(rules.other_peoples_words)) {
        for (const place of (added as Element).querySelectorAll(ANY_PLACE)) places.add(place);
      }
    }
  }
  for (const root of roots) {
    // In the feed, nearly every change ends here.
    if (root.closest(rules.other_peoples_words)) continue;
    for (let place = root.closest(ANY_PLACE); place; place = place.parentElement?.closest(ANY_PLACE) ?? null) {
      places.add(place);
    }
  }
  for (const { addedNodes } of changes) {
    for (const added of addedNodes) {
      if (added.nodeType === Node.ELEMENT_NODE && (added as Element).matches(ANY_PLACE)) places.add(added as Element);
    }
  }
  return places;
}
