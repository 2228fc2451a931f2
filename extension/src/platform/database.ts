/** The extension's IndexedDB: the holder's key, receipts on their way, and recorded objections. */
import type { Evidence } from '../core/contract.gen';
import type { LaterKind } from '../core/later';
import type { MailFinding } from '../core/mail';
import type { Disclosures, Platform } from '../core/objection';

const NAME = 'proof-of-objection';
const VERSION = 3;

/** A signed receipt with everything needed to send it. */
interface SignedReceipt {
  receipt_sha256: string;
  jti: string;
  receipt: string;
  platform: Platform;
  holder_share: string;
  evidence: { item: Evidence; file: Blob }[];
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
  bundle?: Blob;
  /** A newer bundle than the one kept here is to be had. */
  bundle_wanted: boolean;
  /** The bundle kept here was not saved to disk yet. */
  bundle_unsaved: boolean;
  /** Where the browser saved the newest bundle, relative to the downloads folder. */
  file?: string;
  bundle_attempts: number;
  bundle_next_attempt_at: number;
  bundle_problem?: StoredProblem;
}

/** Something made on demand that goes to the downloads folder, kept only until it is there. */
export interface PassingFile {
  id: string;
  file: Blob;
}

export interface HolderKey {
  id: 'holder';
  pair: CryptoKeyPair;
}

interface Stores {
  keys: HolderKey;
  queue: QueuedReceipt;
  objections: RecordedObjection;
  files: PassingFile;
}

type StoreName = keyof Stores;

/** Runs `work` in one transaction over `names`; resolves with its result once the transaction is on disk. */
export async function inTransaction<T>(
  names: StoreName[],
  mode: IDBTransactionMode,
  work: (store: <N extends StoreName>(name: N) => Store<Stores[N]>) => Promise<T>,
): Promise<T> {
  const database = await open();
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
  } finally {
    database.close();
  }
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

  async delete(key: string): Promise<void> {
    await settled(this.store.delete(key));
  }
}

function open(): Promise<IDBDatabase> {
  const request = indexedDB.open(NAME, VERSION);
  request.onupgradeneeded = ({ oldVersion }) => {
    if (oldVersion < 1) makeStores(request.result);
    if (oldVersion < 2) request.result.createObjectStore('files', { keyPath: 'id' });
    if (oldVersion === 1 && request.transaction) addLaterReceipts(request.transaction);
    if (oldVersion === 2 && request.transaction)
      change(request.transaction.objectStore('objections'), () => UNANCHORED);
  };
  return settled(request);
}

function makeStores(database: IDBDatabase): void {
  database.createObjectStore('keys', { keyPath: 'id' });
  for (const name of ['queue', 'objections']) {
    // Unique: a second receipt under one jti would contradict the first, and the register would refuse it.
    database.createObjectStore(name, { keyPath: 'receipt_sha256' }).createIndex('jti', 'jti', { unique: true });
  }
}

/** The second version kept other times than those of the proof: it is fetched once more. */
const UNANCHORED = { anchored_told: 0, no_clock: false, checks: 0, next_check_at: 0 };

// The first version knew objections only, and no anchors.
function addLaterReceipts(transaction: IDBTransaction): void {
  change(transaction.objectStore('queue'), () => ({ kind: 'objection' }));
  change(transaction.objectStore('objections'), ({ bundle, file }) => ({
    status: 'stands',
    later: [],
    ...UNANCHORED,
    bundle_wanted: !bundle,
    bundle_unsaved: Boolean(bundle && !file),
  }));
}

function change(store: IDBObjectStore, added: (value: Record<string, unknown>) => Record<string, unknown>): void {
  const cursor = store.openCursor();
  cursor.onsuccess = () => {
    if (!cursor.result) return;
    cursor.result.update({ ...cursor.result.value, ...added(cursor.result.value) });
    cursor.result.continue();
  };
}

function settled<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error ?? new Error('database request failed'));
  });
}
