/** Whether objections still stand, two bits each (Token Status List, draft 21). */
import { type Bytes, parseBase64url } from './encoding';
import { ObjectionError } from './errors';
import { inflate } from './inflate';
import { type TrustPolicy, verifyIssued } from './policies';
import { verifyFields } from './schema';

export type Status = 'stands' | 'erased' | 'withdrawn';

/** A list that its issuer signed at `iatS`. `uri` names it; tokens point there. */
export interface StatusList {
  uri: string;
  iatS: number;
  packed: Bytes;
}

const TYPE = 'statuslist+jwt';
const SIZE = 65_536;
const PER_BYTE = 4;
const MAX_CHARACTERS = 65_536;
const STATUSES: Status[] = ['stands', 'erased', 'withdrawn'];

/**
 * Returns the list once an issuer key of `policy` signed it. How old it may be, the caller decides.
 * Throws `status_malformed`, the codes of JSON and JWS, `field_invalid`, `token_issuer_unknown`, `signature_invalid`.
 */
export async function verifyStatusList(text: string, policy: TrustPolicy): Promise<StatusList> {
  if (text.length > MAX_CHARACTERS) throw malformed('the status list is too long');
  const { claims } = await verifyIssued(text, policy, TYPE);
  const { sub, iat, status_list } = verifyFields('StatusListClaims', claims);
  const limit = SIZE / PER_BYTE;
  const packed = await inflate(parseBase64url(status_list.lst), { format: 'deflate', limit });
  if (packed?.length !== limit) throw malformed(`the list has not ${SIZE} entries`);
  return { uri: sub, iatS: iat, packed };
}

/** Returns the status at `index`. Throws `status_malformed`: out of range, or a value that means nothing. */
export function statusAt({ packed }: StatusList, index: number): Status {
  const byte = Number.isInteger(index) && index >= 0 ? packed[Math.floor(index / PER_BYTE)] : undefined;
  if (byte === undefined) throw malformed(`the list has no entry ${index}`);
  const status = STATUSES[(byte >> (2 * (index % PER_BYTE))) & 3];
  if (!status) throw malformed(`entry ${index} has a value that means nothing`);
  return status;
}

function malformed(message: string): ObjectionError {
  return new ObjectionError('status_malformed', message);
}
