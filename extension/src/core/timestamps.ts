/** RFC 3161 time tokens: who saw these bytes, and when. `server/core/timestamps.py` is the twin of this module. */
import {
  type Chain,
  parseChain,
  qcStatements,
  readExtensions,
  requireTimeStamping,
  saysQualified,
  verifyChain,
} from './certificates';
import { namesCertificate, parseCms, type UnverifiedCms, verifyCms } from './cms';
import {
  BOOLEAN,
  context,
  type Der,
  GENERALIZED_TIME,
  INTEGER,
  members,
  OCTET_STRING,
  OID,
  parseBoolean,
  parseDer,
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
 * Returns the time at which the authority of `chain` (DER; its own certificate first, the trust anchor last) saw `data`.
 * The authority's own certificate is pinned, not only what is above it. Revocation is not checked.
 *
 * Throws `timestamp_malformed`, or `timestamp_invalid` when the token is for other bytes, by another authority, or its
 * signature or chain do not hold.
 */
export async function verifyTimestamp(token: Bytes, data: Bytes, chain: Bytes[]): Promise<Timestamp> {
  const trusted = await translate('timestamp_invalid', () => parseChain(chain));
  const cms = await parseToken(token);
  return translate('timestamp_invalid', () => verifyBy(cms, data, trusted));
}

/**
 * Returns the chain that a token itself carries: two certificates, the one that its signature names and that one's
 * issuer. To trust it is the caller's decision, and seldom a good one. Throws `timestamp_malformed`.
 */
export async function embeddedChain(token: Bytes): Promise<Bytes[]> {
  const cms = await parseToken(token);
  return translate('timestamp_malformed', async () => {
    const carried = cms.certificates
      ? members(cms.certificates)
          .rest()
          .map(({ raw }) => raw)
      : [];
    if (carried.length !== 2) throw malformed('the token does not carry its authority and its root alone');
    const named: Bytes[] = [];
    for (const raw of carried) if (await namesCertificate(cms, raw)) named.push(raw);
    const [own, ...more] = named;
    if (!own || more.length > 0)
      throw malformed('the token does not carry the one certificate that its signature names');
    const chain = [own, ...carried.filter((raw) => raw !== own)];
    await parseChain(chain);
    return chain;
  });
}

async function parseToken(token: Bytes): Promise<UnverifiedCms> {
  return translate('timestamp_malformed', () => {
    if (token.length > MAX_TOKEN_BYTES) throw malformed('the token is too large');
    const cms = parseCms(token);
    if (cms.contentType !== TST_INFO || !cms.content) throw malformed('it carries no time');
    return cms;
  });
}

async function verifyBy(cms: UnverifiedCms, data: Bytes, chain: Chain): Promise<Timestamp> {
  const content = cms.content ?? new Uint8Array();
  const info = readInfo(content);
  const seen = new Uint8Array(await crypto.subtle.digest(info.hash, data));
  if (!sameBytes(seen, info.imprint)) throw new ObjectionError('timestamp_invalid', 'the token is for other bytes');
  const { own: certificate, keys } = chain;
  const [key] = keys;
  if (!key) throw new ObjectionError('timestamp_invalid', 'no authority to trust');
  await verifyCms(cms, { certificate, key }, content, { code: 'timestamp_invalid' });
  requireTimeStamping(certificate);
  await verifyChain(chain, info.atS);
  const qualified = info.saysQualified || saysQualified(certificate);
  return { atS: info.atS, authority: certificate.name, saysQualified: qualified };
}

function readInfo(raw: Bytes): { atS: number; hash: Hash; imprint: Bytes; saysQualified: boolean } {
  const fields = members(parseDer(raw, SEQUENCE));
  if (parseSmallInteger(fields.take(INTEGER)) !== 1) throw malformed('a time token of a version other than 1');
  fields.take(OID); // the authority's policy
  const imprint = members(fields.take(SEQUENCE));
  const hash = parseHash(imprint.take(SEQUENCE));
  const hashed = imprint.take(OCTET_STRING).content;
  imprint.end();
  fields.take(INTEGER); // the token's serial number
  const atS = parseTime(fields.take(GENERALIZED_TIME));
  if (atS < 0) throw malformed('a time before 1970');
  fields.takeIf(SEQUENCE); // accuracy
  const ordering = fields.takeIf(BOOLEAN);
  if (ordering) parseBoolean(ordering);
  fields.takeIf(INTEGER); // nonce: for the one who asked
  fields.takeIf(context(0)); // the authority's name for itself: the certificate says it better
  const extensions = fields.takeIf(context(1));
  fields.end();
  return { atS, hash, imprint: hashed, saysQualified: extensions ? holdsQualified(extensions) : false };
}

function holdsQualified(extensions: Der): boolean {
  const listed = readExtensions(extensions);
  for (const [id, { critical }] of listed) {
    if (critical && id !== QC_STATEMENTS) {
      throw malformed(`the token has a critical extension that is not understood: ${id}`);
    }
  }
  return qcStatements(listed.get(QC_STATEMENTS)?.value).has(QUALIFIED_TIMESTAMP);
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
  return new ObjectionError('der_malformed', message);
}
