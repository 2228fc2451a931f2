/** The certificate as a PDF: the files embedded in it, and the register's signature over the whole of it (PAdES). */
import { ecPoint } from './certificates';
import { parseCms, signerCertificate, type UnverifiedCms, verifyCms } from './cms';
import { parseDerPrefix, SEQUENCE } from './der';
import { type Bytes, concat, sameBytes } from './encoding';
import { ObjectionError } from './errors';
import { asciiText, type Dictionary, malformed, Name, Pdf, type PdfValue, parseHexString, Stream } from './pdf';
import { MAX_EVIDENCE_BYTES } from './receipts';
import { embeddedChain, type Timestamp, verifyTimestamp } from './timestamps';

export const MAX_DOCUMENT_BYTES = 16_777_216;
const MAX_UNPACKED_BYTES = 12_582_912;
const SUB_FILTER = 'ETSI.CAdES.detached';
const DATA = '1.2.840.113549.1.7.1';
const SIGNATURE_TIME = '1.2.840.113549.1.9.16.2.14';
const MAX_FIELDS = 64;
const INVALID = 'document_invalid';

/** `files`: what is embedded, by name, unchecked against any list. */
export interface Document {
  raw: Bytes;
  pdf: Pdf;
  files: Map<string, Bytes>;
}

/** `point`: the signer's key as a policy names issuer keys. `stamp`: by whom and when the signature was stamped. */
export interface DocumentSignature {
  signer: string;
  point: Bytes | undefined;
  stamp: Timestamp | undefined;
}

/** Reads a PDF and the files embedded in it; safe to call with anything. Throws `bundle_malformed`. */
export async function readDocument(raw: Bytes): Promise<Document> {
  if (raw.length > MAX_DOCUMENT_BYTES) throw malformed('the PDF is too large');
  const pdf = Pdf.parse(raw);
  const catalogue = pdf.dictionary(pdf.trailer.get('Root'));
  const names = pdf.resolve(catalogue.get('Names'));
  const tree = names instanceof Map ? names.get('EmbeddedFiles') : undefined;
  if (tree === undefined) throw malformed('no proof is embedded in this PDF');
  const files = new Map<string, Bytes>();
  let left = MAX_UNPACKED_BYTES;
  for (const [key, value] of pdf.nameTree(tree)) {
    const { name, stream } = embeddedFile(pdf, key, value);
    if (files.has(name)) throw malformed('the PDF embeds two files of one name');
    const data = await pdf.content(stream, Math.min(left, MAX_EVIDENCE_BYTES));
    left -= data.length;
    files.set(name, data);
  }
  // An attachment that hangs elsewhere, on a page say, would be shown by viewers, and nothing here would list it.
  let embedded = 0;
  for (const object of pdf.objects())
    if (object instanceof Stream && typeOf(object.dictionary) === 'EmbeddedFile') embedded++;
  if (embedded !== files.size) throw malformed('the PDF embeds files that are not in its list');
  return { raw, pdf, files };
}

function embeddedFile(pdf: Pdf, key: Bytes, value: PdfValue): { name: string; stream: Stream } {
  const specification = pdf.dictionary(value);
  const name = asciiText(key);
  const shown = [specification.get('UF'), specification.get('F')].filter((text) => text !== undefined);
  // What the list calls it is what viewers show and save.
  if (name === undefined || shown.length === 0 || shown.some((text) => asciiText(pdf.resolve(text)) !== name)) {
    throw malformed('an embedded file has no name, or several');
  }
  const versions = pdf.dictionary(specification.get('EF'));
  const stream = pdf.resolve(versions.get('F') ?? versions.get('UF'));
  if (!(stream instanceof Stream)) throw malformed('an embedded file has no content');
  return { name, stream };
}

/**
 * Returns whose signature covers the whole document, from its first byte to its last, but for the signature itself.
 * Whether that key is the register's is for the caller to compare. Throws `document_invalid`.
 */
export async function verifyDocument({ raw, pdf }: Document): Promise<DocumentSignature> {
  try {
    const { before, contents, after } = signedRange(raw, onlySignature(pdf));
    const der = parseDerPrefix(contents, SEQUENCE);
    if (contents.subarray(der.raw.length).some((byte) => byte !== 0)) throw invalid('bytes behind the signature');
    const cms = parseCms(der.raw);
    if (cms.contentType !== DATA || cms.content) throw invalid('the signature carries something of its own');
    const certificate = signerCertificate(cms);
    await verifyCms(cms, certificate, concat(before, after), INVALID);
    return { signer: certificate.name, point: ecPoint(certificate), stamp: await signatureTime(cms) };
  } catch (error) {
    if (!(error instanceof ObjectionError) || error.code === INVALID) throw error;
    throw new ObjectionError(INVALID, error.message, { cause: error });
  }
}

function onlySignature(pdf: Pdf): Dictionary {
  const found: Dictionary[] = [];
  for (const object of pdf.objects()) if (object instanceof Map && object.has('ByteRange')) found.push(object);
  const [signature, ...more] = found;
  if (!signature) throw invalid('it is not signed');
  if (more.length > 0) throw invalid('there is more than one signature');
  const catalogue = pdf.dictionary(pdf.trailer.get('Root'));
  const fields = pdf.array(pdf.dictionary(catalogue.get('AcroForm')).get('Fields'));
  if (fields.length > MAX_FIELDS) throw invalid('too many form fields');
  const values = fields.map((field) => pdf.dictionary(field).get('V')).filter((value) => value !== undefined);
  // The one that viewers show must be the one that is checked.
  if (values.length !== 1 || pdf.resolve(values[0]) === null || !sameSignature(pdf.dictionary(values[0]), signature)) {
    throw invalid('the signature stands in no field of the form, or in several');
  }
  return signature;
}

function sameSignature(one: Dictionary, other: Dictionary): boolean {
  const [first, second] = [one.get('Contents'), other.get('Contents')];
  return first instanceof Uint8Array && second instanceof Uint8Array && sameBytes(first, second);
}

function signedRange(raw: Bytes, signature: Dictionary): { before: Bytes; contents: Bytes; after: Bytes } {
  const subFilter = signature.get('SubFilter');
  if (!(subFilter instanceof Name) || subFilter.text !== SUB_FILTER)
    throw invalid('a signature of another kind than PAdES');
  const range = signature.get('ByteRange');
  if (!Array.isArray(range) || range.length !== 4 || !range.every((n) => Number.isSafeInteger(n))) {
    throw invalid('it does not say what it covers');
  }
  const [start, gap, resume, length] = range as [number, number, number, number];
  if (start !== 0 || gap <= 0 || resume <= gap || resume + length !== raw.length) {
    throw invalid('the signature does not cover the whole file');
  }
  const contents = parseHexString(raw.subarray(gap, resume));
  const told = signature.get('Contents');
  if (!(told instanceof Uint8Array) || !sameBytes(told, contents)) {
    throw invalid('the signature leaves out more than itself');
  }
  return { before: raw.subarray(0, gap), contents, after: raw.subarray(resume) };
}

/** The time stamp in the signature (PAdES B-T), by whatever authority it names itself. */
async function signatureTime({ signer }: UnverifiedCms): Promise<Timestamp | undefined> {
  const [token] = signer.unsigned.get(SIGNATURE_TIME) ?? [];
  if (!token) return undefined;
  return verifyTimestamp(token.raw, signer.signature, await embeddedChain(token.raw));
}

function typeOf(dictionary: Dictionary): string | undefined {
  const type = dictionary.get('Type');
  return type instanceof Name ? type.text : undefined;
}

function invalid(message: string): ObjectionError {
  return new ObjectionError(INVALID, message);
}
