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
 * Returns what the proof in `raw` says. Throws `proof_does_not_hold` unless it holds, is about this objection, has in it
 * what was added since, and shows no later an independent time than the proof that is kept; and what `verifyByPinned`
 * throws when the register cannot be asked, or shows other keys.
 */
export async function verifyProofOf(raw: Bytes, objection: RecordedObjection): Promise<Facts> {
  try {
    const facts = await verifyByPinned((policy) => factsOf(raw, policy, objection));
    refuseOther(facts, objection);
    return facts;
  } catch (error) {
    const about = error instanceof ObjectionError && error.code !== KEYS_CHANGED;
    if (!about || error instanceof Unreachable || error instanceof Refused) throw error;
    throw new ObjectionError('proof_does_not_hold', `${error.code}: ${error.message}`, { cause: error });
  }
}

/** Throws the code of the first check that failed, and `quorum_missed` when less is anchored than was or should be. */
async function factsOf(raw: Bytes, policy: TrustPolicy, objection: RecordedObjection): Promise<Facts> {
  const pinned = { policy, fingerprint: await policyFingerprint(policy), source: 'register' } as const;
  const { checks, facts } = await verifyProofFile(raw, { pinned, nowS: Math.floor(Date.now() / 1000) });
  const failed = checks.find(({ outcome, code }) => outcome === 'failed' && code !== WITHDRAWN);
  if (failed) throw new ObjectionError(failed.code ?? 'internal', `${failed.id}: ${failed.detail ?? ''}`);
  // An anchored one is not given up for one that is only recorded, nor called so by keys that we do not know.
  if (anchoredIn([facts, ...(facts.later ?? [])]) < Math.max(objection.anchored_told, anchoredOf(objection))) {
    throw new ObjectionError('quorum_missed', 'the proof leads to nothing that the known witnesses saw stamped');
  }
  return facts;
}

/** How many of the objection and what was added to it are anchored, in the proof that is kept here. */
export function anchoredOf(objection: RecordedObjection): number {
  return anchoredIn([objection, ...objection.later]);
}

function anchoredIn(entries: { anchored_at?: number }[]): number {
  return entries.filter(({ anchored_at }) => anchored_at !== undefined).length;
}

function refuseOther(facts: Facts, { receipt_sha256, anchored_at, later }: RecordedObjection): void {
  if (facts.receipt_sha256 !== receipt_sha256) {
    throw new ObjectionError('bundle_of_another', 'the proof is about another receipt');
  }
  refuseLaterTime(facts.anchored_at, anchored_at);
  for (const one of later.filter(({ kind }) => kind !== 'erasure')) {
    const found = facts.later?.find((fact) => fact.receipt_sha256 === one.receipt_sha256);
    if (!found) throw new ObjectionError('bundle_incomplete', 'the proof lacks what was added or withdrawn');
    refuseLaterTime(found.anchored_at, one.anchored_at);
  }
}

/** A register that changed its clocks may give a proof with a later time than the one that is kept. */
function refuseLaterTime(found: number | undefined, kept: number | undefined): void {
  if (kept !== undefined && (found === undefined || found > kept)) {
    throw new ObjectionError('anchor_later', 'the proof that is kept here shows an earlier independent time');
  }
}
