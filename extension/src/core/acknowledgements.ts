/** The register's signed word that it recorded a later receipt: a supplement, a withdrawal, an erasure. */
import type { AcknowledgementClaims } from './contract.gen';
import { formatJson, type Json } from './encoding';
import { ObjectionError } from './errors';
import { parseJws, parsePublicJwk, verifyJws } from './jws';
import type { TrustPolicy } from './policies';
import { CLOCK_SKEW_S, type VerifiedReceipt } from './receipts';
import { verifyFields } from './schema';

const ACKNOWLEDGEMENT_TYPE = 'objection-acknowledgement+jwt';

/**
 * Returns the claims once an issuer key of `policy` signed them, and they are about `receipt` and no other.
 * Throws the codes of a token, with `token_receipt_mismatch`.
 */
export async function verifyAcknowledgement(
  text: string,
  receipt: VerifiedReceipt,
  policy: TrustPolicy,
): Promise<AcknowledgementClaims> {
  const jws = parseJws(text, ACKNOWLEDGEMENT_TYPE, ['kid', 'x5c']);
  const { kid } = jws.header;
  const issuer = typeof kid === 'string' ? policy.issuerKeys.get(kid) : undefined;
  if (!issuer) {
    throw new ObjectionError('token_issuer_unknown', 'signed with a key that the policy does not trust');
  }
  const claims = verifyFields('AcknowledgementClaims', await verifyJws(jws, issuer.key));
  if (claims.iss !== policy.issuer) {
    throw new ObjectionError('token_issuer_unknown', "issued under another name than the policy's");
  }
  await parsePublicJwk({ ...claims.cnf.jwk });
  const expected = expectedClaims(claims, receipt);
  const canonical = (value: unknown) => formatJson(value as Json);
  const names = Object.keys(expected) as (keyof AcknowledgementClaims)[];
  const differing = names.filter((name) => canonical(claims[name]) !== canonical(expected[name]));
  if (differing.length > 0) throw mismatch(`acknowledgement and receipt differ in: ${differing.join(', ')}`);
  if (receipt.payload.iat > claims.received_at + CLOCK_SKEW_S) throw mismatch('received before it was signed');
  return claims;
}

function expectedClaims(claims: AcknowledgementClaims, receipt: VerifiedReceipt): AcknowledgementClaims {
  const { payload } = receipt;
  if (payload.kind === 'objection') throw mismatch('an objection has a token, and no acknowledgement');
  const evidence = payload.kind === 'supplement' ? payload.evidence : [];
  const seen = new Map(claims.evidence.map(({ name, dkim }) => [name, dkim]));
  return {
    iss: claims.iss,
    iat: claims.received_at,
    cnf: { jwk: receipt.holderJwk },
    kind: payload.kind,
    objection_sha256: payload.objection_sha256,
    receipt_sha256: receipt.sha256Hex,
    signed_at: payload.iat,
    received_at: claims.received_at,
    log: claims.log,
    evidence: evidence.map(({ name, media_type, sha256 }) => {
      // What the register saw in a mail is its own word; anything else has no signature to see.
      const dkim = media_type === 'message/rfc822' ? seen.get(name) : undefined;
      return { name, media_type, sha256, ...(dkim ? { dkim } : {}) };
    }),
  };
}

const mismatch = (message: string) => new ObjectionError('token_receipt_mismatch', message);
