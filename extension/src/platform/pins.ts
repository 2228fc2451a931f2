/** The register's keys, remembered from first use: a register that changes keys is noticed, not followed. */
import { browser } from 'wxt/browser';
import type { Policy } from '../core/contract.gen';
import { formatJson, type Json, type JsonObject } from '../core/encoding';
import { ObjectionError } from '../core/errors';
import { parseTrustPolicy, policyFingerprint, type TrustPolicy } from '../core/policies';
import { verifyFields } from '../core/schema';
import { getPolicy } from './register';
import type { KeysView } from './views';

const KEY = 'pinned-policy';
export const KEYS_CHANGED = 'register_keys_changed';
/** What a register with other keys than the pinned ones makes the verifiers say. */
const UNKNOWN_KEY_CODES = ['token_issuer_unknown', 'note_unverified', 'quorum_missed', 'document_signature_invalid'];

/** Returns the pinned policy, pinning what the register shows now when there is none. */
async function pinnedPolicy(): Promise<Policy> {
  return (await stored()) ?? pin(await getPolicy());
}

/** Never remembers what is unusable. */
async function pin(policy: Policy): Promise<Policy> {
  await parseTrustPolicy(asJson(policy));
  await browser.storage.local.set({ [KEY]: { policy } });
  return policy;
}

/**
 * Returns what `verify` makes of the pinned policy. Throws its error, or `register_keys_changed` when it failed because
 * the register now shows other keys than the pinned ones.
 */
export async function verifyByPinned<T>(verify: (policy: TrustPolicy) => Promise<T>): Promise<T> {
  const policy = await parseTrustPolicy(asJson(await pinnedPolicy()));
  try {
    return await verify(policy);
  } catch (error) {
    if (error instanceof ObjectionError && UNKNOWN_KEY_CODES.includes(error.code)) await refuseChangedKeys();
    throw error;
  }
}

/** Whether the pinned policy names a clock that is independent of the register. */
export async function namesClock(): Promise<boolean> {
  return (await pinnedPolicy()).time_authorities.some(({ trusted }) => trusted);
}

async function refuseChangedKeys(): Promise<void> {
  const pinned = await stored();
  if (pinned && formatJson(asJson(pinned)) !== formatJson(asJson(await getPolicy()))) {
    throw new ObjectionError(KEYS_CHANGED, 'the register shows other keys than when it was first used');
  }
}

async function fingerprint(policy: Policy): Promise<string> {
  return policyFingerprint(await parseTrustPolicy(asJson(policy)));
}

/** Returns the fingerprints of the pinned policy and of what the register shows now. */
export async function compareKeys(): Promise<KeysView> {
  return { pinned: await fingerprint(await pinnedPolicy()), shown: await fingerprint(await getPolicy()) };
}

/**
 * Replaces the pinned policy by what the register shows now, if that is what `shown` names: only ever on the person's
 * word. Throws `keys_changed_again` when it is another one, which they have not seen.
 */
export async function acceptShownKeys(shown: string): Promise<void> {
  const policy = await getPolicy();
  if ((await fingerprint(policy)) !== shown) {
    throw new ObjectionError('keys_changed_again', 'the register shows other keys than those that were looked at');
  }
  await pin(policy);
}

async function stored(): Promise<Policy | undefined> {
  const found: unknown = (await browser.storage.local.get(KEY))[KEY];
  return found === undefined ? undefined : verifyFields('Policy', (found as JsonObject).policy ?? null);
}

const asJson = (policy: Policy) => policy as unknown as Json;
