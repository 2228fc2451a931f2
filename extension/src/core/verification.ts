/**
 * Checks a proof as a sceptic would: here, without the register, saying what was seen and what was not there.
 * The same checks as the register's own verifier (server/usecases/verify_bundle.py), in the same order, with the same codes.
 */
import { ASIC_MANIFEST, TIMESTAMP, unpackContainer, verifyContainer } from './asice';
import { readDocument, type SignedDocument } from './documents';
import { type Bytes, parseAscii, parseJson, parseUtf8, sameBytes, utf8 } from './encoding';
import { ObjectionError } from './errors';
import { thumbprint } from './jws';
import { quorumMet, verifyWitnesses } from './log-policies';
import { fileNamed, filesUnder, type Manifest, verifyManifest } from './manifest';
import type { Checkpoint } from './notes';
import { parseTrustPolicy, policyFingerprint, type TrustPolicy } from './policies';
import { isForPractice } from './practice';
import { splitPresentation, verifyBinding } from './presentations';
import { parseProof, verifyProof } from './proofs';
import { type VerifiedReceipt, verifyEvidence, verifyReceipt } from './receipts';
import { isProof, PDF_MAGIC, refuseOther, startsWith, unrecognised, ZIP_MAGIC } from './recognise';
import { absent, type CheckId, Report, type Saying, say } from './reports';
import { MAX_NAME, verifyStamps } from './stamps';
import { checkLater, checkStatus, nothingLater } from './standing';
import { embeddedChain, type Timestamp, verifyTimestamp } from './timestamps';
import { type VerifiedToken, verifyToken, verifyTokenOfReceipt } from './tokens';

const CLOCK_SKEW_S = 300;
/** With the white space that may stand around a token, and no other: docs/formats.md. */
const TOKEN = /^[ \t\n\r]*(ey[A-Za-z0-9_-]*\.[A-Za-z0-9_.~-]+)[ \t\n\r]*$/;
const MAX_TOKEN_BYTES = 131_072;

/** A policy that the reader chose to trust. `source`: who gave it, for the words. */
export interface PinnedPolicy {
  policy: TrustPolicy;
  /** What the register publishes for comparison. */
  fingerprint: string;
  source: 'register' | 'file';
}

export interface Verifying {
  pinned: PinnedPolicy | undefined;
  /** The reader's clock: only for how long ago something was. */
  nowS: number;
  /** A status list newer than the one in the bundle. */
  status?: Bytes | undefined;
  onCheck?: (id: CheckId) => Promise<void>;
}

/** The form of a proof. Files by name; what is not there is a failed check, not an error. */
interface Parts {
  files: Map<string, Bytes>;
  manifest: Manifest | undefined;
}

/** Reads a policy for pinning. Throws the codes of JSON, `field_invalid`, `policy_malformed`, `key_refused`. */
export async function parsePinnedPolicy(raw: Bytes, source: PinnedPolicy['source']): Promise<PinnedPolicy> {
  const policy = await parseTrustPolicy(parseJson(raw));
  return { policy, fingerprint: await policyFingerprint(policy), source };
}

/**
 * Checks a bundle (ASiC-E or PDF) or a token; which of them it is shows in its first bytes. Throws `file_unrecognised`
 * for what is neither, `file_resaved` (ChangedCopy) for a copy of a proof that some program changed; whatever else is
 * wrong is a failed check of the report.
 */
export async function verifyProofFile(raw: Bytes, how: Verifying): Promise<Report> {
  const report = new Report(how.onCheck);
  if (startsWith(raw, ZIP_MAGIC)) {
    await verifyBundle(report, () => readContainer(report, raw), 'container-time', how);
  } else if (startsWith(raw, PDF_MAGIC)) {
    await verifyBundle(report, () => readPdf(report, raw), 'document', how);
  } else {
    const text = raw.length > MAX_TOKEN_BYTES ? '' : latin1(raw);
    const token = TOKEN.exec(text)?.[1];
    if (!token) {
      await refuseOther(raw);
      throw unrecognised();
    }
    await verifyTokenAlone(report, token, how);
  }
  return report;
}

type Opened = Parts & { document?: SignedDocument };

async function readContainer(report: Report, raw: Bytes): Promise<Opened | undefined> {
  let files: Map<string, Bytes> | undefined;
  await report.check('container', async () => {
    files = await unpackContainer(raw);
    return say('container_zip');
  });
  if (!files) {
    await refuseOther(raw);
    return undefined;
  }
  if (!isProof(files.keys())) throw unrecognised();
  const manifest = await checkFiles(report, files, verifyContainer, 'files_container');
  await checkContainerTime(report, files);
  return { files, manifest };
}

async function readPdf(report: Report, raw: Bytes): Promise<Opened | undefined> {
  let document: SignedDocument | undefined;
  let failure: ObjectionError | undefined;
  await report.check('container', async () => {
    try {
      document = await readDocument(raw);
    } catch (error) {
      // Plainly built, but not as it was signed: that is for the next check to say.
      if (!(error instanceof ObjectionError) || error.code === 'document_malformed') throw error;
      failure = error;
    }
    return say('container_pdf');
  });
  const refused = failure;
  if (!document) await refuseOther(raw, { parsed: refused !== undefined });
  else if (!isProof(document.files.keys())) throw unrecognised();
  if (refused) await report.check('document', () => Promise.reject(refused));
  if (!document) return undefined;
  const manifest = await checkFiles(report, document.files, verifyManifest, 'files');
  return { files: document.files, manifest, document };
}

async function checkFiles(
  report: Report,
  files: Map<string, Bytes>,
  verify: (files: Map<string, Bytes>) => Promise<Manifest>,
  says: 'files' | 'files_container',
): Promise<Manifest | undefined> {
  let manifest: Manifest | undefined;
  await report.check('files', async () => {
    manifest = await verify(files);
    return say(says, { count: manifest.files.length });
  });
  return manifest;
}

async function checkContainerTime(report: Report, files: Map<string, Bytes>): Promise<void> {
  await report.check('container-time', async () => {
    const token = fileNamed(files, TIMESTAMP);
    const { atS, authority } = await verifyTimestamp(
      token,
      fileNamed(files, ASIC_MANIFEST),
      await embeddedChain(token),
    );
    return say('container_time', { time: { time: atS }, authority: authority.slice(0, MAX_NAME) });
  });
}

async function verifyBundle(
  report: Report,
  open: () => Promise<Opened | undefined>,
  form: 'container-time' | 'document',
  { pinned, nowS, status }: Verifying,
): Promise<void> {
  const opened = await open();
  if (!opened) {
    sayUnreadable(report, form);
    return;
  }
  const { files, manifest, document } = opened;
  const policy = await choosePolicy(report, files, pinned);
  if (document) await checkDocument(report, document, policy);
  const receipt = await checkReceipt(report, files);
  if (receipt) await checkEvidence(report, files, receipt, manifest);
  else report.unchecked('evidence');
  const token = await checkToken(report, files.get('token.sd-jwt'), policy);
  report.notPresent('holder', say('holder_none'));
  let logged: Logged | undefined;
  if (!receipt || !token) {
    report.unchecked('token-receipt', 'log');
  } else {
    await checkTokenOfReceipt(report, token, receipt);
    logged = await checkLog(report, files, receipt, token, policy);
  }
  const seen = await checkWitnesses(report, logged?.note, policy);
  const { note, checkpoint } = logged ?? {};
  const stamps = filesUnder(files, 'anchors/');
  const stampedAtS = await checkAnchors(report, { stamps, note, receivedAtS: token?.claims.received_at, seen }, policy);
  const index = BigInt(token?.claims.log.index ?? -1);
  const place = { index, note, checkpoint, stampedAtS };
  const later = await checkLater(report, { files, manifest, receipt, policy, place });
  await checkStatus(report, [status, files.get('status.jwt')], { token, policy, later, nowS });
}

function sayUnreadable(report: Report, form: 'container-time' | 'document'): void {
  if (!report.has(form)) report.unchecked(form);
  report.unchecked('files', 'policy', 'receipt', 'evidence', 'token', 'disclosures', 'token-receipt');
  report.unchecked('log', 'witnesses', 'anchor', 'status');
  for (const id of ['pinned', 'later', 'mail'] as const) report.notPresent(id, say('unreadable'));
  report.notPresent('holder', say('holder_none'));
}

async function checkDocument(report: Report, document: SignedDocument, policy: TrustPolicy | undefined): Promise<void> {
  await report.check('document', async () => {
    const keys = [...(policy?.issuerKeys.values() ?? [])];
    if (!policy || !keys.some(({ point }) => sameBytes(point, document.signerPoint))) {
      throw new ObjectionError('document_signature_invalid', "signed by a key that is not the register's");
    }
    const stamp = document.timestamp && (await byUnknown(document.timestamp, document.signature));
    if (!stamp) return say('document', { issuer: policy.issuer });
    const authority = stamp.authority.slice(0, MAX_NAME);
    return say('document_stamped', { issuer: policy.issuer, time: { time: stamp.atS }, authority });
  });
}

async function choosePolicy(
  report: Report,
  files: Map<string, Bytes>,
  pinned: PinnedPolicy | undefined,
): Promise<TrustPolicy | undefined> {
  let own: TrustPolicy | undefined;
  let fingerprint = '';
  await report.check('policy', async () => {
    own = await parseTrustPolicy(parseJson(fileNamed(files, 'policy.json')));
    fingerprint = await policyFingerprint(own);
    const values = { issuer: own.issuer, log: own.log.key.name };
    if (!pinned) return say('policy', values);
    return say(fingerprint === pinned.fingerprint ? 'policy_same' : 'policy_other', values);
  });
  if (pinned) {
    await sayPinned(report, pinned);
    return pinned.policy;
  }
  report.facts.keys_from = 'bundle';
  if (own) report.notPresent('pinned', say('pinned_not', { fingerprint }));
  else report.notPresent('pinned', say('pinned_unreadable'));
  return own;
}

async function sayPinned(report: Report, { policy, source }: PinnedPolicy): Promise<void> {
  report.facts.keys_from = 'policy';
  await report.check('pinned', async () =>
    say(`pinned_${source}`, { issuer: policy.issuer, log: policy.log.key.name }),
  );
}

async function checkReceipt(report: Report, files: Map<string, Bytes>): Promise<VerifiedReceipt | undefined> {
  let receipt: VerifiedReceipt | undefined;
  await report.check('receipt', async () => {
    const found = await verifyReceipt(parseUtf8(fileNamed(files, 'receipt.jws'), 'jws_malformed'));
    const { payload } = found;
    if (payload.kind !== 'objection') {
      throw new ObjectionError('receipt_kind_refused', `it is a receipt of kind ${payload.kind}, not an objection`);
    }
    receipt = found;
    const holder = await thumbprint(found.holderJwk);
    Object.assign(report.facts, {
      receipt_sha256: found.sha256Hex,
      holder_key: holder,
      platform: payload.platform,
      right: payload.objection.right,
      data_categories: payload.objection.data_categories,
      notice_channel: payload.notice.channel,
      objected_at: payload.iat,
    });
    if (isForPractice('url' in payload.notice ? payload.notice.url : undefined)) report.facts.practice = true;
    return say('receipt', { key: holder });
  });
  return receipt;
}

async function checkEvidence(
  report: Report,
  files: Map<string, Bytes>,
  { payload }: VerifiedReceipt,
  manifest: Manifest | undefined,
): Promise<void> {
  const evidence = filesUnder(files, 'evidence/');
  await report.check('evidence', async () => {
    const items = 'evidence' in payload ? payload.evidence : [];
    await verifyEvidence(items, evidence);
    const types = manifest && filesUnder(manifest.mediaTypes, 'evidence/');
    if (types && items.some(({ name, media_type }) => types.get(name) !== media_type)) {
      throw new ObjectionError('evidence_mismatch', 'manifest.json gives other media types than the receipt');
    }
    return evidence.size > 0 ? say('evidence', { count: evidence.size }) : say('evidence_none');
  });
}

async function checkToken(
  report: Report,
  raw: Bytes | undefined,
  policy: TrustPolicy | undefined,
): Promise<VerifiedToken | undefined> {
  let token: VerifiedToken | undefined;
  await report.check('token', async () => {
    if (!raw) throw new ObjectionError('bundle_file_missing', 'token.sd-jwt is not in the bundle');
    if (!policy) throw new ObjectionError('token_issuer_unknown', "the register's policy is needed to know its signer");
    token = await verifyToken(parseAscii(raw, 'jws_malformed'), policy);
    return say('token', { issuer: token.claims.iss, kid: token.kid });
  });
  if (!token) {
    report.unchecked('disclosures');
    return undefined;
  }
  const { claims, disclosed } = token;
  const { uri } = claims.status.status_list;
  report.facts.issuer = claims.iss;
  report.facts.received_at = claims.received_at;
  report.facts.assurance = claims.assurance;
  if (isForPractice(claims.iss)) report.facts.practice = true;
  report.statusUri = uri;
  report.facts.disclosed = Object.fromEntries(disclosed);
  if (disclosed.size === 0) report.notPresent('disclosures', say('disclosures_none'));
  else await report.check('disclosures', async () => say('disclosures', { slots: { list: slotNames(disclosed) } }));
  return token;
}

function slotNames(disclosed: Map<string, string>): Saying[] {
  return [...disclosed.keys()].sort().map((slot) => say(`slot_${slot}`));
}

async function checkTokenOfReceipt(report: Report, token: VerifiedToken, receipt: VerifiedReceipt): Promise<void> {
  await report.check('token-receipt', async () => {
    verifyTokenOfReceipt(token, receipt);
    if (receipt.payload.iat > token.claims.received_at + CLOCK_SKEW_S) {
      throw new ObjectionError('token_receipt_mismatch', 'received before it was signed');
    }
    return say('token_receipt');
  });
}

/** A checkpoint, and its note in which the log's own signature holds. */
interface Logged {
  note: string;
  checkpoint: Checkpoint;
}

/** Returns the checkpoint under which the receipt was seen to stand in the log. */
async function checkLog(
  report: Report,
  files: Map<string, Bytes>,
  receipt: VerifiedReceipt,
  { claims }: VerifiedToken,
  policy: TrustPolicy | undefined,
): Promise<Logged | undefined> {
  let logged: Logged | undefined;
  await report.check('log', async () => {
    if (!policy) throw new ObjectionError('policy_malformed', 'without a policy there is no log to trust');
    const text = parseUtf8(fileNamed(files, 'proof.tlog-proof'), 'proof_malformed');
    const recorded = { kind: 'objection', receiptSha256: receipt.sha256, receivedAtS: claims.received_at };
    const { index, checkpoint } = await verifyProof(text, recorded, policy.log);
    if (checkpoint.origin !== claims.log.origin || index !== BigInt(claims.log.index)) {
      throw new ObjectionError('proof_mismatch', 'the token names another place in the log');
    }
    const { checkpointNote } = parseProof(text);
    if (!sameBytes(fileNamed(files, 'checkpoint.txt'), utf8(checkpointNote))) {
      throw new ObjectionError('proof_mismatch', 'checkpoint.txt is not the checkpoint of the proof');
    }
    const [at, size] = [Number(index), Number(checkpoint.size)];
    Object.assign(report.facts, { log_origin: checkpoint.origin, log_index: at, log_size: size });
    logged = { note: checkpointNote, checkpoint };
    return say('log', { index: at, origin: checkpoint.origin, size });
  });
  return logged;
}

/**
 * Returns whether the policy's quorum saw the log's state. What was only recorded cannot have it yet, and what was anchored
 * under an earlier quorum need not have today's: neither makes a proof false.
 */
async function checkWitnesses(
  report: Report,
  note: string | undefined,
  policy: TrustPolicy | undefined,
): Promise<boolean> {
  let met = false;
  if (!policy || note === undefined) {
    report.unchecked('witnesses');
    return met;
  }
  await report.check('witnesses', async () => {
    const seen = await verifyWitnesses(note, policy.log);
    met = quorumMet(
      policy.log,
      seen.map(([name]) => name),
    );
    if (!met) return absent(say('witnesses_missing'));
    if (seen.length === 0) return absent(say('witnesses_none'));
    report.facts.witnesses = seen.map(([name, at]) => ({ name, at }));
    return say('list', { list: { list: seen.map(([name, time]) => say('by_at', { name, time: { time } })) } });
  });
  return met;
}

interface Anchoring {
  stamps: Map<string, Bytes>;
  note: string | undefined;
  receivedAtS: number | undefined;
  /** By the policy's quorum of witnesses. */
  seen: boolean;
}

/**
 * Returns when the first clock that `policy` trusts stamped the log's state. The report calls that time independent, and
 * the proof anchored, only by a policy that the proof did not bring.
 */
async function checkAnchors(
  report: Report,
  { stamps, note, receivedAtS, seen }: Anchoring,
  policy: TrustPolicy | undefined,
): Promise<number | undefined> {
  report.facts.state = 'recorded';
  if (stamps.size === 0) {
    report.notPresent('anchor', say('anchor_none'));
    return undefined;
  }
  if (!policy || note === undefined || receivedAtS === undefined) {
    report.unchecked('anchor');
    return undefined;
  }
  let stampedAtS: number | undefined;
  await report.check('anchor', async () => {
    const { firstAtS, facts, says } = await verifyStamps(stamps, note, policy, receivedAtS);
    const list = { list: { list: says } };
    stampedAtS = firstAtS;
    report.facts.anchors = facts;
    if (!seen) return absent(say('anchor_unseen', list));
    if (firstAtS === undefined) return absent(say('anchor_local', list));
    if (!report.pinned) return absent(say('anchor_unpinned', list));
    report.facts.state = 'anchored';
    report.facts.anchored_at = firstAtS;
    return say('anchor', list);
  });
  return stampedAtS;
}

/** A token by an authority that nobody vouches for: its time is told, if it has any. */
async function byUnknown(token: Bytes, data: Bytes): Promise<Timestamp | undefined> {
  try {
    return await verifyTimestamp(token, data, await embeddedChain(token));
  } catch {
    return undefined; // whatever is wrong with it: nobody's signature covers it, and nothing hangs on it
  }
}

async function verifyTokenAlone(report: Report, text: string, { pinned, nowS, status }: Verifying): Promise<void> {
  if (pinned) await sayPinned(report, pinned);
  else report.notPresent('pinned', say('pinned_token'));
  const { presented, rawBinding } = splitPresentation(text);
  const token = await checkToken(report, utf8(presented), pinned?.policy);
  if (token) {
    const { claims } = token;
    const { platform, right, data_categories, objected_at, receipt_sha256, log } = claims;
    const holder_key = await thumbprint(claims.cnf.jwk);
    const place = { log_origin: log.origin, log_index: log.index };
    Object.assign(report.facts, {
      platform,
      right,
      data_categories,
      objected_at,
      receipt_sha256,
      holder_key,
      ...place,
    });
  }
  for (const id of ['receipt', 'evidence', 'later', 'witnesses', 'anchor'] as const) {
    report.notPresent(id, say('token_alone'));
  }
  report.notPresent('log', say('token_alone_log'));
  if (status) await checkStatus(report, [status], { token, policy: pinned?.policy, later: nothingLater(), nowS });
  else report.notPresent('status', say('status_none'));
  await checkHolder(report, token, presented, rawBinding);
}

/** Only an answer to a nonce of the reader's own shows who holds the key now, and this page asks for none. */
async function checkHolder(report: Report, token: VerifiedToken | undefined, presented: string, rawBinding: string) {
  if (rawBinding === '') return report.notPresent('holder', say('holder_none'));
  if (!token) return report.unchecked('holder');
  await report.check('holder', async () => {
    const { audience, presentedAtS } = await verifyBinding(rawBinding, token, presented);
    return absent(say('holder_unasked', { audience, time: { time: presentedAtS } }));
  });
}

function latin1(raw: Bytes): string {
  return Array.from(raw, (byte) => String.fromCharCode(byte)).join('');
}
