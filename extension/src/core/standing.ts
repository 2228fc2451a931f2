/** What happened to an objection since: later receipts, Meta's own mail, and whether it still stands. */
import { verifyAcknowledgement } from './acknowledgements';
import type { DkimFinding } from './contract.gen';
import { type Bytes, formatJson, parseUtf8, sha256Hex } from './encoding';
import { ObjectionError } from './errors';
import { recheckMail } from './mail';
import { fileNamed, filesUnder, type Manifest } from './manifest';
import type { TrustPolicy } from './policies';
import { verifyProof } from './proofs';
import { type VerifiedReceipt, verifyEvidence, verifyReceipt } from './receipts';
import { type Report, type Saying, say } from './reports';
import { statusAt, verifyStatusList } from './statuslists';
import type { VerifiedToken } from './tokens';

const RECEIPT = /^later\/([0-9]{2})-(supplement|withdrawal)\.jws$/;

/** What was added, as far as it holds. */
export interface Later {
  withdrawnAtS: number | undefined;
  mails: SignedMail[];
  facts: { kind: string; signed_at: number; received_at: number }[];
}

/** A mail that a mail server signed, as the register acknowledged it. */
interface SignedMail {
  name: string;
  raw: Bytes;
  dkim: DkimFinding;
  keyRecord: Bytes;
}

interface Bundle {
  files: Map<string, Bytes>;
  manifest: Manifest | undefined;
  receipt: VerifiedReceipt | undefined;
  policy: TrustPolicy | undefined;
  /** Where in the log the objection stands, as its token says. */
  place: bigint;
}

export function nothingLater(): Later {
  return { withdrawnAtS: undefined, mails: [], facts: [] };
}

/** Adds the checks `later` and `mail`. */
export async function checkLater(report: Report, bundle: Bundle): Promise<Later> {
  const { files, receipt, policy } = bundle;
  const later = nothingLater();
  const names = [...files.keys()].filter((name) => name.startsWith('later/') || name.startsWith('dkim/'));
  if (names.length === 0) {
    report.notPresent('later', say('later_none'));
    report.notPresent('mail', say('mail_none'));
    return later;
  }
  if (!receipt) {
    report.unchecked('later', 'mail');
    return later;
  }
  await report.check('later', async () => {
    if (!policy) throw new ObjectionError('policy_malformed', 'without a policy there is no register to trust');
    const known = new Set<string>();
    let index = bundle.place; // all of them stand behind the objection
    for (const [i, name] of names
      .filter((one) => RECEIPT.test(one))
      .sort()
      .entries()) {
      index = await verifyOne(name, i + 1, { ...bundle, objection: receipt, policy, later, known }, index);
    }
    const strangers = names.filter((name) => !known.has(name));
    if (strangers.length > 0) throw mismatch(`belongs to no later receipt: ${strangers.sort().join(', ')}`);
    report.facts.later = later.facts;
    return say('list', { list: { list: later.facts.map(laterSaying) } });
  });
  await checkMails(report, later);
  return later;
}

function laterSaying({ kind, received_at }: Later['facts'][number]): Saying {
  return say(`later_${kind}`, { time: { time: received_at } });
}

interface Adding {
  files: Map<string, Bytes>;
  manifest: Manifest | undefined;
  objection: VerifiedReceipt;
  policy: TrustPolicy;
  later: Later;
  /** The files that were seen to belong to a later receipt. */
  known: Set<string>;
}

/** Checks one later receipt with all that belongs to it; returns its place in the log, which is after `after`. */
async function verifyOne(name: string, number: number, adding: Adding, after: bigint): Promise<bigint> {
  const { files, manifest, objection, policy, later, known } = adding;
  const [, digits = '', kind] = RECEIPT.exec(name) ?? [];
  if (Number(digits) !== number) throw mismatch('later receipts are numbered 01, 02, … without a gap');
  const folder = `later/${digits}/`;
  const evidence = filesUnder(files, folder);
  for (const path of evidence.keys()) known.add(folder + path);
  const take = (file: string) => {
    const data = fileNamed(files, file);
    known.add(file);
    return data;
  };
  const stem = name.replace(/\.jws$/, '');
  const receipt = await verifyReceipt(parseUtf8(take(name), 'jws_malformed'));
  const { payload } = receipt;
  if (payload.kind === 'objection' || payload.kind !== kind || payload.objection_sha256 !== objection.sha256Hex) {
    throw mismatch(`${name} is about something else`);
  }
  if (formatJson({ ...receipt.holderJwk }) !== formatJson({ ...objection.holderJwk })) {
    throw mismatch(`${name} is signed by another key than the objection`);
  }
  const items = 'evidence' in payload ? payload.evidence : [];
  await verifyEvidence(items, evidence);
  if (manifest && items.some((item) => manifest.mediaTypes.get(folder + item.name) !== item.media_type)) {
    throw new ObjectionError('evidence_mismatch', 'manifest.json gives other media types than the receipt');
  }
  const { claims, dkim } = await verifyAcknowledgement(
    parseUtf8(take(`${stem}.ack`), 'jws_malformed'),
    receipt,
    policy,
  );
  const receivedAtS = claims.received_at;
  const { index, checkpoint } = await verifyProof(
    parseUtf8(take(`${stem}.tlog-proof`), 'jws_malformed'),
    { kind, receiptSha256: receipt.sha256, receivedAtS },
    policy.log,
  );
  if (checkpoint.origin !== claims.log.origin || index !== BigInt(claims.log.index) || index <= after) {
    throw new ObjectionError('proof_mismatch', `${name}: the acknowledgement names another place in the log`);
  }
  later.facts.push({ kind, signed_at: payload.iat, received_at: receivedAtS });
  if (kind === 'withdrawal') {
    if (later.withdrawnAtS !== undefined) throw mismatch('an objection is withdrawn once');
    later.withdrawnAtS = receivedAtS;
  }
  for (const [mail, finding] of dkim) {
    const keyRecord = take(`dkim/${finding.key_sha256}.txt`);
    later.mails.push({ name: mail, raw: fileNamed(evidence, mail), dkim: finding, keyRecord });
  }
  return index;
}

async function checkMails(report: Report, { mails }: Later): Promise<void> {
  if (mails.length === 0) {
    report.notPresent('mail', say('mail_none'));
    return;
  }
  await report.check('mail', async () => {
    for (const { raw, keyRecord, dkim } of mails) {
      if ((await sha256Hex(keyRecord)) !== dkim.key_sha256) {
        throw new ObjectionError('dkim_mismatch', 'the key record is not the one that the register saw');
      }
      await recheckMail(raw, { keyRecord, domain: dkim.domain, selector: dkim.selector });
    }
    report.facts.mails = mails.map(({ name, dkim }) => ({ ...dkim, name }));
    return say('list', { list: { list: mails.map(mailSaying) } });
  });
}

function mailSaying({ dkim: { domain, known } }: SignedMail): Saying {
  return known === 'none' ? say('mail_unknown', { domain }) : say('mail_known', { domain, known });
}

export interface StatusAsked {
  token: VerifiedToken | undefined;
  policy: TrustPolicy | undefined;
  later: Later;
  nowS: number;
}

/** Adds the check `status`. A withdrawal among the later receipts counts, however old the list is. */
export async function checkStatus(
  report: Report,
  rawList: Bytes | undefined,
  { token, policy, later, nowS }: StatusAsked,
): Promise<void> {
  if (!token || !policy) {
    report.unchecked('status');
    return;
  }
  await report.check('status', async () => {
    if (!rawList) throw new ObjectionError('bundle_file_missing', 'status.jwt is not in the bundle');
    const list = await verifyStatusList(parseUtf8(rawList, 'jws_malformed'), policy);
    const { uri, idx } = token.claims.status.status_list;
    if (list.uri !== uri) throw new ObjectionError('status_mismatch', 'another list than the token names');
    const listed = statusAt(list, idx);
    const status = listed !== 'erased' && later.withdrawnAtS !== undefined ? 'withdrawn' : listed;
    Object.assign(report.facts, { status, status_at: list.iatS });
    if (status !== 'stands') {
      const since = status === 'withdrawn' ? (later.withdrawnAtS ?? list.iatS) : list.iatS;
      throw new ObjectionError(`objection_${status}`, `as of ${since}`);
    }
    return say('status', { time: { time: list.iatS }, age: { duration: nowS - list.iatS } });
  });
}

function mismatch(message: string): ObjectionError {
  return new ObjectionError('later_mismatch', message);
}
