import { beforeEach, describe, expect, it, vi } from 'vitest';
import { parseBase64url, parseJson, utf8 } from '../../src/core/encoding';
import { parseTrustPolicy } from '../../src/core/policies';
import { verifyToken } from '../../src/core/tokens';
import { holderKey } from '../../src/platform/keystore';
import { presentation, saveKit } from '../../src/platform/presenting';
import { type Downloads, freshBrowser } from '../support/browser';
import { verifyPresentation } from '../support/presenting';
import { objectionOf, recordObjection } from '../support/recorded';
import { type Register, startRegister } from '../support/register';

let register: Register;
let downloads: Downloads;
let objection: string;

beforeEach(async () => {
  downloads = await freshBrowser();
  register = await startRegister();
  vi.stubGlobal('fetch', (url: string, init?: RequestInit) => register.fetch(new Request(url, init)));
  objection = await recordObjection({ declared: { account: '@ada', person: 'Ada' } });
});

const disclosed = async (token: string) =>
  Object.fromEntries((await verifyToken(token, await parseTrustPolicy(register.policy as never))).disclosed);

describe('showing the token', () => {
  it('opens what was chosen and nothing else', async () => {
    const kept = await objectionOf(objection);
    expect(await presentation(kept, [], null)).toBe(kept.token);
    expect(await disclosed(await presentation(kept, ['person'], null))).toEqual({ person: 'Ada' });
    expect(await disclosed(await presentation(kept, ['account', 'person'], null))).toEqual({
      account: '@ada',
      person: 'Ada',
    });
  });

  it('cannot open what was not declared', async () => {
    const shown = presentation(await objectionOf(objection), ['contact'], null);
    await expect(shown).rejects.toMatchObject({ code: 'nothing_declared' });
  });

  it('is bound to one reader and moment by the holder’s key', async () => {
    const challenge = { nonce: 'n-0S6', audience: 'https://reader.example' };
    const text = await presentation(await objectionOf(objection), ['person'], challenge);
    const policy = await parseTrustPolicy(register.policy as never);
    const nowS = Math.floor(Date.now() / 1000);
    const { token, binding } = await verifyPresentation(text, policy, { ...challenge, nowS });
    expect(Object.fromEntries(token.disclosed)).toEqual({ person: 'Ada' });
    expect(Math.abs(binding.presentedAtS - nowS)).toBeLessThan(60);
    for (const other of [{ nonce: 'another' }, { audience: 'https://other.example' }, { nowS: nowS + 400 }]) {
      const reused = verifyPresentation(text, policy, { ...challenge, nowS, ...other });
      await expect(reused).rejects.toMatchObject({ code: expect.stringMatching(/^binding_/) });
    }
  });
});

describe('the recovery kit', () => {
  it('has share, disclosures and token of every objection, and no private key', async () => {
    const other = await recordObjection();
    const file = await saveKit();
    expect(file).toMatch(/^proof-of-objection\/recovery-kit-.*\.json$/);
    const content = downloads.saved.at(-1)?.content ?? '';
    const kit = parseJson(utf8(content.trimEnd()));
    expect(kit.holder).toEqual((await holderKey()).jwk);
    const entries = kit.objections as Record<string, unknown>[];
    expect(entries.map(({ receipt_sha256 }) => receipt_sha256).sort()).toEqual([objection, other].sort());
    const entry = entries.find(({ receipt_sha256 }) => receipt_sha256 === objection);
    const { holder_share, disclosures, token } = await objectionOf(objection);
    expect(entry).toMatchObject({ holder_share, disclosures, token });
    expect(parseBase64url(holder_share).length).toBe(32);
    expect(content).not.toContain('"d":');
  });
});
