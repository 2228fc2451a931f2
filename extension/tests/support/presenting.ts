/** What a verifier does with a presentation that it asked for, as `objection verify --nonce` does. */
import { ObjectionError } from '../../src/core/errors';
import type { TrustPolicy } from '../../src/core/policies';
import { type Challenge, splitPresentation, verifyBinding } from '../../src/core/presentations';
import { verifyToken } from '../../src/core/tokens';

const MAX_AGE_S = 300;

export async function verifyPresentation(text: string, policy: TrustPolicy, { audience, nonce, nowS }: Challenge) {
  const { presented, rawBinding } = splitPresentation(text);
  const token = await verifyToken(presented, policy);
  const binding = await verifyBinding(rawBinding, token, presented);
  if (binding.audience !== audience || binding.nonce !== nonce) {
    throw new ObjectionError('binding_mismatch', 'presented to another audience, or with another nonce');
  }
  if (Math.abs(nowS - binding.presentedAtS) > MAX_AGE_S) throw new ObjectionError('binding_stale', 'not presented now');
  return { token, binding };
}
