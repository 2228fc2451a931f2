/**
 * The proof-of-objection token: an SD-JWT VC with three holder-committed slots (RFC 9901, our profile).
 *
 * RFC 9901 has the issuer make disclosures. Here the holder makes them and the issuer signs only their digests, so a
 * verifier must hold the holder to one value: each disclosure belongs to the slot of its name and opens to a string.
 * Else one digest could hide a nested `{"_sd": [a, b]}`, and the holder could still choose later what to have declared.
 */
import type { SelfAsserted, TokenClaims } from './contract.gen';
import { formatBase64url, formatJson, type Json, parseBase64url, parseJsonValue, sha256, utf8 } from './encoding';
import { ObjectionError } from './errors';
import { parsePublicJwk } from './jws';
import { type TrustPolicy, verifyIssued } from './policies';
import { refuseRepeatedDigests, type VerifiedReceipt } from './receipts';
import { FieldError, verifyFields } from './schema';

export type Slot = keyof SelfAsserted;
export const SLOTS: Slot[] = ['account', 'contact', 'person'];

const TOKEN_TYPE = 'dc+sd-jwt';
const TYPE_PATH = '/vct/proof-of-objection/1';
const MAX_TOKEN_CHARACTERS = 65_536;
const MAX_VALUE_CHARACTERS = 320;
const MIN_SALT_BYTES = 16;

/** `claims` hold; `disclosed` has what the presenter chose to open, by slot name. */
export interface VerifiedToken {
  claims: TokenClaims;
  disclosed: Map<Slot, string>;
  kid: string;
}

/**
 * Returns the claims once an issuer key of `policy` is seen to have signed them, and each disclosure fits its slot.
 * Throws the codes of docs/formats.md.
 */
export async function verifyToken(text: string, policy: TrustPolicy): Promise<VerifiedToken> {
  if (text.length > MAX_TOKEN_CHARACTERS) throw new ObjectionError('jws_malformed', 'the token is too long');
  const [signed = '', ...disclosures] = text.split('~');
  if (disclosures.pop() !== '') throw new ObjectionError('jws_malformed', 'a token without key binding ends in ~');
  const issued = await verifyIssued(signed, policy, TOKEN_TYPE);
  const claims = verifyFields('TokenClaims', issued.claims);
  if (claims.iss !== policy.issuer) {
    throw new ObjectionError('token_issuer_unknown', "issued under another name than the policy's");
  }
  if (claims.vct !== `${claims.iss}${TYPE_PATH}` || claims.iat !== claims.received_at) {
    throw new FieldError([{ field: 'vct, iat', problem: 'not those of a proof of objection' }]);
  }
  refuseRepeatedDigests(claims.self_asserted);
  await parsePublicJwk({ ...claims.cnf.jwk });
  return { claims, disclosed: await openSlots(claims.self_asserted, disclosures), kid: issued.kid };
}

/** Throws `token_receipt_mismatch` unless the token says what the receipt says, and no more. */
export function verifyTokenOfReceipt({ claims }: VerifiedToken, receipt: VerifiedReceipt): void {
  const { payload } = receipt;
  if (payload.kind !== 'objection') {
    throw new ObjectionError('token_receipt_mismatch', 'only an objection has a token');
  }
  const expected: TokenClaims = {
    _sd_alg: 'sha-256',
    iss: claims.iss,
    vct: `${claims.iss}${TYPE_PATH}`,
    iat: claims.received_at,
    cnf: { jwk: receipt.holderJwk },
    status: claims.status,
    controller: payload.controller,
    platform: payload.platform,
    right: payload.objection.right,
    contested_basis: payload.objection.contested_basis,
    data_categories: payload.objection.data_categories,
    objected_at: payload.iat,
    received_at: claims.received_at,
    receipt_sha256: receipt.sha256Hex,
    log: claims.log,
    evidence: payload.evidence.map(({ name, media_type, sha256 }) => ({ name, media_type, sha256 })),
    assurance: claims.assurance,
    self_asserted: payload.self_asserted,
  };
  const text = (value: unknown) => formatJson(value as Json);
  const names = Object.keys(expected) as (keyof TokenClaims)[];
  const differing = names.filter((name) => text(claims[name]) !== text(expected[name]));
  if (differing.length > 0) {
    throw new ObjectionError('token_receipt_mismatch', `token and receipt differ in: ${differing.join(', ')}`);
  }
}

/** The disclosure of a self-asserted value. Only the holder has it; the register never sees it. */
export function formatDisclosure(salt: string, slot: Slot, value: string): string {
  return formatBase64url(utf8(formatJson([salt, slot, value])));
}

export async function disclosureDigest(disclosure: string): Promise<string> {
  return formatBase64url(await sha256(utf8(disclosure)));
}

/** Throws `disclosure_…` unless each of `disclosures` opens the slot of its name. */
export async function openSlots(slots: SelfAsserted, disclosures: string[]): Promise<Map<Slot, string>> {
  if (new Set(disclosures).size !== disclosures.length) {
    throw new ObjectionError('disclosure_duplicate', 'a disclosure is given twice');
  }
  const owners = new Map(SLOTS.map((slot) => [slots[slot]._sd[0], slot]));
  const opened = new Map<Slot, string>();
  for (const disclosure of disclosures) {
    const { name, value } = parseDisclosure(disclosure);
    const slot = owners.get(await disclosureDigest(disclosure));
    if (!slot) throw new ObjectionError('disclosure_unreferenced', 'a disclosure belongs to no slot of this token');
    if (name !== slot) {
      throw new ObjectionError('disclosure_slot_mismatch', `a disclosure named ${name} stands in slot ${slot}`);
    }
    opened.set(slot, value);
  }
  return opened;
}

/** Reads a disclosure's shape; whether it opens anything, `openSlots` says. */
export function parseDisclosure(disclosure: string): { name: string; value: string } {
  const fields = parseJsonValue(parseBase64url(disclosure));
  if (!Array.isArray(fields)) throw new ObjectionError('json_malformed', 'the top level must be an array');
  const [salt, name, value] = fields;
  if (fields.length !== 3 || typeof salt !== 'string' || typeof name !== 'string') {
    throw new ObjectionError('disclosure_malformed', 'a disclosure is [salt, name, value]');
  }
  if (parseBase64url(salt).length < MIN_SALT_BYTES) {
    throw new ObjectionError('disclosure_malformed', 'the salt has less than 128 bits');
  }
  const length = typeof value === 'string' ? Array.from(value).length : 0;
  if (typeof value !== 'string' || length < 1 || length > MAX_VALUE_CHARACTERS) {
    throw new ObjectionError('disclosure_value_refused', 'a self-asserted value is a string of 1 to 320 characters');
  }
  return { name, value };
}
