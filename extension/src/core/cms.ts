/**
 * CMS SignedData with one signer (RFC 5652), as RFC 3161 and PAdES use it.
 *
 * Nothing that no signature covers decides: versions, digest and signature algorithms beside the signature, certificates
 * and revocation lists are skipped unread. The hash is the one whose length the signed digest has; the scheme is the
 * pinned key's. `server/core/cms.py` is the twin of this module.
 */
import type { Certificate } from './certificates';
import {
  context,
  type Der,
  expectTag,
  INTEGER,
  members,
  OCTET_STRING,
  OID,
  parseDer,
  parseOid,
  SEQUENCE,
  SET,
} from './der';
import { type Bytes, concat, sameBytes } from './encoding';
import { ObjectionError } from './errors';
import { type Hash, hashOfSize, type PublicKey, parseHash, schemeOf, verifySignature } from './signatures';

const SIGNED_DATA = '1.2.840.113549.1.7.2';
export const CONTENT_TYPE = '1.2.840.113549.1.9.3';
export const MESSAGE_DIGEST = '1.2.840.113549.1.9.4';
const SIGNING_CERTIFICATE = '1.2.840.113549.1.9.16.2.12';
export const SIGNING_CERTIFICATE_V2 = '1.2.840.113549.1.9.16.2.47';

/**
 * What was read; nothing is checked. `content`: undefined when it is kept elsewhere, as in a PDF. `certificates`,
 * `revocations`, `unsigned`: under their tags, unread. `identifier`: who the signer says they are, unread, and not signed.
 */
export interface UnverifiedCms {
  contentType: string;
  content: Bytes | undefined;
  certificates: Der | undefined;
  revocations: Der | undefined;
  identifier: Der;
  /** The attributes as they were signed: under the tag of a SET. */
  signedAttributes: Bytes;
  attributes: Map<string, Der[]>;
  signature: Bytes;
  unsigned: Der | undefined;
}

/** Reads a ContentInfo. Throws `der_malformed`. */
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
  const [certificates, revocations] = [fields.takeIf(context(0)), fields.takeIf(context(1))];
  const [first, ...more] = members(fields.take(SET)).rest();
  fields.end();
  if (!first || more.length > 0) throw malformed('there must be exactly one signer');
  const signer = members(first, SEQUENCE);
  signer.take(INTEGER);
  const identifier = signer.take();
  signer.take(SEQUENCE);
  const signed = signer.take(context(0));
  signer.take(SEQUENCE);
  const signature = signer.take(OCTET_STRING).content;
  const unsigned = signer.takeIf(context(1));
  signer.end();
  return {
    contentType,
    content: wrapped && readContent(wrapped),
    certificates,
    revocations,
    identifier,
    signedAttributes: concat(Uint8Array.of(SET), signed.raw.slice(1)),
    attributes: readAttributes(signed),
    signature,
    unsigned,
  };
}

function readContent(explicit: Der): Bytes {
  const fields = members(explicit);
  const { content } = fields.take(OCTET_STRING);
  fields.end();
  return content;
}

function readAttributes(set: Der): Map<string, Der[]> {
  const found = new Map<string, Der[]>();
  for (const item of members(set).rest()) {
    const [id, values] = readAttribute(item);
    if (found.has(id)) throw malformed('an attribute stands there twice');
    found.set(id, values);
  }
  return found;
}

/** Returns an attribute's id and its values. Throws `der_malformed`. */
export function readAttribute(attribute: Der): [string, Der[]] {
  const fields = members(attribute, SEQUENCE);
  const id = parseOid(fields.take(OID));
  const values = members(fields.take(SET)).rest();
  fields.end();
  return [id, values];
}

/**
 * Throws `code` unless `certificate`, whose key is `key`, signed `content`, and the signature names that very certificate
 * (RFC 5035); `otherBytes` when all else holds. Whether the certificate is trusted is the caller's question.
 */
export async function verifyCms(
  cms: UnverifiedCms,
  { certificate, key }: { certificate: Certificate; key: PublicKey },
  content: Bytes,
  { code, otherBytes = code }: { code: string; otherBytes?: string },
): Promise<void> {
  const type = single(cms, CONTENT_TYPE);
  if (!type || parseOid(type) !== cms.contentType) throw new ObjectionError(code, 'signed as content of another type');
  if (!(await namesCertificate(cms, certificate.raw))) {
    throw new ObjectionError(code, `the signature names another certificate than ${certificate.name}`);
  }
  const digest = single(cms, MESSAGE_DIGEST);
  if (!digest) throw new ObjectionError(code, 'no digest is signed');
  const hash = hashOfSize(expectTag(digest, OCTET_STRING).content.length);
  await verifySignature(key, { scheme: schemeOf(key), hash }, cms.signature, cms.signedAttributes, code);
  if (!sameBytes(digest.content, await digestOf(hash, content))) {
    throw new ObjectionError(otherBytes, 'signed over other bytes');
  }
}

/**
 * Whether the signed attributes name `certificate` (DER) by its hash, as the first they name. Throws `der_malformed`,
 * `algorithm_refused`.
 */
export async function namesCertificate(cms: UnverifiedCms, certificate: Bytes): Promise<boolean> {
  const second = single(cms, SIGNING_CERTIFICATE_V2);
  if (second) {
    const fields = firstCertificateId(second);
    const algorithm = fields.takeIf(SEQUENCE);
    const expected = await digestOf(algorithm ? parseHash(algorithm) : 'SHA-256', certificate);
    return sameBytes(fields.take(OCTET_STRING).content, expected);
  }
  // RFC 3161 as of 2001, by authorities that still name themselves so. The certificate is pinned besides.
  const first = single(cms, SIGNING_CERTIFICATE);
  if (!first) return false;
  const expected = await digestOf('SHA-1', certificate);
  return sameBytes(firstCertificateId(first).take(OCTET_STRING).content, expected);
}

function firstCertificateId(value: Der) {
  return members(members(members(value, SEQUENCE).take(SEQUENCE)).take(SEQUENCE));
}

async function digestOf(hash: Hash | 'SHA-1', data: Bytes): Promise<Bytes> {
  return new Uint8Array(await crypto.subtle.digest(hash, data));
}

function single({ attributes }: UnverifiedCms, id: string): Der | undefined {
  const values = attributes.get(id);
  return values?.length === 1 ? values[0] : undefined;
}

function malformed(message: string): ObjectionError {
  return new ObjectionError('der_malformed', message);
}
