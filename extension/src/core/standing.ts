/** What happened to an objection since: later receipts, mails with their signatures, and whether it still stands. */
import { verifyAcknowledgement } from './acknowledgements';
import { type Bytes, formatJson, parseAscii, parseUtf8, sameBytes, sha256Hex } from './encoding';
import { ObjectionError } from './errors';
import { type MailFinding, recheckFinding } from './mail';
import { fileNamed, filesUnder, type Manifest } from './manifest';
import type { Checkpoint } from './notes';
import type { TrustPolicy } from './policies';
import { parseProof, verifyGrowth, verifyProof } from './proofs';
import { type VerifiedReceipt, verifyEvidence, verifyReceipt } from './receipts';
import { absent, type Facts, type Report, type Saying, say } from './reports';
import { refuseEarly, verifyStamps } from './stamps';
import { type Status, statusAt, verifyStatusList } from './statuslists';
import type { VerifiedToken } from './tokens';

const [ERASED, WITHDRAWN] = ['objection_erased', 'objection_withdrawn'];
/** A status list is dated back to the full minute, and another machine's clock may be behind. */
const LIST_SKEW_S = 360;
const BY_WORTH: Status[] = ['stands', 'withdrawn', 'erased'];
const RECEIPT = /^later\/([0-9]{2})-(supplement|withdrawal)\.jws$/;

/** What was added, as far as it holds. */
export interface Later {
  withdrawnAtS: number | undefined;
  mails: AddedMail[];
  facts: NonNullable<Facts['later']>;
}

/** A mail among what was added. `keyRecord`: by which the register judged its signature, where it saw one. */
interface AddedMail {
  name: string;
  raw: Bytes;
  dkim: MailFinding;
  keyRecord: Bytes | undefined;
}

interface Bundle {
  files: Map<string, Bytes>;
  manifest: Manifest | undefined;
  receipt: VerifiedReceipt | undefined;
  policy: TrustPolicy | undefined;
  place: Place;
}

/**
 * Where a receipt stands: `index` in the log, under the `checkpoint` in `note` if that holds. `stampedAtS`: when the first
 * clock that the policy trusts stamped that checkpoint; undefined where none did.
 */
export interface Place {
  index: bigint;
  note: string | undefined;
  checkpoint: Checkpoint | undefined;
  stampedAtS: number | undefined;
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
    let { place } = bundle; // all of them stand behind the objection
    for (const [i, name] of names
      .filter((one) => RECEIPT.test(one))
      .sort()
      .entries()) {
      place = await verifyOne(name, i + 1, { ...bundle, objection: receipt, policy, later, known }, place);
      const fact = later.facts.at(-1);
      if (fact && place.stampedAtS !== undefined && report.pinned) fact.anchored_at = place.stampedAtS;
    }
    const strangers = names.filter((name) => !known.has(name));
    if (strangers.length > 0) throw mismatch(`belongs to no later receipt: ${strangers.sort().join(', ')}`);
    report.facts.later = later.facts;
    return say('list', { list: { list: later.facts.map(laterSaying) } });
  });
  await checkMails(report, later);
  return later;
}

function laterSaying({ kind, received_at, anchored_at }: Later['facts'][number]): Saying {
  const received = { time: { time: received_at } };
  if (anchored_at === undefined) return say(`later_${kind}`, received);
  return say(`later_${kind}_anchored`, { ...received, anchored: { time: anchored_at } });
}

interface Adding {
  files: Map<string, Bytes>;
  manifest: Manifest | undefined;
  objection: VerifiedReceipt;
  policy: TrustPolicy;
  /** The objection's, whose stamps count for whatever stands under the same checkpoint. */
  place: Place;
  later: Later;
  /** The files that were seen to belong to a later receipt. */
  known: Set<string>;
}

/** Checks one later receipt with all that belongs to it; returns its place, which is behind `before`. */
async function verifyOne(name: string, number: number, adding: Adding, before: Place): Promise<Place> {
  const { files, manifest, objection, policy, place, later, known } = adding;
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
  const rawProof = parseUtf8(take(`${stem}.tlog-proof`), 'jws_malformed');
  const { index, checkpoint } = await verifyProof(
    rawProof,
    { kind, receiptSha256: receipt.sha256, receivedAtS },
    policy.log,
  );
  if (checkpoint.origin !== claims.log.origin || index !== BigInt(claims.log.index) || index <= before.index) {
    throw new ObjectionError('proof_mismatch', `${name}: the acknowledgement names another place in the log`);
  }
  const consistency = `${stem}.consistency`;
  if (before.checkpoint) await requireGrowth(name, before.checkpoint, checkpoint, () => take(consistency));
  else known.add(consistency); // it cannot be checked, because another check failed, and says so
  const note = parseProof(rawProof).checkpointNote;
  let stampedAtS = place.stampedAtS;
  if (note !== place.note) {
    for (const path of files.keys()) if (path.startsWith(`${stem}/`)) known.add(path);
    stampedAtS = (await verifyStamps(filesUnder(files, `${stem}/`), note, policy, receivedAtS)).firstAtS;
  } else if (stampedAtS !== undefined) {
    refuseEarly(stampedAtS, receivedAtS);
  }
  later.facts.push({
    kind,
    receipt_sha256: receipt.sha256Hex,
    signed_at: payload.iat,
    received_at: receivedAtS,
  });
  if (kind === 'withdrawal') {
    if (later.withdrawnAtS !== undefined) throw mismatch('an objection is withdrawn once');
    later.withdrawnAtS = receivedAtS;
  }
  for (const [mail, finding] of dkim) {
    const keyRecord = 'key_sha256' in finding ? take(`dkim/${finding.key_sha256}.txt`) : undefined;
    later.mails.push({ name: mail, raw: fileNamed(evidence, mail), dkim: finding, keyRecord });
  }
  return { index, note, checkpoint, stampedAtS };
}

/** Makes sure that the log under `checkpoint` begins with the one `before`, or is the same. */
async function requireGrowth(
  name: string,
  before: Checkpoint,
  checkpoint: Checkpoint,
  takeConsistency: () => Bytes,
): Promise<void> {
  if (checkpoint.size < before.size) {
    throw new ObjectionError('proof_mismatch', `${name}: under an older state of the log than what was before`);
  }
  if (checkpoint.size > before.size) {
    await verifyGrowth(parseUtf8(takeConsistency(), 'proof_malformed'), before, checkpoint);
  } else if (!sameBytes(checkpoint.root, before.root)) {
    throw new ObjectionError('consistency_mismatch', `${name}: in another log of the same size`);
  }
}

async function checkMails(report: Report, { mails }: Later): Promise<void> {
  if (mails.length === 0) {
    report.notPresent('mail', say('mail_none'));
    return;
  }
  await report.check('mail', async () => {
    for (const { raw, keyRecord, dkim } of mails) {
      if (keyRecord && 'key_sha256' in dkim && (await sha256Hex(keyRecord)) !== dkim.key_sha256) {
        throw new ObjectionError('dkim_mismatch', 'the key record is not the one that the register saw');
      }
      await recheckFinding(raw, dkim, keyRecord);
    }
    report.facts.mails = mails.map(mailFact);
    const found = say('mail', { list: { list: mails.map(mailSaying) } });
    return mails.some(({ dkim }) => dkim.finding === 'signed') ? found : absent(found);
  });
}

/** Who wrote what, and when, is for the reader of the mail. `kind` is the register's word. */
function mailFact({ name, dkim }: AddedMail): NonNullable<Facts['mails']>[number] {
  if (!('domain' in dkim)) return { name, finding: dkim.finding };
  const { finding, domain, selector } = dkim;
  return {
    ...{ name, finding, domain, selector },
    ...('key_sha256' in dkim && { key_sha256: dkim.key_sha256 }),
    ...('kind' in dkim && { kind: dkim.kind }),
  };
}

function mailSaying({ name, dkim }: AddedMail): Saying {
  const domain = 'domain' in dkim ? dkim.domain : '';
  const kind: Saying[] = 'kind' in dkim ? [say(`mail_kind_${dkim.kind}`)] : [];
  return say('mail_found', {
    name,
    found: { list: [say(`mail_${dkim.finding.replaceAll('-', '_')}`, { domain }), ...kind] },
  });
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
  rawLists: (Bytes | undefined)[],
  { token, policy, later, nowS }: StatusAsked,
): Promise<void> {
  if (!token || !policy) {
    report.unchecked('status');
    return;
  }
  await report.check('status', async () => {
    const found: Listed[] = [];
    for (const raw of rawLists) if (raw) found.push(await verifyList(raw, token, policy));
    // The newest counts, whoever brought it: an older one, given beside the bundle, must not raise the withdrawn.
    const [newest] = found.sort((one, other) => other.iatS - one.iatS || worth(other) - worth(one));
    if (!newest) throw new ObjectionError('bundle_file_missing', 'status.jwt is not in the bundle');
    const { iatS } = newest;
    const status = newest.status !== 'erased' && later.withdrawnAtS !== undefined ? 'withdrawn' : newest.status;
    Object.assign(report.facts, { status, status_at: iatS });
    if (status === 'erased') return { failed: say('status_listed_erased', { time: { time: iatS } }), code: ERASED };
    if (status === 'withdrawn') return { failed: withdrawal(later.withdrawnAtS, iatS), code: WITHDRAWN };
    return say('status', { time: { time: iatS }, age: { duration: nowS - iatS } });
  });
}

/** What the holder signed, or what only the register says. */
function withdrawal(receivedAtS: number | undefined, listedAtS: number): Saying {
  if (receivedAtS === undefined) return say('status_listed_withdrawn', { time: { time: listedAtS } });
  return say('status_withdrawn', { time: { time: receivedAtS } });
}

interface Listed {
  iatS: number;
  status: Status;
}

const worth = ({ status }: Listed) => BY_WORTH.indexOf(status);

async function verifyList(raw: Bytes, { claims }: VerifiedToken, policy: TrustPolicy): Promise<Listed> {
  const list = await verifyStatusList(parseAscii(raw, 'jws_malformed'), policy);
  const { uri, idx } = claims.status.status_list;
  if (list.uri !== uri) throw new ObjectionError('status_mismatch', 'another list than the token names');
  if (list.iatS + LIST_SKEW_S < claims.received_at) {
    throw new ObjectionError('status_mismatch', 'a list from before the objection was received');
  }
  return { iatS: list.iatS, status: statusAt(list, idx) };
}

function mismatch(message: string): ObjectionError {
  return new ObjectionError('later_mismatch', message);
}
