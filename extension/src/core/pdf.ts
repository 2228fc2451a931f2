/**
 * PDF syntax (ISO 32000-1, clause 7), as much as our own documents use, read strictly and in bounded time: a port of
 * server/bundles/pdf.py.
 *
 * A general reader repairs, guesses and follows what it finds; two of them can see two different files in the same bytes.
 * This one accepts only what typst writes and the register appends: numbered objects that lie side by side, a table of where
 * they are, and one update with a table of its own. Every byte belongs to exactly one of these.
 */
import type { Bytes } from './encoding';
import { ObjectionError } from './errors';

export const MAX_DOCUMENT_BYTES = 16_777_216;
const MAX_SYNTAX_BYTES = 2_097_152; // all that is not inside a stream: what has to be parsed
const MAX_OBJECTS = 20_000;
const MAX_DEPTH = 32;
const MAX_SECTIONS = 3;

/** A PDF name, without its slash. Strings are bytes. */
export class Name {
  constructor(readonly text: string) {}
}

/** A number with a point: 200.0 is no length, as it is none for other readers. */
export class Real {
  constructor(readonly value: number) {}
}

export class Reference {
  constructor(readonly number: number) {}
}

export type PdfValue = null | boolean | number | Real | Name | Reference | Bytes | PdfValue[] | Dictionary;
export type Dictionary = Map<string, PdfValue>;

/** An object, where it lies, and its stream as stored, if it has one. */
export interface PdfObject {
  number: number;
  start: number;
  end: number;
  value: PdfValue;
  stream: Bytes | undefined;
}

/** What one writer wrote: objects by number, and the trailer. */
export interface Section {
  objects: Map<number, PdfObject>;
  trailer: Dictionary;
}

/** Where a section's objects begin, and where its own parts are: `start` of the table, `end` of the section. */
interface Table {
  offsets: Map<number, number>;
  trailer: Dictionary;
  start: number;
  end: number;
}

const HEADER = /%PDF-1\.7\n%[\x80-\xff]{4}\n\n?/y;
const END = /startxref\n(0|[1-9][0-9]{0,7})\n%%EOF\n?/y;
const TAIL = /startxref\n(0|[1-9][0-9]{0,7})\n%%EOF\n?$/;
const OBJECT = /([1-9][0-9]{0,6}) 0 obj\n/y;
const ENTRIES = /(0|[1-9][0-9]{0,6}) ([1-9][0-9]{0,6}) ?\r?\n/y;
const ENTRY = /([0-9]{10}) ([0-9]{5}) ([nf])(?: \n|\r\n)/y;
const STREAM_END = /\n?endstream\nendobj\n+/y;
const OBJECT_END = /\nendobj\n+/y;
const SPACE = /[\t\n\r ]*/y;
const TOKEN = new RegExp(
  [
    String.raw`(?<open><<)|(?<close>>>)|(?<list>\[)|(?<end>\])`,
    String.raw`\/(?<name>[!-$&'*-.0-;=?-Z\\^-z|~]{0,127})`,
    String.raw`(?<ref>[1-9][0-9]{0,6} 0 R(?![0-9A-Za-z_]))|(?<number>[+-]?(?:[0-9]{1,15}(?:\.[0-9]{0,15})?|\.[0-9]{1,15}))`,
    String.raw`<(?<hex>(?:[0-9A-Fa-f]{2})*)>|(?<text>\()|(?<word>true|false|null)`,
  ].join('|'),
  'y',
);
const PARENTHESIS = /[()\\]/g;
const ESCAPE = /\\([0-7]{1,3}|[nrtbf()\\]|\n)/g;
const ESCAPED: Record<string, string> = {
  n: '\n',
  r: '\r',
  t: '\t',
  b: '\b',
  f: '\f',
  '(': '(',
  ')': ')',
  '\\': '\\',
  '\n': '',
};
const WORDS: Record<string, boolean | null> = { true: true, false: false, null: null };

/**
 * Returns the sections of the file in `raw`, oldest first; at most three. Safe to call with anything.
 * Throws `document_malformed`.
 */
export function parsePdf(raw: Bytes): Section[] {
  if (raw.length > MAX_DOCUMENT_BYTES) throw malformed(`a document has at most ${MAX_DOCUMENT_BYTES} bytes`);
  const text = latin1(raw);
  const header = at(HEADER, text, 0);
  const tail = TAIL.exec(text.slice(-40));
  if (!header || !tail) throw malformed('not a PDF 1.7 such as the register writes');
  const newest = parseTable(text, Number(tail[1]), text.length - tail[0].length);
  const tables = [newest];
  for (let oldest = newest; oldest.trailer.has('Prev'); ) {
    const start = oldest.trailer.get('Prev');
    if (tables.length === MAX_SECTIONS) throw malformed('more than three sections');
    if (typeof start !== 'number' || !Number.isInteger(start) || start <= 0 || start >= oldest.start) {
      throw malformed('the tables of the file do not lead back to each other');
    }
    oldest = parseTable(text, start, undefined);
    tables.unshift(oldest);
  }
  const parser = new Parser(text, raw);
  let from = header[0].length;
  return tables.map((table) => {
    const objects = parser.objects(table, from);
    from = table.end;
    return { objects, trailer: table.trailer };
  });
}

/** Yields every dictionary in `value`. The parser has bounded how deep it goes. */
export function* dictionariesIn(value: PdfValue): Generator<Dictionary> {
  if (value instanceof Map) {
    yield value;
    for (const item of value.values()) yield* dictionariesIn(item);
  } else if (Array.isArray(value)) {
    for (const item of value) yield* dictionariesIn(item);
  }
}

/** Tells whether two values are written alike but for white space. */
export function sameValue(one: PdfValue | undefined, other: PdfValue | undefined): boolean {
  if (one instanceof Map && other instanceof Map) {
    return one.size === other.size && [...one].every(([key, value]) => sameValue(value, other.get(key)));
  }
  if (Array.isArray(one) && Array.isArray(other)) {
    return one.length === other.length && one.every((value, i) => sameValue(value, other[i]));
  }
  if (one instanceof Uint8Array && other instanceof Uint8Array) return latin1(one) === latin1(other);
  if (one instanceof Name && other instanceof Name) return one.text === other.text;
  if (one instanceof Real && other instanceof Real) return one.value === other.value;
  if (one instanceof Reference && other instanceof Reference) return one.number === other.number;
  return one === other;
}

export function isName(value: PdfValue | undefined, text: string): boolean {
  return value instanceof Name && value.text === text;
}

/** One character a byte; in slices, because arguments are limited. */
export function latin1(bytes: Bytes): string {
  let text = '';
  for (let from = 0; from < bytes.length; from += 4096) {
    text += String.fromCharCode(...bytes.subarray(from, from + 4096));
  }
  return text;
}

export function malformed(message: string): ObjectionError {
  return new ObjectionError('document_malformed', message);
}

/** Reads the table at `start`; `endMark` is where its `startxref` must be, if that is known. */
function parseTable(text: string, start: number, endMark: number | undefined): Table {
  if (!text.startsWith('xref\n', start)) throw malformed('no table of objects where one is announced');
  const offsets: Table['offsets'] = new Map();
  let place = start + 5;
  for (let head = at(ENTRIES, text, place); head; head = at(ENTRIES, text, place)) {
    const [first, count] = [Number(head[1]), Number(head[2])];
    place += head[0].length;
    if (offsets.size + count > MAX_OBJECTS) throw malformed(`more than ${MAX_OBJECTS} objects`);
    for (let number = first; number < first + count; number++) {
      const entry = at(ENTRY, text, place);
      if (!entry || (entry[3] === 'f') !== (number === 0) || (number > 0 && entry[2] !== '00000')) {
        throw malformed('a line of the table of objects is not as it should be');
      }
      if (offsets.has(number)) throw malformed('the table of objects lists one twice');
      if (number > 0) offsets.set(number, Number(entry[1]));
      place += entry[0].length;
    }
  }
  if (!text.startsWith('trailer\n', place)) throw malformed('the table of objects has no trailer');
  const { value: trailer, end } = new Parser(text).firstValue(place + 8);
  const mark = end + (at(SPACE, text, end)?.[0].length ?? 0);
  const found = at(END, text, mark);
  if (!(trailer instanceof Map) || !found || Number(found[1]) !== start || (endMark ?? mark) !== mark) {
    throw malformed('the trailer is not as it should be');
  }
  return { offsets, trailer, start, end: mark + found[0].length };
}

interface Read {
  value: PdfValue;
  end: number;
}

/** Reads values; the budget bounds how many bytes outside streams all of them may have together. */
class Parser {
  private budget = MAX_SYNTAX_BYTES;
  private limit = 0; // where the value that is read now must have ended

  constructor(
    private readonly text: string,
    private readonly raw: Bytes = new Uint8Array(),
  ) {}

  /** Returns the objects of `table`, which must fill the file from `start` to the table without a gap. */
  objects(table: Table, start: number): Map<number, PdfObject> {
    const objects = new Map<number, PdfObject>();
    let from = start;
    for (const [number, offset] of [...table.offsets].sort(([, one], [, other]) => one - other)) {
      if (offset !== from) throw malformed('the file has bytes that belong to no object');
      const object = this.object(number, from);
      objects.set(number, object);
      from = object.end;
    }
    if (from !== table.start) throw malformed('the file has bytes that belong to no object');
    return objects;
  }

  firstValue(from: number): Read {
    this.limit = from + this.budget;
    return this.value(from, 0);
  }

  private object(number: number, start: number): PdfObject {
    const head = at(OBJECT, this.text, start);
    if (!head || Number(head[1]) !== number) throw malformed('an object is not where the table says');
    const { value, end } = this.firstValue(start + head[0].length);
    const plain = at(OBJECT_END, this.text, end);
    if (plain) {
      this.spend(end + plain[0].length - start);
      return { number, start, end: end + plain[0].length, value, stream: undefined };
    }
    const mark = this.skip(end);
    if (!this.text.startsWith('stream\n', mark) || !(value instanceof Map)) {
      throw malformed('an object does not end as it should');
    }
    const [data, length] = [mark + 7, value.get('Length')];
    if (typeof length !== 'number' || !Number.isInteger(length) || length < 0) {
      throw malformed('a stream does not say how long it is');
    }
    const last = at(STREAM_END, this.text, data + length);
    if (!last) throw malformed('a stream is not as long as it says');
    const whole = data + length + last[0].length;
    this.spend(whole - start - length);
    return { number, start, end: whole, value, stream: this.raw.subarray(data, data + length) };
  }

  private value(from: number, depth: number): Read {
    const start = this.skip(from);
    const token = at(TOKEN, this.text, start);
    const end = start + (token?.[0].length ?? 0);
    if (!token?.groups || depth > MAX_DEPTH || end > this.limit) {
      throw malformed('the file contains what the register does not write');
    }
    const { open, list, name, ref, number, hex, text, word } = token.groups;
    if (open !== undefined) return this.dictionary(end, depth + 1);
    if (list !== undefined) return this.list(end, depth + 1);
    if (name !== undefined) return { value: new Name(unescapeName(name)), end };
    if (ref !== undefined) return { value: new Reference(Number(ref.slice(0, -4))), end };
    if (number !== undefined) return { value: number.includes('.') ? new Real(Number(number)) : Number(number), end };
    if (hex !== undefined) return { value: parseHex(hex), end };
    if (text !== undefined) return this.string(end);
    if (word !== undefined) return { value: WORDS[word] ?? null, end };
    throw malformed('brackets do not pair');
  }

  private dictionary(from: number, depth: number): Read {
    const found: Dictionary = new Map();
    let place = this.skip(from);
    while (!this.text.startsWith('>>', place)) {
      const key = this.value(place, depth);
      if (!(key.value instanceof Name) || found.has(key.value.text)) {
        throw malformed('a dictionary has a key twice, or one that is no name');
      }
      const { value, end } = this.value(key.end, depth);
      found.set(key.value.text, value);
      place = this.skip(end);
    }
    return { value: found, end: place + 2 };
  }

  private list(from: number, depth: number): Read {
    const found: PdfValue[] = [];
    let place = this.skip(from);
    while (this.text[place] !== ']') {
      const { value, end } = this.value(place, depth);
      found.push(value);
      place = this.skip(end);
    }
    return { value: found, end: place + 1 };
  }

  /** Reads a string in parentheses; inner ones pair or are escaped. */
  private string(start: number): Read {
    let [place, open] = [start, 1];
    while (open > 0) {
      PARENTHESIS.lastIndex = place;
      const mark = PARENTHESIS.exec(this.text);
      if (!mark || mark.index >= this.limit) throw malformed('a string does not end');
      open += { '(': 1, ')': -1 }[mark[0]] ?? 0;
      place = mark.index + (mark[0] === '\\' ? 2 : 1);
    }
    return { value: bytesOf(this.text.slice(start, place - 1).replace(ESCAPE, unescapeCharacter)), end: place };
  }

  private skip(from: number): number {
    return from + (at(SPACE, this.text, from)?.[0].length ?? 0);
  }

  private spend(octets: number): void {
    this.budget -= octets;
    if (this.budget < 0) throw malformed(`more than ${MAX_SYNTAX_BYTES} bytes outside streams`);
  }
}

function unescapeCharacter(_: string, escaped: string): string {
  return ESCAPED[escaped] ?? String.fromCharCode(Number.parseInt(escaped, 8) & 0xff);
}

function unescapeName(name: string): string {
  return name.replace(/#([0-9A-Fa-f]{2})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 16)));
}

function parseHex(digits: string): Bytes {
  return Uint8Array.from({ length: digits.length / 2 }, (_, i) => Number.parseInt(digits.slice(2 * i, 2 * i + 2), 16));
}

function bytesOf(text: string): Bytes {
  return Uint8Array.from(text, (character) => character.charCodeAt(0));
}

/** Matches a sticky pattern at one place. */
function at(pattern: RegExp, text: string, place: number): RegExpExecArray | null {
  pattern.lastIndex = place;
  return pattern.exec(text);
}
