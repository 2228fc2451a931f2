/** The time stamps over a checkpoint, and what they are worth to a policy. The same as server/usecases/verify_stamps.py. */
import { type Bytes, utf8 } from './encoding';
import { ObjectionError } from './errors';
import { quorumMet, verifyWitnesses } from './log-policies';
import type { TrustPolicy } from './policies';
import { type Facts, type Saying, say } from './reports';
import { type Timestamp, verifyTimestamp } from './timestamps';

export const MAX_NAME = 200;
const CLOCK_SKEW_S = 300;
const LOCAL = 'local';

/** What the stamps over one checkpoint say. */
export interface Stamped {
  /**
   * When the first authority that the policy trusts stamped it; undefined where none did, or where the policy's quorum of
   * witnesses did not see the checkpoint.
   */
  firstAtS: number | undefined;
  /** Of each authority that the policy knows. */
  facts: NonNullable<Facts['anchors']>;
  /** One for each stamp. */
  says: Saying[];
}

/**
 * Returns what `stamps`, by file name, say of the checkpoint in `note` and of what was received before. Throws
 * `timestamp_malformed`, and `timestamp_invalid` when a stamp under the name of a known authority does not hold, or a
 * trusted one is from before `receivedAtS`.
 */
export async function verifyStamps(
  stamps: Map<string, Bytes>,
  note: string,
  policy: TrustPolicy,
  receivedAtS: number,
): Promise<Stamped> {
  const says: Saying[] = [];
  const facts: Stamped['facts'] = [];
  // By name, not by file: in `tsa.tst` and `tsa-2.tst` the suffix would turn their order round.
  const named = [...stamps].map(([file, token]) => [file.replace(/\.tst$/, ''), token] as const);
  for (const [name, token] of named.sort(([one], [other]) => (one < other ? -1 : 1))) {
    const authority = policy.timeAuthorities.find((one) => one.name === name);
    if (!authority) {
      says.push(say('by_unknown', { name }));
      continue;
    }
    const stamp = await verifyTimestamp(token, utf8(note), authority.certificates);
    if (authority.trusted) refuseEarly(stamp.atS, receivedAtS);
    facts.push({ authority: name, at: stamp.atS, trusted: authority.trusted });
    says.push(stampSaying(name, authority.trusted, stamp));
  }
  const times = facts.filter(({ trusted }) => trusted).map(({ at }) => at);
  const cosigned = (await verifyWitnesses(note, policy.log)).map(([name]) => name);
  const counts = times.length > 0 && quorumMet(policy.log, cosigned);
  return { firstAtS: counts ? Math.min(...times) : undefined, facts, says };
}

/** Throws `timestamp_invalid` for a stamp from before what it covers was received. */
export function refuseEarly(stampedAtS: number, receivedAtS: number): void {
  if (stampedAtS + CLOCK_SKEW_S < receivedAtS) {
    throw new ObjectionError('timestamp_invalid', 'stamped before it was received');
  }
}

function stampSaying(name: string, trusted: boolean, { atS, authority, saysQualified }: Timestamp): Saying {
  const untrusted = name === LOCAL ? 'by_local' : 'by_dependent';
  const key = !trusted ? untrusted : saysQualified ? 'by_qualified' : 'by_independent';
  return say(key, { name, authority: authority.slice(0, MAX_NAME), time: { time: atS } });
}
