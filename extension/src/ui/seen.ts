/** Whether a person has had a page of ours before them: what was drawn this moment may lie under a click meant for another. */

const LOOK_MS = 100;

/** What lets a button be used, or not. */
export interface Gate {
  isOpen(): boolean;
  onChange(listener: () => void): void;
}

/** Opens once the page was in front and had the focus for `ms` at a stretch, and closes when that ends. */
export function watchSeen(document: Document, ms: number): Gate & { stop(): void } {
  const window = document.defaultView;
  const events = ['focus', 'blur', 'visibilitychange'];
  const listeners: (() => void)[] = [];
  let since: number | undefined;
  let isOpen = false;
  // Also by the clock: not every browser tells each change in time.
  const timer = setInterval(look, LOOK_MS);
  for (const event of events) window?.addEventListener(event, look, true);
  look();
  return {
    isOpen: () => {
      look();
      return isOpen;
    },
    onChange: (listener) => listeners.push(listener),
    stop: () => {
      clearInterval(timer);
      for (const event of events) window?.removeEventListener(event, look, true);
    },
  };

  function look(): void {
    if (document.hidden || !document.hasFocus()) since = undefined;
    else since ??= performance.now();
    const isSeen = since !== undefined && performance.now() - since >= ms;
    if (isSeen === isOpen) return;
    isOpen = isSeen;
    for (const listener of listeners) listener();
  }
}
