/** Writes ASiC-E containers that hold: ZIP, both manifests, and a time stamp by an authority made for the test. */
import { type Bytes, concat, formatBase64, parseHex, sha256, sha256Hex, utf8 } from '../../src/core/encoding';

export interface Packed {
  role: string;
  mediaType: string;
  data: Bytes;
}
export type Stamp = (data: Bytes) => Promise<Bytes>;

const MIME_TYPE = 'application/vnd.etsi.asic-e+zip';

/** `files` in the order of the list. */
export async function packContainer(
  files: Record<string, Packed>,
  { receipt, state, stamp }: { receipt: string; state: string; stamp: Stamp },
): Promise<Bytes> {
  const listed = await Promise.all(
    Object.entries(files).map(async ([name, { role, mediaType, data }]) => {
      return { name, role, media_type: mediaType, size: data.length, sha256: await sha256Hex(data) };
    }),
  );
  const manifest = utf8(JSON.stringify({ v: 1, receipt_sha256: receipt, state, files: listed }));
  const references = [
    ...Object.entries(files),
    ['manifest.json', { mediaType: 'application/json', data: manifest }],
  ] as [string, Packed][];
  const asicManifest = utf8(
    '<?xml version="1.0" encoding="UTF-8"?>' +
      '<asic:ASiCManifest xmlns:asic="http://uri.etsi.org/02918/v1.2.1#" xmlns:ds="http://www.w3.org/2000/09/xmldsig#">' +
      '<asic:SigReference URI="META-INF/timestamp.tst" MimeType="application/vnd.etsi.timestamp-token"/>' +
      (await Promise.all(references.map(([name, file]) => reference(name, file)))).join('') +
      '</asic:ASiCManifest>',
  );
  return zip([
    ['mimetype', utf8(MIME_TYPE)],
    ...references.map(([name, { data }]) => [name, data] as [string, Bytes]),
    ['META-INF/ASiCManifest.xml', asicManifest],
    ['META-INF/timestamp.tst', await stamp(asicManifest)],
  ]);
}

async function reference(name: string, { mediaType, data }: Packed): Promise<string> {
  return (
    `<asic:DataObjectReference URI="${name}" MimeType="${mediaType}">` +
    '<ds:DigestMethod Algorithm="http://www.w3.org/2001/04/xmlenc#sha256"/>' +
    `<ds:DigestValue>${formatBase64(await sha256(data))}</ds:DigestValue></asic:DataObjectReference>`
  );
}

/** All files stored, so that a test can find words in them. */
function zip(files: [name: string, data: Bytes][]): Bytes {
  const [bodies, directory]: [Bytes[], Bytes[]] = [[], []];
  let at = 0;
  for (const [name, data] of files) {
    const size = number(data.length, 4);
    const shared = concat(new Uint8Array(8), number(crc32(data), 4), size, size, number(name.length, 2), number(0, 2));
    const body = concat(utf8('PK\u0003\u0004'), number(20, 2), shared, utf8(name), data);
    bodies.push(body);
    const mode = number((0o100644 << 16) >>> 0, 4);
    const entry = [
      utf8('PK\u0001\u0002'),
      number(20, 2),
      number(20, 2),
      shared,
      new Uint8Array(6),
      mode,
      number(at, 4),
    ];
    directory.push(concat(...entry, utf8(name)));
    at += body.length;
  }
  const whole = concat(...directory);
  const count = number(files.length, 2);
  const end = concat(utf8('PK\u0005\u0006'), number(0, 4), count, count, number(whole.length, 4), number(at, 4));
  return concat(...bodies, whole, end, number(0, 2));
}

/** Little-endian, as in ZIP. */
function number(value: number, size: number): Bytes {
  return Uint8Array.from({ length: size }, (_, i) => Math.floor(value / 256 ** i) % 256);
}

function crc32(data: Bytes): number {
  let crc = 0xffffffff;
  for (const byte of data) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? 0xedb88320 ^ (crc >>> 1) : crc >>> 1;
  }
  return (crc ^ 0xffffffff) >>> 0;
}

const SHA256 = der(0x30, oid('608648016503040201'));
const ECDSA = der(0x30, oid('2a8648ce3d040302'));
const TST_INFO = oid('2a864886f70d0109100104');

/** An RFC 3161 authority. `chain`: its own certificate first, its root last. */
export interface TimeAuthority {
  chain: Bytes[];
  stamp(data: Bytes, atS: number): Promise<Bytes>;
}

export async function timeAuthority(): Promise<TimeAuthority> {
  const [root, own] = await Promise.all([makeKey(), makeKey()]);
  const rootCertificate = await certificate('Test root', 1, { subject: root, issuer: root });
  const ownCertificate = await certificate('Test authority', 2, { subject: own, issuer: root });
  return { chain: [ownCertificate, rootCertificate], stamp };

  async function stamp(data: Bytes, atS: number): Promise<Bytes> {
    const imprint = der(0x30, SHA256, der(0x04, await sha256(data)));
    const info = der(0x30, integer(1), oid('2a030405'), imprint, integer(1), der(0x18, time(atS)));
    const named = der(0x30, der(0x30, der(0x30, der(0x04, await sha256(ownCertificate)))));
    const attributes = setOf(
      der(0x30, oid('2a864886f70d010903'), der(0x31, TST_INFO)),
      der(0x30, oid('2a864886f70d010904'), der(0x31, der(0x04, await sha256(info)))),
      der(0x30, oid('2a864886f70d010910022f'), der(0x31, named)),
    );
    const signature = der(0x04, await sign(own, der(0x31, attributes)));
    const identifier = der(0x30, nameOf('Test root'), integer(2));
    const signer = der(0x30, integer(1), identifier, SHA256, der(0xa0, attributes), ECDSA, signature);
    const content = der(0x30, TST_INFO, der(0xa0, der(0x04, info)));
    const certificates = der(0xa0, setOf(rootCertificate, ownCertificate));
    const signed = der(0x30, integer(3), der(0x31, SHA256), content, certificates, der(0x31, signer));
    return der(0x30, oid('2a864886f70d010702'), der(0xa0, signed));
  }
}

async function certificate(
  name: string,
  serial: number,
  { subject, issuer }: { subject: CryptoKeyPair; issuer: CryptoKeyPair },
): Promise<Bytes> {
  const key = new Uint8Array(await crypto.subtle.exportKey('spki', subject.publicKey));
  const critical = der(0x01, Uint8Array.of(0xff));
  const authority = der(0x30, oid('551d13'), critical, der(0x04, der(0x30, critical)));
  const stamping = der(0x30, oid('551d25'), critical, der(0x04, der(0x30, oid('2b06010505070308'))));
  const validity = der(0x30, der(0x18, utf8('20200101000000Z')), der(0x18, utf8('20990101000000Z')));
  const extensions = der(0xa3, der(0x30, subject === issuer ? authority : stamping));
  const names = [nameOf('Test root'), validity, nameOf(name)];
  const body = der(0x30, der(0xa0, integer(2)), integer(serial), ECDSA, ...names, key, extensions);
  return der(0x30, body, ECDSA, der(0x03, Uint8Array.of(0), await sign(issuer, body)));
}

function makeKey(): Promise<CryptoKeyPair> {
  return crypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, true, ['sign', 'verify']);
}

async function sign({ privateKey }: CryptoKeyPair, data: Bytes): Promise<Bytes> {
  const plain = new Uint8Array(await crypto.subtle.sign({ name: 'ECDSA', hash: 'SHA-256' }, privateKey, data));
  return der(0x30, unsigned(plain.slice(0, 32)), unsigned(plain.slice(32)));
}

function der(tag: number, ...contents: Bytes[]): Bytes {
  const content = concat(...contents);
  const { length } = content;
  const size = length < 128 ? [length] : length < 256 ? [0x81, length] : [0x82, length >> 8, length & 255];
  return concat(Uint8Array.of(tag, ...size), content);
}

function setOf(...items: Bytes[]): Bytes {
  return concat(...items.sort((one, other) => Buffer.compare(one, other)));
}

function unsigned(bytes: Bytes): Bytes {
  const first = bytes.findIndex((byte) => byte !== 0);
  const digits = bytes.slice(first);
  return der(0x02, (digits[0] ?? 0) & 0x80 ? concat(Uint8Array.of(0), digits) : digits);
}

function integer(value: number): Bytes {
  return der(0x02, Uint8Array.of(value));
}

function oid(hex: string): Bytes {
  return der(0x06, parseHex(hex));
}

function nameOf(text: string): Bytes {
  return der(0x30, der(0x31, der(0x30, oid('550403'), der(0x0c, utf8(text)))));
}

function time(atS: number): Bytes {
  return utf8(`${new Date(atS * 1000).toISOString().slice(0, 19).replaceAll(/[-:T]/g, '')}Z`);
}
