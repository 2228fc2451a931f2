/** Watching a single-page application for the notice: only what a change touches is looked at again. */
import {
  candidatesAround,
  candidatesIn,
  type FoundNotice,
  isOtherPeoplesWords,
  lookFor,
  outermostPlace,
} from './detection';

export type { FoundNotice };

const ATTRIBUTES = [
  'role',
  'hidden',
  'aria-hidden',
  'aria-modal',
  'aria-label',
  'aria-labelledby',
  'contenteditable',
  'open',
  'inert',
  'href',
];
/** Style changes are not watched, there are too many; nor are addresses, pages change those without an event. */
const RECHECK_MS = 1_000;
/** Where no words of a notice wait to be shown, only every so many rechecks look at the whole page. */
const IDLE_RECHECKS = 5;

export interface Watch {
  stop(): void;
  current(): FoundNotice | undefined;
}

/**
 * Calls `onChange` when a notice appears, changes or goes, after single-page navigations too; and once a second while it
 * is there, for what was put beside it may be gone.
 */
export function watchForNotice(document: Document, onChange: (found: FoundNotice | undefined) => void): Watch {
  const location = document.location;
  let address = location.href;
  let current: FoundNotice | undefined;
  let isWaiting = false;
  let rechecks = 0;

  const look = (): boolean => {
    address = location.href;
    const { found, isWaiting: waits } = lookFor(document, location);
    isWaiting = waits;
    const changed = found?.element !== current?.element || found?.text !== current?.text || found?.url !== current?.url;
    current = found;
    if (changed) onChange(found);
    return changed;
  };
  const lookAt = (changes: MutationRecord[]) => {
    // Always the whole page, so that what is found does not depend on the order in which it arrived.
    if (address !== location.href || mayConcernNotice(changes, current, location)) look();
  };

  const recheck = () => {
    if (document.hidden) return;
    rechecks += 1;
    const isDue = isWaiting || address !== location.href || rechecks % IDLE_RECHECKS === 0;
    const isTold = isDue && look();
    if (current && !isTold) onChange(current);
  };

  const observer = new MutationObserver(lookAt);
  observer.observe(document, {
    subtree: true,
    childList: true,
    characterData: true,
    attributes: true,
    attributeFilter: ATTRIBUTES,
  });
  const timer = setInterval(recheck, RECHECK_MS);
  look();
  return {
    stop: () => {
      observer.disconnect();
      clearInterval(timer);
    },
    current: () => current,
  };
}

/** Returns whether `changes` touch the notice that is known, or a place that may have become one. */
function mayConcernNotice(changes: MutationRecord[], current: FoundNotice | undefined, location: Location): boolean {
  if (current && someConcern(changes, current.element)) return true;
  const { changed, fresh } = elementsIn(changes);
  for (const element of changed) {
    if (any(candidatesAround(element, location))) return true;
  }
  for (const element of fresh) {
    if (any(candidatesIn(element, location))) return true;
  }
  return false;
}

/** Returns whether a change is in the place around `notice`, or hides, moves or removes something that holds it. */
function someConcern(changes: MutationRecord[], notice: Element): boolean {
  const place = outermostPlace(notice);
  return changes.some(({ type, target, removedNodes }) => {
    if (place.contains(target) || (type === 'attributes' && target.contains(notice))) return true;
    return [...removedNodes].some((removed) => removed.contains(notice));
  });
}

/** Sorts what `changes` touched outside of other people's words: changed as it stands, or to be looked through. */
function elementsIn(changes: MutationRecord[]): { changed: Set<Element>; fresh: Set<Element> } {
  const changed = new Set<Element>();
  const fresh = new Set<Element>();
  const ignored = new Set<Element>();
  for (const { type, target, addedNodes } of changes) {
    const element = target.nodeType === Node.ELEMENT_NODE ? (target as Element) : target.parentElement;
    if (!element || ignored.has(element)) continue;
    // In the feed, nearly every change ends here.
    if (!changed.has(element) && isOtherPeoplesWords(element)) {
      ignored.add(element);
      continue;
    }
    changed.add(element);
    if (type === 'attributes') fresh.add(element);
    for (const added of addedNodes) if (added.nodeType === Node.ELEMENT_NODE) fresh.add(added as Element);
  }
  return { changed, fresh };
}

function any(some: Iterable<unknown>): boolean {
  for (const _ of some) return true;
  return false;
}
