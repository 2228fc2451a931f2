import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { verifyAcknowledgement } from '../../src/core/acknowledgements';
import { verifyDocumentSignature } from '../../src/core/documents';
import { type Json, parseBase64 } from '../../src/core/encoding';
import { ObjectionError } from '../../src/core/errors';
import { quorumMet, verifyWitnesses } from '../../src/core/log-policies';
import { parseTrustPolicy } from '../../src/core/policies';
import { parseProof, verifyGrowth, verifyProof } from '../../src/core/proofs';
import { verifyReceipt } from '../../src/core/receipts';
import { statusAt, verifyStatusList } from '../../src/core/statuslists';
import { verifyTimestamp } from '../../src/core/timestamps';
import { verifyToken } from '../../src/core/tokens';
import { verifyPresentation } from '../support/presenting';

const FOLDER = new URL('../../../schemas/vectors/', import.meta.url);
/** When a receipt comes is for the register to judge; a verifier reads old ones. */
const REGISTERS_OWN = ['receipt_stale', 'receipt_from_future'];

interface Vector {
  description: string;
  expect: string;
  [input: string]: unknown;
}

const bytes = (text: unknown) => parseBase64(String(text), 'test');

const checks: Record<string, (vector: Vector) => Promise<unknown>> = {
  receipts: async ({ receipt }) => verifyReceipt(String(receipt)),
  tokens: async ({ token, policy }) => verifyToken(String(token), await parseTrustPolicy(policy as Json)),
  presentations: async ({ presentation, policy, audience, nonce, now }) =>
    verifyPresentation(String(presentation), await parseTrustPolicy(policy as Json), {
      audience: String(audience),
      nonce: String(nonce),
      nowS: Number(now),
    }),
  acknowledgements: async ({ acknowledgement, about, policy }) =>
    verifyAcknowledgement(
      String(acknowledgement),
      await verifyReceipt(String(about)),
      await parseTrustPolicy(policy as Json),
    ),
  timestamps: async ({ token, data, chain, at, authority, qualified }) => {
    const found = await verifyTimestamp(bytes(token), bytes(data), (chain as string[]).map(bytes));
    expect(found).toEqual({ atS: at, authority, saysQualified: qualified });
  },
  'document-signatures': async ({ cms, covered }) => verifyDocumentSignature(bytes(cms), bytes(covered)),
  statuslists: async ({ status_list, policy, statuses, index }) => {
    const list = await verifyStatusList(String(status_list), await parseTrustPolicy(policy as Json));
    for (const [at, said] of Object.entries(statuses ?? {})) expect(statusAt(list, Number(at))).toBe(said);
    if (index !== undefined) statusAt(list, Number(index));
  },
  consistency: async ({ consistency, before, after }) => {
    const [old, grown] = [before, after].map((state) => {
      const { size, root } = state as Record<'size' | 'root', string>;
      return { size: BigInt(size), root: Uint8Array.from(Buffer.from(root, 'hex')) };
    });
    if (old && grown) await verifyGrowth(String(consistency), old, grown);
  },
  proofs: async ({ proof, policy, receipt_sha256, kind, received_at, cosigned, quorum_met }) => {
    const { log } = await parseTrustPolicy(policy as Json);
    await verifyProof(
      String(proof),
      {
        kind: String(kind),
        receiptSha256: Uint8Array.from(Buffer.from(String(receipt_sha256), 'hex')),
        receivedAtS: Number(received_at),
      },
      log,
    );
    if (cosigned === undefined) return;
    const found = await verifyWitnesses(parseProof(String(proof)).checkpointNote, log);
    expect(found).toEqual(cosigned);
    const names = found.map(([name]) => name);
    expect(quorumMet(log, names)).toBe(quorum_met);
  },
};

describe.each(Object.entries(checks))('the vectors that the register reads too: %s', (format, check) => {
  const names = readdirSync(new URL(`${format}/`, FOLDER)).filter((name) => name.endsWith('.json'));

  it('are there', () => expect(names.length).toBeGreaterThan(0));

  it.each(names)('%s', async (name) => {
    const vector: Vector = JSON.parse(readFileSync(new URL(`${format}/${name}`, FOLDER), 'utf8'));
    const outcome = await check(vector).then(
      () => 'valid',
      (error: unknown) => (error instanceof ObjectionError ? error.code : String(error)),
    );
    expect(outcome, vector.description).toBe(REGISTERS_OWN.includes(vector.expect) ? 'valid' : vector.expect);
  });
});
