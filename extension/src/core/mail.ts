/**
 * The signature under a mail (DKIM, RFC 6376), checked again with the key that the register saw in the DNS: offline, and
 * at any time. What a signature must cover to mean anything is decided here as in `server/outside/mail.py`.
 */
import { type Bytes, concat, parseBase64, sameBytes, sha256 } from './encoding';
import { ObjectionError } from './errors';

const MAX_BYTES = 1_048_576;
const MAX_HEAD_BYTES = 131_072;
const MAX_HEADER_LINES = 2_000;
const MAX_SIGNATURE_BYTES = 4_096;
const MIN_KEY_BITS = 1_024;
const SIGNED = ['from', 'subject', 'date'];
const REQUIRED_TAGS = ['v', 'a', 'b', 'bh', 'd', 'h', 's'];
const RSA = { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' };

/** Name and value as they stand, without the colon; the value ends in CRLF. Characters are bytes. */
type Header = [name: string, value: string];
type Tags = Map<string, string>;

/** Where the key came from: the TXT record of `<selector>._domainkey.<domain>`. */
export interface MailKey {
  keyRecord: Bytes;
  domain: string;
  selector: string;
}

/** Throws `dkim_mismatch` unless `domain` signed the whole mail with the key in `keyRecord`. */
export async function recheckMail(raw: Bytes, { keyRecord, domain, selector }: MailKey): Promise<void> {
  const { headers, body } = parseMail(raw);
  const signatures = headers
    .filter(([name]) => name.toLowerCase() === 'dkim-signature')
    .map((header) => ({ header, tags: readTags(header[1]) }))
    .filter(({ header, tags }) => tags && coversAll(header, tags))
    .filter(({ tags }) => tags?.get('d')?.toLowerCase() === domain && tags.get('s') === selector);
  const [signature] = signatures;
  if (signatures.length !== 1 || !signature?.tags) throw mismatch(`not signed once by ${domain}`);
  const { header, tags } = signature;
  const [headerForm, bodyForm = 'simple', ...more] = (tags.get('c') ?? 'simple/simple').split('/');
  if (more.length > 0 || ![headerForm, bodyForm].every((form) => form === 'simple' || form === 'relaxed')) {
    throw mismatch('an unknown canonical form');
  }
  const bodyHash = await sha256(bytesOf(canonicalBody(body, bodyForm)));
  if (!sameBytes(bodyHash, base64Of(tags.get('bh')))) throw mismatch('the body is not the one that was signed');
  const signed = bytesOf(signedHeaders(headers, header, tags, headerForm === 'relaxed'));
  const key = await publicKey(keyRecord);
  if (!(await crypto.subtle.verify(RSA, key, base64Of(tags.get('b')), signed))) {
    throw mismatch(`the signature of ${domain} does not hold`);
  }
}

/** Reads what every mail program reads in one way only. */
function parseMail(raw: Bytes): { headers: Header[]; body: string } {
  if (raw.length > MAX_BYTES) throw mismatch('the mail is too large');
  const text = charactersOf(raw);
  const end = text.slice(0, MAX_HEAD_BYTES).search(/\r?\n\r?\n/);
  if (end < 0 || text.slice(0, end).split('\n').length > MAX_HEADER_LINES + 1) {
    throw mismatch('the mail has no end of its headers, or too many');
  }
  if (/[ \t]{201}/.test(text) || /\r(?!\n)/.test(text)) throw mismatch('lines that no mail server writes');
  const lines = text.split(/\r?\n/);
  const blank = lines.indexOf('');
  const headers: Header[] = [];
  for (const line of lines.slice(0, blank)) {
    const last = headers.at(-1);
    const [, name] = /^([\x21-\x39\x3b-\x7e]+):/.exec(line) ?? [];
    if (line.startsWith('\t') || line.startsWith(' ')) {
      if (!last) throw mismatch('the mail begins with half a header');
      last[1] += `${line}\r\n`;
    } else if (name) headers.push([name, `${line.slice(name.length + 1)}\r\n`]);
    else if (!line.startsWith('From ')) throw mismatch('a line that is no header');
  }
  const names = headers.map(([name]) => name.toLowerCase());
  if (!SIGNED.every((wanted) => names.filter((name) => name === wanted).length === 1)) {
    throw mismatch('From, Subject and Date must each stand there once');
  }
  return { headers, body: lines.slice(blank + 1).join('\r\n') };
}

/** Reads `tag=value; …`. Undefined when a tag stands twice, or what is there is no list of tags. */
function readTags(list: string): Tags | undefined {
  const specs = trim(list).split(';');
  if (specs.at(-1) === '') specs.pop();
  const tags: Tags = new Map();
  for (const spec of specs) {
    const at = spec.indexOf('=');
    const name = trim(spec.slice(0, Math.max(at, 0)));
    if (at < 0 || !/^[a-zA-Z]\w*$/.test(name) || tags.has(name)) return undefined;
    tags.set(name, trim(spec.slice(at + 1)));
  }
  return tags;
}

/** Whether a signature, if it holds, covers the whole mail: all of the body, and who, what and when. */
function coversAll([, value]: Header, tags: Tags): boolean {
  const identity = (tags.get('i') ?? `@${tags.get('d')}`).toLowerCase().split('@').at(-1) ?? '';
  const domain = tags.get('d')?.toLowerCase() ?? '';
  return (
    value.length <= MAX_SIGNATURE_BYTES &&
    REQUIRED_TAGS.every((tag) => tags.has(tag)) &&
    !tags.has('l') &&
    tags.get('v') === '1' &&
    tags.get('a') === 'rsa-sha256' &&
    (tags.get('q') ?? 'dns/txt') === 'dns/txt' &&
    SIGNED.every((name) => namesIn(tags).includes(name)) &&
    (identity === domain || identity.endsWith(`.${domain}`))
  );
}

function namesIn(tags: Tags): string[] {
  return (tags.get('h') ?? '').split(':').map((name) => trim(name).toLowerCase());
}

/** The bytes under the signature: the headers that it names, each from the bottom up, then itself without `b=`. */
function signedHeaders(headers: Header[], own: Header, tags: Tags, relaxed: boolean): string {
  const form = ([name, value]: Header): Header => (relaxed ? [name.toLowerCase(), relax(value)] : [name, value]);
  const next = new Map<string, number>();
  let text = '';
  // From once more: a second one, that nobody signed, must not be shown by a mail program.
  for (const name of [...namesIn(tags), 'from']) {
    let at = (next.get(name) ?? headers.length) - 1;
    while (at >= 0 && headers[at]?.[0].toLowerCase() !== name) at--;
    next.set(name, Math.max(at, 0));
    const found = headers[at];
    if (found) text += form(found).join(':');
  }
  const [name, value] = form([own[0], own[1].replace(/([;\s]b\s*=)[a-zA-Z0-9+/=\s]*(?=;|$)/, '$1')]);
  return `${text}${name}:${value.replace(/\s+$/, '')}`;
}

function relax(value: string): string {
  return `${trim(value.replaceAll('\r\n', '').replace(/[\t ]+/g, ' '))}\r\n`;
}

function canonicalBody(body: string, form: string): string {
  const lines = body.split('\r\n').map((line) => (form === 'relaxed' ? relaxLine(line) : line));
  while (lines.length > 0 && lines.at(-1) === '') lines.pop();
  if (lines.length === 0) return form === 'relaxed' ? '' : '\r\n';
  return `${lines.join('\r\n')}\r\n`;
}

function relaxLine(line: string): string {
  const short = line.replace(/[\t ]+/g, ' ');
  return short.endsWith(' ') ? short.slice(0, -1) : short;
}

async function publicKey(record: Bytes): Promise<CryptoKey> {
  const tags = readTags(charactersOf(record));
  const der = base64Of(tags?.get('p'));
  if (!tags || (tags.get('v') ?? 'DKIM1') !== 'DKIM1' || (tags.get('k') ?? 'rsa') !== 'rsa' || der.length === 0) {
    throw mismatch('the key record has no RSA key');
  }
  let key: CryptoKey;
  try {
    key = await crypto.subtle.importKey('spki', der, RSA, false, ['verify']);
  } catch (error) {
    throw new ObjectionError('dkim_mismatch', 'the key record has no RSA key', { cause: error });
  }
  if ((key.algorithm as RsaHashedKeyAlgorithm).modulusLength < MIN_KEY_BITS) throw mismatch('the key is too short');
  return key;
}

function base64Of(text = ''): Bytes {
  return parseBase64(text.replace(/\s+/g, ''), 'dkim_mismatch');
}

/** One character a byte: mails are bytes, and `TextDecoder` would change some. */
function charactersOf(raw: Bytes): string {
  const parts: string[] = [];
  for (let at = 0; at < raw.length; at += 8192) parts.push(String.fromCharCode(...raw.subarray(at, at + 8192)));
  return parts.join('');
}

function bytesOf(characters: string): Bytes {
  return concat(Uint8Array.from(characters, (character) => character.charCodeAt(0)));
}

/** `trim` would take more than ASCII for white space. */
function trim(text: string): string {
  return text.replace(/^[ \t\r\n\v\f]+/, '').replace(/[ \t\r\n\v\f]+$/, '');
}

function mismatch(message: string): ObjectionError {
  return new ObjectionError('dkim_mismatch', message);
}
