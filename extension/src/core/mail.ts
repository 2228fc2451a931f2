/**
 * The signature under a mail (DKIM, RFC 6376), checked again with the key that the register saw in the DNS: offline, and
 * at any time. What a signature must cover to mean anything is decided here as in `server/outside/mail.py`.
 */
import { BIT_STRING, INTEGER, members, OID, parseBitString, parseDer, parseOid, parseUnsigned, SEQUENCE } from './der';
import { type Bytes, formatBase64url, parseBase64, sameBytes, sha256 } from './encoding';
import { ObjectionError } from './errors';

const MAX_BYTES = 1_048_576;
const MAX_HEAD_BYTES = 131_072;
const MAX_HEADER_LINES = 2_000;
const MAX_SIGNATURES = 8;
const MAX_SIGNATURE_BYTES = 4_096;
const MAX_RECORD_BYTES = 65_535;
const MIN_KEY_BITS = 1_024;
const SIGNED = ['from', 'subject', 'date'];
const REQUIRED_TAGS = ['v', 'a', 'b', 'bh', 'd', 'h', 's'];
const BASE64 = /^[A-Za-z0-9+/]+={0,2}$/;
/** White space as dkimpy sees it; that of a regular expression has more, which are other bytes of a mail. */
const SPACE = ' \t\r\n\v\f';
const RSA_ENCRYPTION = '1.2.840.113549.1.1.1';
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
  const all = headers.filter(([name]) => name.toLowerCase() === 'dkim-signature');
  if (all.length > MAX_SIGNATURES) throw mismatch('too many signatures');
  const signatures = all
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
    // What follows the first letter is as lax as in dkimpy: it only names tags that mean nothing.
    if (at < 0 || !/^[a-zA-Z]/.test(name) || tags.has(name)) return undefined;
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
  const [name, value] = form([own[0], own[1].split(';').map(withoutSignature).join(';')]);
  return `${text}${name}:${trimEnd(value)}`;
}

/** Returns a tag as it stood before signing: `b=` was empty. */
function withoutSignature(spec: string): string {
  const end = spec.indexOf('=') + 1;
  return end > 0 && trim(spec.slice(0, end - 1)) === 'b' ? spec.slice(0, end) : spec;
}

function relax(value: string): string {
  return `${trim(value.replaceAll('\r\n', '').replace(/[\t ]+/g, ' '))}\r\n`;
}

function canonicalBody(body: string, form: string): string {
  const written = body.split('\r\n');
  const lines = form === 'relaxed' ? written.map((line, i) => relaxLine(line, i < written.length - 1)) : written;
  while (lines.length > 0 && lines.at(-1) === '') lines.pop();
  if (lines.length === 0) return form === 'relaxed' ? '' : '\r\n';
  return `${lines.join('\r\n')}\r\n`;
}

/** `ended`: with CRLF; the space before the end of a mail is no space at the end of a line, for dkimpy. */
function relaxLine(line: string, ended: boolean): string {
  const short = line.replace(/[\t ]+/g, ' ');
  return ended && short.endsWith(' ') ? short.slice(0, -1) : short;
}

async function publicKey(record: Bytes): Promise<CryptoKey> {
  if (record.length > MAX_RECORD_BYTES) throw mismatch('the key record is too large');
  const tags = readTags(charactersOf(record));
  if (!tags || (tags.get('v') ?? 'DKIM1') !== 'DKIM1' || (tags.get('k') ?? 'rsa') !== 'rsa') {
    throw mismatch('the key record has no RSA key');
  }
  if (tags.get('s') === 'tlsrpt') throw mismatch('the key is not for mail');
  const der = base64Of(tags.get('p'));
  let key: CryptoKey;
  try {
    key = await crypto.subtle.importKey('jwk', readKey(der), RSA, false, ['verify']);
  } catch (error) {
    throw new ObjectionError('dkim_mismatch', 'the key record has no RSA key', { cause: error });
  }
  if ((key.algorithm as RsaHashedKeyAlgorithm).modulusLength < MIN_KEY_BITS) throw mismatch('the key is too short');
  return key;
}

/** Reads a SubjectPublicKeyInfo, as all send it, or an RSAPublicKey, as RFC 6376 says. Throws whatever it likes. */
function readKey(der: Bytes): JsonWebKey {
  const fields = members(parseDer(der, SEQUENCE));
  const identifier = fields.takeIf(SEQUENCE);
  if (identifier && parseOid(members(identifier).take(OID)) !== RSA_ENCRYPTION) throw mismatch('not an RSA key');
  const key = identifier ? members(parseDer(parseBitString(fields.take(BIT_STRING)), SEQUENCE)) : fields;
  const [n, e] = [key.take(INTEGER), key.take(INTEGER)].map((number) => formatBase64url(parseUnsigned(number)));
  return { kty: 'RSA', n, e } as JsonWebKey;
}

function base64Of(text = ''): Bytes {
  const digits = text.replace(/[ \t\r\n\v\f]+/g, '');
  if (!BASE64.test(digits)) throw mismatch('not base64');
  return parseBase64(digits, 'dkim_mismatch');
}

/** One character a byte: mails are bytes, and `TextDecoder` would change some. */
function charactersOf(raw: Bytes): string {
  const parts: string[] = [];
  for (let at = 0; at < raw.length; at += 8192) parts.push(String.fromCharCode(...raw.subarray(at, at + 8192)));
  return parts.join('');
}

function bytesOf(characters: string): Bytes {
  const data = new Uint8Array(characters.length);
  for (let i = 0; i < data.length; i++) data[i] = characters.charCodeAt(i);
  return data;
}

/** Not by a regular expression, which takes quadratic time on what nobody sends. */
function trim(text: string): string {
  let start = 0;
  while (start < text.length && SPACE.includes(text.charAt(start))) start++;
  return trimEnd(text.slice(start));
}

function trimEnd(text: string): string {
  let end = text.length;
  while (end > 0 && SPACE.includes(text.charAt(end - 1))) end--;
  return text.slice(0, end);
}

function mismatch(message: string): ObjectionError {
  return new ObjectionError('dkim_mismatch', message);
}
