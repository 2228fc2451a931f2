/** CMS SignedData with one signer (RFC 5652), as RFC 3161 and PAdES use it. */
import { type Certificate, isNamedBy, parseCertificate } from './certificates';
import {
  context,
  type Der,
  INTEGER,
  members,
  OCTET_STRING,
  OID,
  parseDer,
  parseOid,
  SEQUENCE,
  SET,
  setMembers,
} from './der';
import { type Bytes, concat, sameBytes } from './encoding';
import { ObjectionError } from './errors';
import {
  type Hash,
  importKey,
  parseHash,
  parseSignatureAlgorithm,
  type SignatureAlgorithm,
  verifySignature,
} from './signatures';

const SIGNED_DATA = '1.2.840.113549.1.7.2';
const CONTENT_TYPE = '1.2.840.113549.1.9.3';
const MESSAGE_DIGEST = '1.2.840.113549.1.9.4';
const SIGNING_CERTIFICATE = '1.2.840.113549.1.9.16.2.12';
const SIGNING_CERTIFICATE_V2 = '1.2.840.113549.1.9.16.2.47';
const MAX_CERTIFICATES = 16;

/** What was read; nothing is checked. `content` is undefined when it is kept elsewhere, as in a PDF. */
export interface UnverifiedCms {
  contentType: string;
  content: Bytes | undefined;
  /** DER; nobody has read them yet. */
  certificates: Bytes[];
  /** Whether it carries lists of revoked certificates, which nobody signs. */
  hasRevocations: boolean;
  signer: Signer;
}

interface Signer {
  identifier: Der;
  hash: Hash;
  algorithm: SignatureAlgorithm;
  signature: Bytes;
  /** The attributes as they were signed: under the tag of a SET. */
  signedAttributes: Bytes;
  attributes: Map<string, Der[]>;
  unsigned: Map<string, Der[]>;
}

/** Reads a ContentInfo. Throws `der_malformed`, `algorithm_refused`. */
export function parseCms(raw: Bytes): UnverifiedCms {
  const info = members(parseDer(raw, SEQUENCE));
  if (parseOid(info.take(OID)) !== SIGNED_DATA) throw malformed('not signed data');
  const explicit = members(info.take(context(0)));
  info.end();
  const fields = members(explicit.take(SEQUENCE));
  explicit.end();
  fields.take(INTEGER);
  fields.take(SET);
  const encapsulated = members(fields.take(SEQUENCE));
  const contentType = parseOid(encapsulated.take(OID));
  const wrapped = encapsulated.takeIf(context(0));
  encapsulated.end();
  const certificates = fields.takeIf(context(0));
  const revocations = fields.takeIf(context(1));
  const signers = members(fields.take(SET)).rest();
  fields.end();
  const [signer, ...more] = signers;
  if (!signer || more.length > 0) throw malformed('there must be exactly one signer');
  return {
    contentType,
    content: wrapped ? members(wrapped).take(OCTET_STRING).content : undefined,
    certificates: certificates ? readCertificates(certificates) : [],
    hasRevocations: revocations !== undefined,
    signer: readSigner(signer),
  };
}

function readCertificates(set: Der): Bytes[] {
  const items = setMembers(set).rest();
  if (items.length > MAX_CERTIFICATES) throw malformed('too many certificates');
  return items.map(({ raw }) => raw);
}

function readSigner(signer: Der): Signer {
  const fields = members(signer, SEQUENCE);
  fields.take(INTEGER);
  const identifier = fields.take();
  const hash = parseHash(fields.take(SEQUENCE));
  const attributes = fields.take(context(0));
  const algorithm = parseSignatureAlgorithm(fields.take(SEQUENCE), hash);
  const signature = fields.take(OCTET_STRING).content;
  const unsigned = fields.takeIf(context(1));
  fields.end();
  return {
    identifier,
    hash,
    algorithm,
    signature,
    signedAttributes: concat(Uint8Array.of(SET), attributes.raw.slice(1)),
    attributes: readAttributes(attributes),
    unsigned: unsigned ? readAttributes(unsigned) : new Map(),
  };
}

function readAttributes(set: Der): Map<string, Der[]> {
  const found = new Map<string, Der[]>();
  for (const item of setMembers(set).rest()) {
    const fields = members(item, SEQUENCE);
    const id = parseOid(fields.take(OID));
    const values = members(fields.take(SET)).rest();
    fields.end();
    if (found.has(id)) throw malformed('an attribute stands there twice');
    found.set(id, values);
  }
  return found;
}

/**
 * Returns the one certificate, of those the message carries, whose hash the signature names, and which issuer and serial
 * number name, too. The others are not read. Throws `der_malformed`, `certificate_malformed`.
 */
export async function signerCertificate({ certificates, signer }: UnverifiedCms): Promise<Certificate> {
  const wanted: Bytes[] = [];
  for (const raw of certificates) if (await namesCertificate(signer, raw)) wanted.push(raw);
  const [raw, ...more] = wanted;
  if (!raw || more.length > 0) throw malformed('it does not carry the one certificate that its signature names');
  const certificate = parseCertificate(raw);
  if (!isNamed(certificate, signer)) throw malformed('the signature names another signer than its certificate');
  return certificate;
}

/** Whether the message names `certificate` by issuer and serial number. */
export function isNamed(certificate: Certificate, { identifier }: UnverifiedCms['signer']): boolean {
  return identifier.tag === SEQUENCE && isNamedBy(certificate, identifier);
}

/**
 * Throws `code`, or `otherBytes` when all else holds, unless `certificate` signed `content`, and the signature names that very certificate (RFC 5035).
 * Whether the certificate is trusted is the caller's question.
 */
export async function verifyCms(
  cms: UnverifiedCms,
  certificate: Certificate,
  content: Bytes,
  { code, otherBytes = code }: { code: string; otherBytes?: string },
): Promise<void> {
  const { signer } = cms;
  const invalid = (message: string) => new ObjectionError(code, message);
  if (signer.identifier.tag === SEQUENCE && !isNamedBy(certificate, signer.identifier)) {
    throw invalid('signed by another one');
  }
  if (signer.algorithm.hash !== signer.hash) throw invalid('two hashes for one signature');
  const type = single(signer.attributes, CONTENT_TYPE);
  if (!type || parseOid(type) !== cms.contentType) throw invalid('signed as content of another type');
  if (!(await namesCertificate(signer, certificate.raw))) throw invalid('the signature does not name its certificate');
  const key = await importKey(certificate.publicKeyInfo, signer.algorithm);
  await verifySignature(key, signer.algorithm, signer.signature, signer.signedAttributes, code);
  const digest = single(signer.attributes, MESSAGE_DIGEST);
  const expected = new Uint8Array(await crypto.subtle.digest(signer.hash, content));
  if (digest?.tag !== OCTET_STRING || !sameBytes(digest.content, expected))
    throw new ObjectionError(otherBytes, 'signed over other bytes');
}

async function namesCertificate({ attributes }: Signer, certificate: Bytes): Promise<boolean> {
  const second = single(attributes, SIGNING_CERTIFICATE_V2);
  if (second) {
    const fields = members(members(members(second, SEQUENCE).take(SEQUENCE)).take(SEQUENCE));
    const algorithm = fields.takeIf(SEQUENCE);
    const hash = algorithm ? parseHash(algorithm) : 'SHA-256';
    return matches(fields.take(OCTET_STRING), hash, certificate);
  }
  // RFC 3161 as of 2001, by authorities that still name themselves so; the certificate is pinned besides.
  const first = single(attributes, SIGNING_CERTIFICATE);
  if (!first) return false;
  const fields = members(members(members(first, SEQUENCE).take(SEQUENCE)).take(SEQUENCE));
  return matches(fields.take(OCTET_STRING), 'SHA-1', certificate);
}

async function matches(digest: Der, hash: Hash | 'SHA-1', raw: Bytes): Promise<boolean> {
  return sameBytes(digest.content, new Uint8Array(await crypto.subtle.digest(hash, raw)));
}

function single(attributes: Map<string, Der[]>, id: string): Der | undefined {
  const values = attributes.get(id);
  return values?.length === 1 ? values[0] : undefined;
}

function malformed(message: string): ObjectionError {
  return new ObjectionError('der_malformed', message);
}
