/**
 * The signature under a mail (DKIM, RFC 6376), judged again with the key that the register saw in the DNS: offline, and
 * at any time. docs/formats.md has the profile; `server/core/mails.py` reads the same mails in the same way.
 */
import type { AcknowledgedEvidence } from './contract.gen';
import { BIT_STRING, INTEGER, members, OID, parseBitString, parseDer, parseOid, parseUnsigned, SEQUENCE } from './der';
import { type Bytes, formatBase64url, parseBase64, sameBytes, sha256 } from './encoding';
import { ObjectionError } from './errors';

/** What the register found of a mail's own signature. */
export type MailFinding = NonNullable<AcknowledgedEvidence['dkim']>;

export const MAIL_TYPE = 'message/rfc822';
const MAX_BYTES = 1_048_576;
const MAX_HEAD_BYTES = 131_072;
const MAX_HEADER_LINES = 2_000;
const MAX_SIGNATURES = 8;
const MAX_SIGNATURE_BYTES = 4_096;
const MAX_RECORD_BYTES = 65_535;
const MAX_NAME = 253 - '._domainkey.'.length;
const [MIN_KEY_BITS, MAX_KEY_BITS] = [1_024, 8_192];
const SIGNED = ['from', 'subject', 'date'];
const REQUIRED_TAGS = ['v', 'a', 'b', 'bh', 'd', 'h', 's'];
const FORMS = ['simple', 'relaxed'] as const;
const DOMAIN = /^[a-z0-9-]{1,63}(?:\.[a-z0-9-]{1,63})+$/;
const SELECTOR = /^[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*$/;
/** White space of ASCII; that of a regular expression has more, which are other bytes of a mail. */
const SPACE = ' \t\r\n\v\f';
const RSA_ENCRYPTION = '1.2.840.113549.1.1.1';
const RSA = { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' };
/** By these the key that the register saw decides. */
const KEYED = ['signed', 'signature-mismatch', 'test-key', 'key-unusable'];

/** Name and value as they stand, without the colon; the value ends in CRLF. Characters are bytes. */
type Header = [name: string, value: string];
type Tags = Map<string, string>;

/** A signature that can be read. `finding`: what is wrong with it whatever its key; undefined where the key decides. */
interface MailSignature {
  domain: string;
  selector: string;
  /** The domain of `i=`. */
  identity: string;
  finding: 'not-covered' | 'body-changed' | undefined;
  signed: Bytes;
  value: Bytes;
}

/** `signatures`: those that can be read. `hasSignature`: even one that cannot. */
interface ReadMail {
  signatures: MailSignature[];
  hasSignature: boolean;
}

/**
 * Throws `dkim_mismatch` when the mail itself contradicts what the register acknowledged. `keyRecord`: the TXT record of
 * findings that name one. What only the register could see is its word: then the signature must at least stand there.
 */
export async function recheckFinding(raw: Bytes, finding: MailFinding, keyRecord: Bytes | undefined): Promise<void> {
  if (!(await findingsAbout(raw, finding, keyRecord)).includes(finding.finding)) {
    throw new ObjectionError('dkim_mismatch', `the mail is not as the register says: ${finding.finding}`);
  }
}

/** Returns every finding that the mail bears out, by what `finding` names: domain and selector, if any. */
export async function findingsAbout(raw: Bytes, claimed: MailFinding, keyRecord?: Bytes): Promise<string[]> {
  const mail = await readMail(raw);
  if (!mail) return ['unreadable'];
  if (!mail.hasSignature) return ['unsigned'];
  if (mail.signatures.length === 0) return ['signature-refused'];
  const { finding } = claimed;
  const borneOut: string[] = [];
  for (const signature of mail.signatures) {
    if (!('domain' in claimed) || signature.domain !== claimed.domain || signature.selector !== claimed.selector)
      continue;
    if (KEYED.includes(finding)) borneOut.push(await judgeSignature(signature, keyRecord ?? new Uint8Array()));
    else if (finding === 'body-changed' || finding === 'not-covered') borneOut.push(signature.finding ?? '');
    else borneOut.push(finding);
  }
  return borneOut.includes('signed') ? ['signed'] : borneOut;
}

async function judgeSignature(signature: MailSignature, keyRecord: Bytes): Promise<string> {
  if (signature.finding) return signature.finding;
  const tags = keyRecord.length <= MAX_RECORD_BYTES ? readTags(charactersOf(keyRecord)) : undefined;
  if (!tags) return 'key-unusable';
  if (tags.get('p') === '') return 'key-gone'; // revoked: RFC 6376, section 3.6.1
  const flags = listed(tags, 't', '');
  const key = await publicKey(tags);
  if (!key || (flags.includes('s') && signature.identity !== signature.domain)) return 'key-unusable';
  if (flags.includes('y')) return 'test-key';
  return (await crypto.subtle.verify(RSA, key, signature.value, signature.signed)) ? 'signed' : 'signature-mismatch';
}

/** Reads what every mail program reads in one way only; returns undefined for any other mail. */
async function readMail(raw: Bytes): Promise<ReadMail | undefined> {
  const parsed = parseMail(raw);
  if (!parsed) return undefined;
  const { headers, body } = parsed;
  const own = headers.filter(([name]) => name.toLowerCase() === 'dkim-signature');
  if (own.length > MAX_SIGNATURES) return undefined;
  const hashes = new Map<string, Bytes>();
  for (const form of own.length > 0 ? FORMS : []) hashes.set(form, await sha256(bytesOf(canonicalBody(body, form))));
  const read = own.map((header) => readSignature(header, headers, hashes));
  return { signatures: read.filter((one) => one !== undefined), hasSignature: own.length > 0 };
}

function parseMail(raw: Bytes): { headers: Header[]; body: string } | undefined {
  if (raw.length > MAX_BYTES) return undefined;
  const text = charactersOf(raw);
  const end = text.slice(0, MAX_HEAD_BYTES).search(/\r?\n\r?\n/);
  if (end < 0 || text.slice(0, end).split('\n').length > MAX_HEADER_LINES + 1) return undefined;
  if (/[ \t]{201}/.test(text) || /\r(?!\n)/.test(text)) return undefined;
  const lines = text.split(/\r?\n/);
  const blank = lines.indexOf('');
  const headers: Header[] = [];
  for (const line of lines.slice(0, blank)) {
    const last = headers.at(-1);
    const [, name] = /^([\x21-\x39\x3b-\x7e]+):/.exec(line) ?? [];
    if (line.startsWith('\t') || line.startsWith(' ')) {
      if (!last) return undefined;
      last[1] += `${line}\r\n`;
    } else if (name) headers.push([name, `${line.slice(name.length + 1)}\r\n`]);
    else if (!line.startsWith('From ')) return undefined; // a mailbox file has such a line before each mail
  }
  const names = headers.map(([name]) => name.toLowerCase());
  if (!SIGNED.every((wanted) => names.filter((name) => name === wanted).length === 1)) return undefined;
  return { headers, body: lines.slice(blank + 1).join('\r\n') };
}

function readSignature(own: Header, headers: Header[], bodies: Map<string, Bytes>): MailSignature | undefined {
  const tags = own[1].length <= MAX_SIGNATURE_BYTES ? readTags(own[1]) : undefined;
  if (!tags || !REQUIRED_TAGS.every((tag) => tags.has(tag))) return undefined;
  const [domain, selector] = [lower(tags.get('d') ?? ''), tags.get('s') ?? ''];
  const identity =
    lower(tags.get('i') ?? `@${domain}`)
      .split('@')
      .at(-1) ?? '';
  const [headerForm = '', bodyForm = 'simple', ...more] = (tags.get('c') ?? 'simple').split('/');
  const [value, bodyHash] = [base64Of(tags.get('b')), base64Of(tags.get('bh'))];
  const bodyExpected = bodies.get(bodyForm);
  if (
    tags.get('v') !== '1' ||
    tags.get('a') !== 'rsa-sha256' ||
    (tags.get('q') ?? 'dns/txt') !== 'dns/txt' ||
    !DOMAIN.test(domain) ||
    !SELECTOR.test(selector) ||
    domain.length + selector.length > MAX_NAME ||
    !(identity === domain || (identity.endsWith(`.${domain}`) && DOMAIN.test(identity))) ||
    more.length > 0 ||
    !bodies.has(headerForm) ||
    !bodyExpected ||
    !value?.length ||
    bodyHash?.length !== bodyExpected.length
  ) {
    return undefined;
  }
  const signed = bytesOf(signedHeaders(headers, own, tags, headerForm === 'relaxed'));
  // What stands behind the signed part of a body could be anything: no l=.
  const covered = SIGNED.every((name) => listed(tags, 'h', '').includes(name)) && !tags.has('l');
  const changed = covered && !sameBytes(bodyHash, bodyExpected) ? 'body-changed' : undefined;
  return { domain, selector, identity, finding: covered ? changed : 'not-covered', signed, value };
}

/** Reads `tag=value; …`. Undefined when a tag stands twice, or what is there is no list of tags. */
function readTags(list: string): Tags | undefined {
  const specs = trim(list).split(';');
  if (specs.at(-1) === '') specs.pop();
  const tags: Tags = new Map();
  for (const spec of specs) {
    const at = spec.indexOf('=');
    const name = trim(spec.slice(0, Math.max(at, 0)));
    // What follows the first letter may be anything: it only names tags that mean nothing.
    if (at < 0 || !/^[a-zA-Z]/.test(name) || tags.has(name)) return undefined;
    tags.set(name, trim(spec.slice(at + 1)));
  }
  return tags;
}

function listed(tags: Tags, tag: string, byDefault: string): string[] {
  return (tags.get(tag) ?? byDefault).split(':').map((name) => lower(trim(name)));
}

/** The bytes under the signature: the headers that it names, each from the bottom up, then itself without `b=`. */
function signedHeaders(headers: Header[], own: Header, tags: Tags, relaxed: boolean): string {
  const form = ([name, value]: Header): Header => (relaxed ? [name.toLowerCase(), relax(value)] : [name, value]);
  const left = new Map<string, Header[]>();
  for (const header of headers) {
    const name = header[0].toLowerCase();
    const same = left.get(name);
    if (same) same.push(header);
    else left.set(name, [header]);
  }
  let text = '';
  for (const name of listed(tags, 'h', '')) {
    const found = left.get(name)?.pop();
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

/** `ended`: with CRLF. A last line without an end keeps its space: none of it is at the end of a line. */
function relaxLine(line: string, ended: boolean): string {
  const short = line.replace(/[\t ]+/g, ' ');
  return ended && short.endsWith(' ') ? short.slice(0, -1) : short;
}

/** Returns the key of a TXT record if it is for mail, and written as only one key can be. */
async function publicKey(tags: Tags): Promise<CryptoKey | undefined> {
  if ((tags.get('v') ?? 'DKIM1') !== 'DKIM1' || (tags.get('k') ?? 'rsa') !== 'rsa') return undefined;
  const services = listed(tags, 's', '*');
  if (!services.includes('*') && !services.includes('email')) return undefined;
  if (!listed(tags, 'h', 'sha256').includes('sha256')) return undefined;
  const der = base64Of(tags.get('p'));
  if (!der) return undefined;
  try {
    const { n, e } = readKey(der);
    const number = Number(`0x${[...e].map((byte) => byte.toString(16).padStart(2, '0')).join('') || '0'}`);
    const bits = n.length * 8 - Math.clz32(n[0] ?? 0) + 24;
    if (bits < MIN_KEY_BITS || bits > MAX_KEY_BITS || !((n.at(-1) ?? 0) & 1)) return undefined;
    // What every cryptographic library takes.
    if (e.length > 4 || number < 3 || number % 2 === 0) return undefined;
    const jwk = { kty: 'RSA', n: formatBase64url(n), e: formatBase64url(e) };
    const key = await crypto.subtle.importKey('jwk', jwk, RSA, true, ['verify']);
    const whole = new Uint8Array(await crypto.subtle.exportKey('spki', key));
    // The key alone, without its algorithm, is what stands last in it.
    return sameBytes(der, whole) || sameBytes(der, whole.slice(-der.length)) ? key : undefined;
  } catch {
    return undefined;
  }
}

/** Reads a SubjectPublicKeyInfo, as all send it, or an RSAPublicKey, as RFC 6376 says. Throws whatever it likes. */
function readKey(der: Bytes): { n: Bytes; e: Bytes } {
  const fields = members(parseDer(der, SEQUENCE));
  const identifier = fields.takeIf(SEQUENCE);
  if (identifier && parseOid(members(identifier).take(OID)) !== RSA_ENCRYPTION) throw new Error('not an RSA key');
  const key = identifier ? members(parseDer(parseBitString(fields.take(BIT_STRING)), SEQUENCE)) : fields;
  return { n: parseUnsigned(key.take(INTEGER)), e: parseUnsigned(key.take(INTEGER)) };
}

/** Returns what `text` is the only base64 of, white space apart; undefined for anything else. */
function base64Of(text = ''): Bytes | undefined {
  const digits = text.replace(/[ \t\r\n\v\f]+/g, '');
  try {
    return parseBase64(digits, 'dkim_mismatch');
  } catch {
    return undefined;
  }
}

/** Of ASCII alone: other bytes are no letters. */
function lower(text: string): string {
  return text.replace(/[A-Z]+/g, (letters) => letters.toLowerCase());
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
