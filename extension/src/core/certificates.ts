/** X.509 certificates, as far as a pinned chain needs them (RFC 5280). */
import {
  BIT_STRING,
  context,
  type Der,
  INTEGER,
  isBoolean,
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
} from './der';
import { type Bytes, concat, sameBytes } from './encoding';
import { ObjectionError } from './errors';
import { importKey, parseSignatureAlgorithm, verifySignature } from './signatures';

/** A certificate that was read; who signed it, and whether that matters, is not decided here. */
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
  extensions: Map<string, { critical: boolean; value: Bytes }>;
}

const COMMON_NAME = '2.5.4.3';
const UNIQUE_IDENTIFIER = '2.5.4.45';
const BASIC_CONSTRAINTS = '2.5.29.19';
const KEY_USAGE = '2.5.29.15';
const EXTENDED_KEY_USAGE = '2.5.29.37';
const QC_STATEMENTS = '1.3.6.1.5.5.7.1.3';
const TIME_STAMPING = '1.3.6.1.5.5.7.3.8';
/** Extensions whose meaning is weighed here, or cannot make a pinned chain any weaker. */
const UNDERSTOOD = new Set([BASIC_CONSTRAINTS, KEY_USAGE, EXTENDED_KEY_USAGE, QC_STATEMENTS, '2.5.29.32', '2.5.29.17']);
const MAX_BYTES = 16_384;
const KEY_CERT_SIGN = 0x04;
const DIGITAL_SIGNATURE = 0x80;
const NON_REPUDIATION = 0x40;
const QC_COMPLIANCE = '0.4.0.1862.1.1';
const QC_TYPE = '0.4.0.1862.1.6';
const QC_ESEAL = '0.4.0.1862.1.6.2';

/** Throws `certificate_malformed`. */
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
  const serial = body.take(INTEGER).content;
  if (!sameBytes(body.take(SEQUENCE).raw, algorithm.raw)) throw malformed('it names two signature algorithms');
  const issuer = body.take(SEQUENCE);
  commonName(issuer); // so that what cannot be read is refused
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
    serial,
    issuer: issuer.raw,
    subject: subject.raw,
    name: commonName(subject),
    notBeforeS,
    notAfterS,
    publicKeyInfo: publicKeyInfo.raw,
    extensions: extensions ? readExtensions(extensions) : new Map(),
  };
}

function readExtensions(explicit: Der): Certificate['extensions'] {
  const outer = members(explicit);
  const found: Certificate['extensions'] = new Map();
  for (const item of members(outer.take(SEQUENCE)).rest()) {
    const fields = members(item, SEQUENCE);
    const id = parseOid(fields.take(OID));
    let value = fields.take();
    const critical = isBoolean(value) && parseBoolean(value);
    if (isBoolean(value)) value = fields.take();
    fields.end();
    if (found.has(id)) throw malformed('an extension stands there twice');
    if (value.tag !== OCTET_STRING) throw malformed('an extension has no value');
    found.set(id, { critical, value: value.content });
  }
  outer.end();
  return found;
}

/** Returns a name's last common name, or its last readable part. Bits for text, as no other reader takes, are refused. */
function commonName(whole: Der): string {
  let [name, any] = ['', ''];
  for (const set of members(whole).rest()) {
    for (const pair of members(set).rest()) {
      const fields = members(pair, SEQUENCE);
      const id = parseOid(fields.take(OID));
      const value = fields.take();
      if (value.tag === BIT_STRING && id !== UNIQUE_IDENTIFIER) throw malformed('a name is written in bits');
      const text = readableString(value) ?? '';
      if (id === COMMON_NAME) name = text;
      any = text;
    }
  }
  return name || any || '?';
}

/**
 * Throws `certificate_invalid` unless `chain`, the signer's own certificate first and its root last, holds together at
 * `atS`: each signed by the next, in its time, authorities that may sign certificates, nothing critical left unread.
 * Revocation is not checked. That the last one is trusted is the caller's decision; its own signature shows nothing.
 */
export async function verifyChain(chain: Certificate[], atS: number): Promise<void> {
  for (const [i, certificate] of chain.entries()) {
    if (atS < certificate.notBeforeS || atS > certificate.notAfterS)
      throw invalid(`${certificate.name} was not in force`);
    for (const [id, { critical }] of certificate.extensions) {
      if (critical && !UNDERSTOOD.has(id)) throw invalid(`${certificate.name} has a critical extension: ${id}`);
    }
    if (i > 0) requireAuthority(certificate, i - 1);
    const issuer = chain[i + 1];
    if (!issuer) return;
    if (!sameBytes(certificate.issuer, issuer.subject)) throw invalid(`${certificate.name} was issued by another one`);
    const algorithm = parseSignatureAlgorithm(certificate.algorithm);
    const key = await importKey(issuer.publicKeyInfo, algorithm);
    await verifySignature(key, algorithm, certificate.signature, certificate.signed, 'certificate_invalid');
  }
}

function requireAuthority(certificate: Certificate, below: number): void {
  const constraints = certificate.extensions.get(BASIC_CONSTRAINTS);
  if (!constraints) throw invalid(`${certificate.name} is not an authority`);
  const fields = members(parseDer(constraints.value, SEQUENCE));
  const [flag, pathLength] = fields.rest();
  if (!flag || !isBoolean(flag) || !parseBoolean(flag)) throw invalid(`${certificate.name} is not an authority`);
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
  const types = info && id === QC_TYPE ? members(parseDer(info.raw, SEQUENCE)).rest().map(parseOid) : [];
  return [id, types];
}

function allowsUse(certificate: Certificate, bits: number): boolean {
  const usage = certificate.extensions.get(KEY_USAGE);
  if (!usage) return true;
  const { content } = parseDer(usage.value, BIT_STRING);
  return ((content[1] ?? 0) & bits) !== 0;
}

/** The uncompressed point of an EC key, as a policy names issuer keys; undefined for another kind of key. */
export function ecPoint(certificate: Certificate): Bytes | undefined {
  const fields = members(parseDer(certificate.publicKeyInfo, SEQUENCE));
  const algorithm = members(fields.take(SEQUENCE));
  if (parseOid(algorithm.take(OID)) !== '1.2.840.10045.2.1') return undefined;
  return parseBitString(fields.take(BIT_STRING));
}

/** Whether an IssuerAndSerialNumber names this certificate. */
export function isNamedBy(certificate: Certificate, identifier: Der): boolean {
  const fields = members(identifier, SEQUENCE);
  const issuer = fields.take(SEQUENCE);
  const serial = fields.take(INTEGER);
  fields.end();
  return sameBytes(concat(issuer.raw, serial.content), concat(certificate.issuer, certificate.serial));
}

function malformed(message: string): ObjectionError {
  return new ObjectionError('certificate_malformed', message);
}

function invalid(message: string): ObjectionError {
  return new ObjectionError('certificate_invalid', message);
}
