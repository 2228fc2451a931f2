/** Whom a verifier trusts: the issuer's token keys and the log's key. */
import type { Policy } from './contract.gen';
import type { Bytes, Json } from './encoding';
import { ObjectionError } from './errors';
import { parsePublicJwk, thumbprint } from './jws';
import { parseLogPolicy, type VerifierKey } from './notes';
import { verifyFields } from './schema';

/** `issuerKeys` by key id, which is the key's RFC 7638 thumbprint. `point`: the key as an X.509 certificate holds it. */
export interface TrustPolicy {
  issuer: string;
  issuerKeys: Map<string, { key: CryptoKey; point: Bytes }>;
  log: VerifierKey;
}

/** Reads a policy document. Throws `field_invalid`, `policy_malformed` or `key_refused`. */
export async function parseTrustPolicy(value: Json): Promise<TrustPolicy> {
  const policy: Policy = verifyFields('Policy', value);
  const issuerKeys: TrustPolicy['issuerKeys'] = new Map();
  for (const { kid, ...jwk } of policy.issuer_keys) {
    const { key, point } = await parsePublicJwk({ ...jwk });
    if ((await thumbprint(jwk)) !== kid) {
      throw new ObjectionError('policy_malformed', "a key id is not its key's thumbprint");
    }
    issuerKeys.set(kid, { key, point });
  }
  return { issuer: policy.issuer, issuerKeys, log: await parseLogPolicy(policy.log) };
}
