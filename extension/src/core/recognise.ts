/**
 * What a file is that the verifier cannot read: a damaged proof, a copy that a program changed, or something else.
 * A port of server/usecases/recognise.py; docs/formats.md has the rules, under "What is no proof". Looks for traces only: no
 * answer says that anything holds. The cost is bounded by the file's size, and by `MAX_LOOKED_AT`.
 */
import { type Bytes, sameBytes, utf8 } from './encoding';
import { ObjectionError } from './errors';
import { inflate } from './inflate';
import { latin1 } from './pdf';

export const [ZIP_MAGIC, PDF_MAGIC] = [utf8('PK\u0003\u0004'), utf8('%PDF-')];
const [ZIP, PDF, GZIP] = ['PK\u0003\u0004', '%PDF-', '\u001f\u008b\u0008'];
/** A proof of ours has at least one of them; no file of another kind has. */
const OWN_NAMES = ['receipt.jws', 'token.sd-jwt', 'proof.tlog-proof'];
const MARK = 'receipt.jws';
const PDF_HEADER = '%PDF-1.7\n%\u0080\u0080\u0080\u0080\n';
/** A certificate's table of objects begins so, with a carriage return before the line feed. */
const UNIX_TABLE = ' 65535 f\n';
/** What every certificate prints in its fixed-width font, in each language. */
const PRINTED = 'objection verify';
const MAX_LOOKED_AT = 16_777_216;
const MAX_STREAM = 1_048_576;
const MAX_STREAMS = 4096;
/** Bytes of what fonts say about their letters. */
const MAX_FONTS = 262_144;
const MAX_ENTRIES = 1024;
const MAX_DEPTH = 2;
const MAX_ATTACHMENTS = 4;
const MIN_LINES = 8;
const [LOCAL_SIZE, CENTRAL_SIZE, END_SIZE] = [30, 46, 22];
const [CENTRAL, END] = [0x02014b50, 'PK\u0005\u0006'];

const STREAM = /(?<!end)stream\r?\n/g;
const BASE64 = /(?:UEsDB|JVBERi0)[A-Za-z0-9+/\r\n]*/g;
const STRINGS = /<([0-9A-Fa-f\s]*)>|\(((?:[^()\\]|\\.)*)\)/gs;
const ESCAPE = /\\([0-7]{1,3}|.)/gs;
const CHARACTER_LISTS = /beginbfchar(.*?)endbfchar/gs;
const CHARACTER = /<([0-9A-Fa-f]{2}|[0-9A-Fa-f]{4})>\s*<([0-9A-Fa-f]+)>/g;
const RANGE_LISTS = /beginbfrange(.*?)endbfrange/gs;
const RANGE = /<([0-9A-Fa-f]{2}|[0-9A-Fa-f]{4})>\s*<([0-9A-Fa-f]+)>\s*(?:<([0-9A-Fa-f]+)>|\[[^\]]*\])/g;
const ESCAPED: Record<string, string> = { n: '\n', r: '\r', t: '\t', b: '\b', f: '\f', '\n': '' };

export const NOTICED = [
  'line-ends',
  'recoded',
  'zipped-again',
  'saved-again',
  'added-to',
  'printed',
  'base64',
  'gzip',
  'wrapped',
] as const;
export type Noticed = (typeof NOTICED)[number];

/** `noticed`: by what a copy of a proof differs; undefined where nothing shows but damage. `inner`: a proof inside. */
interface Look {
  noticed?: Noticed;
  inner?: string;
}

/** A copy of a proof that some program changed, or put into a ZIP, where it is called `inner`. */
export class ChangedCopy extends ObjectionError {
  constructor(
    readonly noticed: Noticed | undefined,
    readonly inner: string | undefined,
  ) {
    const message = inner === undefined ? `a changed copy of a proof: ${noticed}` : 'a ZIP around a proof';
    super('file_resaved', message);
  }
}

/** Whether files of these names are those of a proof, whole or not. */
export function isProof(names: Iterable<string>): boolean {
  return [...names].some((name) => OWN_NAMES.includes(name));
}

export function unrecognised(): ObjectionError {
  return new ObjectionError('file_unrecognised', 'neither a proof (PDF or .asice) nor a token');
}

/**
 * Returns only if `raw` is a proof that is damaged or altered. `parsed`: its form could be read. Throws `file_resaved`
 * (ChangedCopy) for a copy that a program changed or wrapped, and `file_unrecognised` for what was never a proof.
 */
export async function refuseOther(raw: Bytes, { parsed = false } = {}): Promise<void> {
  const look = await lookAt(raw, 0, parsed);
  if (!look) throw unrecognised();
  if (look.noticed || look.inner !== undefined) throw new ChangedCopy(look.noticed, look.inner);
}

async function lookAt(raw: Bytes, depth: number, parsed = false): Promise<Look | undefined> {
  const text = latin1(raw);
  if (text.startsWith(ZIP)) return lookAtZip(raw, text, depth);
  if (text.startsWith(PDF)) return lookAtPdf(raw, text, parsed);
  if (text.startsWith(GZIP)) return around('gzip', [await inflated(raw, 'gzip', MAX_LOOKED_AT)], depth);
  if ((text.includes(ZIP) || text.includes(PDF)) && text.includes(MARK) && !isText(raw)) return { noticed: 'wrapped' };
  return around('base64', take(text.matchAll(BASE64), MAX_ATTACHMENTS).map(decode), depth);
}

/** `noticed` is around a proof, if one of `insides` is one, whole or not. */
async function around(noticed: Noticed, insides: Bytes[], depth: number): Promise<Look | undefined> {
  return (await anyProof(insides, depth)) ? { noticed } : undefined;
}

async function anyProof(insides: Bytes[], depth: number): Promise<boolean> {
  if (depth >= MAX_DEPTH) return false;
  for (const inside of insides) if (await lookAt(inside, depth + 1)) return true;
  return false;
}

function take<T>(found: Iterable<T>, limit: number): T[] {
  const taken: T[] = [];
  for (const one of found) {
    if (taken.length === limit) break;
    taken.push(one);
  }
  return taken;
}

function decode([text]: RegExpMatchArray): Bytes {
  const digits = text.replace(/[\r\n]/g, '');
  const whole = digits.slice(0, digits.length - (digits.length % 4));
  return Uint8Array.from(atob(whole), (character) => character.charCodeAt(0));
}

/** What a program does to a file that it takes for text. Bytes that are compressed look like no text. */
function conversionOf(raw: Bytes, text: string): Noticed | undefined {
  const [lines, returns] = [count(text, '\n'), count(text, '\r')];
  const windows = lines >= MIN_LINES && lines === count(text, '\r\n');
  const macs = lines === 0 && returns >= MIN_LINES;
  if (windows || macs || text.includes(UNIX_TABLE)) return 'line-ends';
  return isText(raw) ? 'recoded' : undefined;
}

function count(text: string, part: string): number {
  let found = 0;
  for (let at = text.indexOf(part); at >= 0; at = text.indexOf(part, at + part.length)) found++;
  return found;
}

function isText(raw: Bytes): boolean {
  try {
    new TextDecoder('utf-8', { fatal: true }).decode(raw);
    return true;
  } catch {
    return false; // the decoder's way to say so
  }
}

interface Entry {
  name: string;
  flags: number;
  method: number;
  packedSize: number;
  extra: number;
  offset: number;
}

async function lookAtZip(raw: Bytes, text: string, depth: number): Promise<Look | undefined> {
  const marked = text.includes(MARK);
  const noticed = marked ? conversionOf(raw, text) : undefined;
  if (noticed) return { noticed };
  const entries = directoryOf(raw, text);
  if (!entries) return marked ? {} : undefined;
  if (isProof(entries.map(({ name }) => name.slice(name.lastIndexOf('/') + 1)))) {
    return isZippedAgain(entries) ? { noticed: 'zipped-again' } : {};
  }
  let left = MAX_LOOKED_AT;
  for (const entry of entries) {
    const data = await unpack(raw, entry, left);
    left -= data.length + entry.packedSize;
    const looksLikeOne = startsWith(data, ZIP_MAGIC) || startsWith(data, PDF_MAGIC);
    if (looksLikeOne && (await anyProof([data], depth))) return { inner: entry.name };
    if (left <= 0) break;
  }
  return undefined;
}

/** What programs do to each file that they pack: one that differs alone was damaged. */
function isZippedAgain(entries: Entry[]): boolean {
  const [first] = entries;
  if (first?.name !== 'mimetype' || first.method || entries.some(({ name }) => name.endsWith('/'))) return true;
  return entries.every(({ extra, flags }) => extra || flags);
}

/** Returns what the ZIP's directory lists, read as leniently as programs do; undefined where it cannot be read. */
function directoryOf(raw: Bytes, text: string): Entry[] | undefined {
  const end = text.lastIndexOf(END, raw.length - END_SIZE);
  if (end < Math.max(0, raw.length - END_SIZE - 0xffff)) return undefined;
  const view = new DataView(raw.buffer, raw.byteOffset, raw.byteLength);
  const number = view.getUint16(end + 10, true);
  let at = view.getUint32(end + 16, true);
  const entries: Entry[] = [];
  for (let n = 0; n < Math.min(number, MAX_ENTRIES); n++) {
    if (at + CENTRAL_SIZE > raw.length || view.getUint32(at, true) !== CENTRAL) return undefined;
    const field = (place: number) => view.getUint16(at + place, true);
    const [length, extra, comment] = [field(28), field(30), field(32)];
    const name = text.slice(at + CENTRAL_SIZE, at + CENTRAL_SIZE + length);
    const [packedSize, offset] = [view.getUint32(at + 20, true), view.getUint32(at + 42, true)];
    entries.push({ name, flags: field(8), method: field(10), packedSize, extra, offset });
    at += CENTRAL_SIZE + length + extra + comment;
  }
  return entries.length > 0 ? entries : undefined;
}

/** Returns a file in a ZIP, of at most `limit` bytes; nothing where it cannot be had whole. */
async function unpack(raw: Bytes, { offset, packedSize, method }: Entry, limit: number): Promise<Bytes> {
  if (offset + LOCAL_SIZE > raw.length) return new Uint8Array();
  const view = new DataView(raw.buffer, raw.byteOffset, raw.byteLength);
  const start = offset + LOCAL_SIZE + view.getUint16(offset + 26, true) + view.getUint16(offset + 28, true);
  const packed = raw.subarray(start, start + packedSize);
  if (method === 0) return packed.length <= limit ? packed : new Uint8Array();
  return inflated(packed, 'deflate-raw', limit);
}

/** Returns what `packed` unpacks to; nothing for more than `limit` bytes, or if anything is missing or behind. */
async function inflated(packed: Bytes, format: CompressionFormat, limit: number): Promise<Bytes> {
  return (await inflate(packed, { format, limit })) ?? new Uint8Array();
}

async function lookAtPdf(raw: Bytes, text: string, parsed: boolean): Promise<Look | undefined> {
  const streams = await streamsOf(raw, text);
  if (text.includes(MARK) || streams.some((stream) => stream.includes(MARK))) {
    const noticed = conversionOf(raw, text);
    if (noticed) return { noticed };
    if (!text.startsWith(PDF_HEADER)) return { noticed: 'saved-again' };
    // The page, and its signature. What can be read of a third section is for the strict reader to name.
    return count(text, 'startxref') > 2 && !parsed ? { noticed: 'added-to' } : {};
  }
  return prints(streams) ? { noticed: 'printed' } : undefined;
}

/** What the streams of a PDF hold, but for pictures, however its objects are kept. */
async function streamsOf(raw: Bytes, text: string): Promise<string[]> {
  const streams: string[] = [];
  const pattern = new RegExp(STREAM);
  let left = MAX_LOOKED_AT;
  for (let n = 0, at = 0; n < MAX_STREAMS && left > 0; n++) {
    pattern.lastIndex = at;
    const found = pattern.exec(text);
    const end = found ? text.indexOf('endstream', pattern.lastIndex) : -1;
    if (!found || end < 0) break;
    const about = text.slice(Math.max(at, found.index - 512), found.index);
    const data = raw.subarray(pattern.lastIndex, end);
    at = end;
    if (about.includes('/Image')) continue;
    const packed = about.includes('/FlateDecode');
    const shown = packed ? await inflatedLine(data, Math.min(MAX_STREAM, left)) : data.subarray(0, MAX_STREAM);
    left -= data.length + shown.length;
    streams.push(latin1(shown));
  }
  return streams;
}

/** Returns what a stream unpacks to; a line end before `endstream` is no part of it. */
async function inflatedLine(data: Bytes, limit: number): Promise<Bytes> {
  const [last, before] = [data[data.length - 1], data[data.length - 2]];
  const size = last === 10 ? (before === 13 ? 2 : 1) : last === 13 ? 1 : 0;
  const shown = await inflated(data.subarray(0, data.length - size), 'deflate', limit);
  return shown.length > 0 || size === 0 ? shown : inflated(data, 'deflate', limit);
}

/** Whether the pages show what every certificate shows. A print keeps which letter each glyph is. */
function prints(streams: string[]): boolean {
  const text = streams
    .map((stream) => (stream.includes('Tj') || stream.includes('TJ') ? shownBy(stream) : ''))
    .join('');
  const needles = [PRINTED];
  let left = MAX_FONTS;
  for (const font of streams) {
    if (!font.includes('beginbfchar') && !font.includes('beginbfrange')) continue;
    left -= font.length;
    if (left < 0) break;
    const codes = codesOf(font);
    for (const phrase of [PRINTED, PRINTED.replaceAll(' ', '')]) {
      const letters = [...phrase].map((letter) => codes.get(letter));
      if (!letters.includes(undefined)) needles.push(letters.join(''));
    }
  }
  return needles.some((needle) => text.includes(needle));
}

/** The strings of a page, one after the other. */
function shownBy(page: string): string {
  const parts: string[] = [];
  for (const [, coded = '', literal = ''] of page.matchAll(STRINGS)) {
    parts.push(
      characters(coded.replace(/\s/g, '')),
      literal.replace(ESCAPE, (_, found: string) => unescaped(found)),
    );
  }
  return parts.join('');
}

function unescaped(found: string): string {
  if (/^[0-7]/.test(found)) return String.fromCharCode(Number.parseInt(found, 8) & 0xff);
  return ESCAPED[found] ?? found;
}

function characters(digits: string): string {
  return (digits.match(/../g) ?? []).map((pair) => String.fromCharCode(Number.parseInt(pair, 16))).join('');
}

/** By which bytes a font shows each letter of what is looked for. (ISO 32000-1, 9.10.3.) */
function codesOf(font: string): Map<string, string> {
  const codes = new Map<string, string>();
  const found: [string, string, string][] = [];
  for (const [, list = ''] of font.matchAll(CHARACTER_LISTS)) {
    for (const [, code = '', letter = ''] of list.matchAll(CHARACTER)) found.push([code, code, letter]);
  }
  for (const [, list = ''] of font.matchAll(RANGE_LISTS)) {
    for (const [, first = '', last = '', letter = ''] of list.matchAll(RANGE)) found.push([first, last, letter]);
  }
  for (const [first, last, letter] of found) {
    if (letter === '' || letter.length > 4) continue; // several letters, or a list of them
    const start = Number.parseInt(first, 16);
    for (const wanted of PRINTED) {
      const step = wanted.charCodeAt(0) - Number.parseInt(letter, 16);
      if (step < 0 || step > Number.parseInt(last.slice(-4), 16) - start || codes.has(wanted)) continue;
      codes.set(wanted, characters((start + step).toString(16).padStart(8, '0').slice(-first.length)));
    }
  }
  return codes;
}

export function startsWith(raw: Bytes, prefix: Bytes): boolean {
  return sameBytes(raw.subarray(0, prefix.length), prefix);
}
