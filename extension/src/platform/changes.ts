/** Tells open popups and review sheets that something they show may have changed; carries nothing else. */
const NAME = 'changes';

export function announceChange(): void {
  const channel = new BroadcastChannel(NAME);
  channel.postMessage(null);
  channel.close();
}

export function onChange(listener: () => void): void {
  new BroadcastChannel(NAME).onmessage = () => listener();
}
