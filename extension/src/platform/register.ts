/** The register over HTTP. Nothing it says is believed here: callers verify. */
import { browser } from 'wxt/browser';
import { MIME_TYPE as BUNDLE_TYPE, MAX_BUNDLE_BYTES } from '../core/asice';
import type { Campaigns, Policy, WorkChallenge } from '../core/contract.gen';
import { signDpop } from '../core/dpop';
import { type Bytes, concat, parseJson } from '../core/encoding';
import { ObjectionError } from '../core/errors';
import { verifyFields } from '../core/schema';
import { noteRegisterClock } from './clock';
import type { QueuedReceipt, RecordedObjection, StoredProblem } from './database';
import { holderKey, randomBase64url } from './keystore';

const PATIENCE_MS = 20_000;
/** Whoever has a line as slow as this, a weak 3G one, must still get a screenshot through: 400 kB take fifty seconds. */
const SLOWEST_UP_BYTES_PER_MS = 8;
const SLOWEST_DOWN_BYTES_PER_MS = 30;
/** Chrome stops a worker after 30 seconds in which it calls nothing of the browser's. */
const STAY_AWAKE_MS = 20_000;
const MAX_ANSWER_BYTES = 1_048_576;
export const PDF_TYPE = 'application/pdf';

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
  const raw = await request(`/v1/work/${receipt}`, {}, { maxBytes: MAX_ANSWER_BYTES });
  return verifyFields('WorkChallenge', parseJson(raw));
}

/**
 * Sends a receipt with its `files`, in the order of its evidence, and returns the raw answer. Safe to repeat: the register
 * returns its first answer again.
 */
export async function postReceipt(queued: QueuedReceipt, files: Bytes[], work?: string): Promise<Bytes> {
  const body = new FormData();
  body.append('receipt', queued.receipt);
  body.append('holder_share', queued.holder_share);
  if (work) body.append('work', work);
  if (queued.kind === 'supplement' && queued.unchecked) body.append('mails', 'unchecked');
  for (const [i, { name, media_type }] of queued.evidence.entries()) {
    body.append('evidence', new File([files[i] ?? ''], name, { type: media_type }));
  }
  const sentBytes = queued.evidence.reduce((sum, { size }) => sum + size, 0);
  return request('/v1/receipts', { method: 'POST', body }, { maxBytes: MAX_ANSWER_BYTES, sentBytes });
}

/** Returns the policy that the register shows now. */
export async function getPolicy(): Promise<Policy> {
  const raw = await request('/v1/policy', {}, { maxBytes: MAX_ANSWER_BYTES });
  return verifyFields('Policy', parseJson(raw));
}

/** Returns the campaigns that an objection may count for. */
export async function getCampaigns(): Promise<Campaigns['campaigns']> {
  const raw = await request('/v1/campaigns', {}, { maxBytes: MAX_ANSWER_BYTES });
  return verifyFields('Campaigns', parseJson(raw)).campaigns;
}

/** Has the register count an objection for no campaign any more. Throws `campaign_not_joined` when it is too late. */
export async function leaveCampaign(objection: RecordedObjection): Promise<void> {
  await holderRequest(objection, '/campaign', { method: 'DELETE' }, MAX_ANSWER_BYTES);
}

/** Returns the raw answer to an objection as it stands now. */
export function getAnswer(objection: RecordedObjection): Promise<Bytes> {
  return holderRequest(objection, '', {}, MAX_ANSWER_BYTES);
}

/** Returns the container. Nothing of it is checked yet. */
export function getBundle(objection: RecordedObjection): Promise<Bytes> {
  return holderRequest(objection, '/bundle', { headers: { Accept: BUNDLE_TYPE } }, MAX_BUNDLE_BYTES);
}

/** Returns the certificate with the proof inside it. Nothing of it is checked yet. */
export function getCertificate(objection: RecordedObjection, language: string): Promise<Bytes> {
  const headers = { Accept: PDF_TYPE, 'Accept-Language': language };
  return holderRequest(objection, '/bundle', { headers }, MAX_BUNDLE_BYTES);
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
  return request(path, { method, headers }, { maxBytes });
}

interface Limits {
  maxBytes: number;
  /** How much goes out with the request. */
  sentBytes?: number;
}

async function request(path: string, init: RequestInit, { maxBytes, sentBytes = 0 }: Limits): Promise<Bytes> {
  const awake = setInterval(() => void browser.runtime.getPlatformInfo(), STAY_AWAKE_MS);
  const allowance = new Allowance();
  let response: Response;
  let raw: Bytes;
  try {
    allowance.extend(sentBytes / SLOWEST_UP_BYTES_PER_MS);
    response = await fetch(`${__REGISTER_URL__}${path}`, {
      ...init,
      credentials: 'omit',
      referrerPolicy: 'no-referrer',
      cache: 'no-store',
      redirect: 'error', // a redirect would carry evidence to a place the person was not shown
      signal: allowance.signal,
    });
    await noteRegisterClock(response.headers.get('date'));
    raw = await readBody(response, maxBytes, (bytes) => allowance.extend(bytes / SLOWEST_DOWN_BYTES_PER_MS));
  } catch (error) {
    if (error instanceof ObjectionError) throw error;
    const detail = error instanceof Error ? error.message : String(error);
    throw new Unreachable({ code: 'unreachable', title: 'The register could not be reached', detail });
  } finally {
    allowance.end();
    clearInterval(awake);
  }
  if (response.ok) return raw;
  const problem = registerProblem(raw);
  if (problem && isFinal(response.status, problem)) throw new Refused(problem);
  const unknown = { code: `http_${response.status}`, title: `HTTP ${response.status}`, detail: '' };
  throw new Unreachable(problem ?? unknown, Number(response.headers.get('retry-after')) || undefined);
}

/** Aborts a request that moves more slowly than the slowest line; a stalled one does not hold up the others for long. */
class Allowance {
  private readonly controller = new AbortController();
  private untilMs = Date.now() + PATIENCE_MS;
  private timer: ReturnType<typeof setTimeout> | undefined;

  get signal(): AbortSignal {
    return this.controller.signal;
  }

  extend(ms: number): void {
    this.untilMs += ms;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.controller.abort(new Error('no answer in time')), this.untilMs - Date.now());
  }

  end(): void {
    clearTimeout(this.timer);
  }
}

/** Throws `answer_too_large` as soon as it is. */
async function readBody(response: Response, maxBytes: number, moved: (bytes: number) => void): Promise<Bytes> {
  const chunks: Bytes[] = [];
  let size = 0;
  const reader = response.body?.getReader();
  for (;;) {
    const { done, value } = (await reader?.read()) ?? { done: true, value: undefined };
    if (done || !value) return concat(...chunks);
    size += value.length;
    if (size > maxBytes) {
      await reader?.cancel();
      throw new ObjectionError('answer_too_large', `the answer has more than ${maxBytes} bytes`);
    }
    moved(value.length);
    chunks.push(value);
  }
}

// What is refused while this computer's clock is wrong is accepted once it is right (a DPoP proof holds for a moment), or
// once the register's clock has come to the time that was signed.
function isFinal(status: number, { code }: StoredProblem): boolean {
  if (code.startsWith('dpop_') || code === 'receipt_from_future') return false;
  return status < 500 && status !== 429 && status !== 408;
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
