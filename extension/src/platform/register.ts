/** The register over HTTP. Nothing it says is believed here: callers verify. */
import type { Campaigns, Policy, WorkChallenge } from '../core/contract.gen';
import { signDpop } from '../core/dpop';
import { type Bytes, parseJson } from '../core/encoding';
import { ObjectionError } from '../core/errors';
import { verifyFields } from '../core/schema';
import type { QueuedReceipt, RecordedObjection, StoredProblem } from './database';
import { holderKey, randomBase64url } from './keystore';

const TIMEOUT_MS = 20_000;
/** Work is worth no long wait: whatever it was for is sent without. */
const CHALLENGE_TIMEOUT_MS = 5_000;
const MAX_ANSWER_BYTES = 1_048_576;
const MAX_BUNDLE_BYTES = 16_777_216;
const BUNDLE_TYPE = 'application/vnd.etsi.asic-e+zip';
const PDF_TYPE = 'application/pdf';

/** The register cannot answer now, or cannot be reached; the same request may succeed later. */
export class Unreachable extends ObjectionError {
  constructor(
    readonly problem: StoredProblem,
    readonly retryAfterS?: number,
  ) {
    super(problem.code, problem.detail);
  }
}

/** The register understood and said no: sending the same again is useless. */
export class Refused extends ObjectionError {
  constructor(readonly problem: StoredProblem) {
    super(problem.code, problem.detail);
  }
}

/** Returns the challenge for the work proof that may go with a receipt. */
export async function getChallenge(receipt: string): Promise<WorkChallenge> {
  const raw = await request(`/v1/work/${receipt}`, {}, MAX_ANSWER_BYTES, CHALLENGE_TIMEOUT_MS);
  return verifyFields('WorkChallenge', parseJson(raw));
}

/** Sends a receipt and returns the raw answer. Safe to repeat: the register returns its first answer again. */
export async function postReceipt(queued: QueuedReceipt, work?: string): Promise<Bytes> {
  const body = new FormData();
  body.append('receipt', queued.receipt);
  body.append('holder_share', queued.holder_share);
  if (work) body.append('work', work);
  for (const { item, file } of queued.evidence) {
    body.append('evidence', new File([file], item.name, { type: item.media_type }));
  }
  return request('/v1/receipts', { method: 'POST', body }, MAX_ANSWER_BYTES);
}

/** Returns the policy document as raw bytes: what is pinned is what was read. */
export async function getPolicy(): Promise<{ raw: Bytes; policy: Policy }> {
  const raw = await request('/v1/policy', {}, MAX_ANSWER_BYTES);
  return { raw, policy: verifyFields('Policy', parseJson(raw)) };
}

/** Returns the campaigns that an objection may count for. */
export async function getCampaigns(): Promise<Campaigns['campaigns']> {
  return verifyFields('Campaigns', parseJson(await request('/v1/campaigns', {}, MAX_ANSWER_BYTES))).campaigns;
}

/** Has the register count an objection for no campaign any more. Throws `campaign_not_joined` when it is too late. */
export async function leaveCampaign(objection: RecordedObjection): Promise<void> {
  await holderRequest(objection, '/campaign', { method: 'DELETE' }, MAX_ANSWER_BYTES);
}

/** Returns the raw answer to an objection as it stands now. */
export function getAnswer(objection: RecordedObjection): Promise<Bytes> {
  return holderRequest(objection, '', {}, MAX_ANSWER_BYTES);
}

/** Returns the bundle. Throws `bundle_malformed` when what came is not an ASiC-E container at all. */
export async function getBundle(objection: RecordedObjection): Promise<Blob> {
  const raw = await holderRequest(objection, '/bundle', { headers: { Accept: BUNDLE_TYPE } }, MAX_BUNDLE_BYTES);
  // An ASiC-E container starts with the stored file "mimetype" (ETSI EN 319 162-1, A.1), at fixed places.
  if (new TextDecoder().decode(raw.slice(30, 38 + BUNDLE_TYPE.length)) !== `mimetype${BUNDLE_TYPE}`) {
    throw new ObjectionError('bundle_malformed', 'the register sent something that is not a bundle');
  }
  return new Blob([raw], { type: BUNDLE_TYPE });
}

/** Returns the certificate with the proof inside it. Throws `bundle_malformed` when what came is not a PDF at all. */
export async function getCertificate(objection: RecordedObjection, language: string): Promise<Blob> {
  const headers = { Accept: PDF_TYPE, 'Accept-Language': language };
  const raw = await holderRequest(objection, '/bundle', { headers }, MAX_BUNDLE_BYTES);
  if (new TextDecoder().decode(raw.slice(0, 5)) !== '%PDF-') {
    throw new ObjectionError('bundle_malformed', 'the register sent something that is not a PDF');
  }
  return new Blob([raw], { type: PDF_TYPE });
}

/** Asks for something that only the holder of the key gets. */
async function holderRequest(
  { receipt_sha256, token, holder_share }: RecordedObjection,
  below: '' | '/bundle' | '/campaign',
  { method = 'GET', headers: asked = {} }: { method?: 'GET' | 'DELETE'; headers?: Record<string, string> },
  maxBytes: number,
): Promise<Bytes> {
  const path = `/v1/receipts/${receipt_sha256}${below}`;
  const proof = await signDpop({ method, url: `${__REGISTER_URL__}${path}`, token }, await holderKey(), {
    jti: randomBase64url(16),
    nowS: Math.floor(Date.now() / 1000),
  });
  const headers = { ...asked, Authorization: `DPoP ${token}`, DPoP: proof, 'Objection-Holder-Share': holder_share };
  return request(path, { method, headers }, maxBytes);
}

async function request(path: string, init: RequestInit, maxBytes: number, timeoutMs = TIMEOUT_MS): Promise<Bytes> {
  let response: Response;
  let raw: Bytes;
  try {
    response = await fetch(`${__REGISTER_URL__}${path}`, {
      ...init,
      credentials: 'omit',
      referrerPolicy: 'no-referrer',
      cache: 'no-store',
      redirect: 'error', // a redirect would carry evidence to a place the person was not shown
      signal: AbortSignal.timeout(timeoutMs),
    });
    raw = new Uint8Array(await response.arrayBuffer());
  } catch (error) {
    const detail = error instanceof Error ? error.message : String(error);
    throw new Unreachable({ code: 'unreachable', title: 'The register could not be reached', detail });
  }
  if (response.ok) {
    if (raw.length > maxBytes) throw new ObjectionError('answer_too_large', 'the answer is too large');
    return raw;
  }
  const problem = registerProblem(raw);
  const final = response.status < 500 && response.status !== 429 && response.status !== 408;
  if (problem && final) throw new Refused(problem);
  const unknown = { code: `http_${response.status}`, title: `HTTP ${response.status}`, detail: '' };
  throw new Unreachable(problem ?? unknown, Number(response.headers.get('retry-after')) || undefined);
}

// What stands before the register (a proxy, a hotel's login page) answers in HTML. That is not the register's word, so
// it is never final.
function registerProblem(raw: Bytes): StoredProblem | undefined {
  try {
    const { code, title, detail } = verifyFields('Problem', parseJson(raw));
    return { code, title, detail };
  } catch {
    return undefined;
  }
}
