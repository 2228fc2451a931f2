/** Strict base64, hex and JSON: a value is accepted only if writing it again gives the same characters. */
import { ObjectionError } from './errors';

export type Bytes = Uint8Array<ArrayBuffer>;
export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
export type JsonObject = { [key: string]: Json };

const MAX_DEPTH = 16;
const MAX_JSON_BYTES = 262_144;
const NUMBER = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y;
const CANONICAL_INTEGER = /^(?:0|-?[1-9][0-9]{0,15})$/;
const NOT_NUMBERS = ['NaN', 'Infinity', '-Infinity'];
const STRING_OR_BRACKET = /"[^"\\]*(?:\\.[^"\\]*)*"?|[{}[\]]/gs;
// All but quote, backslash and control characters.
const PLAIN_CHARACTERS = /[\u0020\u0021\u0023-\u005b\u005d-\uffff]*/y;
const ESCAPES: Record<string, string> = {
  '"': '"',
  '\\': '\\',
  '/': '/',
  b: '\b',
  f: '\f',
  n: '\n',
  r: '\r',
  t: '\t',
};

export function utf8(text: string): Bytes {
  return new TextEncoder().encode(text);
}

export async function sha256(data: Bytes): Promise<Bytes> {
  return new Uint8Array(await crypto.subtle.digest('SHA-256', data));
}

export async function sha256Hex(data: Bytes): Promise<string> {
  return formatHex(await sha256(data));
}

export function concat(...parts: Bytes[]): Bytes {
  const whole = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

export function sameBytes(one: Bytes, other: Bytes): boolean {
  return one.length === other.length && one.every((byte, i) => byte === other[i]);
}

/** `text`: hex digits, checked by whoever read them. */
export function parseHex(text: string): Bytes {
  return Uint8Array.from({ length: text.length / 2 }, (_, i) => Number.parseInt(text.slice(2 * i, 2 * i + 2), 16));
}

export function formatHex(data: Bytes): string {
  return Array.from(data, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

export function formatBase64(data: Bytes): string {
  let binary = '';
  // In slices: String.fromCharCode(...everything) overflows the stack on a screenshot.
  for (let at = 0; at < data.length; at += 0x8000) binary += String.fromCharCode(...data.subarray(at, at + 0x8000));
  return btoa(binary);
}

/** Reads padded standard base64, as notes use it. Throws `code` when it is not canonical. */
export function parseBase64(text: string, code: string): Bytes {
  let data: Bytes;
  try {
    data = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  } catch (error) {
    throw new ObjectionError(code, 'not base64', { cause: error });
  }
  // atob forgives missing padding, white space and stray low bits; two texts must never stand for one value.
  if (formatBase64(data) !== text) throw new ObjectionError(code, 'not canonical base64');
  return data;
}

export function formatBase64url(data: Bytes): string {
  return formatBase64(data).replaceAll('+', '-').replaceAll('/', '_').replace(/=+$/, '');
}

/** Reads unpadded base64url; `size` (bytes) must match when given. Throws `base64url_malformed`. */
export function parseBase64url(text: string, size?: number): Bytes {
  if (/[^A-Za-z0-9_-]/.test(text)) throw new ObjectionError('base64url_malformed', 'not base64url');
  const padded = text.replaceAll('-', '+').replaceAll('_', '/') + '='.repeat((4 - (text.length % 4)) % 4);
  const data = parseBase64(padded, 'base64url_malformed');
  if (size !== undefined && data.length !== size) {
    throw new ObjectionError('base64url_malformed', `must be ${size} bytes, is ${data.length}`);
  }
  return data;
}

/** Reads UTF-8 and nothing else; a byte order mark stays a character, so that it is refused by whoever reads on. */
export function parseUtf8(raw: Bytes, code: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(raw);
  } catch (error) {
    throw new ObjectionError(code, 'not UTF-8', { cause: error });
  }
}

/** Reads ASCII and nothing else: as long in bytes as in characters. */
export function parseAscii(raw: Bytes, code: string): string {
  const text = parseUtf8(raw, code);
  if (text.length !== raw.length) throw new ObjectionError(code, 'not ASCII');
  return text;
}

/** Canonical JSON: keys sorted by code point, no white space, integers only. The same value gives the same text, always. */
export function formatJson(value: Json): string {
  if (Array.isArray(value)) return `[${value.map(formatJson).join(',')}]`;
  if (typeof value === 'object' && value !== null) {
    const members = Object.entries(value).sort(([one], [other]) => compareCodePoints(one, other));
    return `{${members.map(([key, member]) => `${JSON.stringify(key)}:${formatJson(member)}`).join(',')}}`;
  }
  if (typeof value === 'number' && !Number.isSafeInteger(value)) throw new RangeError(`not an integer: ${value}`);
  return JSON.stringify(value);
}

// JavaScript compares UTF-16 units, which puts U+10000 before U+FFFF.
function compareCodePoints(one: string, other: string): number {
  const [left, right] = [Array.from(one), Array.from(other)];
  for (let i = 0; i < Math.min(left.length, right.length); i++) {
    const difference = (left[i]?.codePointAt(0) ?? 0) - (right[i]?.codePointAt(0) ?? 0);
    if (difference !== 0) return difference;
  }
  return left.length - right.length;
}

/**
 * Returns the object in `raw`, which has at most 262 144 bytes. Throws `json_duplicate_key` at any depth, `json_number_refused` for anything but
 * canonical integers within ±(2^53 − 1), `json_malformed` for the rest, nesting beyond 16 levels included.
 */
export function parseJson(raw: Bytes): JsonObject {
  const value = parseJsonValue(raw);
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw malformed('the top level must be an object');
  }
  return value;
}

/** As parseJson, for the one place where the top level is not an object: a disclosure. */
export function parseJsonValue(raw: Bytes): Json {
  // Before any of it is read: what packs well must not cost more than it may.
  if (raw.length > MAX_JSON_BYTES) throw malformed(`at most ${MAX_JSON_BYTES} bytes of JSON`);
  const text = parseUtf8(raw, 'json_malformed');
  refuseDeepNesting(text);
  return new Reader(text).whole();
}

/** Without a limit, a stranger's brackets would exhaust the stack. Strings are passed over whole: theirs close nothing. */
function refuseDeepNesting(text: string): void {
  let depth = 0;
  for (const [token] of text.matchAll(STRING_OR_BRACKET)) {
    if (token === '{' || token === '[') depth++;
    else if (token === '}' || token === ']') depth--;
    if (depth > MAX_DEPTH) throw malformed('nested too deeply');
  }
}

function malformed(message: string): ObjectionError {
  return new ObjectionError('json_malformed', message);
}

// JSON.parse keeps the last of two equal keys and silently rounds numbers: both would let two readers see two contents.
class Reader {
  private at = 0;
  private wellFormed = true;

  constructor(private readonly text: string) {}

  whole(): Json {
    const value = this.value();
    this.space();
    if (this.at !== this.text.length) throw malformed('something follows the value');
    if (!this.wellFormed) throw malformed('half a surrogate pair');
    return value;
  }

  private value(): Json {
    this.space();
    const start = this.text[this.at];
    if (start === '{') return this.object();
    if (start === '[') return this.array();
    if (start === '"') return this.string();
    if (this.takes('true')) return true;
    if (this.takes('false')) return false;
    if (this.takes('null')) return null;
    return this.number();
  }

  private object(): JsonObject {
    this.at++;
    const members: [string, Json][] = [];
    this.space();
    if (!this.takes('}')) {
      do {
        this.space();
        const key = this.string();
        this.space();
        if (!this.takes(':')) throw malformed('a colon is missing');
        members.push([key, this.value()]);
        this.space();
      } while (this.takes(','));
      if (!this.takes('}')) throw malformed('an object does not end');
    }
    if (new Set(members.map(([key]) => key)).size !== members.length) {
      throw new ObjectionError('json_duplicate_key', 'an object names one key twice');
    }
    // fromEntries defines members, so that "__proto__" is a key like any other and is refused as unknown later.
    return Object.fromEntries(members);
  }

  private array(): Json[] {
    this.at++;
    const items: Json[] = [];
    this.space();
    if (this.takes(']')) return items;
    do {
      items.push(this.value());
      this.space();
    } while (this.takes(','));
    if (!this.takes(']')) throw malformed('an array does not end');
    return items;
  }

  private string(): string {
    if (!this.takes('"')) throw malformed('a string is missing');
    let value = '';
    for (;;) {
      value += this.matches(PLAIN_CHARACTERS) ?? '';
      if (this.takes('"')) {
        // An escape can say half a surrogate pair: text that UTF-8 cannot hold.
        this.wellFormed &&= !/\p{Surrogate}/u.test(value);
        return value;
      }
      if (!this.takes('\\')) throw malformed('a string does not end, or holds a control character');
      value += this.escape();
    }
  }

  private escape(): string {
    const letter = this.text[this.at++];
    if (letter === 'u') {
      const digits = this.text.slice(this.at, this.at + 4);
      if (!/^[0-9a-fA-F]{4}$/.test(digits)) throw malformed('a bad \\u escape');
      this.at += 4;
      return String.fromCharCode(Number.parseInt(digits, 16));
    }
    const character = letter === undefined ? undefined : ESCAPES[letter];
    if (character === undefined) throw malformed('an unknown escape');
    return character;
  }

  private number(): number {
    const refused = () => new ObjectionError('json_number_refused', 'numbers must be plain integers');
    if (NOT_NUMBERS.some((word) => this.takes(word))) throw refused();
    const digits = this.matches(NUMBER);
    if (!digits) throw malformed('a value is missing');
    if (!CANONICAL_INTEGER.test(digits) || !Number.isSafeInteger(Number(digits))) throw refused();
    return Number(digits);
  }

  private space(): void {
    while (' \t\n\r'.includes(this.text[this.at] ?? 'end')) this.at++;
  }

  private takes(token: string): boolean {
    if (!this.text.startsWith(token, this.at)) return false;
    this.at += token.length;
    return true;
  }

  private matches(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.at;
    const found = pattern.exec(this.text)?.[0];
    this.at += found?.length ?? 0;
    return found;
  }
}
