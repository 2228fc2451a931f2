/** Starts the verifier, as page of a register or as a file of its own. */
import { utf8 } from '../core/encoding';
import { type PinnedPolicy, parsePinnedPolicy } from '../core/verification';
import { App } from './app';
import { chooseLanguage, Speech } from './speech';
import './style.css';

void start();

async function start(): Promise<void> {
  const root = document.getElementById('app');
  if (!root) throw new Error('the page is not whole');
  if (!(await canVerify())) {
    const speech = new Speech(chooseLanguage(navigator.languages));
    document.documentElement.lang = speech.language;
    root.textContent = speech.t('unsupported');
    return;
  }
  const register = await servedPolicy();
  const app = new App(root, {
    register,
    origin: register && location.origin,
    fragment: location.hash,
    languages: navigator.languages,
    nowS: () => Math.floor(Date.now() / 1000),
  });
  addEventListener('hashchange', () => app.followFragment(location.hash));
  takeDroppedFiles(root, app);
  openForPrinting();
}

/** The policy that the register put into the page it serves; a file on its own has none. */
async function servedPolicy(): Promise<PinnedPolicy | undefined> {
  const block = document.getElementById('policy')?.textContent?.trim();
  return block ? parsePinnedPolicy(utf8(block), 'register') : undefined;
}

/** Whether the browser has what the checks need: WebCrypto (secure pages only) with Ed25519, and decompression. */
async function canVerify(): Promise<boolean> {
  try {
    new DecompressionStream('deflate-raw');
    await crypto.subtle.importKey('raw', new Uint8Array(32), { name: 'Ed25519' }, false, ['verify']);
    return true;
  } catch {
    return false;
  }
}

/** A file may be dropped anywhere: a browser would leave the page and open it instead. */
function takeDroppedFiles(root: HTMLElement, app: App): void {
  const mark = (over: boolean) => root.classList.toggle('dragging', over);
  addEventListener('dragover', (event) => {
    event.preventDefault();
    mark(true);
  });
  addEventListener('dragleave', (event) => {
    if (!event.relatedTarget) mark(false);
  });
  addEventListener('drop', (event) => {
    event.preventDefault();
    mark(false);
    const [file] = event.dataTransfer?.files ?? [];
    if (file) void app.take(file);
  });
}

/** On paper nothing can be unfolded. */
function openForPrinting(): void {
  let opened: HTMLDetailsElement[] = [];
  addEventListener('beforeprint', () => {
    opened = [...document.querySelectorAll<HTMLDetailsElement>('.checks details:not([open])')];
    for (const details of opened) details.open = true;
  });
  addEventListener('afterprint', () => {
    for (const details of opened) details.open = false;
  });
}
