/** What the person shows to somebody or puts away: the token with chosen disclosures, and the recovery kit. */
import { formatJson, type Json, utf8 } from '../core/encoding';
import { ObjectionError } from '../core/errors';
import { signPresentation } from '../core/presentations';
import type { Slot } from '../core/tokens';
import { type RecordedObjection, read } from './database';
import { saveFile } from './downloads';
import { holderKey } from './keystore';
import type { Challenge } from './messages';

/**
 * Returns the token with the disclosures of `slots`, signed for one reader and this moment when there is a `challenge`.
 * Throws `nothing_declared` for a slot that was left empty.
 */
export async function presentation(
  { token, disclosures }: RecordedObjection,
  slots: Slot[],
  challenge: Challenge | null,
): Promise<string> {
  const opened = slots.map((slot) => {
    const disclosure = disclosures[slot];
    if (!disclosure) throw new ObjectionError('nothing_declared', `nothing was declared as ${slot}`);
    return `${disclosure}~`;
  });
  const shown = `${token}${opened.join('')}`;
  if (!challenge) return shown;
  const nowS = Math.floor(Date.now() / 1000);
  return signPresentation(shown, (await holderKey()).privateKey, { ...challenge, nowS });
}

/** Saves what opens the sealed records and the declared values, for all objections kept here. Returns the file name. */
export async function saveKit(): Promise<string> {
  return navigator.locks.request('flush', async () => {
    const objections = await read('objections', (store) => store.all());
    const { jwk } = await holderKey();
    const kit = {
      v: 1,
      kind: 'proof-of-objection-recovery-kit',
      made_at: Math.floor(Date.now() / 1000),
      register: __REGISTER_URL__,
      holder: { ...jwk },
      objections: objections.map(kitEntry),
    };
    const day = new Date(kit.made_at * 1000).toISOString().slice(0, 10);
    return saveFile(`recovery-kit-${day}.json`, utf8(`${formatJson(kit)}\n`), 'application/json');
  });
}

function kitEntry({
  receipt_sha256,
  platform,
  received_at,
  holder_share,
  disclosures,
  token,
}: RecordedObjection): Json {
  return { receipt_sha256, platform, received_at, holder_share, disclosures: { ...disclosures }, token };
}
