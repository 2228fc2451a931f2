/** The register's signed word that it recorded a later receipt: a supplement, a withdrawal, an erasure. */
import type { AcknowledgementClaims } from './contract.gen';
import { formatJson, type Json } from './encoding';
import { ObjectionError } from './errors';
import { parsePublicJwk } from './jws';
import { MAIL_TYPE, type MailFinding } from './mail';
import { type TrustPolicy, verifyIssued } from './policies';
import type { VerifiedReceipt } from './receipts';
import { verifyFields } from './schema';

const TYPE = 'objection-acknowledgement+jwt';
const CLOCK_SKEW_S = 300;

/** `dkim`: what the register found of each mail, by evidence name. */
export interface VerifiedAcknowledgement {
  claims: AcknowledgementClaims;
  dkim: Map<string, MailFinding>;
}

/**
 * Returns the acknowledgement once an issuer key of `policy` signed it, and it is about `receipt` and no other.
 * Throws the codes of a token, with `token_receipt_mismatch`.
 */
export async function verifyAcknowledgement(
  text: string,
  receipt: VerifiedReceipt,
  policy: TrustPolicy,
): Promise<VerifiedAcknowledgement> {
  const issued = await verifyIssued(text, policy, TYPE);
  const claims = verifyFields('AcknowledgementClaims', issued.claims);
  if (claims.iss !== policy.issuer) {
    throw new ObjectionError('token_issuer_unknown', "issued under another name than the policy's");
  }
  await parsePublicJwk({ ...claims.cnf.jwk });
  const { payload } = receipt;
  if (payload.kind === 'objection') throw mismatch('an objection has a token, and no acknowledgement');
  const dkim = new Map<string, MailFinding>();
  for (const item of claims.evidence) if (item.dkim) dkim.set(item.name, item.dkim);
  const evidence = 'evidence' in payload ? payload.evidence : [];
  if (evidence.some(({ name, media_type }) => media_type === MAIL_TYPE && !dkim.has(name))) {
    throw mismatch('the acknowledgement does not say what was found of a mail');
  }
  const expected: AcknowledgementClaims = {
    iss: policy.issuer,
    iat: claims.received_at,
    cnf: { jwk: receipt.holderJwk },
    kind: payload.kind,
    objection_sha256: payload.objection_sha256,
    receipt_sha256: receipt.sha256Hex,
    signed_at: payload.iat,
    received_at: claims.received_at,
    log: claims.log,
    evidence: evidence.map(({ name, media_type, sha256 }) => {
      const found = media_type === MAIL_TYPE ? dkim.get(name) : undefined;
      return { name, media_type, sha256, ...(found && { dkim: found }) };
    }),
  };
  const written = (value: unknown) => formatJson(value as Json);
  const names = Object.keys(expected) as (keyof AcknowledgementClaims)[];
  const differing = names.filter((name) => written(claims[name]) !== written(expected[name]));
  if (differing.length > 0) throw mismatch(`acknowledgement and receipt differ in: ${differing.join(', ')}`);
  if (payload.iat > claims.received_at + CLOCK_SKEW_S) throw mismatch('received before it was signed');
  return { claims, dkim };
}

function mismatch(message: string): ObjectionError {
  return new ObjectionError('token_receipt_mismatch', message);
}
