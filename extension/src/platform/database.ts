/** The extension's IndexedDB: the holder's key, receipts on their way, and recorded objections. */
import type { Evidence } from '../core/contract.gen';
import type { Bytes } from '../core/encoding';
import { ObjectionError } from '../core/errors';
import type { LaterKind } from '../core/later';
import type { MailFinding } from '../core/mail';
import type { Disclosures, Platform } from '../core/objection';

const NAME = 'objections';
const VERSION = 1;

/** A signed receipt with everything needed to send it. */
interface SignedReceipt {
  receipt_sha256: string;
  jti: string;
  receipt: string;
  platform: Platform;
  holder_share: string;
  /** The files themselves are kept under `evidenceId`. */
  evidence: Evidence[];
}

interface Sending {
  /** `waiting` is tried again; `refused` is the register's last word; `held` waits for a decision of the person. */
  state: 'waiting' | 'refused' | 'held';
  attempts: number;
  /** Milliseconds since 1970; 0 means at once. */
  next_attempt_at: number;
  problem?: StoredProblem;
}

interface SignedObjection extends SignedReceipt {
  /** Of the notice that it answers. */
  notice_fingerprint?: string | undefined;
  /** The holder's clock when it was signed, seconds. */
  objected_at: number;
  disclosures: Disclosures;
}

export interface QueuedObjection extends SignedObjection, Sending {
  kind: 'objection';
}

/** A supplement, withdrawal or erasure on its way. Its `holder_share` is the objection's. */
export interface QueuedLater extends SignedReceipt, Sending {
  kind: LaterKind;
  objection_sha256: string;
  /** The holder's clock, seconds. */
  signed_at: number;
  /** Its mails are to be recorded even when nobody can look at their signatures. */
  unchecked?: true;
}

/** Written before the first attempt, removed by `discard` or success. */
export type QueuedReceipt = QueuedObjection | QueuedLater;

export interface StoredProblem {
  code: string;
  title: string;
  detail: string;
}

/** A later receipt that the register acknowledged. */
export interface RecordedLater {
  kind: LaterKind;
  receipt_sha256: string;
  jti: string;
  receipt: string;
  signed_at: number;
  received_at: number;
  log_index: number;
  acknowledgement: string;
  proof: string;
  evidence: Evidence[];
  /** By evidence name, what the register found of a mail's own signature. */
  mails: Record<string, MailFinding>;
  /** Of an erasure: what the register says it cannot take back. */
  remains: string[];
  /** As in the objection: of its own. */
  anchored_at?: number;
}

/** An objection that the register recorded and whose proof was checked here. */
export interface RecordedObjection extends SignedObjection {
  received_at: number;
  token: string;
  proof: string;
  log_origin: string;
  log_index: number;
  status: 'stands' | 'withdrawn' | 'erased';
  /** What its person calls it; never leaves the browser. */
  own_name?: string;
  /** The campaign that it was signed for counts it no more. */
  left_campaign?: boolean;
  /** In the order in which the register recorded them. */
  later: RecordedLater[];
  /** By when it existed, as an independent clock says in the proof that is kept here; seconds. Never given up. */
  anchored_at?: number;
  /** Of this entry and the later ones, how many are anchored by the register's word; a proof must show it. */
  anchored_told: number;
  /** The register's policy names no independent clock: nothing to wait for. */
  no_clock: boolean;
  /** How often the register was asked for the state since something of ours was recorded. */
  checks: number;
  /** Milliseconds since 1970; infinite when it is not asked any more by itself. */
  next_check_at: number;
  /** What went wrong when it was asked last. */
  check_problem?: StoredProblem;
  /** A newer bundle is to be had than the one kept under `bundleId`. */
  bundle_wanted: boolean;
  /** The bundle kept here was not saved to disk yet. */
  bundle_unsaved: boolean;
  /** The person cancelled saving: it is not tried again by itself. */
  save_declined?: true;
  /** Where the browser saved the newest bundle, relative to the downloads folder. */
  file?: string;
  bundle_attempts: number;
  bundle_next_attempt_at: number;
  bundle_problem?: StoredProblem;
}

/**
 * Evidence or a bundle, apart from its record: lists are read often, files seldom. Bytes, here and below: Firefox refuses
 * to store a Blob that it has read from a database.
 */
export interface KeptFile {
  id: string;
  bytes: Bytes;
}

/** Something made on demand that goes to the downloads folder, kept only until it is there. */
export interface PassingFile extends KeptFile {
  type: string;
}

export interface HolderKey {
  id: 'holder';
  pair: CryptoKeyPair;
}

interface Stores {
  keys: HolderKey;
  queue: QueuedReceipt;
  objections: RecordedObjection;
  kept: KeptFile;
  passing: PassingFile;
}

export const evidenceId = (receipt: string, name: string): string => `${receipt}/${name}`;
export const bundleId = (receipt: string): string => `${receipt}.asice`;

/** Every id that `evidenceId` gives for a receipt. */
export const evidenceIds = (receipt: string): IDBKeyRange => IDBKeyRange.bound(`${receipt}/`, `${receipt}/\uffff`);

type StoreName = keyof Stores;

/** Runs `work` in one transaction over `names`; resolves with its result once the transaction is on disk. */
export async function inTransaction<T>(
  names: StoreName[],
  mode: IDBTransactionMode,
  work: (store: <N extends StoreName>(name: N) => Store<Stores[N]>) => Promise<T>,
): Promise<T> {
  const database = await open().catch((error: unknown) => Promise.reject(told(error)));
  try {
    // Strict: a receipt that was reported as kept must survive a power cut (Chromium's default is relaxed).
    const transaction = database.transaction(names, mode, { durability: 'strict' });
    const done = new Promise<void>((resolve, reject) => {
      transaction.oncomplete = () => resolve();
      transaction.onabort = () => reject(transaction.error ?? new Error('transaction aborted'));
    });
    done.catch(() => undefined); // awaited below; a throw in `work` must not surface as an unhandled rejection too
    let result: T;
    try {
      result = await work((name) => new Store(transaction.objectStore(name)));
    } catch (error) {
      transaction.abort();
      throw error;
    }
    await done;
    return result;
  } catch (error) {
    throw told(error);
  } finally {
    database.close();
  }
}

/** The browser's own errors that a person can do something about; others are returned as they are. */
function told(error: unknown): unknown {
  const name = error instanceof DOMException ? error.name : '';
  if (name === 'QuotaExceededError') return new ObjectionError('no_room', String(error), { cause: error });
  // A Firefox that never remembers history opens no database, or one that keeps no keys.
  const forgets = ['InvalidStateError', 'SecurityError', 'DataCloneError', 'UnknownError'].includes(name);
  return forgets ? new ObjectionError('storage_unusable', String(error), { cause: error }) : error;
}

export const read = <N extends StoreName, T>(name: N, work: (store: Store<Stores[N]>) => Promise<T>): Promise<T> =>
  inTransaction([name], 'readonly', (store) => work(store(name)));

export const write = <N extends StoreName, T>(name: N, work: (store: Store<Stores[N]>) => Promise<T>): Promise<T> =>
  inTransaction([name], 'readwrite', (store) => work(store(name)));

export class Store<V> {
  constructor(private readonly store: IDBObjectStore) {}

  get(key: string): Promise<V | undefined> {
    return settled(this.store.get(key));
  }

  byJti(jti: string): Promise<V | undefined> {
    return settled(this.store.index('jti').get(jti));
  }

  all(): Promise<V[]> {
    return settled(this.store.getAll());
  }

  /** Refuses to replace: throws ConstraintError when the key, or a unique index, is taken. */
  async add(value: V): Promise<void> {
    await settled(this.store.add(value));
  }

  async put(value: V): Promise<void> {
    await settled(this.store.put(value));
  }

  async clear(): Promise<void> {
    await settled(this.store.clear());
  }

  async delete(key: string | IDBKeyRange): Promise<void> {
    await settled(this.store.delete(key));
  }
}

async function open(): Promise<IDBDatabase> {
  const request = indexedDB.open(NAME, VERSION);
  request.onupgradeneeded = () => makeStores(request.result);
  return settled(request);
}

function makeStores(database: IDBDatabase): void {
  for (const name of ['keys', 'kept', 'passing']) database.createObjectStore(name, { keyPath: 'id' });
  for (const name of ['queue', 'objections']) {
    // Unique: a second receipt under one jti would contradict the first, and the register would refuse it.
    database.createObjectStore(name, { keyPath: 'receipt_sha256' }).createIndex('jti', 'jti', { unique: true });
  }
}

function settled<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error ?? new Error('database request failed'));
  });
}
