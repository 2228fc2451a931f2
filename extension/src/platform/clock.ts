/** How far this computer's clock is from the register's. */
import { browser } from 'wxt/browser';

const KEY = 'clock-offset';
/** The register takes receipts that are dated this far ahead; seconds. */
const TOLERANCE_S = 120;

/** Remembers what the Date header of an answer shows; the browser forgets it when it closes. */
export async function noteRegisterClock(date: string | null): Promise<void> {
  const registerMs = Date.parse(date ?? '');
  if (Number.isNaN(registerMs)) return;
  await browser.storage.session.set({ [KEY]: Math.round((registerMs - Date.now()) / 1000) });
}

/** Seconds to add to this computer's time to get the register's, as its last answer showed; 0 when both agree. */
export async function clockOffsetS(): Promise<number> {
  const stored = Number((await browser.storage.session.get(KEY))[KEY] ?? 0);
  return Math.abs(stored) > TOLERANCE_S ? stored : 0;
}
