/**
 * PDF, as plain as the register writes it: cross-reference tables, no encryption, no object streams. Reads the embedded
 * files and the signature dictionary, nothing that is drawn. Every loop is bounded by the file's own size or a constant:
 * a hostile file ends in `bundle_malformed`.
 */
import { type Bytes, sameBytes } from './encoding';
import { ObjectionError } from './errors';
import { inflate } from './inflate';

export type PdfValue = null | boolean | number | Name | Reference | Bytes | PdfValue[] | Dictionary | Stream;
export type Dictionary = Map<string, PdfValue>;

/** `/Name`. */
export class Name {
  constructor(readonly text: string) {}
}

/** `12 0 R`. */
export class Reference {
  constructor(
    readonly number: number,
    readonly generation: number,
  ) {}
}

export class Stream {
  constructor(
    readonly dictionary: Dictionary,
    readonly packed: Bytes,
  ) {}
}

const MAX_SECTIONS = 8;
const MAX_OBJECTS = 20_000;
const MAX_DEPTH = 24;
const MAX_TREE_NODES = 1024;
const MAX_NAME_BYTES = 512;
const ENTRY_SIZE = 20;
const TAIL = 1024;
const FREE = -1;
const [WHITE, DELIMITERS] = [new Set([0, 9, 10, 12, 13, 32]), new Set([...'()<>[]{}/%'].map((c) => c.charCodeAt(0)))];

/** A PDF whose cross-reference table was read. Objects are read when they are asked for. */
export class Pdf {
  private constructor(
    private readonly raw: Bytes,
    private readonly offsets: Map<number, { at: number; generation: number }>,
    readonly trailer: Dictionary,
  ) {}

  static parse(raw: Bytes): Pdf {
    if (latin1(raw.subarray(0, 7)) !== '%PDF-1.') throw malformed('not a PDF of version 1');
    const tail = latin1(raw.subarray(-TAIL));
    const start = /startxref\r?\n([0-9]{1,10})\r?\n%%EOF\r?\n?$/.exec(tail)?.[1];
    if (!start) throw malformed('the PDF does not end as one');
    const offsets: Pdf['offsets'] = new Map();
    let [at, newest]: [number, Dictionary | undefined] = [Number(start), undefined];
    for (let sections = 0; ; sections++) {
      if (sections === MAX_SECTIONS) throw malformed('changed too often');
      const trailer = readSection(raw, at, offsets);
      newest ??= trailer;
      if (trailer.has('Encrypt') || trailer.has('XRefStm')) throw malformed('encrypted, or not plain');
      const previous = trailer.get('Prev');
      if (previous === undefined) break;
      // Each points further back, so that it ends.
      if (typeof previous !== 'number' || previous >= at) throw malformed('its revisions do not lead back');
      at = previous;
    }
    return new Pdf(raw, offsets, newest);
  }

  /** Every object that is in use. */
  *objects(): Generator<PdfValue> {
    for (const number of this.offsets.keys()) yield this.object(number);
  }

  /** Follows a reference, once: an object that is itself a reference is none of ours. */
  resolve(value: PdfValue | undefined): PdfValue {
    if (!(value instanceof Reference)) return value ?? null;
    if (this.offsets.get(value.number)?.generation !== value.generation) return null;
    const found = this.object(value.number);
    if (found instanceof Reference) throw malformed('an object is a reference');
    return found;
  }

  dictionary(value: PdfValue | undefined): Dictionary {
    const found = this.resolve(value);
    if (!(found instanceof Map)) throw malformed('a dictionary is missing');
    return found;
  }

  array(value: PdfValue | undefined): PdfValue[] {
    const found = this.resolve(value);
    if (!Array.isArray(found)) throw malformed('an array is missing');
    return found;
  }

  /** Returns what a stream holds, at most `limit` bytes; plain or deflated. */
  async content(stream: Stream, limit: number): Promise<Bytes> {
    if (stream.dictionary.has('DecodeParms')) throw malformed('a stream is packed in an unusual way');
    const filter = this.resolve(stream.dictionary.get('Filter'));
    const [name, ...more] = Array.isArray(filter) ? filter : [filter];
    if ((name === null || name === undefined) && more.length === 0) {
      if (stream.packed.length > limit) throw malformed('a stream is too large');
      return stream.packed;
    }
    if (!(name instanceof Name) || name.text !== 'FlateDecode' || more.length > 0) {
      throw malformed('a stream is packed in another way than deflate');
    }
    const data = await inflate(stream.packed, { format: 'deflate', limit });
    if (!data) throw malformed('a stream is damaged or too large');
    return data;
  }

  /** Returns the leaves of a name tree, key and value. */
  nameTree(root: PdfValue | undefined): [Bytes, PdfValue][] {
    const found: [Bytes, PdfValue][] = [];
    const waiting = [root];
    for (let nodes = 0; waiting.length > 0; nodes++) {
      if (nodes === MAX_TREE_NODES) throw malformed('a name tree is too large, or a circle');
      const node = this.dictionary(waiting.pop());
      const [kids, names] = [node.get('Kids'), node.get('Names')];
      if (kids !== undefined) waiting.push(...this.array(kids).slice(0, MAX_TREE_NODES).reverse());
      if (names !== undefined) found.push(...pairs(this.array(names)));
      if (found.length > MAX_TREE_NODES) throw malformed('a name tree is too large');
    }
    return found;
  }

  private object(number: number): PdfValue {
    const place = this.offsets.get(number);
    if (!place || place.at === FREE) return null;
    const reader = new Reader(this.raw, place.at);
    if (reader.integer() !== number || reader.integer() !== place.generation || !reader.takes('obj')) {
      throw malformed('an object is not where the table says');
    }
    const value = reader.value();
    if (value instanceof Map && reader.takes('stream')) return this.stream(value, reader);
    if (!reader.takes('endobj')) throw malformed('an object does not end');
    return value;
  }

  private stream(dictionary: Dictionary, reader: Reader): Stream {
    const told = dictionary.get('Length');
    // A length elsewhere is a plain number there; were it a stream, its length could again be elsewhere, without end.
    const length = told instanceof Reference ? this.plainInteger(told) : told;
    if (typeof length !== 'number' || length < 0) throw malformed('a stream has no length');
    return new Stream(dictionary, reader.streamBytes(length));
  }

  private plainInteger({ number, generation }: Reference): number {
    const place = this.offsets.get(number);
    if (!place) throw malformed('a stream has no length');
    const reader = new Reader(this.raw, place.at);
    const named = reader.integer() === number && reader.integer() === generation && reader.takes('obj');
    if (!named) throw malformed('an object is not where the table says');
    return reader.integer();
  }
}

function readSection(raw: Bytes, at: number, offsets: Map<number, { at: number; generation: number }>): Dictionary {
  const reader = new Reader(raw, at);
  if (!reader.takes('xref')) throw malformed('no cross-reference table');
  while (!reader.takes('trailer')) {
    const [first, count] = [reader.integer(), reader.integer()];
    if (first + count > MAX_OBJECTS) throw malformed('too many objects');
    for (let i = 0; i < count; i++) {
      const found = /^([0-9]{10}) ([0-9]{5}) ([nf])(?: \r| \n|\r\n)$/.exec(reader.tableEntry());
      if (!found) throw malformed('a bad entry in the cross-reference table');
      const number = first + i;
      // The newest revision is read first and wins; one that frees an object hides the older one, too.
      if (offsets.has(number)) continue;
      offsets.set(number, { at: found[3] === 'n' ? Number(found[1]) : FREE, generation: Number(found[2]) });
    }
  }
  const trailer = reader.value();
  if (!(trailer instanceof Map)) throw malformed('no trailer');
  return trailer;
}

function pairs(names: PdfValue[]): [Bytes, PdfValue][] {
  const found: [Bytes, PdfValue][] = [];
  for (let i = 0; i < names.length; i += 2) {
    const [key, value] = [names[i], names[i + 1]];
    if (!(key instanceof Uint8Array) || value === undefined) throw malformed('a name tree is not made of pairs');
    found.push([key, value]);
  }
  return found;
}

/** Reads values one after another, from one place in the file on. */
class Reader {
  private depth = 0;

  constructor(
    private readonly raw: Bytes,
    private at: number,
  ) {
    if (!Number.isSafeInteger(at) || at < 0 || at >= raw.length) throw malformed('it points outside itself');
  }

  value(): PdfValue {
    this.space();
    const start = this.raw[this.at];
    if (start === undefined) throw malformed('it ends too early');
    const character = String.fromCharCode(start);
    if (this.takes('<<')) return this.nested(() => this.dictionary());
    if (character === '<') return this.hexString();
    if (this.takes('[')) return this.nested(() => this.array());
    if (character === '(') return this.literal();
    if (character === '/') return new Name(this.name());
    if (/[-+.0-9]/.test(character)) return this.numberOrReference();
    if (this.takes('true')) return true;
    if (this.takes('false')) return false;
    if (this.takes('null')) return null;
    throw malformed('a value is missing');
  }

  integer(): number {
    this.space();
    const digits = this.run((byte) => byte >= 0x30 && byte <= 0x39);
    if (digits.length < 1 || digits.length > 10) throw malformed('a number is missing');
    return Number(latin1(digits));
  }

  takes(word: string): boolean {
    this.space();
    if (latin1(this.raw.subarray(this.at, this.at + word.length)) !== word) return false;
    this.at += word.length;
    return true;
  }

  tableEntry(): string {
    if (this.raw[this.at] === 13) this.at++;
    if (this.raw[this.at] === 10) this.at++;
    // Within a table nothing but the entry's own 20 bytes.
    const entry = latin1(this.raw.subarray(this.at, this.at + ENTRY_SIZE));
    this.at += ENTRY_SIZE;
    return entry;
  }

  streamBytes(length: number): Bytes {
    if (this.raw[this.at] === 13) this.at++;
    if (this.raw[this.at] !== 10) throw malformed('a stream does not begin');
    const bytes = this.raw.subarray(this.at + 1, this.at + 1 + length);
    this.at += 1 + length;
    if (bytes.length !== length || !this.takes('endstream')) throw malformed('a stream is not as long as it says');
    return bytes;
  }

  private nested<T>(read: () => T): T {
    if (++this.depth > MAX_DEPTH) throw malformed('nested too deeply');
    const value = read();
    this.depth--;
    return value;
  }

  private dictionary(): Dictionary {
    const found: Dictionary = new Map();
    while (!this.takes('>>')) {
      if (this.raw[this.at] !== 0x2f) throw malformed('a key is missing');
      const key = this.name();
      if (found.has(key)) throw malformed('a dictionary names one key twice');
      found.set(key, this.value());
    }
    return found;
  }

  private array(): PdfValue[] {
    const found: PdfValue[] = [];
    while (!this.takes(']')) found.push(this.value());
    return found;
  }

  private name(): string {
    this.at++;
    const bytes = this.run((byte) => !WHITE.has(byte) && !DELIMITERS.has(byte));
    if (bytes.length > MAX_NAME_BYTES) throw malformed('a name is too long');
    return latin1(bytes).replace(/#([0-9a-fA-F]{2})/g, (_, digits) => String.fromCharCode(Number.parseInt(digits, 16)));
  }

  private numberOrReference(): number | Reference {
    const text = latin1(this.run((byte) => /[-+.0-9]/.test(String.fromCharCode(byte))));
    if (!/^[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)$/.test(text)) throw malformed('a bad number');
    if (!/^[0-9]{1,8}$/.test(text)) return Number(text);
    const behind = /^[\s]+([0-9]{1,5})[\s]+R(?![^\s()<>[\]{}/%])/.exec(
      latin1(this.raw.subarray(this.at, this.at + 24)),
    );
    if (!behind) return Number(text);
    this.at += behind[0].length;
    return new Reference(Number(text), Number(behind[1]));
  }

  private hexString(): Bytes {
    const end = this.raw.indexOf(0x3e, this.at);
    if (end < 0) throw malformed('a string does not end');
    const bytes = parseHexString(this.raw.subarray(this.at, end + 1));
    this.at = end + 1;
    return bytes;
  }

  private literal(): Bytes {
    const bytes: number[] = [];
    let open = 1;
    this.at++;
    for (;;) {
      let byte = this.raw[this.at++];
      if (byte === undefined) throw malformed('a string does not end');
      if (byte === 0x5c) byte = this.escape();
      else if (byte === 0x28) open++;
      else if (byte === 0x29 && --open === 0) return Uint8Array.from(bytes);
      if (byte >= 0) bytes.push(byte);
    }
  }

  /** Returns the byte that an escape stands for; -1 for a line that goes on. */
  private escape(): number {
    const byte = this.raw[this.at++];
    if (byte === undefined) throw malformed('a string does not end');
    const character = String.fromCharCode(byte);
    const octal = /^[0-7]{1,3}/.exec(latin1(this.raw.subarray(this.at - 1, this.at + 2)))?.[0];
    if (octal) {
      this.at += octal.length - 1;
      return Number.parseInt(octal, 8) & 0xff;
    }
    if (character === '\r' && this.raw[this.at] === 10) this.at++;
    if (character === '\r' || character === '\n') return -1;
    const known: Record<string, number> = { n: 10, r: 13, t: 9, b: 8, f: 12 };
    return known[character] ?? byte;
  }

  private run(belongs: (byte: number) => boolean): Bytes {
    const start = this.at;
    while (this.at < this.raw.length && belongs(this.raw[this.at] ?? 0)) this.at++;
    return this.raw.subarray(start, this.at);
  }

  private space(): void {
    for (;;) {
      this.run((byte) => WHITE.has(byte));
      if (this.raw[this.at] !== 0x25) return;
      this.run((byte) => byte !== 10 && byte !== 13);
    }
  }
}

/** Reads `<…>`: an even number of hex digits and nothing else. */
export function parseHexString(raw: Bytes): Bytes {
  if (raw[0] !== 0x3c || raw.at(-1) !== 0x3e || raw.length % 2 !== 0) throw malformed('a bad hex string');
  const bytes = new Uint8Array((raw.length - 2) / 2);
  for (let i = 0; i < bytes.length; i++) {
    const value = hexDigit(raw[2 * i + 1]) * 16 + hexDigit(raw[2 * i + 2]);
    bytes[i] = value;
  }
  return bytes;
}

function hexDigit(byte = 0): number {
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30;
  const upper = byte & ~0x20;
  if (upper >= 0x41 && upper <= 0x46) return upper - 0x37;
  throw malformed('a bad hex string');
}

/** Returns a text string in ASCII, written as such or as UTF-16; undefined for any other text. */
export function asciiText(value: PdfValue): string | undefined {
  if (!(value instanceof Uint8Array)) return undefined;
  const wide = sameBytes(value.subarray(0, 2), Uint8Array.of(0xfe, 0xff));
  const text = wide ? new TextDecoder('utf-16be').decode(value) : latin1(value);
  return /^[ -~]+$/.test(text) ? text : undefined;
}

/** One character a byte; in slices, because arguments are limited. */
function latin1(bytes: Bytes): string {
  let text = '';
  for (let at = 0; at < bytes.length; at += 4096) text += String.fromCharCode(...bytes.subarray(at, at + 4096));
  return text;
}

export function malformed(message: string): ObjectionError {
  return new ObjectionError('bundle_malformed', message);
}
