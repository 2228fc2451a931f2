/**
 * Checks a proof as a sceptic would: here, without the register, saying what was seen and what was not there.
 * The same checks as the register's own verifier (server/usecases/verify_bundle.py), in the same order, with the same codes.
 */
import { ASIC_MANIFEST, TIMESTAMP, unpackContainer, verifyContainer } from './asice';
import { type Document, readDocument, verifyDocument } from './documents';
import { type Bytes, formatJson, type Json, parseJson, parseUtf8, sameBytes, utf8 } from './encoding';
import { ObjectionError } from './errors';
import { thumbprint } from './jws';
import { quorumMet, verifyWitnesses } from './log-policies';
import { filesUnder, type Manifest, verifyManifest } from './manifest';
import { parseTrustPolicy, type TrustPolicy } from './policies';
import { parseProof, verifyProof } from './proofs';
import { type VerifiedReceipt, verifyEvidence, verifyReceipt } from './receipts';
import { type CheckId, Report, type Saying, say } from './reports';
import { verifyStanding } from './standing';
import { embeddedChain, type Timestamp, verifyTimestamp } from './timestamps';
import { type VerifiedToken, verifyToken, verifyTokenOfReceipt } from './tokens';

const CLOCK_SKEW_S = 300;
const [ZIP, PDF] = [utf8('PK\u0003\u0004'), utf8('%PDF-')];
const TOKEN = /^\s*(ey[A-Za-z0-9_-]*\.[A-Za-z0-9_.~-]+)\s*$/;
const MAX_TOKEN_BYTES = 131_072;
const MAX_NAME = 200;

/** A policy that the reader chose to trust. `source`: who gave it, for the words. */
export interface PinnedPolicy {
  policy: TrustPolicy;
  /** The document as it was given, to compare with the bundle's own. */
  document: Json;
  source: 'register' | 'file';
}

export interface Verifying {
  pinned: PinnedPolicy | undefined;
  /** The reader's clock: only for how long ago something was. */
  nowS: number;
  onCheck?: (id: CheckId) => Promise<void>;
}

/** The form of a proof. Files by name; what is not there is a failed check, not an error. */
interface Parts {
  files: Map<string, Bytes>;
  manifest: Manifest | undefined;
}

/** Reads a policy for pinning. Throws the codes of JSON, `field_invalid`, `policy_malformed`, `key_refused`. */
export async function parsePinnedPolicy(raw: Bytes, source: PinnedPolicy['source']): Promise<PinnedPolicy> {
  const document = parseJson(raw);
  return { policy: await parseTrustPolicy(document), document, source };
}

/**
 * Checks a bundle (ASiC-E or PDF) or a token; which of them it is shows in its first bytes. Throws `file_unrecognised`
 * for what is neither; whatever else is wrong is a failed check of the report.
 */
export async function verifyProofFile(raw: Bytes, how: Verifying): Promise<Report> {
  const report = new Report(how.onCheck);
  if (startsWith(raw, ZIP)) {
    await verifyBundle(report, () => readContainer(report, raw), 'container-time', how);
  } else if (startsWith(raw, PDF)) {
    await verifyBundle(report, () => readPdf(report, raw), 'document', how);
  } else {
    const text = raw.length > MAX_TOKEN_BYTES ? '' : latin1(raw);
    const token = TOKEN.exec(text)?.[1];
    if (!token) throw new ObjectionError('file_unrecognised', 'neither a proof (PDF or .asice) nor a token');
    await verifyTokenAlone(report, token, how);
  }
  return report;
}

type Opened = Parts & { document?: Document };

async function readContainer(report: Report, raw: Bytes): Promise<Opened | undefined> {
  let files: Map<string, Bytes> | undefined;
  await report.check('container', async () => {
    files = await unpackContainer(raw);
    return say('container_zip');
  });
  if (!files) return undefined;
  const manifest = await checkFiles(report, files, verifyContainer);
  await checkContainerTime(report, files);
  return { files, manifest };
}

async function readPdf(report: Report, raw: Bytes): Promise<Opened | undefined> {
  let document: Document | undefined;
  await report.check('container', async () => {
    document = await readDocument(raw);
    return say('container_pdf');
  });
  if (!document) return undefined;
  const manifest = await checkFiles(report, document.files, verifyManifest);
  return { files: document.files, manifest, document };
}

async function checkFiles(
  report: Report,
  files: Map<string, Bytes>,
  verify: (files: Map<string, Bytes>) => Promise<Manifest>,
): Promise<Manifest | undefined> {
  let manifest: Manifest | undefined;
  await report.check('files', async () => {
    manifest = await verify(files);
    return say('files', { count: manifest.files.length });
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
  { pinned, nowS }: Verifying,
): Promise<void> {
  const opened = await open();
  if (!opened) {
    report.unchecked('files', form, 'policy', 'pinned', 'receipt', 'evidence', 'token', 'disclosures', 'token-receipt');
    report.unchecked('log');
    sayWhatIsAbsent(report);
    return;
  }
  const { files, manifest, document } = opened;
  const policy = await choosePolicy(report, files, pinned);
  if (document) await checkDocument(report, document, policy);
  const receipt = await checkReceipt(report, files);
  if (receipt) await checkEvidence(report, files, receipt, manifest);
  else report.unchecked('evidence');
  const token = await checkToken(report, files.get('token.sd-jwt'), policy);
  if (!receipt || !token) {
    report.unchecked('token-receipt', 'log', 'witnesses', 'anchor');
  } else {
    await checkTokenOfReceipt(report, token, receipt);
    await checkLog(report, files, receipt, token, policy);
  }
  await verifyStanding(report, { files, manifest, receipt, token, policy, nowS });
  sayWhatIsAbsent(report);
}

async function checkDocument(report: Report, document: Document, policy: TrustPolicy | undefined): Promise<void> {
  await report.check('document', async () => {
    const { signer, point, stamp } = await verifyDocument(document);
    const keys = [...(policy?.issuerKeys.values() ?? [])];
    if (!policy || !point || !keys.some((key) => sameBytes(key.point, point))) {
      throw new ObjectionError('document_issuer_unknown', 'signed with a key that the policy does not trust');
    }
    const values = { signer: signer.slice(0, MAX_NAME), issuer: policy.issuer };
    if (!stamp) return say('document', values);
    const authority = stamp.authority.slice(0, MAX_NAME);
    return say('document_stamped', { ...values, time: { time: stamp.atS }, authority });
  });
}

async function choosePolicy(
  report: Report,
  files: Map<string, Bytes>,
  pinned: PinnedPolicy | undefined,
): Promise<TrustPolicy | undefined> {
  let own: TrustPolicy | undefined;
  await report.check('policy', async () => {
    const document = parseJson(fileNamed(files, 'policy.json'));
    own = await parseTrustPolicy(document);
    const values = { issuer: own.issuer, log: own.log.key.name };
    if (!pinned) return say('policy', values);
    return say(formatJson(document) === formatJson(pinned.document) ? 'policy_same' : 'policy_other', values);
  });
  if (pinned) {
    await sayPinned(report, pinned);
    return pinned.policy;
  }
  report.facts.keys_from = 'bundle';
  if (own) report.notPresent('pinned', say('pinned_not', { kids: [...own.issuerKeys.keys()].sort().join(', ') }));
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
    const text = parseUtf8(raw, 'jws_malformed');
    if (text.length !== raw.length) throw new ObjectionError('jws_malformed', 'a token is ASCII');
    token = await verifyToken(text, policy);
    return say('token', { issuer: token.claims.iss, kid: token.kid });
  });
  if (!token) {
    report.unchecked('disclosures');
    return undefined;
  }
  const { claims, disclosed } = token;
  const { idx, uri } = claims.status.status_list;
  report.facts.issuer = claims.iss;
  report.facts.received_at = claims.received_at;
  report.facts.status_uri = uri;
  report.facts.status_index = idx;
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

async function checkLog(
  report: Report,
  files: Map<string, Bytes>,
  receipt: VerifiedReceipt,
  { claims }: VerifiedToken,
  policy: TrustPolicy | undefined,
): Promise<void> {
  let note = '';
  const logged = await report.check('log', async () => {
    if (!policy) throw new ObjectionError('policy_malformed', 'without a policy there is no log to trust');
    const text = parseUtf8(fileNamed(files, 'proof.tlog-proof'), 'proof_malformed');
    const recorded = { kind: 'objection', receiptSha256: receipt.sha256, receivedAtS: claims.received_at };
    const { index, checkpoint } = await verifyProof(text, recorded, policy.log);
    if (checkpoint.origin !== claims.log.origin || index !== BigInt(claims.log.index)) {
      throw new ObjectionError('proof_mismatch', 'the token names another place in the log');
    }
    note = parseProof(text).checkpointNote;
    if (!sameBytes(fileNamed(files, 'checkpoint.txt'), utf8(note))) {
      throw new ObjectionError('proof_mismatch', 'checkpoint.txt is not the checkpoint of the proof');
    }
    const [at, size] = [Number(index), Number(checkpoint.size)];
    Object.assign(report.facts, { log_origin: checkpoint.origin, log_index: at, log_size: size });
    return say('log', { index: at, origin: checkpoint.origin, size });
  });
  if (!logged || !policy) {
    report.unchecked('witnesses', 'anchor');
    return;
  }
  await checkWitnesses(report, note, policy, filesUnder(files, 'anchors/').size > 0);
  await checkAnchors(report, files, policy);
}

async function checkWitnesses(report: Report, note: string, { log }: TrustPolicy, anchored: boolean): Promise<void> {
  const cosigned = await verifyWitnesses(note, log);
  const met = quorumMet(
    log,
    cosigned.map(([name]) => name),
  );
  if (cosigned.length === 0 && log.quorum === 'none') {
    report.notPresent('witnesses', say('witnesses_none'));
  } else if (met) {
    const list = cosigned.map(([name, time]) => say('by_at', { name, time: { time } }));
    await report.check('witnesses', async () => say('witnesses', { list: { list } }));
  } else if (!anchored) {
    report.notPresent('witnesses', say('witnesses_recorded'));
  } else {
    await report.check('witnesses', async () => {
      throw new ObjectionError('quorum_missed', 'fewer witnesses have cosigned than the policy asks for');
    });
  }
}

async function checkAnchors(report: Report, files: Map<string, Bytes>, policy: TrustPolicy): Promise<void> {
  const anchors = filesUnder(files, 'anchors/');
  if (anchors.size === 0) {
    report.notPresent('anchor', say('anchor_none'));
    return;
  }
  const [independent, others]: [Saying[], Saying[]] = [[], []];
  const known = await report.check('anchor', async () => {
    const checkpoint = fileNamed(files, 'checkpoint.txt');
    for (const [file, token] of anchors) {
      const name = file.replace(/\.tst$/, '');
      const authority = policy.timeAuthorities.find((one) => one.name === name);
      const stamp = authority
        ? await verifyTimestamp(token, checkpoint, authority.certificates)
        : await byUnknown(token, checkpoint);
      if (authority?.trusted && stamp) noteAnchor(report, name, stamp);
      (authority?.trusted ? independent : others).push(stampSaying(name, stamp));
    }
    return say('anchor', { list: { list: independent } });
  });
  // Passing needs an independent one; a local clock proves nothing alone, however well its token holds.
  if (known && independent.length === 0)
    report.replace('anchor', 'not-present', say('anchor_local', { list: { list: others } }));
}

/** A token by an authority that nobody named: its time is told, if it has any. */
async function byUnknown(token: Bytes, checkpoint: Bytes): Promise<Timestamp | undefined> {
  try {
    return await verifyTimestamp(token, checkpoint, await embeddedChain(token));
  } catch (error) {
    if (error instanceof ObjectionError) return undefined;
    throw error;
  }
}

function stampSaying(name: string, stamp: Timestamp | undefined): Saying {
  if (!stamp) return say('stamp_unreadable', { name });
  return say(stamp.saysQualified ? 'by_at_qualified' : 'by_at', { name, time: { time: stamp.atS } });
}

/** The earliest independent time is the one that counts. */
function noteAnchor({ facts }: Report, name: string, { atS }: Timestamp): void {
  if (facts.anchored_at !== undefined && facts.anchored_at <= atS) return;
  facts.anchored_at = atS;
  facts.anchored_by = name;
}

async function verifyTokenAlone(report: Report, text: string, { pinned }: Verifying): Promise<void> {
  if (pinned) await sayPinned(report, pinned);
  else report.notPresent('pinned', say('pinned_token'));
  const token = await checkToken(report, utf8(text), pinned?.policy);
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
  report.notPresent('receipt', say('token_alone'));
  report.notPresent('evidence', say('token_alone'));
  report.notPresent('log', say('token_alone_log'));
  sayWhatIsAbsent(report);
}

function sayWhatIsAbsent(report: Report): void {
  const absent: [CheckId, string][] = [
    ['witnesses', 'witnesses_none'],
    ['anchor', 'anchor_none'],
    ['later', 'later_none'],
    ['mail', 'mail_none'],
    ['status', 'status_none'],
    ['holder', 'holder_none'],
  ];
  for (const [id, key] of absent) if (!report.has(id)) report.notPresent(id, say(key));
}

export function fileNamed(files: Map<string, Bytes>, name: string): Bytes {
  const file = files.get(name);
  if (!file) throw new ObjectionError('bundle_file_missing', `${name} is not in the bundle`);
  return file;
}

function startsWith(raw: Bytes, prefix: Bytes): boolean {
  return sameBytes(raw.subarray(0, prefix.length), prefix);
}

function latin1(raw: Bytes): string {
  return Array.from(raw, (byte) => String.fromCharCode(byte)).join('');
}
