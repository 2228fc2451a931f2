/** What browsers have and Node 20 or jsdom lacks. Real behaviour, not switches: the code under test runs unchanged. */
import 'fake-indexeddb/auto';

const queues = new Map<string, Promise<unknown>>();

/** Web Locks, exclusive only: whoever asks for a name waits for those who asked before. */
const locks = {
  request<T>(name: string, work: () => Promise<T>): Promise<T> {
    const turn = (queues.get(name) ?? Promise.resolve()).then(work, work);
    queues.set(
      name,
      turn.catch(() => undefined),
    );
    return turn;
  },
};

if (typeof navigator === 'undefined') {
  Object.defineProperty(globalThis, 'navigator', { value: {}, configurable: true, writable: true });
}
Object.defineProperty(navigator, 'locks', { value: locks, configurable: true });

if (typeof HTMLElement !== 'undefined') {
  Element.prototype.scrollIntoView = () => {};
  // No top layer and no boxes: whether a person gets to the card, real browsers tell (tests/e2e/test_card.py).
  const open = new WeakSet<Element>();
  HTMLElement.prototype.showPopover = function () {
    if (!this.isConnected || !this.hasAttribute('popover')) throw new DOMException('', 'InvalidStateError');
    open.add(this);
  };
  HTMLElement.prototype.hidePopover = () => {};
  Element.prototype.checkVisibility = function () {
    for (let around: Element | null = this; around; around = around.parentElement) {
      if (getComputedStyle(around).display === 'none' && !open.has(around)) return false;
    }
    return this.isConnected;
  };
}
