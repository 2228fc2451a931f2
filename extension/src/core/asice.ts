/**
 * ASiC-E containers (ETSI EN 319 162-1), read strictly: a proof must not carry bytes that nothing covers.
 *
 * The ZIP is as plain as the register writes it: files and directory walk in step, each file starts where the one before
 * ends. ZIP libraries look past what lies between, behind and inside the parts they were asked for.
 */
import { type Bytes, formatBase64, sameBytes, sha256, utf8 } from './encoding';
import { ObjectionError } from './errors';
import { inflate } from './inflate';
import { MANIFEST, MAX_FILES, type Manifest, verifyManifest } from './manifest';
import { MAX_EVIDENCE_BYTES } from './receipts';

export const MIME_TYPE = 'application/vnd.etsi.asic-e+zip';
export const ASIC_MANIFEST = 'META-INF/ASiCManifest.xml';
export const TIMESTAMP = 'META-INF/timestamp.tst';
export const MAX_BUNDLE_BYTES = 16_777_216;
const MIME_FILE = 'mimetype';
const FORM_FILES = [MIME_FILE, ASIC_MANIFEST, TIMESTAMP];
const MAX_ENTRIES = MAX_FILES + 8;
// What may unpack is bounded as a whole: however well something compresses, no ZIP bomb fits.
const MAX_UNPACKED_BYTES = 12_582_912;

const [LOCAL, CENTRAL, END] = [0x04034b50, 0x02014b50, 0x06054b50];
const [LOCAL_SIZE, CENTRAL_SIZE, END_SIZE] = [30, 46, 22];
const [STORED, DEFLATED] = [0, 8];
const REGULAR_FILE = [0, 0o10]; // the file type in a Unix mode: none told, or regular; never a link
const PLAIN_NAME = /^[ -~]+$/;
const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  let crc = n;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? 0xedb88320 ^ (crc >>> 1) : crc >>> 1;
  return crc;
});

interface Entry {
  name: string;
  method: number;
  crc: number;
  size: number;
  packed: Bytes;
}

/** Returns the files of the ZIP in `raw` by name, unchecked against any list. Throws `bundle_malformed`. */
export async function unpackContainer(raw: Bytes): Promise<Map<string, Bytes>> {
  if (raw.length > MAX_BUNDLE_BYTES) throw malformed('the bundle is too large');
  let entries: Entry[];
  try {
    entries = parseDirectory(raw);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error; // DataView's word for reading past the end
    throw malformed('the ZIP ends too early');
  }
  const [first] = entries;
  if (first?.name !== MIME_FILE || first.method !== STORED) throw malformed('it must begin with its stored mimetype');
  if (new Set(entries.map(({ name }) => name)).size !== entries.length) throw malformed('the ZIP names one file twice');
  if (entries.reduce((sum, { size }) => sum + size, 0) > MAX_UNPACKED_BYTES) throw malformed('it unpacks to too much');
  const files = new Map<string, Bytes>();
  for (const entry of entries) files.set(entry.name, await unpack(entry));
  if (!sameBytes(first.packed, utf8(MIME_TYPE))) throw malformed('the container is of another type');
  return files;
}

/**
 * Returns the manifest once `files` are exactly what the container's two manifests list.
 * Throws `bundle_malformed`, `bundle_unlisted_file`, `bundle_file_missing`, `bundle_file_mismatch`.
 */
export async function verifyContainer(files: Map<string, Bytes>): Promise<Manifest> {
  const missing = FORM_FILES.filter((name) => !files.has(name));
  if (missing.length > 0) throw new ObjectionError('bundle_file_missing', `the container lacks ${missing.join(', ')}`);
  const manifest = await verifyManifest(new Map([...files].filter(([name]) => !FORM_FILES.includes(name))));
  // Written anew and compared: an XML parser would be one more thing to trust.
  const expected = utf8(await formatAsicManifest(manifest, files));
  if (!sameBytes(files.get(ASIC_MANIFEST) ?? new Uint8Array(), expected)) {
    throw new ObjectionError('bundle_file_mismatch', `${ASIC_MANIFEST} does not list the files of this container`);
  }
  return manifest;
}

async function formatAsicManifest(manifest: Manifest, files: Map<string, Bytes>): Promise<string> {
  const listed = [...manifest.files, { name: MANIFEST, mediaType: 'application/json' }];
  const references: string[] = [];
  for (const { name, mediaType } of listed) {
    const digest = formatBase64(await sha256(files.get(name) ?? new Uint8Array()));
    references.push(
      `<asic:DataObjectReference URI="${escapeXml(name)}" MimeType="${escapeXml(mediaType)}">` +
        '<ds:DigestMethod Algorithm="http://www.w3.org/2001/04/xmlenc#sha256"/>' +
        `<ds:DigestValue>${digest}</ds:DigestValue></asic:DataObjectReference>`,
    );
  }
  return (
    '<?xml version="1.0" encoding="UTF-8"?>' +
    '<asic:ASiCManifest xmlns:asic="http://uri.etsi.org/02918/v1.2.1#" xmlns:ds="http://www.w3.org/2000/09/xmldsig#">' +
    `<asic:SigReference URI="${TIMESTAMP}" MimeType="application/vnd.etsi.timestamp-token"/>` +
    `${references.join('')}</asic:ASiCManifest>`
  );
}

function escapeXml(text: string): string {
  const entities: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#x27;' };
  return text.replace(/[&<>"']/g, (character) => entities[character] ?? character);
}

function parseDirectory(raw: Bytes): Entry[] {
  const view = new DataView(raw.buffer, raw.byteOffset, raw.byteLength);
  const end = raw.length - END_SIZE;
  const field = (at: number) => view.getUint16(end + at, true);
  const [count, size, directory] = [field(10), view.getUint32(end + 12, true), view.getUint32(end + 16, true)];
  const plain = view.getUint32(end, true) === END && !field(4) && !field(6) && !field(20) && field(8) === count;
  if (!plain || directory + size !== end) throw malformed('the ZIP has bytes that belong to no file');
  if (count > MAX_ENTRIES) throw malformed(`a bundle has at most ${MAX_ENTRIES} files`);
  const entries: Entry[] = [];
  let [at, fileAt] = [directory, 0];
  for (let i = 0; i < count; i++) {
    const { entry, fileEnd } = parseEntry(view, raw, at, fileAt);
    entries.push(entry);
    at += CENTRAL_SIZE + entry.name.length;
    fileAt = fileEnd;
  }
  if (at !== end || fileAt !== directory) throw malformed('the ZIP has bytes that belong to no file');
  return entries;
}

/** Reads the entry whose directory header is at `at`, if its file begins at `fileAt`. */
function parseEntry(view: DataView, raw: Bytes, at: number, fileAt: number): { entry: Entry; fileEnd: number } {
  const short = (offset: number) => view.getUint16(at + offset, true);
  const long = (offset: number) => view.getUint32(at + offset, true);
  const [flags, method, nameLength] = [short(8), short(10), short(28)];
  const [crc, packedSize, size, attributes] = [long(16), long(20), long(24), long(38)];
  const [extra, comment, disk] = [short(30), short(32), short(34)];
  const regular = REGULAR_FILE.includes(attributes >>> 28);
  if (long(0) !== CENTRAL || extra || comment || disk || flags || !regular) {
    throw malformed('the ZIP has more than plain files: links, encryption or extra fields');
  }
  const rawName = raw.subarray(at + CENTRAL_SIZE, at + CENTRAL_SIZE + nameLength);
  const name = String.fromCharCode(...rawName);
  if (rawName.length !== nameLength || !PLAIN_NAME.test(name)) throw malformed("a file's name is not plain ASCII");
  if ((method !== STORED && method !== DEFLATED) || size > MAX_EVIDENCE_BYTES) {
    throw malformed('a file is too large, or compressed in another way than deflate');
  }
  // The header before the file itself must say the same: readers that stream see only that one.
  const shared = raw.subarray(at + 6, at + 30);
  const local = raw.subarray(fileAt, fileAt + LOCAL_SIZE + nameLength);
  const agrees =
    long(42) === fileAt &&
    view.getUint32(fileAt, true) === LOCAL &&
    sameBytes(local.subarray(4, 28), shared) &&
    view.getUint16(fileAt + 28, true) === 0 &&
    sameBytes(local.subarray(LOCAL_SIZE), rawName);
  if (!agrees) throw malformed("the ZIP's directory and its files do not agree");
  const start = fileAt + LOCAL_SIZE + nameLength;
  const packed = raw.subarray(start, start + packedSize);
  if (packed.length !== packedSize) throw malformed('the ZIP ends too early');
  return { entry: { name, method, crc, size, packed }, fileEnd: start + packedSize };
}

async function unpack({ name, method, crc, size, packed }: Entry): Promise<Bytes> {
  const data = method === STORED ? packed : await inflate(packed, { format: 'deflate-raw', limit: size });
  if (data?.length !== size || crc32(data) !== crc) throw malformed(`${name} is damaged`);
  return data;
}

function crc32(data: Bytes): number {
  let crc = 0xffffffff;
  for (const byte of data) crc = (CRC_TABLE[(crc ^ byte) & 0xff] ?? 0) ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}

function malformed(message: string): ObjectionError {
  return new ObjectionError('bundle_malformed', message);
}
