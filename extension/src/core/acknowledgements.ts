/** The register's signed word that it recorded a later receipt. */
import type { AcknowledgementClaims } from './contract.gen';
import { formatJson, type Json } from './encoding';
import { ObjectionError } from './errors';
import { parseJws, verifyJws } from './jws';
import type { TrustPolicy } from './policies';
import type { VerifiedReceipt } from './receipts';
import { verifyFields } from './schema';

const ACKNOWLEDGEMENT_TYPE = 'objection-acknowledgement+jwt';

/** Returns the claims once an issuer key of `policy` signed them and they say what `receipt` says. */
export async function verifyAcknowledgement(
  text: string,
  receipt: VerifiedReceipt,
  policy: TrustPolicy,
): Promise<AcknowledgementClaims> {
  const jws = parseJws(text, ACKNOWLEDGEMENT_TYPE, ['kid', 'x5c']);
  const { kid } = jws.header;
  const issuer = typeof kid === 'string' ? policy.issuerKeys.get(kid) : undefined;
  if (!issuer) throw new ObjectionError('token_issuer_unknown', 'signed with a key that the policy does not trust');
  const claims = verifyFields('AcknowledgementClaims', await verifyJws(jws, issuer.key));
  if (claims.iss !== policy.issuer) throw new ObjectionError('token_issuer_unknown', 'issued under another name');
  const { payload } = receipt;
  if (payload.kind === 'objection') throw new ObjectionError('token_receipt_mismatch', 'an objection has a token');
  const evidence = payload.kind === 'supplement' ? payload.evidence : [];
  const expected = {
    cnf: { jwk: receipt.holderJwk },
    iat: claims.received_at,
    kind: payload.kind,
    objection_sha256: payload.objection_sha256,
    receipt_sha256: receipt.sha256Hex,
    signed_at: payload.iat,
  };
  const named = claims.evidence.map(({ name, media_type, sha256 }) => ({ name, media_type, sha256 }));
  const items = evidence.map(({ name, media_type, sha256 }) => ({ name, media_type, sha256 }));
  const text_ = (value: unknown) => formatJson(value as Json);
  const differing = Object.entries(expected).some(
    ([name, value]) => text_(claims[name as keyof typeof expected]) !== text_(value),
  );
  if (differing || text_(named) !== text_(items)) {
    throw new ObjectionError('token_receipt_mismatch', 'acknowledgement and receipt differ');
  }
  return claims;
}
