/** A reader written by others (@sd-jwt/sd-jwt-vc) accepts our tokens and presentations, and refuses them altered. */
import { createHash, type JsonWebKey, randomBytes, verify } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { deflateSync } from 'node:zlib';
import { SDJwtVcInstance } from '@sd-jwt/sd-jwt-vc';
import { beforeAll, describe, expect, it } from 'vitest';
import { signPresentation } from '../../src/core/presentations';

const FOLDER = new URL('../../../schemas/vectors/presentations/', import.meta.url);
const { presentation, policy, nonce } = JSON.parse(readFileSync(new URL('valid-person.json', FOLDER), 'utf8'));
const [token, disclosure, binding] = presentation.split('~') as [string, string, string];

const verifierOf = (jwk: JsonWebKey) => (data: string, signature: string) =>
  verify(
    'sha256',
    Buffer.from(data),
    { key: jwk, format: 'jwk', dsaEncoding: 'ieee-p1363' } as never,
    Buffer.from(signature, 'base64url'),
  );

const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');

/** All valid, as far as this test is concerned. */
const statusList = (uri: string) => {
  const lst = deflateSync(Buffer.alloc(16_384), { level: 9 }).toString('base64url');
  const claims = { sub: uri, iat: 1_795_392_000, status_list: { bits: 2, lst } };
  return `${part({ alg: 'ES256', typ: 'statuslist+jwt' })}.${part(claims)}.AA`;
};

const reader = new SDJwtVcInstance({
  verifier: async (data, signature) => verifierOf(policy.issuer_keys[0])(data, signature),
  kbVerifier: async (data, signature, payload) =>
    verifierOf((payload.cnf as unknown as { jwk: JsonWebKey }).jwk)(data, signature),
  hasher: (data, algorithm) =>
    Uint8Array.from(
      createHash(algorithm.replace('-', ''))
        .update(typeof data === 'string' ? data : Buffer.from(data))
        .digest(),
    ),
  hashAlg: 'sha-256',
  saltGenerator: (length) => randomBytes(length).toString('base64url'),
  statusListFetcher: async (uri) => statusList(uri),
  statusVerifier: async () => true,
});
const read = (text: string, keyBindingNonce?: string) =>
  reader.verify(text, { currentDate: 1_795_392_000, ...(keyBindingNonce === undefined ? {} : { keyBindingNonce }) });

function altered(text: string): string {
  const middle = text.length - 20;
  return `${text.slice(0, middle)}${text[middle] === 'A' ? 'B' : 'A'}${text.slice(middle + 1)}`;
}

describe('@sd-jwt/sd-jwt-vc', () => {
  it('reads a token, and what the holder discloses', async () => {
    const { payload } = await read(`${token}~${disclosure}~`);
    expect(payload).toMatchObject({
      controller: 'meta-platforms-ireland',
      self_asserted: { account: {}, contact: {} },
    });
    expect((payload as unknown as Record<string, unknown>).self_asserted).toMatchObject({
      person: { person: expect.stringContaining('Ada Lovelace') },
    });
  });

  it('refuses an altered token', async () => {
    await expect(read(`${altered(token)}~${disclosure}~`)).rejects.toThrow('Invalid JWT Signature');
  });

  it('verifies who presents it', async () => {
    const { kb } = await read(presentation, nonce);
    expect(kb?.payload.aud).toBe('https://authority.example');
  });

  it.each([
    ['another nonce', () => [presentation, 'other'], 'Invalid Nonce'],
    ['an altered binding', () => [`${token}~${disclosure}~${altered(binding)}`, nonce], 'Invalid JWT Signature'],
    ['fewer disclosures', () => [`${token}~${binding}`, nonce], 'sd_hash'],
    ['no binding', () => [`${token}~${disclosure}~`, nonce], 'Key Binding JWT not exist'],
  ])('refuses %s', async (_what, make, message) => {
    const [text, asked] = make() as [string, string];
    await expect(read(text, asked)).rejects.toThrow(message);
  });

  describe('of a presentation made here', () => {
    let keys: CryptoKeyPair;
    beforeAll(async () => {
      keys = await crypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, false, ['sign', 'verify']);
    });

    it('refuses another key than the one of the token', async () => {
      const challenge = { audience: 'https://authority.example', nonce, nowS: 1_795_392_000 };
      const ours = await signPresentation(`${token}~${disclosure}~`, keys.privateKey, challenge);
      await expect(read(ours, nonce)).rejects.toThrow('Invalid JWT Signature');
    });
  });
});
