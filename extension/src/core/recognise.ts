/**
 * What a file is that the verifier cannot read: a damaged proof, a copy that a program changed, or something else.
 * A port of server/usecases/recognise.py; docs/formats.md has the rules, under "What is no proof". Looks for traces only: no
 * answer says that anything holds. The cost is bounded by the file's size, and by one `Budget` for all that is inside.
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
const NO_BREAK_SPACE = 0xa0;
const [LOCAL_SIZE, CENTRAL_SIZE, END_SIZE] = [30, 46, 22];
const [CENTRAL, END] = [0x02014b50, 'PK\u0005\u0006'];

// Each of these matches, or fails, without reading ahead twice: a hostile file must not cost its size squared.
const STREAM = /(?<!end)stream\r?\n/g;
const BASE64 = /(?:UEsDB|JVBERi0)[-A-Za-z0-9+/_> \t\r\n]*/g;
const STRINGS = /<([0-9A-Fa-f \t\r\n]*)>|\(((?:[^()\\]|\\(?:.|$))*)/gs;
const ESCAPE = /\\([0-7]{1,3}|.)/gs;
const CODES = /<([0-9A-Fa-f]*)>|[[\]]/g;
const QUOTED_HEADS = ['PK=03=04', '%=80=80=80=80'];
/** With what was noticed, and how many bytes a character has. Big-endian: its mark ends where the first low byte stands. */
const BYTE_ORDER_MARKS = [
  ['\u00ef\u00bb\u00bf', 'wrapped', 1],
  ['\u00ff\u00fe', 'recoded', 2],
  ['\u00fe\u00ff\u0000', 'recoded', 2],
] as const;
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

/** How many bytes may still be looked at, packed and unpacked: of a file and of all files inside it together. */
class Budget {
  left = MAX_LOOKED_AT;
  /** Of these, what fonts say about their letters. */
  fonts = MAX_FONTS;

  /** Returns what `packed` unpacks to; nothing where it does not whole, which costs as much as was allowed. */
  async unpack(packed: Bytes, format: CompressionFormat, most: number): Promise<Bytes> {
    const limit = Math.max(0, Math.min(most, this.left));
    const data = (await inflate(packed, { format, limit })) ?? new Uint8Array();
    this.left -= packed.length + (data.length || limit);
    return data;
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
  const look = await lookAt(raw, new Budget(), 0, parsed);
  if (!look) throw unrecognised();
  if (look.noticed || look.inner !== undefined) throw new ChangedCopy(look.noticed, look.inner);
}

async function lookAt(raw: Bytes, budget: Budget, depth: number, parsed = false): Promise<Look | undefined> {
  const text = latin1(raw);
  if (text.startsWith(ZIP)) return lookAtZip(raw, text, budget, depth);
  if (text.startsWith(PDF)) return lookAtPdf(raw, text, budget, parsed);
  const noticed = text.includes(MARK) ? surroundingsOf(raw, text) : undefined;
  if (noticed) return { noticed };
  if (text.startsWith(GZIP)) {
    return around('gzip', [await budget.unpack(raw, 'gzip', MAX_LOOKED_AT)], budget, depth);
  }
  for (const [mark, how, step] of BYTE_ORDER_MARKS) {
    if (text.startsWith(mark)) return around(how, [everyOther(raw.subarray(mark.length), step)], budget, depth);
  }
  return around('base64', take(text.matchAll(BASE64), MAX_ATTACHMENTS).map(decode), budget, depth);
}

/** What was noticed of a file that is neither ZIP nor PDF, and has the mark. */
function surroundingsOf(raw: Bytes, text: string): Noticed | undefined {
  if ((text.includes(ZIP) || text.includes(PDF)) && !isText(raw)) return 'wrapped';
  return QUOTED_HEADS.some((head) => text.includes(head)) ? 'recoded' : undefined;
}

function everyOther(raw: Bytes, step: 1 | 2): Bytes {
  return step === 1 ? raw : raw.filter((_, at) => at % 2 === 0);
}

/** `noticed` is around a proof, if one of `insides` is one, whole or not. */
async function around(noticed: Noticed, insides: Bytes[], budget: Budget, depth: number): Promise<Look | undefined> {
  return (await anyProof(insides, budget, depth)) ? { noticed } : undefined;
}

async function anyProof(insides: Bytes[], budget: Budget, depth: number): Promise<boolean> {
  if (depth >= MAX_DEPTH) return false;
  for (const inside of insides) if (await lookAt(inside, budget, depth + 1)) return true;
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
  const digits = text
    .replace(/[> \t\r\n]/g, '')
    .replaceAll('-', '+')
    .replaceAll('_', '/');
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
  size: number;
  extra: number;
  offset: number;
}

async function lookAtZip(raw: Bytes, text: string, budget: Budget, depth: number): Promise<Look | undefined> {
  const marked = text.includes(MARK);
  const noticed = marked ? conversionOf(raw, text) : undefined;
  if (noticed) return { noticed };
  const entries = directoryOf(raw, text);
  if (!entries) return marked ? {} : undefined;
  if (isProof(entries.map(({ name }) => name.replace(/^.*[/\\]/s, '')))) {
    return isZippedAgain(entries) ? { noticed: 'zipped-again' } : {};
  }
  for (const entry of entries) {
    if (budget.left <= 0) break;
    const data = await unpack(raw, entry, budget);
    const looksLikeOne = startsWith(data, ZIP_MAGIC) || startsWith(data, PDF_MAGIC);
    if (looksLikeOne && (await anyProof([data], budget, depth))) return { inner: entry.name };
  }
  return undefined;
}

/** What programs do to each file that they pack: one that differs alone was damaged. EPUB's way spares the first. */
function isZippedAgain(entries: Entry[]): boolean {
  const [first, ...others] = entries;
  if (first?.name !== 'mimetype' || first.method || entries.some(({ name }) => name.endsWith('/'))) return true;
  return others.every(({ extra, flags }) => extra || flags);
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
    const [packedSize, size] = [view.getUint32(at + 20, true), view.getUint32(at + 24, true)];
    const offset = view.getUint32(at + 42, true);
    entries.push({ name, flags: field(8), method: field(10), packedSize, size, extra, offset });
    at += CENTRAL_SIZE + length + extra + comment;
  }
  return entries.length > 0 ? entries : undefined;
}

/** Returns a file in a ZIP; nothing where it cannot be had whole, or is larger than the directory says. */
async function unpack(raw: Bytes, { offset, packedSize, size, method }: Entry, budget: Budget): Promise<Bytes> {
  if (offset + LOCAL_SIZE > raw.length || (method !== 0 && method !== 8)) return new Uint8Array();
  const view = new DataView(raw.buffer, raw.byteOffset, raw.byteLength);
  const start = offset + LOCAL_SIZE + view.getUint16(offset + 26, true) + view.getUint16(offset + 28, true);
  const packed = raw.subarray(start, start + packedSize);
  if (method === 8) return budget.unpack(packed, 'deflate-raw', size);
  budget.left -= packed.length;
  return packed;
}

async function lookAtPdf(raw: Bytes, text: string, budget: Budget, parsed: boolean): Promise<Look | undefined> {
  const streams = await streamsOf(raw, text, budget);
  if (text.includes(MARK) || streams.some((stream) => stream.includes(MARK))) {
    const noticed = conversionOf(raw, text);
    if (noticed) return { noticed };
    if (!text.startsWith(PDF_HEADER)) return { noticed: 'saved-again' };
    // The page, and its signature. What can be read of a third section is for the strict reader to name.
    return count(text, 'startxref') > 2 && !parsed ? { noticed: 'added-to' } : {};
  }
  return prints(streams, budget) ? { noticed: 'printed' } : undefined;
}

/** What the streams of a PDF hold, but for pictures, however its objects are kept. */
async function streamsOf(raw: Bytes, text: string, budget: Budget): Promise<string[]> {
  const streams: string[] = [];
  const pattern = new RegExp(STREAM);
  for (let n = 0, at = 0; n < MAX_STREAMS && budget.left > 0; n++) {
    pattern.lastIndex = at;
    const found = pattern.exec(text);
    const end = found ? text.indexOf('endstream', pattern.lastIndex) : -1;
    if (!found || end < 0) break;
    const about =
      text
        .slice(Math.max(at, found.index - 512), found.index)
        .split('0 obj')
        .at(-1) ?? '';
    const data = raw.subarray(pattern.lastIndex, end);
    at = end;
    if (about.includes('/Image')) continue;
    if (about.includes('/FlateDecode')) {
      streams.push(latin1(await inflatedLine(data, budget)));
    } else {
      budget.left -= data.length;
      streams.push(latin1(data.subarray(0, MAX_STREAM)));
    }
  }
  return streams;
}

/** Returns what a stream unpacks to; a line end before `endstream` is no part of it. */
async function inflatedLine(data: Bytes, budget: Budget): Promise<Bytes> {
  const [last, before] = [data[data.length - 1], data[data.length - 2]];
  const size = last === 10 ? (before === 13 ? 2 : 1) : last === 13 ? 1 : 0;
  const shown = await budget.unpack(data.subarray(0, data.length - size), 'deflate', MAX_STREAM);
  return shown.length > 0 || size === 0 ? shown : budget.unpack(data, 'deflate', MAX_STREAM);
}

/** Whether the pages show what every certificate shows. A print keeps which letter each glyph is. */
function prints(streams: string[], budget: Budget): boolean {
  const text = streams
    .map((stream) => (stream.includes('Tj') || stream.includes('TJ') ? shownBy(stream) : ''))
    .join('');
  const needles = [PRINTED];
  for (const font of streams) {
    if (!font.includes('beginbfchar') && !font.includes('beginbfrange')) continue;
    budget.fonts -= font.length;
    if (budget.fonts < 0) break;
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
      characters(coded.replace(/[ \t\r\n]/g, '')),
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
  const ranges = grouped(listed(font, 'bfrange'), 3);
  const single = grouped(listed(font, 'bfchar'), 2).map(([code, letter]) => [code, code, letter]);
  for (const [first = '', last = '', letter = ''] of [...single, ...ranges]) {
    // Several letters, or a list of them.
    if ((first.length !== 2 && first.length !== 4) || last === '' || letter === '' || letter.length > 4) continue;
    const [start, shows] = [Number.parseInt(first, 16), Number.parseInt(letter, 16)];
    for (const wanted of PRINTED) {
      // Some say of the space's glyph that it is a no-break space.
      const step = wanted.charCodeAt(0) - (shows === NO_BREAK_SPACE ? 0x20 : shows);
      if (step < 0 || step > Number.parseInt(last.slice(-4), 16) - start || codes.has(wanted)) continue;
      codes.set(wanted, characters((start + step).toString(16).padStart(8, '0').slice(-first.length)));
    }
  }
  return codes;
}

/** What stands in a font's lists of a `kind`, in hex digits; "" for a list within a list. */
function listed(font: string, kind: string): string[] {
  const found: string[] = [];
  for (let start = font.indexOf(`begin${kind}`); start >= 0; ) {
    const end = font.indexOf(`end${kind}`, start);
    if (end < 0) break;
    let inside = false;
    for (const [token, digits = ''] of font.slice(start, end).matchAll(CODES)) {
      if (token === '[') {
        inside = true;
        found.push('');
      } else if (token === ']') {
        inside = false;
      } else if (!inside) {
        found.push(digits);
      }
    }
    start = font.indexOf(`begin${kind}`, end);
  }
  return found;
}

/** The whole groups of `size`. */
function grouped(items: string[], size: number): string[][] {
  const groups: string[][] = [];
  for (let at = 0; at + size <= items.length; at += size) groups.push(items.slice(at, at + size));
  return groups;
}

export function startsWith(raw: Bytes, prefix: Bytes): boolean {
  return sameBytes(raw.subarray(0, prefix.length), prefix);
}
