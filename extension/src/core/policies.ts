/** Whom a verifier trusts: the issuer's token keys, the log with its witnesses, and authorities for time. */
import type { Policy } from './contract.gen';
import {
  type Bytes,
  formatBase64,
  formatBase64url,
  formatJson,
  type Json,
  type JsonObject,
  parseBase64,
  sha256Hex,
  utf8,
} from './encoding';
import { ObjectionError } from './errors';
import { parseJws, parsePublicJwk, thumbprint, verifyJws } from './jws';
import { formatLogPolicy, type LogPolicy, parseLogPolicy } from './log-policies';
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

/**
 * Returns what a register publishes for comparison: the SHA-256, in hex, of the policy in canonical form. It covers all
 * keys. That of an issuer key alone would let a stranger name a log, witnesses and clocks of their own.
 */
export async function policyFingerprint({ issuer, issuerKeys, log, timeAuthorities }: TrustPolicy): Promise<string> {
  const canonical = {
    v: 1,
    issuer,
    issuer_keys: [...issuerKeys]
      .sort(([one], [other]) => (one < other ? -1 : 1))
      .map(([kid, { point }]) => ({
        kid,
        kty: 'EC',
        crv: 'P-256',
        x: formatBase64url(point.slice(1, 33)),
        y: formatBase64url(point.slice(33)),
      })),
    log: formatLogPolicy(log),
    time_authorities: timeAuthorities.map(({ name, certificates, trusted }) => ({
      name,
      certificates: certificates.map(formatBase64),
      trusted,
    })),
  };
  return sha256Hex(utf8(formatJson(canonical)));
}

/**
 * Returns claims and key id of a statement (compact JWS of type `typ`) once a key of `policy`'s issuer signed it. Whether
 * the claims have the form of their type is for the caller to check. The certificate in `x5c` is for readers who know no
 * policy; it is not judged here. Throws the codes of JWS, `token_issuer_unknown`, `signature_invalid`.
 */
export async function verifyIssued(
  text: string,
  policy: TrustPolicy,
  typ: string,
): Promise<{ claims: JsonObject; kid: string }> {
  const jws = parseJws(text, typ, ['kid', 'x5c']);
  const { kid } = jws.header;
  const issuer = typeof kid === 'string' ? policy.issuerKeys.get(kid) : undefined;
  if (typeof kid !== 'string' || !issuer) {
    throw new ObjectionError('token_issuer_unknown', 'signed with a key that the policy does not trust');
  }
  return { claims: await verifyJws(jws, issuer.key), kid };
}
