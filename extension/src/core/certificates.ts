/**
 * X.509 certificates, as far as a pinned chain and the signer of a PDF need them (RFC 5280). docs/formats.md says which
 * are accepted; `server/core/certificates.py` is the twin of this module. Revocation is not checked.
 */
import {
  BIT_STRING,
  BOOLEAN,
  context,
  type Der,
  INTEGER,
  members,
  OCTET_STRING,
  OID,
  parseBitString,
  parseBoolean,
  parseDer,
  parseOid,
  parseSmallInteger,
  parseTime,
  readableString,
  SEQUENCE,
  SET,
} from './der';
import { type Bytes, sameBytes } from './encoding';
import { ObjectionError } from './errors';
import { type PublicKey, parseKey, parseSignatureAlgorithm, verifySignature } from './signatures';

export type Extensions = Map<string, { critical: boolean; value: Bytes }>;

/** A certificate that was read; nobody has checked who signed it. `raw`, `issuer`, `serial`: DER. */
export interface Certificate {
  raw: Bytes;
  signed: Bytes;
  signature: Bytes;
  /** An AlgorithmIdentifier: read by whoever checks the signature. */
  algorithm: Der;
  serial: Bytes;
  issuer: Bytes;
  subject: Bytes;
  /** The subject's common name, for people. */
  name: string;
  notBeforeS: number;
  notAfterS: number;
  publicKeyInfo: Bytes;
  extensions: Extensions;
}

/** Certificates as a policy lists them: the signer's own first, each followed by its issuer, the trust anchor last. */
export interface Chain {
  own: Certificate;
  certificates: Certificate[];
  /** Theirs, in the same order. */
  keys: PublicKey[];
}

const COMMON_NAME = '2.5.4.3';
const BASIC_CONSTRAINTS = '2.5.29.19';
const KEY_USAGE = '2.5.29.15';
const EXTENDED_KEY_USAGE = '2.5.29.37';
const QC_STATEMENTS = '1.3.6.1.5.5.7.1.3';
const TIME_STAMPING = '1.3.6.1.5.5.7.3.8';
/**
 * Extensions that are weighed here, or that cannot make a chain weaker whose every certificate is pinned: other names,
 * policies and their constraints, addresses of revocation lists.
 */
const UNDERSTOOD = new Set([
  ...[BASIC_CONSTRAINTS, KEY_USAGE, EXTENDED_KEY_USAGE, QC_STATEMENTS],
  ...['2.5.29.17', '2.5.29.32', '2.5.29.36', '2.5.29.54', '2.5.29.31'],
]);
const MAX_BYTES = 16_384;
const KEY_CERT_SIGN = 0x04;
const DIGITAL_SIGNATURE = 0x80;
const NON_REPUDIATION = 0x40;
const QC_COMPLIANCE = '0.4.0.1862.1.1';
const QC_TYPE = '0.4.0.1862.1.6';
const QC_ESEAL = '0.4.0.1862.1.6.2';

/** Returns what the DER in `raw` says. Throws `certificate_malformed`. */
export function parseCertificate(raw: Bytes): Certificate {
  if (raw.length > MAX_BYTES) throw new ObjectionError('certificate_malformed', 'the certificate is too large');
  try {
    return read(raw);
  } catch (error) {
    if (!(error instanceof ObjectionError)) throw error;
    throw new ObjectionError('certificate_malformed', error.message, { cause: error });
  }
}

function read(raw: Bytes): Certificate {
  const whole = members(parseDer(raw, SEQUENCE));
  const signed = whole.take(SEQUENCE);
  const algorithm = whole.take(SEQUENCE);
  const signature = parseBitString(whole.take(BIT_STRING));
  whole.end();
  const body = members(signed);
  const version = body.takeIf(context(0));
  if (version && parseSmallInteger(members(version).take(INTEGER)) !== 2) throw malformed('not of version 3');
  const serial = body.take(INTEGER);
  if (!sameBytes(body.take(SEQUENCE).raw, algorithm.raw)) throw malformed('it names two signature algorithms');
  const issuer = body.take(SEQUENCE);
  const validity = members(body.take(SEQUENCE));
  const [notBeforeS, notAfterS] = [parseTime(validity.take()), parseTime(validity.take())];
  validity.end();
  const subject = body.take(SEQUENCE);
  const publicKeyInfo = body.take(SEQUENCE);
  body.takeIf(context(1, { primitive: true }));
  body.takeIf(context(2, { primitive: true }));
  const extensions = body.takeIf(context(3));
  body.end();
  return {
    raw,
    signed: signed.raw,
    signature,
    algorithm,
    serial: serial.raw,
    issuer: issuer.raw,
    subject: subject.raw,
    name: commonName(subject),
    notBeforeS,
    notAfterS,
    publicKeyInfo: publicKeyInfo.raw,
    extensions: extensions ? parseExtensions(extensions) : new Map(),
  };
}

/** Returns the extensions under the explicit tag by id. Throws `der_malformed`, `certificate_malformed`. */
function parseExtensions(explicit: Der): Extensions {
  const outer = members(explicit);
  const extensions = readExtensions(outer.take(SEQUENCE));
  outer.end();
  return extensions;
}

/** Returns the extensions of a SEQUENCE by id, under whatever tag it stands. */
export function readExtensions(listed: Der): Extensions {
  const found: Extensions = new Map();
  for (const item of members(listed).rest()) {
    const fields = members(item, SEQUENCE);
    const id = parseOid(fields.take(OID));
    const flag = fields.takeIf(BOOLEAN);
    const value = fields.take(OCTET_STRING).content;
    fields.end();
    if (found.has(id)) throw malformed('an extension stands there twice');
    found.set(id, { critical: flag !== undefined && parseBoolean(flag), value });
  }
  return found;
}

/** Returns a name's last common name, or its last readable part, or a question mark. */
function commonName(whole: Der): string {
  let [name, other] = ['', ''];
  for (const set of members(whole).rest()) {
    for (const pair of members(set, SET).rest()) {
      const fields = members(pair, SEQUENCE);
      const id = parseOid(fields.take(OID));
      const text = readableString(fields.take()) ?? '';
      if (id === COMMON_NAME) name = text;
      other = text;
    }
  }
  return name || other || '?';
}

/**
 * Reads a chain (DER). The last certificate is trusted because it is listed: nobody looks at its own signature. Throws a
 * code for a certificate that cannot be read, is alone, is out of order, or has a key or a signature of a kind that is
 * not accepted; the message names the certificate, and which part of it.
 */
export async function parseChain(rawCertificates: Bytes[]): Promise<Chain> {
  if (rawCertificates.length < 2) throw invalid("no certificate stands above the authority's own");
  const certificates: Certificate[] = [];
  const keys: PublicKey[] = [];
  for (const [i, raw] of rawCertificates.entries()) {
    const before = certificates.at(-1);
    let [named, part] = [`certificate ${i + 1}`, ''];
    try {
      const certificate = parseCertificate(raw);
      certificates.push(certificate);
      named += ` (${certificate.name})`;
      part = ', its key';
      keys.push(await parseKey(certificate.publicKeyInfo));
      part = ', its signature';
      if (i + 1 < rawCertificates.length) parseSignatureAlgorithm(certificate.algorithm);
    } catch (error) {
      if (!(error instanceof ObjectionError)) throw error;
      throw new ObjectionError(error.code, `${named}${part}: ${error.message}`, { cause: error });
    }
    const [certificate] = certificates.slice(-1);
    if (before && certificate && !sameBytes(before.issuer, certificate.subject)) {
      throw invalid(`certificate ${i} (${before.name}) is not followed by its issuer`);
    }
  }
  const [own] = certificates;
  if (!own) throw invalid('no certificate');
  return { own, certificates, keys };
}

/**
 * Throws unless `chain` holds at `atS`: each certificate is in its time and signed by the next, those above may sign
 * certificates, and no critical extension is left unread.
 */
export async function verifyChain({ certificates, keys }: Chain, atS: number): Promise<void> {
  for (const [i, certificate] of certificates.entries()) {
    const { name, notBeforeS, notAfterS, extensions } = certificate;
    if (atS < notBeforeS || atS > notAfterS) throw invalid(`${name} was not in force`);
    for (const [id, { critical }] of extensions) {
      if (critical && !UNDERSTOOD.has(id)) {
        throw invalid(`${name} has a critical extension that is not understood: ${id}`);
      }
    }
    if (i > 0) requireAuthority(certificate, i - 1);
    const issuer = keys[i + 1];
    if (issuer) await verifyIssuedBy(issuer, certificate);
  }
}

async function verifyIssuedBy(issuer: PublicKey, certificate: Certificate): Promise<void> {
  const algorithm = parseSignatureAlgorithm(certificate.algorithm);
  try {
    await verifySignature(issuer, algorithm, certificate.signature, certificate.signed, 'certificate_invalid');
  } catch (error) {
    if (!(error instanceof ObjectionError)) throw error;
    throw invalid(`${certificate.name} was not signed by the certificate behind it: ${error.message}`);
  }
}

function requireAuthority(certificate: Certificate, below: number): void {
  const constraints = certificate.extensions.get(BASIC_CONSTRAINTS);
  if (!constraints) throw invalid(`${certificate.name} is not an authority`);
  const fields = members(parseDer(constraints.value, SEQUENCE));
  const [flag, pathLength] = [fields.takeIf(BOOLEAN), fields.takeIf(INTEGER)];
  fields.end();
  if (!flag || !parseBoolean(flag)) throw invalid(`${certificate.name} is not an authority`);
  if (pathLength && parseSmallInteger(pathLength) < below) throw invalid(`${certificate.name} allows no such chain`);
  if (!allowsUse(certificate, KEY_CERT_SIGN)) throw invalid(`${certificate.name} may not sign certificates`);
}

/** Throws `certificate_invalid` unless the certificate is for time stamping and nothing else, critically (RFC 3161, 2.3). */
export function requireTimeStamping(certificate: Certificate): void {
  const usage = certificate.extensions.get(EXTENDED_KEY_USAGE);
  const purposes = usage ? members(parseDer(usage.value, SEQUENCE)).rest().map(parseOid) : [];
  if (!usage?.critical || purposes.length !== 1 || purposes[0] !== TIME_STAMPING) {
    throw invalid(`${certificate.name} is not a certificate for time stamping alone`);
  }
  if (!allowsUse(certificate, DIGITAL_SIGNATURE | NON_REPUDIATION)) {
    throw invalid(`${certificate.name} may not sign`);
  }
}

/** Whether the certificate calls itself an eIDAS-qualified one for seals (its QcStatements: compliance, and the type). */
export function saysQualified(certificate: Certificate): boolean {
  const statements = qcStatements(certificate.extensions.get(QC_STATEMENTS)?.value);
  return statements.has(QC_COMPLIANCE) && statements.get(QC_TYPE)?.includes(QC_ESEAL) === true;
}

/** Returns the ids in a QcStatements extension, that of the type with the types it lists; none when it cannot be read. */
export function qcStatements(value: Bytes | undefined): Map<string, string[]> {
  if (!value) return new Map();
  try {
    return new Map(members(parseDer(value, SEQUENCE)).rest().map(readStatement));
  } catch (error) {
    if (error instanceof ObjectionError) return new Map();
    throw error;
  }
}

function readStatement(statement: Der): [string, string[]] {
  const fields = members(statement, SEQUENCE);
  const id = parseOid(fields.take(OID));
  const [info, ...more] = fields.rest();
  if (more.length > 0) throw malformed('a statement says more than one thing');
  const types = info && id === QC_TYPE ? members(info, SEQUENCE).rest().map(parseOid) : [];
  return [id, types];
}

function allowsUse(certificate: Certificate, bits: number): boolean {
  const usage = certificate.extensions.get(KEY_USAGE);
  if (!usage) return true;
  const { content } = parseDer(usage.value, BIT_STRING);
  return ((content[1] ?? 0) & bits) !== 0;
}

/** Whether an IssuerAndSerialNumber names this certificate. Throws `der_malformed`. */
export function isNamedBy(certificate: Certificate, identifier: Der): boolean {
  const fields = members(identifier, SEQUENCE);
  const [issuer, serial] = [fields.take(SEQUENCE), fields.take(INTEGER)];
  fields.end();
  return sameBytes(issuer.raw, certificate.issuer) && sameBytes(serial.raw, certificate.serial);
}

function malformed(message: string): ObjectionError {
  return new ObjectionError('certificate_malformed', message);
}

function invalid(message: string): ObjectionError {
  return new ObjectionError('certificate_invalid', message);
}
