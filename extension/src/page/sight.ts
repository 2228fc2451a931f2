/**
 * Whether a person had our card before them, whole and still. A page may lay something over the card, shrink it, or bring
 * it under a click that was meant for something else.
 */

const LOOK_MS = 100;
/** A page that keeps the browser busy for longer may have shown anything meanwhile. */
const MAX_GAP_MS = 400;
/** A smaller card was shrunk by the page (CSS `zoom`): nobody reads it. Pixels. */
const MIN_SIZE = { width: 200, height: 80 };
/** Where the card is looked at: near its edges and in its middle, as shares of its width and height. */
const PROBES = [0.03, 0.25, 0.5, 0.75, 0.97];
/** What a page shows above everything else. */
const TOP_LAYER = ':popover-open, :modal, :fullscreen';

export interface Sight {
  /** For how many milliseconds the card has been in full view, in a window with the focus, at one place; now 0 if not. */
  heldMs(): number;
  /** Starts to count anew. */
  restart(): void;
  stop(): void;
}

/** Watches `card`, which is shown in the top layer, in the shadow root of `host`. */
export function watchSight(host: HTMLElement, card: HTMLElement): Sight {
  const document = host.ownerDocument;
  let place: string | undefined;
  let since = 0;
  let lookedAt = 0;
  const cover = watchCover(host, card, look);
  const timer = setInterval(look, LOOK_MS);
  return {
    heldMs: () => {
      look();
      return place === undefined ? 0 : performance.now() - since;
    },
    restart: () => {
      place = undefined;
    },
    stop: () => {
      clearInterval(timer);
      cover.stop();
    },
  };

  function look(): void {
    const now = performance.now();
    const latest = placeInSight();
    if (latest !== place || now - lookedAt > MAX_GAP_MS) since = now;
    place = latest;
    lookedAt = now;
  }

  /** Returns where the card is in full view, or undefined. */
  function placeInSight(): string | undefined {
    if (document.hidden || !document.hasFocus() || host.ownerDocument !== document) return undefined;
    if (!card.checkVisibility() || isInTransition(document) || cover.isCovered()) return undefined;
    const { left, top, width, height } = card.getBoundingClientRect();
    if (width < MIN_SIZE.width || height < MIN_SIZE.height) return undefined;
    for (const across of PROBES) {
      for (const down of PROBES) {
        if (document.elementFromPoint(left + across * width, top + down * height) !== host) return undefined;
      }
    }
    return [left, top, width, height].join(' ');
  }
}

/** A view transition shows pictures of the page above everything, and may let clicks through. */
function isInTransition(document: Document): boolean {
  const active = ':active-view-transition';
  return CSS.supports(`selector(${active})`) && document.documentElement.matches(active);
}

/** What is done to the root element, which in Firefox is done to the top layer, too: a filter may draw anything. */
const PLAIN_ROOT = { filter: 'none', clipPath: 'none', maskImage: 'none' } as const;

/**
 * Watches for what covers the card and yet lets clicks through, which `elementFromPoint` does not see. Chromium tells.
 * Elsewhere nothing but the notice's own dialog may be in the top layer: what is not in there is below the card.
 */
function watchCover(host: HTMLElement, card: HTMLElement, changed: () => void) {
  if (typeof IntersectionObserverEntry === 'undefined' || !('isVisible' in IntersectionObserverEntry.prototype)) {
    return { isCovered: () => isFiltered(host.ownerDocument) || hasCompany(host), stop: () => {} };
  }
  let isCovered = true;
  const report = (entries: IntersectionObserverEntry[]) => {
    isCovered = !(entries.at(-1) as IntersectionObserverEntry & { isVisible: boolean }).isVisible;
    changed();
  };
  // `trackVisibility` with a `delay` of 100 ms or more: Intersection Observer, version 2.
  const options = { trackVisibility: true, delay: LOOK_MS, threshold: 1 };
  const observer = new IntersectionObserver(report, options);
  observer.observe(card);
  return { isCovered: () => isCovered, stop: () => observer.disconnect() };
}

function isFiltered({ documentElement }: Document): boolean {
  const style = getComputedStyle(documentElement);
  const names = Object.keys(PLAIN_ROOT) as (keyof typeof PLAIN_ROOT)[];
  return names.some((name) => style[name] !== PLAIN_ROOT[name]);
}

/** Whether anything but our card, and the dialogs that it stands in, is in the top layer. */
function hasCompany(host: HTMLElement): boolean {
  const others = [...host.ownerDocument.querySelectorAll(TOP_LAYER)];
  return others.some((one) => !one.matches('dialog') || !one.contains(host));
}
