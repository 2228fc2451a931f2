/** RFC 3161 time tokens: who saw these bytes, and when. */
import {
  type Certificate,
  parseCertificate,
  qcStatements,
  requireTimeStamping,
  saysQualified,
  verifyChain,
} from './certificates';
import { isNamed, parseCms, type UnverifiedCms, verifyCms } from './cms';
import {
  context,
  type Der,
  GENERALIZED_TIME,
  INTEGER,
  isBoolean,
  members,
  OCTET_STRING,
  OID,
  parseBoolean,
  parseDer,
  parseOid,
  parseSmallInteger,
  parseTime,
  SEQUENCE,
} from './der';
import { type Bytes, sameBytes } from './encoding';
import { ObjectionError } from './errors';
import { type Hash, parseHash } from './signatures';

const TST_INFO = '1.2.840.113549.1.9.16.1.4';
const QC_STATEMENTS = '1.3.6.1.5.5.7.1.3';
const QUALIFIED_TIMESTAMP = '0.4.0.19422.1.1';
const MAX_TOKEN_BYTES = 65_536;
/** `authority`: the common name in its certificate. `saysQualified`: by certificate or token, nobody else's word. */
export interface Timestamp {
  atS: number;
  authority: string;
  saysQualified: boolean;
}

/**
 * Returns the time at which the authority of `chain` (DER; its own certificate first, its root last) saw `data`.
 * The authority's own certificate is pinned, not only its root. Revocation is not checked.
 *
 * Throws `timestamp_malformed`, or `timestamp_invalid` when the token is for other bytes, by another authority, or its
 * signature or chain do not hold.
 */
export async function verifyTimestamp(token: Bytes, data: Bytes, chain: Bytes[]): Promise<Timestamp> {
  const certificates = await translate('timestamp_invalid', () => chain.map(parseCertificate));
  const cms = await parseToken(token);
  return translate('timestamp_invalid', () => verifyBy(cms, data, certificates));
}

/**
 * Returns the chain that a token itself carries: one authority and its root. To trust it is the caller's decision, and
 * seldom a good one. Throws `timestamp_malformed`.
 */
export async function embeddedChain(token: Bytes): Promise<Bytes[]> {
  const cms = await parseToken(token);
  return translate('timestamp_malformed', () => {
    const certificates = cms.certificates.map(parseCertificate);
    const [own, ...signers] = certificates.filter((certificate) => isNamed(certificate, cms.signer));
    const [root, ...more] = certificates.filter((certificate) => certificate !== own);
    if (!own || !root || signers.length + more.length > 0) {
      throw malformed('the token does not carry its authority and its root alone');
    }
    return [own.raw, root.raw];
  });
}

async function parseToken(token: Bytes): Promise<UnverifiedCms> {
  if (token.length > MAX_TOKEN_BYTES) throw malformed('the token is too large');
  const cms = await translate('timestamp_malformed', () => {
    const read = parseCms(token);
    read.certificates.forEach(parseCertificate); // one that nobody could read is no certificate
    return read;
  });
  if (cms.contentType !== TST_INFO || !cms.content) throw malformed('it carries no time');
  return cms;
}

async function verifyBy(cms: UnverifiedCms, data: Bytes, chain: Certificate[]): Promise<Timestamp> {
  const [own] = chain;
  if (!own || chain.length < 2 || !cms.content) throw new ObjectionError('timestamp_invalid', 'no authority to trust');
  const info = readInfo(cms.content);
  const seen = new Uint8Array(await crypto.subtle.digest(info.hash, data));
  if (!sameBytes(seen, info.imprint)) throw new ObjectionError('timestamp_invalid', 'the token is for other bytes');
  await verifyCms(cms, own, cms.content, { code: 'timestamp_invalid' });
  requireTimeStamping(own);
  await verifyChain(chain, info.atS);
  return { atS: info.atS, authority: own.name, saysQualified: info.saysQualified || saysQualified(own) };
}

function readInfo(raw: Bytes): { atS: number; hash: Hash; imprint: Bytes; saysQualified: boolean } {
  const fields = members(parseDer(raw, SEQUENCE));
  if (parseSmallInteger(fields.take(INTEGER)) !== 1) throw malformed('a version other than 1');
  fields.take(OID);
  const imprint = members(fields.take(SEQUENCE));
  const hash = parseHash(imprint.take(SEQUENCE));
  const hashed = imprint.take(OCTET_STRING).content;
  imprint.end();
  fields.take(INTEGER);
  const atS = parseTime(fields.take(GENERALIZED_TIME));
  fields.takeIf(SEQUENCE); // accuracy
  const ordering = fields.takeIf(0x01);
  if (ordering && isBoolean(ordering)) parseBoolean(ordering);
  fields.takeIf(INTEGER); // nonce: for the one who asked
  fields.takeIf(context(0)); // the authority's name for itself: the certificate says it better
  const extensions = fields.takeIf(context(1));
  fields.end();
  return { atS, hash, imprint: hashed, saysQualified: extensions ? holdsQualified(extensions) : false };
}

function holdsQualified(extensions: Der): boolean {
  return members(extensions)
    .rest()
    .some((extension) => {
      const fields = members(extension, SEQUENCE);
      if (parseOid(fields.take(OID)) !== QC_STATEMENTS) return false;
      const value = fields.rest().find(({ tag }) => tag === OCTET_STRING);
      return qcStatements(value?.content).has(QUALIFIED_TIMESTAMP);
    });
}

async function translate<T>(code: string, work: () => T | Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof ObjectionError) || error.code.startsWith('timestamp_')) throw error;
    throw new ObjectionError(code, error.message, { cause: error });
  }
}

function malformed(message: string): ObjectionError {
  return new ObjectionError('timestamp_malformed', message);
}
