/** The extension's IndexedDB: the holder's key, receipts on their way, and recorded objections. */
import type { Evidence } from '../core/contract.gen';
import type { Disclosures, Platform } from '../core/objection';

const NAME = 'proof-of-objection';
const VERSION = 1;

/** A signed receipt with everything needed to send it. Written before the first attempt, removed by `discard` or success. */
export interface QueuedReceipt {
  receipt_sha256: string;
  jti: string;
  receipt: string;
  platform: Platform;
  /** The holder's clock when it was signed, seconds. */
  objected_at: number;
  holder_share: string;
  disclosures: Disclosures;
  evidence: { item: Evidence; file: Blob }[];
  /** `waiting` is tried again; `refused` is the register's last word; `held` waits for a decision of the person. */
  state: 'waiting' | 'refused' | 'held';
  attempts: number;
  /** Milliseconds since 1970; 0 means at once. */
  next_attempt_at: number;
  problem?: StoredProblem;
}

export interface StoredProblem {
  code: string;
  title: string;
  detail: string;
}

/** An objection that the register recorded and whose proof was checked here. */
export interface RecordedObjection extends Omit<QueuedReceipt, 'state' | 'attempts' | 'next_attempt_at' | 'problem'> {
  received_at: number;
  token: string;
  proof: string;
  log_origin: string;
  log_index: number;
  bundle?: Blob;
  /** Where the browser saved the bundle, relative to the downloads folder. */
  file?: string;
  bundle_attempts: number;
  bundle_next_attempt_at: number;
  bundle_problem?: StoredProblem;
}

export interface HolderKey {
  id: 'holder';
  pair: CryptoKeyPair;
}

interface Stores {
  keys: HolderKey;
  queue: QueuedReceipt;
  objections: RecordedObjection;
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

  async delete(key: string): Promise<void> {
    await settled(this.store.delete(key));
  }
}

function open(): Promise<IDBDatabase> {
  const request = indexedDB.open(NAME, VERSION);
  request.onupgradeneeded = () => {
    request.result.createObjectStore('keys', { keyPath: 'id' });
    for (const name of ['queue', 'objections']) {
      // Unique: a second receipt under one jti would contradict the first, and the register would refuse it.
      request.result.createObjectStore(name, { keyPath: 'receipt_sha256' }).createIndex('jti', 'jti', { unique: true });
    }
  };
  return settled(request);
}

function settled<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error ?? new Error('database request failed'));
  });
}
