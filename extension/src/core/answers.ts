/** The register's answer to a receipt, checked before anything in it is believed. */
import { verifyAcknowledgement } from './acknowledgements';
import type { AcknowledgementClaims, SubmissionAnswer, TokenClaims } from './contract.gen';
import { type Bytes, parseJson } from './encoding';
import { ObjectionError } from './errors';
import type { MailFinding } from './mail';
import type { TrustPolicy } from './policies';
import { verifyProof } from './proofs';
import type { VerifiedReceipt } from './receipts';
import { verifyFields } from './schema';
import { verifyToken, verifyTokenOfReceipt } from './tokens';

export interface VerifiedAnswer {
  answer: SubmissionAnswer;
  /** Where in the log the receipt stands. */
  index: number;
  logOrigin: string;
  /** By evidence name, what the register found of a mail's own signature. */
  mails: Record<string, MailFinding>;
}

/** Reads the answer's shape. Throws the codes of JSON and `field_invalid`. */
export function parseAnswer(raw: Bytes): SubmissionAnswer {
  return verifyFields('SubmissionAnswer', parseJson(raw));
}

/**
 * Returns the answer once it is about `receipt`, its token or acknowledgement is signed by an issuer of `policy` and
 * says what the receipt says, its proof leads to a checkpoint that the log of `policy` signed, and both name the same
 * place and time. Throws `token_receipt_mismatch`, `proof_mismatch` and what the verifiers of token and proof throw.
 */
export async function verifyAnswer(
  answer: SubmissionAnswer,
  receipt: VerifiedReceipt,
  policy: TrustPolicy,
): Promise<VerifiedAnswer> {
  const { kind } = receipt.payload;
  if (answer.receipt_sha256 !== receipt.sha256Hex || answer.kind !== kind) {
    throw new ObjectionError('token_receipt_mismatch', 'the answer is about another receipt');
  }
  const claims = await claimsOf(answer.token, receipt, policy);
  if (claims.received_at !== answer.received_at) {
    throw new ObjectionError('token_receipt_mismatch', 'token and answer name different times');
  }
  if (!STATUS_AFTER[kind].includes(answer.status) || (answer.remains !== undefined) !== (kind === 'erasure')) {
    throw new ObjectionError('token_receipt_mismatch', 'the answer names a status that cannot follow');
  }
  const { state, anchored_entries: entries } = answer;
  if (entries !== undefined && (state === 'anchored') !== entries > 0) {
    throw new ObjectionError('token_receipt_mismatch', 'the answer contradicts itself on what is anchored');
  }
  const { index, checkpoint } = await verifyProof(
    answer.proof,
    { kind, receiptSha256: receipt.sha256, receivedAtS: answer.received_at },
    policy.log,
  );
  const { log } = claims;
  if (log.origin !== checkpoint.origin || BigInt(log.index) !== index) {
    throw new ObjectionError('proof_mismatch', 'token and proof name different places in the log');
  }
  const { index: at, origin: logOrigin } = log;
  return { answer, index: at, logOrigin, mails: mailsIn(claims) };
}

// A repeat of an earlier receipt is answered with the status of now.
const STATUS_AFTER: Record<SubmissionAnswer['kind'], SubmissionAnswer['status'][]> = {
  objection: ['stands', 'withdrawn', 'erased'],
  supplement: ['stands', 'withdrawn', 'erased'],
  withdrawal: ['withdrawn', 'erased'],
  erasure: ['erased'],
};

function mailsIn({ evidence }: TokenClaims | AcknowledgementClaims): Record<string, MailFinding> {
  const found = evidence.flatMap((item) => ('dkim' in item && item.dkim ? [[item.name, item.dkim]] : []));
  return Object.fromEntries(found);
}

async function claimsOf(token: string, receipt: VerifiedReceipt, policy: TrustPolicy) {
  if (receipt.payload.kind !== 'objection') return (await verifyAcknowledgement(token, receipt, policy)).claims;
  const verified = await verifyToken(token, policy);
  verifyTokenOfReceipt(verified, receipt);
  return verified.claims;
}
