/** Whom a verifier trusts: the issuer's token keys, the log with its witnesses, and authorities for time. */
import type { Policy } from './contract.gen';
import { type Bytes, type Json, parseBase64 } from './encoding';
import { ObjectionError } from './errors';
import { parsePublicJwk, thumbprint } from './jws';
import { type LogPolicy, parseLogPolicy } from './log-policies';
import { verifyFields } from './schema';

/**
 * `certificates`: DER, the authority's own first, its root last; nobody has read them yet. `trusted`: whether its stamps
 * count as independent. Those of the register's own clock never do.
 */
export interface TimeAuthority {
  name: string;
  certificates: Bytes[];
  trusted: boolean;
}

/** `issuerKeys` by key id, which is the key's RFC 7638 thumbprint. `point`: the key as an X.509 certificate holds it. */
export interface TrustPolicy {
  issuer: string;
  issuerKeys: Map<string, { key: CryptoKey; point: Bytes }>;
  log: LogPolicy;
  timeAuthorities: TimeAuthority[];
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
  const timeAuthorities = policy.time_authorities.map(({ name, certificates, trusted }) => ({
    name,
    certificates: certificates.map((text) => parseBase64(text, 'policy_malformed')),
    trusted,
  }));
  if (new Set(timeAuthorities.map(({ name }) => name)).size !== timeAuthorities.length) {
    throw new ObjectionError('policy_malformed', 'two time authorities have one name');
  }
  return { issuer: policy.issuer, issuerKeys, log: await parseLogPolicy(policy.log), timeAuthorities };
}
