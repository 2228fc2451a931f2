/**
 * ASN.1 in DER (X.690), strictly: one value has one encoding. This module reads the structures of time tokens,
 * certificates and CMS signatures one level at a time. The caller says what must come next, so hostile nesting leads
 * nowhere. `server/core/der.py` is its twin: both refuse the same.
 */
import type { Bytes } from './encoding';
import { ObjectionError } from './errors';

/** One value. `raw`: with its tag and length, as hashes and signatures cover it. */
export interface Der {
  tag: number;
  content: Bytes;
  raw: Bytes;
}

export const BOOLEAN = 0x01;
export const INTEGER = 0x02;
export const BIT_STRING = 0x03;
export const OCTET_STRING = 0x04;
export const NULL = 0x05;
export const OID = 0x06;
export const UTC_TIME = 0x17;
export const GENERALIZED_TIME = 0x18;
export const SEQUENCE = 0x30;
export const SET = 0x31;
const MAX_ITEMS = 1000;
const PRINTED = new Set([0x0c, 0x13, 0x14, 0x16]); // UTF8String, PrintableString, TeletexString, IA5String

/** The context-specific tag `[number]`, constructed unless said otherwise. */
export function context(number: number, { primitive = false } = {}): number {
  return (primitive ? 0x80 : 0xa0) | number;
}

/** Reads the one value that `raw` is. Throws `der_malformed`, as all here do. */
export function parseDer(raw: Bytes, tag?: number): Der {
  const value = valueAt(raw, 0);
  if (value.raw.length !== raw.length) throw malformed('something follows the value');
  if (tag !== undefined) expectTag(value, tag);
  return value;
}

/** The members of a constructed value, at most 1000; each is taken in its turn. Nobody has read what they hold. */
export class Members {
  private readonly items: Der[] = [];
  private next = 0;

  constructor(parent: Der) {
    if (!(parent.tag & 0x20)) throw malformed('a constructed value is missing');
    let at = 0;
    while (at < parent.content.length) {
      const item = valueAt(parent.content, at);
      this.items.push(item);
      if (this.items.length > MAX_ITEMS) throw malformed('too many members');
      at += item.raw.length;
    }
  }

  take(tag?: number): Der {
    const item = this.items[this.next++];
    if (!item) throw malformed('a member is missing');
    return tag === undefined ? item : expectTag(item, tag);
  }

  takeIf(tag: number): Der | undefined {
    const item = this.items[this.next];
    if (item?.tag !== tag) return undefined;
    this.next++;
    return item;
  }

  rest(): Der[] {
    const items = this.items.slice(this.next);
    this.next = this.items.length;
    return items;
  }

  end(): void {
    if (this.next < this.items.length) throw malformed('a member too many');
  }
}

export function members(parent: Der, tag?: number): Members {
  if (tag !== undefined) expectTag(parent, tag);
  return new Members(parent);
}

/** Returns an object identifier in dots. */
export function parseOid(value: Der): string {
  const { content } = expectTag(value, OID);
  if (content.length === 0 || content.length > 64 || (content.at(-1) ?? 0) & 0x80) throw malformed('a bad identifier');
  const arcs: bigint[] = [];
  let arc = 0n;
  let fresh = true;
  for (const byte of content) {
    if (fresh && byte === 0x80) throw malformed('an identifier is padded');
    arc = (arc << 7n) | BigInt(byte & 0x7f);
    fresh = !(byte & 0x80);
    if (!fresh) continue;
    if (arcs.length === 0) {
      const first = arc < 80n ? arc / 40n : 2n;
      arcs.push(first, arc - first * 40n);
    } else {
      arcs.push(arc);
    }
    arc = 0n;
  }
  return arcs.join('.');
}

/** Returns a non-negative integer's bytes without a leading zero. */
export function parseUnsigned(value: Der): Bytes {
  const { content } = expectTag(value, INTEGER);
  const [first, second] = content;
  if (first === undefined || first & 0x80) throw malformed('not a non-negative integer');
  if (content.length > 1 && first === 0 && !((second ?? 0) & 0x80)) throw malformed('an integer is padded');
  return first === 0 ? content.slice(1) : content;
}

export function parseSmallInteger(value: Der): number {
  const bytes = parseUnsigned(value);
  if (bytes.length > 4) throw malformed('an integer is too large');
  return bytes.reduce((number, byte) => number * 256 + byte, 0);
}

export function parseBoolean(value: Der): boolean {
  const [byte, ...more] = expectTag(value, BOOLEAN).content;
  if (more.length > 0 || (byte !== 0 && byte !== 0xff)) throw malformed('a bad boolean');
  return byte === 0xff;
}

/** Returns the bytes of a BIT STRING that has whole bytes. */
export function parseBitString(value: Der): Bytes {
  const { content } = expectTag(value, BIT_STRING);
  if (content[0] !== 0) throw malformed('a bit string has loose bits');
  return content.slice(1);
}

/** Returns a UTCTime or GeneralizedTime in UTC as seconds since 1970; fractions are cut off. */
export function parseTime(value: Der): number {
  const text = ascii(value.content);
  const long = value.tag === GENERALIZED_TIME;
  if (!long && value.tag !== UTC_TIME) throw malformed('a time is missing');
  const found = (long ? /^(\d{4})(\d{8})(\d\d)(?:\.\d{1,9})?Z$/ : /^(\d{2})(\d{8})(\d\d)Z$/).exec(text);
  if (!found) throw malformed('not a time in UTC');
  const [, digits = '', rest = '', seconds = ''] = found;
  // RFC 5280: two digits mean 1950 to 2049.
  const year = long ? digits : `${Number(digits) < 50 ? 20 : 19}${digits}`;
  const [month, day, hour, minute] = rest.match(/../g) ?? [];
  const iso = `${year}-${month}-${day}T${hour}:${minute}:${seconds}.000Z`;
  const at = Date.parse(iso);
  // Date forgives 30 February.
  if (Number.isNaN(at) || new Date(at).toISOString() !== iso) throw malformed('no such time');
  return at / 1000;
}

/** Returns a string of one of the common types, for people to read. Never compare with it. */
export function readableString(value: Der): string | undefined {
  if (!PRINTED.has(value.tag)) return undefined;
  return new TextDecoder('utf-8', { ignoreBOM: true }).decode(value.content).replace(/\p{Cc}/gu, '\ufffd');
}

function valueAt(raw: Bytes, at: number): Der {
  const [tag, first] = raw.subarray(at, at + 2);
  if (tag === undefined || first === undefined) throw malformed('it ends too early');
  if ((tag & 0x1f) === 0x1f) throw malformed('a tag number beyond 30');
  let [length, start] = [first, at + 2];
  if (first & 0x80) {
    const size = first & 0x7f;
    const digits = raw.subarray(start, start + size);
    // No indefinite lengths, no padded ones.
    if (size < 1 || size > 4 || digits.length !== size || digits[0] === 0) throw malformed('a bad length');
    length = digits.reduce((number, byte) => number * 256 + byte, 0);
    if (length < 0x80) throw malformed('a length is padded');
    start += size;
  }
  if (start + length > raw.length) throw malformed('it ends too early');
  return { tag, content: raw.subarray(start, start + length), raw: raw.subarray(at, start + length) };
}

export function expectTag(value: Der, tag: number): Der {
  if (value.tag !== tag) throw malformed(`expected tag ${tag.toString(16)}, found ${value.tag.toString(16)}`);
  return value;
}

function ascii(content: Bytes): string {
  return String.fromCharCode(...content.subarray(0, 64));
}

function malformed(message: string): ObjectionError {
  return new ObjectionError('der_malformed', message);
}
