/** A register in memory, with its own keys: records, signs and proves as docs/formats.md says. */
import type { AcknowledgementClaims, Policy, SubmissionAnswer, TokenClaims } from '../../src/core/contract.gen';
import {
  type Bytes,
  concat,
  formatBase64,
  formatBase64url,
  formatHex,
  formatJson,
  type Json,
  parseBase64url,
  parseJson,
  sha256,
  utf8,
} from '../../src/core/encoding';
import { parsePublicJwk, signJws, thumbprint } from '../../src/core/jws';
import { MAIL_TYPE, type MailFinding } from '../../src/core/mail';
import { leafHash, nodeHash } from '../../src/core/merkle';
import { formatEntry } from '../../src/core/proofs';
import { type VerifiedReceipt, verifyReceipt } from '../../src/core/receipts';
import { type Packed, packContainer, timeAuthority } from './container';

export const ISSUER = 'https://register.proof-of-objection.example';
export const RECEIVED_AT = 1_790_000_000;
const ORIGIN = 'register.proof-of-objection.example/log';

export interface Register {
  policy: Policy;
  /** Requests that reached it, as "METHOD path". */
  seen: string[];
  /** Bodies of the receipts posted. */
  posted: FormData[];
  /** When set, answers instead of the register: a failing network, an error, a forger. */
  intercept: ((request: Request) => Promise<Response | undefined>) | undefined;
  fetch(request: Request): Promise<Response>;
  record(receipt: string): Promise<SubmissionAnswer>;
  /** From now on a time stamp of `atS` covers everything recorded so far. */
  anchor(atS?: number): void;
  /** Forgets the earliest time stamp: a register that changed its clocks. */
  loseAnchor(): void;
  /** What it makes of an acknowledgement before it signs: a register gone wrong. */
  acknowledging: (claims: AcknowledgementClaims) => AcknowledgementClaims;
  /** What it sees in mails, by evidence name. */
  dkim: Record<string, MailFinding>;
  /** Languages in which the certificate was asked for. */
  languages: (string | null)[];
  /** What it gives as the certificate. */
  certificate: Bytes;
}

interface Recorded {
  receipt: VerifiedReceipt;
  salt: Bytes;
  index: number;
  token: string;
  status: SubmissionAnswer['status'];
  evidence: Map<string, Bytes>;
}

/** `clock`: whether its policy calls the authority that stamps for it independent. */
export async function startRegister({ clock = true } = {}): Promise<Register> {
  const issuer = await crypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, true, ['sign', 'verify']);
  const { kty, crv, x, y } = await crypto.subtle.exportKey('jwk', issuer.publicKey);
  const { jwk } = await parsePublicJwk({ kty, crv, x, y } as Json);
  const kid = await thumbprint(jwk);
  const log = await crypto.subtle.generateKey('Ed25519', true, ['sign', 'verify']);
  const logKey = concat(Uint8Array.of(1), new Uint8Array(await crypto.subtle.exportKey('raw', log.publicKey)));
  const logKeyId = (await sha256(concat(utf8(`${ORIGIN}\n`), logKey))).slice(0, 4);
  const vkey = `${ORIGIN}+${formatHex(logKeyId)}+${formatBase64(logKey)}`;
  const records = new Map<string, Recorded>();
  const leaves: Bytes[] = [await leafHash(utf8('an earlier entry'))];
  const anchors: { size: number; atS: number }[] = [];
  const { chain, stamp } = await timeAuthority();
  const authority = { name: clock ? 'tsa' : 'local', certificates: chain.map(formatBase64), trusted: clock };

  const register: Register = {
    policy: {
      v: 1,
      issuer: ISSUER,
      issuer_keys: [{ kid, ...jwk }],
      log: `log ${vkey}\nquorum none\n`,
      time_authorities: [authority],
    },
    seen: [],
    posted: [],
    intercept: undefined,
    record,
    async fetch(request) {
      const { pathname } = new URL(request.url);
      register.seen.push(`${request.method} ${pathname}`);
      const intercepted = await register.intercept?.(request);
      if (intercepted) return intercepted;
      if (pathname === '/v1/policy') return Response.json(register.policy);
      if (pathname.startsWith('/v1/work/')) return problem(404, 'work_off');
      if (pathname === '/v1/receipts') return post(await request.formData());
      const [, , , hash = '', below] = pathname.split('/');
      return holds(request, hash, below);
    },
    anchor: (atS = RECEIVED_AT + 60) => {
      anchors.push({ size: leaves.length, atS });
    },
    loseAnchor: () => {
      anchors.shift();
    },
    acknowledging: (claims) => claims,
    dkim: {},
    languages: [],
    certificate: utf8('%PDF-1.7 …the rest'),
  };
  return register;

  async function post(body: FormData): Promise<Response> {
    register.posted.push(body);
    const answer = await record(String(body.get('receipt')));
    for (const file of body.getAll('evidence') as File[]) {
      records.get(answer.receipt_sha256)?.evidence.set(file.name, new Uint8Array(await file.arrayBuffer()));
    }
    return Response.json(answer, { status: 201 });
  }

  async function record(raw: string): Promise<SubmissionAnswer> {
    const receipt = await verifyReceipt(raw);
    if (!records.has(receipt.sha256Hex)) {
      const salt = crypto.getRandomValues(new Uint8Array(32));
      const index = leaves.length;
      const { kind } = receipt.payload;
      leaves.push(
        await leafHash(await formatEntry({ kind, receiptSha256: receipt.sha256, receivedAtS: RECEIVED_AT }, salt)),
      );
      const token = kind === 'objection' ? await signToken(receipt, index) : await acknowledge(receipt, index);
      records.set(receipt.sha256Hex, { receipt, salt, index, token, status: 'stands', evidence: new Map() });
      if (kind !== 'objection' && kind !== 'supplement')
        objectionOf(receipt).status = kind === 'erasure' ? 'erased' : 'withdrawn';
    }
    return answerTo(receipt.sha256Hex);
  }

  function objectionOf({ payload, sha256Hex }: VerifiedReceipt): Recorded {
    const found = records.get(payload.kind === 'objection' ? sha256Hex : payload.objection_sha256);
    if (!found) throw new Error('an unknown objection');
    return found;
  }

  async function answerTo(hash: string): Promise<SubmissionAnswer> {
    const { receipt, salt, index, token } = records.get(hash) as Recorded;
    const { kind } = receipt.payload;
    const anchor = anchorOf(index);
    const size = anchor?.size ?? leaves.length;
    const text = `${ORIGIN}\n${size}\n${formatBase64(await rootOf(leaves.slice(0, size)))}\n`;
    const signature = new Uint8Array(await crypto.subtle.sign('Ed25519', log.privateKey, utf8(text)));
    const note = `${text}\n— ${ORIGIN} ${formatBase64(concat(logKeyId, signature))}\n`;
    const path = (await pathTo(index, leaves.slice(0, size))).map((hash) => `${formatBase64(hash)}\n`).join('');
    return {
      receipt_sha256: hash,
      kind,
      received_at: RECEIVED_AT,
      state: 'recorded',
      status: objectionOf(receipt).status,
      token,
      proof: `c2sp.org/tlog-proof@v1\nextra ${formatBase64(salt)}\nindex ${index}\n${path}\n${note}`,
      ...(kind === 'erasure' ? { remains: ['log-commitment', 'status-bit'] as const satisfies string[] } : {}),
    };
  }

  /** The smallest one that covers an entry. */
  function anchorOf(index: number) {
    return anchors.find(({ size }) => size > index);
  }

  /** What was added to an objection, in the order of the log. */
  function laterThan({ receipt }: Recorded): Recorded[] {
    return [...records.values()]
      .filter((one) => one.receipt.payload.kind !== 'objection' && objectionOf(one.receipt).receipt === receipt)
      .sort((one, other) => one.index - other.index);
  }

  /** The answer to the holder who asks. */
  async function answerNow(hash: string, known: Recorded): Promise<SubmissionAnswer> {
    const entries = [known, ...laterThan(known)].filter(({ index }) => clock && anchorOf(index)).length;
    return { ...(await answerTo(hash)), state: entries > 0 ? 'anchored' : 'recorded', anchored_entries: entries };
  }

  async function acknowledge({ payload, holderJwk, sha256Hex }: VerifiedReceipt, index: number): Promise<string> {
    if (payload.kind === 'objection') throw new Error('later receipts only');
    const evidence = payload.kind === 'supplement' ? payload.evidence : [];
    const claims: AcknowledgementClaims = {
      iss: ISSUER,
      iat: RECEIVED_AT,
      cnf: { jwk: holderJwk },
      kind: payload.kind,
      objection_sha256: payload.objection_sha256,
      receipt_sha256: sha256Hex,
      signed_at: payload.iat,
      received_at: RECEIVED_AT,
      log: { origin: ORIGIN, index },
      evidence: evidence.map(({ name, media_type, sha256 }) => {
        const dkim = register.dkim[name] ?? (media_type === MAIL_TYPE ? { finding: 'unsigned' as const } : undefined);
        return { name, media_type, sha256, ...(dkim ? { dkim } : {}) };
      }),
    };
    const header = { alg: 'ES256', kid, typ: 'objection-acknowledgement+jwt', x5c: ['AAAA'] };
    return signJws(header, formatJson(register.acknowledging(claims) as unknown as Json), issuer.privateKey);
  }

  async function signToken(receipt: VerifiedReceipt, index: number): Promise<string> {
    const { payload } = receipt;
    if (payload.kind !== 'objection') throw new Error('objections only');
    const claims: TokenClaims = {
      _sd_alg: 'sha-256',
      iss: ISSUER,
      vct: `${ISSUER}/vct/proof-of-objection/1`,
      iat: RECEIVED_AT,
      cnf: { jwk: receipt.holderJwk },
      status: { status_list: { idx: 7, uri: `${ISSUER}/status/1` } },
      controller: payload.controller,
      platform: payload.platform,
      right: payload.objection.right,
      contested_basis: payload.objection.contested_basis,
      data_categories: payload.objection.data_categories,
      objected_at: payload.iat,
      received_at: RECEIVED_AT,
      receipt_sha256: receipt.sha256Hex,
      log: { origin: ORIGIN, index },
      evidence: payload.evidence.map(({ name, media_type, sha256 }) => ({ name, media_type, sha256 })),
      assurance: 'device',
      self_asserted: payload.self_asserted,
    };
    const header = { alg: 'ES256', kid, typ: 'dc+sd-jwt', x5c: ['AAAA'] };
    return `${await signJws(header, formatJson(claims as unknown as Json), issuer.privateKey)}~`;
  }

  /** Answers whoever holds the key: the answer of now, the container or the certificate. */
  async function holds(request: Request, hash: string, below: string | undefined): Promise<Response> {
    const known = records.get(hash);
    const [scheme, token] = (request.headers.get('authorization') ?? '').split(' ');
    const dpop = (request.headers.get('dpop') ?? '').split('.');
    const claims = parseJson(parseBase64url(dpop[1] ?? ''));
    const expected = { htm: 'GET', htu: request.url, ath: formatBase64url(await sha256(utf8(token ?? ''))) };
    const fits = Object.entries(expected).every(([name, value]) => claims[name] === value);
    const share = request.headers.get('objection-holder-share') ?? '';
    if (!known || scheme !== 'DPoP' || token !== known.token || !fits || parseBase64url(share).length !== 32) {
      return problem(401, 'dpop_refused');
    }
    if (known.status === 'erased') return problem(410, 'record_erased');
    if (below !== 'bundle') return Response.json(await answerNow(hash, known));
    if (request.headers.get('accept') === 'application/pdf') {
      register.languages.push(request.headers.get('accept-language'));
      return new Response(register.certificate);
    }
    return new Response(await bundle(hash, known));
  }

  async function bundle(hash: string, known: Recorded): Promise<Bytes> {
    const { receipt, token, status, evidence } = known;
    const { proof, state } = await answerNow(hash, known);
    const text = 'text/plain; charset=utf-8';
    const file = (role: string, mediaType: string, data: string | Bytes): Packed => {
      return { role, mediaType, data: typeof data === 'string' ? utf8(data) : data };
    };
    const evidenceFiles = (folder: string, { payload }: VerifiedReceipt, files: Map<string, Bytes>) =>
      ('evidence' in payload ? payload.evidence : []).map(({ name, media_type }) => {
        return [`${folder}/${name}`, file('evidence', media_type, files.get(name) ?? new Uint8Array())];
      });
    const later = laterThan(known);
    const stamps = async (folder: string, index: number, proofText: string) => {
      const anchor = anchorOf(index);
      if (!anchor) return [];
      const data = await stamp(utf8(noteOf(proofText)), anchor.atS);
      const role = folder === 'anchors' ? 'anchor' : 'later-anchor';
      return [[`${folder}/${authority.name}.tst`, file(role, 'application/vnd.etsi.timestamp-token', data)]];
    };
    const sizeAt = (index: number) => anchorOf(index)?.size ?? leaves.length;
    const laterFiles = await Promise.all(
      later.map(async (one, i) => {
        const folder = `later/0${i + 1}`;
        const stem = `${folder}-${one.receipt.payload.kind}`;
        const itsProof = (await answerTo(one.receipt.sha256Hex)).proof;
        const [before, after] = [sizeAt((later[i - 1] ?? known).index), sizeAt(one.index)];
        const path = await consistencyPath(before, leaves.slice(0, after));
        const grown = `old ${before}\n${path.map((hash) => `${formatBase64(hash)}\n`).join('')}`;
        return [
          [`${stem}.jws`, file('later-receipt', 'application/jose', one.receipt.raw)],
          [`${stem}.ack`, file('acknowledgement', 'application/jose', one.token)],
          [`${stem}.tlog-proof`, file('later-proof', text, itsProof)],
          ...(before === after ? [] : [[`${stem}.consistency`, file('consistency', text, grown)]]),
          ...(noteOf(itsProof) === noteOf(proof) ? [] : await stamps(stem, one.index, itsProof)),
          ...evidenceFiles(folder, one.receipt, one.evidence),
        ];
      }),
    );
    const files = {
      'receipt.jws': file('receipt', 'application/jose', receipt.raw),
      'token.sd-jwt': file('token', 'application/dc+sd-jwt', token),
      'proof.tlog-proof': file('proof', text, proof),
      'checkpoint.txt': file('checkpoint', text, noteOf(proof)),
      'policy.json': file('policy', 'application/json', formatJson(register.policy as unknown as Json)),
      'status.jwt': file('status', 'application/statuslist+jwt', await statusList(status)),
      'objection.jsonld': file('description', 'application/ld+json', '{}'),
      'README.txt': file('readme', text, `${state}, ${leaves.length} entries`),
      ...Object.fromEntries([
        ...(await stamps('anchors', known.index, proof)),
        ...evidenceFiles('evidence', receipt, evidence),
        ...laterFiles.flat(),
      ]),
    };
    return packContainer(files, { receipt: hash, state, stamp: (data) => stamp(data, RECEIVED_AT) });
  }

  /** Every objection has number 7. */
  async function statusList(status: SubmissionAnswer['status']): Promise<string> {
    const bits = new Uint8Array(16_384);
    bits[1] = { stands: 0, erased: 1, withdrawn: 2 }[status] << 6;
    const packed = new Blob([bits]).stream().pipeThrough(new CompressionStream('deflate'));
    const lst = formatBase64url(new Uint8Array(await new Response(packed).arrayBuffer()));
    const claims = { sub: `${ISSUER}/status/1`, iat: RECEIVED_AT, exp: RECEIVED_AT + 60, ttl: 60 };
    const header = { alg: 'ES256', kid, typ: 'statuslist+jwt', x5c: ['AAAA'] };
    return signJws(header, formatJson({ ...claims, status_list: { bits: 2, lst } }), issuer.privateKey);
  }
}

/** The Merkle root of `leaves`, and the path to one of them (RFC 9162, 2.1). */
async function rootOf(leaves: Bytes[]): Promise<Bytes> {
  const [only, ...more] = leaves;
  if (only && more.length === 0) return only;
  const half = splitOf(leaves.length);
  return nodeHash(await rootOf(leaves.slice(0, half)), await rootOf(leaves.slice(half)));
}

async function pathTo(index: number, leaves: Bytes[]): Promise<Bytes[]> {
  if (leaves.length === 1) return [];
  const half = splitOf(leaves.length);
  const [left, right] = [leaves.slice(0, half), leaves.slice(half)];
  if (index < half) return [...(await pathTo(index, left)), await rootOf(right)];
  return [...(await pathTo(index - half, right)), await rootOf(left)];
}

/** RFC 9162, 2.1.4.1: that the log of `leaves` begins with its first `size` ones. */
async function consistencyPath(size: number, leaves: Bytes[], whole = true): Promise<Bytes[]> {
  if (size === leaves.length) return whole ? [] : [await rootOf(leaves)];
  const half = splitOf(leaves.length);
  const [left, right] = [leaves.slice(0, half), leaves.slice(half)];
  if (size <= half) return [...(await consistencyPath(size, left, whole)), await rootOf(right)];
  return [...(await consistencyPath(size - half, right, false)), await rootOf(left)];
}

const noteOf = (proof: string) => proof.slice(proof.indexOf('\n\n') + 2);
const splitOf = (size: number) => 2 ** Math.ceil(Math.log2(size) - 1);

export function problem(status: number, code: string): Response {
  const body = {
    type: `${ISSUER}/errors#${code}`,
    title: `Title of ${code}`,
    status,
    detail: 'Details.',
    code,
    request_id: 'r1',
  };
  return Response.json(body, { status, headers: { 'content-type': 'application/problem+json' } });
}
