/** The register's keys, remembered from first use: a register that changes keys is noticed, not followed. */
import { browser } from 'wxt/browser';
import type { Policy } from '../core/contract.gen';
import { formatJson, type Json, type JsonObject } from '../core/encoding';
import { ObjectionError } from '../core/errors';
import { parseTrustPolicy, type TrustPolicy } from '../core/policies';
import { verifyFields } from '../core/schema';
import { getPolicy } from './register';

const KEY = 'pinned-policy';
/** What a register with other keys than the pinned ones makes the verifiers say. */
const UNKNOWN_KEY_CODES = ['token_issuer_unknown', 'note_unverified'];

interface Pinned {
  policy: Policy;
  pinned_at: number;
}

/** Returns the pinned policy, pinning what the register shows now when there is none. */
async function pinnedPolicy(): Promise<TrustPolicy> {
  const pinned = await stored();
  if (pinned) return parseTrustPolicy(pinned.policy as unknown as Json);
  const { policy } = await getPolicy();
  const trusted = await parseTrustPolicy(policy as unknown as Json); // before pinning: never remember what is unusable
  await store(policy);
  return trusted;
}

/**
 * Returns what `verify` makes of the pinned policy. Throws its error, or `register_keys_changed` when it failed because
 * the register now shows other keys than the pinned ones.
 */
export async function verifyByPinned<T>(verify: (policy: TrustPolicy) => Promise<T>): Promise<T> {
  const policy = await pinnedPolicy();
  try {
    return await verify(policy);
  } catch (error) {
    if (error instanceof ObjectionError && UNKNOWN_KEY_CODES.includes(error.code)) await refuseChangedKeys();
    throw error;
  }
}

async function refuseChangedKeys(): Promise<void> {
  const pinned = await stored();
  const { policy } = await getPolicy();
  if (pinned && text(pinned.policy) !== text(policy)) {
    throw new ObjectionError('register_keys_changed', 'the register shows other keys than when it was first used');
  }
}

/** Replaces the pinned policy by what the register shows now: only ever on the person's word. */
export async function acceptShownKeys(): Promise<void> {
  const { policy } = await getPolicy();
  await parseTrustPolicy(policy as unknown as Json);
  await store(policy);
}

async function stored(): Promise<Pinned | undefined> {
  const found: unknown = (await browser.storage.local.get(KEY))[KEY];
  if (found === undefined) return undefined;
  const { policy, pinned_at } = found as JsonObject;
  return { policy: verifyFields('Policy', policy ?? null), pinned_at: Number(pinned_at) };
}

async function store(policy: Policy): Promise<void> {
  await browser.storage.local.set({ [KEY]: { policy, pinned_at: Date.now() } satisfies Pinned });
}

const text = (policy: Policy) => formatJson(policy as unknown as Json);
