/** Checks a fetched proof as a stranger would, by the pinned policy: only what holds takes the place of one that does. */
import type { Bytes } from '../core/encoding';
import { ObjectionError } from '../core/errors';
import { policyFingerprint, type TrustPolicy } from '../core/policies';
import type { Facts } from '../core/reports';
import { verifyProofFile } from '../core/verification';
import type { RecordedObjection } from './database';
import { KEYS_CHANGED, verifyByPinned } from './pins';
import { Refused, Unreachable } from './register';

/** Of what failed, no reason against a proof: its subject was withdrawn. */
const WITHDRAWN = 'objection_withdrawn';

/**
 * Throws `proof_does_not_hold` unless the proof in `raw` holds, is about this objection, and has in it what was added
 * since; and what `verifyByPinned` throws when the register cannot be asked, or shows other keys.
 */
export async function verifyProofOf(raw: Bytes, objection: RecordedObjection): Promise<void> {
  try {
    refuseOther(await verifyByPinned((policy) => factsOf(raw, policy, objection)), objection);
  } catch (error) {
    const about = error instanceof ObjectionError && error.code !== KEYS_CHANGED;
    if (!about || error instanceof Unreachable || error instanceof Refused) throw error;
    throw new ObjectionError('proof_does_not_hold', `${error.code}: ${error.message}`, { cause: error });
  }
}

/** Throws the code of the first check that failed, and `quorum_missed` when the proof should be anchored and is not. */
async function factsOf(raw: Bytes, policy: TrustPolicy, objection: RecordedObjection): Promise<Facts> {
  const pinned = { policy, fingerprint: await policyFingerprint(policy), source: 'register' } as const;
  const { checks, facts } = await verifyProofFile(raw, { pinned, nowS: Math.floor(Date.now() / 1000) });
  const failed = checks.find(({ outcome, code }) => outcome === 'failed' && code !== WITHDRAWN);
  if (failed) throw new ObjectionError(failed.code ?? 'internal', `${failed.id}: ${failed.detail ?? ''}`);
  // An anchored one is not given up for one that is only recorded, nor called so by keys that we do not know.
  if (objection.anchored_entries > 0 && facts.state !== 'anchored') {
    throw new ObjectionError('quorum_missed', 'the proof leads to nothing that the known witnesses saw stamped');
  }
  return facts;
}

function refuseOther(facts: Facts, { receipt_sha256, later }: RecordedObjection): void {
  if (facts.receipt_sha256 !== receipt_sha256) {
    throw new ObjectionError('bundle_of_another', 'the proof is about another receipt');
  }
  if ((facts.later ?? []).length < later.filter(({ kind }) => kind !== 'erasure').length) {
    throw new ObjectionError('bundle_incomplete', 'the proof lacks what was added or withdrawn');
  }
}
