/** A register in memory, with its own keys: records, signs and proves as docs/formats.md says. */
import type { Policy, SubmissionAnswer, TokenClaims } from '../../src/core/contract.gen';
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
import { leafHash, nodeHash } from '../../src/core/merkle';
import { formatEntry } from '../../src/core/proofs';
import { verifyReceipt } from '../../src/core/receipts';

export const ISSUER = 'https://register.proof-of-objection.example';
export const RECEIVED_AT = 1_790_000_000;
const ORIGIN = 'register.proof-of-objection.example/log';
const BUNDLE_TYPE = 'application/vnd.etsi.asic-e+zip';

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
}

export async function startRegister(): Promise<Register> {
  const issuer = await crypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, true, ['sign', 'verify']);
  const { kty, crv, x, y } = await crypto.subtle.exportKey('jwk', issuer.publicKey);
  const { jwk } = await parsePublicJwk({ kty, crv, x, y } as Json);
  const kid = await thumbprint(jwk);
  const log = await crypto.subtle.generateKey('Ed25519', true, ['sign', 'verify']);
  const logKey = concat(Uint8Array.of(1), new Uint8Array(await crypto.subtle.exportKey('raw', log.publicKey)));
  const logKeyId = (await sha256(concat(utf8(`${ORIGIN}\n`), logKey))).slice(0, 4);
  const vkey = `${ORIGIN}+${formatHex(logKeyId)}+${formatBase64(logKey)}`;
  const recorded = new Map<string, SubmissionAnswer>();
  const leaves: Bytes[] = [await leafHash(utf8('an earlier entry'))];

  const register: Register = {
    policy: {
      v: 1,
      issuer: ISSUER,
      issuer_keys: [{ kid, ...jwk }],
      log: `log ${vkey}\nquorum none\n`,
      time_authorities: [],
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
      if (pathname === '/v1/receipts') return post(await request.formData());
      return bundle(request, pathname.split('/')[3] ?? '');
    },
  };
  return register;

  async function post(body: FormData): Promise<Response> {
    register.posted.push(body);
    return Response.json(await record(String(body.get('receipt'))), { status: 201 });
  }

  async function record(raw: string): Promise<SubmissionAnswer> {
    const receipt = await verifyReceipt(raw);
    const before = recorded.get(receipt.sha256Hex);
    if (before) return before;
    if (receipt.payload.kind !== 'objection') throw new Error('objections only');
    const { payload } = receipt;
    const salt = crypto.getRandomValues(new Uint8Array(32));
    const entry = { kind: 'objection', receiptSha256: receipt.sha256, receivedAtS: RECEIVED_AT };
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
      log: { origin: ORIGIN, index: 1 },
      evidence: payload.evidence.map(({ name, media_type, sha256 }) => ({ name, media_type, sha256 })),
      assurance: 'device',
      self_asserted: payload.self_asserted,
    };
    const header = { alg: 'ES256', kid, typ: 'dc+sd-jwt', x5c: ['AAAA'] };
    const token = `${await signJws(header, formatJson(claims as unknown as Json), issuer.privateKey)}~`;
    const sibling = leaves[0] as Bytes;
    const root = await nodeHash(sibling, await leafHash(await formatEntry(entry, salt)));
    const text = `${ORIGIN}\n2\n${formatBase64(root)}\n`;
    const signature = new Uint8Array(await crypto.subtle.sign('Ed25519', log.privateKey, utf8(text)));
    const note = `${text}\n— ${ORIGIN} ${formatBase64(concat(logKeyId, signature))}\n`;
    const proof = `c2sp.org/tlog-proof@v1\nextra ${formatBase64(salt)}\nindex 1\n${formatBase64(sibling)}\n\n${note}`;
    const answer: SubmissionAnswer = {
      receipt_sha256: receipt.sha256Hex,
      received_at: RECEIVED_AT,
      kind: 'objection',
      state: 'recorded',
      status: 'stands',
      token,
      proof,
    };
    recorded.set(receipt.sha256Hex, answer);
    return answer;
  }

  async function bundle(request: Request, receiptSha256: string): Promise<Response> {
    const answer = recorded.get(receiptSha256);
    const [scheme, token] = (request.headers.get('authorization') ?? '').split(' ');
    const dpop = (request.headers.get('dpop') ?? '').split('.');
    const claims = parseJson(parseBase64url(dpop[1] ?? ''));
    const expected = { htm: 'GET', htu: request.url, ath: formatBase64url(await sha256(utf8(token ?? ''))) };
    const holds = Object.entries(expected).every(([name, value]) => claims[name] === value);
    const share = request.headers.get('objection-holder-share') ?? '';
    if (!answer || scheme !== 'DPoP' || token !== answer.token || !holds || parseBase64url(share).length !== 32) {
      return problem(401, 'dpop_refused');
    }
    return new Response(concat(new Uint8Array(30), utf8(`mimetype${BUNDLE_TYPE}…the rest`)));
  }
}

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
