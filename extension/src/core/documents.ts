/**
 * The signed certificate, read as a sceptic reads it: one signature, over every byte, and the files that it carries.
 * A port of server/bundles/documents.py; trusts nobody: whose key signed is for the caller to compare.
 */
import { type Certificate, isNamedBy, parseCertificate } from './certificates';
import {
  CONTENT_TYPE,
  MESSAGE_DIGEST,
  namesCertificate,
  parseCms,
  readAttribute,
  SIGNING_CERTIFICATE_V2,
  type UnverifiedCms,
  verifyCms,
} from './cms';
import { type Der, members } from './der';
import { type Bytes, concat, formatHex } from './encoding';
import { ObjectionError } from './errors';
import { inflate } from './inflate';
import {
  type Dictionary,
  dictionariesIn,
  isName,
  latin1,
  malformed,
  Name,
  type PdfObject,
  type PdfValue,
  parsePdf,
  Reference,
  type Section,
  sameValue,
} from './pdf';
import { parseKey } from './signatures';

/** What may unpack is bounded as a whole: evidence, and what the register adds to it. */
const MAX_UNPACKED_BYTES = 12_582_912;
const MAX_FILES = 512;
const FILE_NAME = /^[A-Za-z0-9][A-Za-z0-9./-]{0,119}$/;
const DATE = /^D:(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/;
const TRAILER = ['Size', 'Root', 'Info', 'ID'];
const SIGNATURE = ['Type', 'Filter', 'SubFilter', 'Contents', 'ByteRange', 'M'];
/** What makes a document act, or look different from what was signed. The register writes none of it. */
const ACTIVE = ['JS', 'JavaScript', 'AA', 'OpenAction', 'XFA', 'RichMedia', 'Encrypt', 'OCProperties', 'Collection'];
const ACTIONS = ['Launch', 'SubmitForm', 'ImportData'];
const [DATA, SIGNATURE_TIME] = ['1.2.840.113549.1.7.1', '1.2.840.113549.1.9.16.2.14'];
const SIGNED_ATTRIBUTES = [CONTENT_TYPE, MESSAGE_DIGEST, SIGNING_CERTIFICATE_V2];
const DIGEST_BYTES = 32;
const MAX_CERTIFICATES = 16;

/**
 * What a signed document holds. `files`: what is attached, by name, the manifest among them; compare them with it.
 * `signerPoint`: the signer's key as a policy's issuer keys are kept. `timestamp`: a token over `signature`, if any.
 */
export interface SignedDocument {
  files: Map<string, Bytes>;
  signerPoint: Bytes;
  signature: Bytes;
  timestamp: Bytes | undefined;
}

type Objects = Map<number, PdfObject>;

/**
 * Returns what the certificate in `raw` holds, once its one signature holds for the whole file.
 *
 * Throws `document_malformed` for what the register does not write, `document_altered` when bytes were changed or added
 * after signing, `document_signature_invalid` when it is not signed, or not as it should be.
 */
export async function readDocument(raw: Bytes): Promise<SignedDocument> {
  const [page, update, ...more] = parsePdf(raw);
  if (more.length > 0) throw altered('something was added after the document was signed');
  if (!page || !update) throw unsigned('the document is not signed');
  const objects: Objects = new Map([...page.objects, ...update.objects]);
  const field = verifyUpdate(page, update, objects);
  const place = field.get('V');
  const signature = dictionaryAt(objects, place);
  refuseBadDate(signature.get('M'));
  const { covered, der } = verifyCoverage(raw, update, place, signature);
  const signer = await verifyDocumentSignature(der, covered);
  const everything = [...page.objects.values(), ...update.objects.values()];
  const files = await readFiles(objects, dictionaryAt(objects, update.trailer.get('Root')), everything);
  return { files, ...signer };
}

/** Returns the dictionary that `reference` leads to; it must be a reference, and to a plain dictionary. */
function dictionaryAt(objects: Objects, reference: PdfValue | undefined): Dictionary {
  const item = reference instanceof Reference ? objects.get(reference.number) : undefined;
  if (!(item?.value instanceof Map) || item.stream) throw malformed('a part of the document leads nowhere');
  return item.value;
}

/** Returns the signature's field once the update adds a signature to the page, and changes nothing else. */
function verifyUpdate(page: Section, update: Section, objects: Objects): Dictionary {
  if (!hasKeys(page.trailer, TRAILER) || !hasKeys(update.trailer, [...TRAILER, 'Prev'])) {
    throw malformed('a trailer says more or less than it should');
  }
  const root = update.trailer.get('Root');
  const replaced = ['Root', 'Info'].some((key) => !sameValue(update.trailer.get(key), page.trailer.get(key)));
  if (replaced || !(root instanceof Reference)) throw malformed("the signature's update replaces the document");
  const [before, after] = [dictionaryAt(page.objects, root), dictionaryAt(objects, root)];
  const form = dictionaryAt(objects, after.get('AcroForm'));
  const fields = form.get('Fields');
  const withForm = new Map([...before, ['AcroForm', after.get('AcroForm') ?? null]]);
  if (!sameValue(after, withForm) || !hasKeys(form, ['Fields', 'SigFlags']) || !Array.isArray(fields)) {
    throw malformed('the document has more forms than one signature');
  }
  const [place, ...others] = fields;
  if (others.length > 0) throw malformed('the document has more forms than one signature');
  const field = dictionaryAt(objects, place);
  const signature = field.get('V');
  if (!isName(field.get('FT'), 'Sig') || !(signature instanceof Reference) || field.has('Kids')) {
    throw malformed("the document's form is not a signature");
  }
  for (const number of update.objects.keys()) {
    if (page.objects.has(number) && number !== root.number) refuseChange(page, update, number, place ?? null);
  }
  for (const item of [...page.objects.values(), ...update.objects.values()]) {
    for (const dictionary of dictionariesIn(item.value)) refuseUnwritten(dictionary, item.number === signature.number);
  }
  return field;
}

/** Of what was there before, the update may only add the signature's field to the page's list. */
function refuseChange(page: Section, update: Section, number: number, field: PdfValue): void {
  const reference = new Reference(number);
  const [before, after] = [dictionaryAt(page.objects, reference), dictionaryAt(update.objects, reference)];
  const refused = "the signature's update changes more than the page's list of fields";
  const listed = before.has('Annots') ? before.get('Annots') : [];
  if (!isName(before.get('Type'), 'Page') || !Array.isArray(listed)) throw malformed(refused);
  if (!sameValue(after, new Map([...before, ['Annots', [...listed, field]]] as const))) throw malformed(refused);
}

function refuseUnwritten(dictionary: Dictionary, isSignature: boolean): void {
  const active = ACTIVE.filter((key) => dictionary.has(key));
  if (active.length > 0)
    throw malformed(`the document contains ${active.join(', ')}, which the register does not write`);
  const [type, action] = [nameOf(dictionary.get('Type')), nameOf(dictionary.get('S'))];
  if (type === 'ObjStm' || type === 'XRef' || ACTIONS.includes(action)) {
    throw malformed("the document is built in another way than the register's");
  }
  if (dictionary.has('ByteRange') && !isSignature) throw malformed('the document has more than one signature');
}

function refuseBadDate(value: PdfValue | undefined): void {
  const [, year, month, day, hour, minute, second] =
    value instanceof Uint8Array ? (DATE.exec(latin1(value)) ?? []) : [];
  if (!year) throw malformed('the signature has no date in UTC');
  const iso = `${year}-${month}-${day}T${hour}:${minute}:${second}.000Z`;
  const moment = new Date(iso);
  if (Number.isNaN(moment.getTime()) || moment.toISOString() !== iso) throw malformed("the signature's date is none");
}

/** Returns all bytes but the signature's own, and the signature: the only ones that it leaves out. */
function verifyCoverage(
  raw: Bytes,
  update: Section,
  reference: PdfValue | undefined,
  signature: Dictionary,
): { covered: Bytes; der: Bytes } {
  const holder = reference instanceof Reference ? update.objects.get(reference.number) : undefined;
  const [contents, range] = [signature.get('Contents'), signature.get('ByteRange')];
  const form = hasKeys(signature, SIGNATURE) && isName(signature.get('Type'), 'Sig');
  if (!form || !isName(signature.get('SubFilter'), 'ETSI.CAdES.detached') || !holder || !isFourNumbers(range)) {
    throw malformed('the signature is not of the form that PAdES wants');
  }
  if (!(contents instanceof Uint8Array)) throw malformed('the signature is not of the form that PAdES wants');
  const [start, first, second, rest] = range;
  const inside = holder.start < first && first < second && second < holder.end;
  if (start !== 0 || !inside || second + rest !== raw.length) {
    throw altered('the signature does not cover the whole document');
  }
  const der = contents.subarray(0, derLength(contents));
  // As it was written, to the letter: nothing else may hide in the only place that the hash leaves out.
  const written = `<${formatHex(der).toUpperCase()}${'0'.repeat(2 * (contents.length - der.length))}>`;
  if (latin1(raw.subarray(first, second)) !== written) throw altered('the signature leaves out more than itself');
  return { covered: concat(raw.subarray(0, first), raw.subarray(second)), der };
}

function isFourNumbers(range: PdfValue | undefined): range is [number, number, number, number] {
  return Array.isArray(range) && range.length === 4 && range.every((n) => Number.isSafeInteger(n) && Number(n) >= 0);
}

/** Returns how long the DER SEQUENCE at the start of `data` is: zeros fill the place kept for it. */
function derLength(data: Bytes): number {
  const [tag, first = 0] = data;
  const octets = tag === 0x30 && data.length > 4 && first >= 0x81 && first <= 0x83 ? first & 0x7f : 0;
  const length = 2 + octets + data.subarray(2, 2 + octets).reduce((sum, byte) => sum * 256 + byte, 0);
  if (octets === 0 || length > data.length) throw malformed('the signature is no CMS structure');
  return length;
}

/** Who signed a document. `timestamp`: a token over `signature`; nobody signs that it is there. */
type DocumentSigner = Omit<SignedDocument, 'files'>;

/**
 * Returns who signed `covered`, once the CMS in `der` is a PAdES signature as docs/formats.md has it. Throws the codes of
 * `readDocument`.
 */
export async function verifyDocumentSignature(der: Bytes, covered: Bytes): Promise<DocumentSigner> {
  const { cms, timestamp, certificate } = await translate('document_malformed', async () => {
    const read = parseCms(der);
    refuseUnusual(read);
    return { cms: read, timestamp: timestampOf(read.unsigned), certificate: await signerCertificate(read) };
  });
  return translate('document_signature_invalid', async () => {
    const key = await parseKey(certificate.publicKeyInfo);
    if (key.kind !== 'EC' || key.curve !== 'P-256') throw unsigned('signed with another kind of key than P-256');
    const codes = { code: 'document_signature_invalid', otherBytes: 'document_altered' };
    await verifyCms(cms, { certificate, key }, covered, codes);
    return { signerPoint: key.point, signature: cms.signature, timestamp };
  });
}

async function translate<T>(code: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof ObjectionError) || error.code.startsWith('document_')) throw error;
    throw new ObjectionError(code, `the document's signature: ${error.message}`, { cause: error });
  }
}

function refuseUnusual({ contentType, content, revocations, attributes }: UnverifiedCms): void {
  if (contentType !== DATA || content) throw malformed('the signature carries content');
  // Nobody signs them: anything could be in there.
  if (revocations) throw malformed('the signature carries lists of revoked certificates');
  const single = [...attributes.values()].every((values) => values.length === 1);
  if (!single || !hasKeys(attributes, SIGNED_ATTRIBUTES)) {
    throw malformed('the signature signs other attributes than PAdES wants');
  }
  const [digest] = attributes.get(MESSAGE_DIGEST) ?? [];
  if (digest?.content.length !== DIGEST_BYTES) throw malformed('the signature signs another digest than SHA-256');
}

/** Returns the one certificate, of those carried, whose hash the signature names. The others are not read. */
async function signerCertificate(cms: UnverifiedCms): Promise<Certificate> {
  const carried = cms.certificates ? members(cms.certificates).rest() : [];
  if (carried.length > MAX_CERTIFICATES) throw malformed(`it carries more than ${MAX_CERTIFICATES} certificates`);
  const wanted: Bytes[] = [];
  for (const { raw } of carried) if (await namesCertificate(cms, raw)) wanted.push(raw);
  const [raw, ...more] = wanted;
  if (!raw || more.length > 0) throw malformed('it does not carry the one certificate that it names');
  const certificate = parseCertificate(raw);
  if (!isNamedBy(certificate, cms.identifier)) {
    throw malformed('it calls its signer otherwise than the certificate does');
  }
  return certificate;
}

function timestampOf(unsignedAttributes: Der | undefined): Bytes | undefined {
  if (!unsignedAttributes) return undefined;
  const [first, ...more] = members(unsignedAttributes).rest().map(readAttribute);
  const [id, [token, ...others]] = first ?? ['', []];
  if (!token || id !== SIGNATURE_TIME || more.length + others.length > 0) {
    throw malformed('the signature has unsigned attributes other than one time stamp');
  }
  return token.raw;
}

/** Returns the files attached to the document by name, once they are all that is embedded anywhere in it. */
async function readFiles(
  objects: Objects,
  catalogue: Dictionary,
  everything: PdfObject[],
): Promise<Map<string, Bytes>> {
  const names = catalogue.get('Names');
  const tree = names instanceof Map ? names.get('EmbeddedFiles') : undefined;
  const pairs = tree instanceof Map && hasKeys(tree, ['Names']) ? tree.get('Names') : undefined;
  if (!Array.isArray(pairs) || pairs.length % 2 || pairs.length === 0 || pairs.length > 2 * MAX_FILES) {
    throw malformed(`the document does not list its 1 to ${MAX_FILES} files in one list`);
  }
  const files = new Map<string, Bytes>();
  const streams = new Set<number>();
  let left = MAX_UNPACKED_BYTES;
  for (let i = 0; i < pairs.length; i += 2) {
    const [key, reference] = [pairs[i], pairs[i + 1]];
    const name = key instanceof Uint8Array ? latin1(key) : '';
    if (!FILE_NAME.test(name) || files.has(name)) throw malformed('a file has a name twice, or one that is not plain');
    const item = fileStream(objects, name, dictionaryAt(objects, reference));
    if (streams.has(item.number)) throw malformed('two names lead to one file');
    streams.add(item.number);
    const data = await unpack(item, name, left);
    left -= data.length;
    files.set(name, data);
  }
  refuseOtherFiles(catalogue, pairs, everything);
  return files;
}

function fileStream(objects: Objects, name: string, specification: Dictionary): PdfObject & { value: Dictionary } {
  const embedded = specification.get('EF');
  if (!isName(specification.get('Type'), 'Filespec') || !(embedded instanceof Map) || !hasKeys(embedded, ['F', 'UF'])) {
    throw malformed('a file is not attached as PDF/A-3 wants');
  }
  const shown = [specification.get('F'), specification.get('UF')];
  const same = shown.every((text) => text instanceof Uint8Array && latin1(text) === name);
  if (!same || !sameValue(embedded.get('F'), embedded.get('UF'))) throw malformed('a file is known by two names');
  const reference = embedded.get('F');
  const item = reference instanceof Reference ? objects.get(reference.number) : undefined;
  if (!item?.stream || !(item.value instanceof Map) || !isName(item.value.get('Type'), 'EmbeddedFile')) {
    throw malformed("a file's name leads to no file");
  }
  return { ...item, value: item.value };
}

async function unpack(
  { value, stream }: PdfObject & { value: Dictionary },
  name: string,
  left: number,
): Promise<Bytes> {
  const [parameters, how] = [value.get('Params'), value.get('Filter')];
  const size = parameters instanceof Map ? parameters.get('Size') : undefined;
  const known = how === undefined || isName(how, 'FlateDecode');
  if (typeof size !== 'number' || !Number.isInteger(size) || size < 0 || size > left || !known) {
    throw malformed(`the files unpack to more than ${MAX_UNPACKED_BYTES} bytes, or not by deflate`);
  }
  if (value.has('DecodeParms') || value.has('F')) {
    throw malformed(`${name} is packed in another way than the register packs`);
  }
  const packed = stream ?? new Uint8Array();
  const data = how === undefined ? packed : await inflate(packed, { format: 'deflate', limit: size });
  if (data?.length !== size) throw malformed(`${name} does not unpack, or has another size than it says`);
  return data;
}

/** Older versions of an object count, too: nothing may be embedded that the list does not name. */
function refuseOtherFiles(catalogue: Dictionary, pairs: PdfValue[], everything: PdfObject[]): void {
  const listed = pairs.filter((_, i) => i % 2 === 1).map(numberOf);
  const associated = catalogue.get('AF');
  const numbers = Array.isArray(associated) ? associated.map(numberOf) : [];
  if (numbers.sort(ascending).join() !== listed.sort(ascending).join()) {
    throw malformed('the files are not those associated with the document');
  }
  let [embedded, specified] = [0, 0];
  for (const { value, stream } of everything) {
    if (stream && value instanceof Map && isName(value.get('Type'), 'EmbeddedFile')) embedded++;
    for (const dictionary of dictionariesIn(value)) if (dictionary.has('EF')) specified++;
  }
  if (embedded !== listed.length || specified !== listed.length) {
    throw malformed('the document embeds files that it does not list');
  }
}

function numberOf(value: PdfValue): number {
  return value instanceof Reference ? value.number : -1;
}

function ascending(one: number, other: number): number {
  return one - other;
}

function nameOf(value: PdfValue | undefined): string {
  return value instanceof Name ? value.text : '';
}

function hasKeys(map: ReadonlyMap<string, unknown>, keys: string[]): boolean {
  return map.size === keys.length && keys.every((key) => map.has(key));
}

function altered(message: string): ObjectionError {
  return new ObjectionError('document_altered', message);
}

function unsigned(message: string): ObjectionError {
  return new ObjectionError('document_signature_invalid', message);
}
