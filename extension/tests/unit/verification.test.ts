import { describe, expect, it } from 'vitest';
import { unpackContainer } from '../../src/core/asice';
import { parseDer } from '../../src/core/der';
import { readDocument } from '../../src/core/documents';
import { type Bytes, concat, parseBase64, sha256Hex, utf8 } from '../../src/core/encoding';
import { inflate } from '../../src/core/inflate';
import { embeddedChain, verifyTimestamp } from '../../src/core/timestamps';
import { parsePinnedPolicy } from '../../src/core/verification';
import { headlineOf } from '../../src/verifier/results';
import { codeOf, failures, flipped, indexOf, replaced, sample, verified } from '../support/samples';

const bytes = (...values: number[]): Bytes => Uint8Array.from(values);

describe('DER', () => {
  it.each([
    ['cut', bytes(0x30, 3, 2, 1)],
    ['longer', bytes(0x05, 0, 0)],
    ['indefinite', bytes(0x30, 0x80, 0, 0)],
    ['a padded length', bytes(0x04, 0x81, 1, 7)],
    ['a length of five bytes', bytes(0x04, 0x85, 0, 0, 0, 0, 1, 7)],
    ['a high tag', bytes(0x1f, 0x81, 1, 0)],
    ['nothing', bytes()],
  ])('refuses %s', async (_, raw) => {
    expect(await codeOf(async () => parseDer(raw))).toBe('der_malformed');
  });
});

describe('inflate', () => {
  const packed = async (data: Bytes) =>
    new Uint8Array(
      await new Response(new Blob([data]).stream().pipeThrough(new CompressionStream('deflate-raw'))).arrayBuffer(),
    );

  it('unpacks what is whole, and nothing else', async () => {
    const raw = await packed(new Uint8Array(1000));
    const how = { format: 'deflate-raw', limit: 1000 } as const;
    expect((await inflate(raw, how))?.length).toBe(1000);
    expect(await inflate(raw, { ...how, limit: 999 })).toBeUndefined();
    expect(await inflate(concat(raw, bytes(0)), how)).toBeUndefined();
    expect(await inflate(raw.slice(0, -1), how)).toBeUndefined();
  });
});

describe('time stamps', () => {
  const stamps: Record<string, { token: string; chain: string[] }> = JSON.parse(
    new TextDecoder().decode(sample('stamps.json')),
  );
  const [data, names] = [utf8('what was stamped'), Object.keys(stamps)];
  const stamp = (name: string) => ({
    token: parseBase64(stamps[name]?.token ?? '', 'test'),
    chain: (stamps[name]?.chain ?? []).map((text) => parseBase64(text, 'test')),
  });

  it.each(names)('%s holds for its bytes and its authority alone', async (name) => {
    const { token, chain } = stamp(name);
    const other = stamp(names.find((one) => one !== name) ?? '').chain;
    expect((await verifyTimestamp(token, data, chain)).atS).toBeGreaterThan(1_790_000_000);
    expect(await codeOf(() => verifyTimestamp(token, utf8('other'), chain))).toBe('timestamp_invalid');
    expect(await codeOf(() => verifyTimestamp(token, data, other))).toBe('timestamp_invalid');
    expect(
      await codeOf(() =>
        verifyTimestamp(
          token,
          data,
          [chain[0], other[1]].filter((one) => one !== undefined),
        ),
      ),
    ).toBe('timestamp_invalid');
    expect(await codeOf(() => verifyTimestamp(token, data, []))).toBe('timestamp_invalid');
    expect(await codeOf(() => verifyTimestamp(token.slice(0, -1), data, chain))).toBe('timestamp_malformed');
    expect(await codeOf(() => verifyTimestamp(flipped(token, -1), data, chain))).toBe('timestamp_invalid');
  });

  it('names its own authority only when it carries one and its root', async () => {
    expect(await embeddedChain(stamp('local').token)).toHaveLength(2);
    expect(await codeOf(() => embeddedChain(stamp('rsa').token))).toBe('timestamp_malformed');
  });

  it('never holds with any byte changed, but for what nobody signed', async () => {
    const { token, chain } = stamp('p384');
    for (let at = 0; at < token.length; at += 7) {
      const code = await codeOf(() => verifyTimestamp(flipped(token, at), data, chain));
      expect(['timestamp_invalid', 'timestamp_malformed', 'none']).toContain(code);
    }
  });
});

describe('stamps of ordinary authorities, as OpenSSL sends them', () => {
  const { data, samples } = JSON.parse(new TextDecoder().decode(sample('ordinary.json')));
  const names = Object.keys(samples);
  const read = (name: string) => ({
    token: parseBase64(samples[name].token, 'test'),
    chain: (samples[name].chain as string[]).map((text) => parseBase64(text, 'test')),
  });

  const realStamps = JSON.parse(new TextDecoder().decode(sample('real-stamps.json')));
  it.each(Object.keys(realStamps))('and a real one: %s', async (name) => {
    const real = realStamps[name];
    const chain = (real.chain as string[]).map((text) => parseBase64(text, 'test'));
    const [token, stamped] = [parseBase64(real.token, 'test'), parseBase64(real.data, 'test')];
    const found = await verifyTimestamp(token, stamped, chain);
    expect(found).toEqual({ atS: real.at, authority: real.authority, saysQualified: false });
  });

  it.each(names)('%s: hold for their bytes and their authority alone', async (name) => {
    const { token, chain } = read(name);
    const other = read(names.find((one) => one !== name) ?? '').chain;
    expect((await verifyTimestamp(token, utf8(data), chain)).authority).toBe('Ordinary time stamping unit');
    expect(await codeOf(() => verifyTimestamp(token, utf8(`${data}x`), chain))).toBe('timestamp_invalid');
    expect(await codeOf(() => verifyTimestamp(token, utf8(data), other))).toBe('timestamp_invalid');
    const mixed = [...chain.slice(0, 1), ...other.slice(1)];
    expect(await codeOf(() => verifyTimestamp(token, utf8(data), mixed))).toBe('timestamp_invalid');
    const [type, policy] = [
      indexOf(token, '\u0006\u0009*\u0086H\u0086÷\r\u0001\u0009\u0003'),
      indexOf(token, '\u0006\u0004*\u0003\u0004\u0001'),
    ];
    for (const at of [type + 10, policy + 3]) {
      expect(await codeOf(() => verifyTimestamp(flipped(token, at), utf8(data), chain))).toBe('timestamp_invalid');
    }
  });
});

describe('containers', () => {
  const raw = sample('anchored.asice');

  it.each([
    ['longer', concat(raw, bytes(0))],
    ['shorter', raw.slice(0, -1)],
    ['of another type', replaced(raw, 'asic-e+zip', 'asic-s+zip')],
    ['with another name in front', replaced(raw, 'receipt.jws', 'receipt.jwx')],
    ['with a flag', flipped(raw, 6)],
    ['empty', bytes()],
  ])('%s are refused', async (_, changed) => {
    expect(await codeOf(() => unpackContainer(changed))).toBe('bundle_malformed');
  });
});

describe('documents', () => {
  const raw = sample('proof.pdf');

  it('carry the files of the proof', async () => {
    const { files } = await readDocument(raw);
    expect([...files.keys()]).toContain('manifest.json');
    expect([...files.keys()]).toContain('anchors/independent.tst');
  });

  it.each([
    ['unsigned', sample('unsigned.pdf'), 'document_signature_invalid'],
    ['longer', concat(raw, bytes(10)), 'document_malformed'],
    ['with another catalogue', replaced(raw, '/Lang(en', '/Lang(fr'), 'document_malformed'],
    ['with another page', flipped(raw, indexOf(raw, 'endstream') - 4), 'document_altered'],
    ['with another signature', flipped(raw, indexOf(raw, '/Contents <') + 100), 'document_malformed'],
    ['cut', raw.slice(0, 5000), 'document_malformed'],
    ['with a script', replaced(raw, '/Lang', '/AA  '), 'document_malformed'],
  ])('%s are refused', async (_, changed, code) => {
    expect(await codeOf(() => readDocument(changed))).toBe(code);
  });

  it('end in a code whatever byte is changed, but for the time stamp that its signature cannot cover', async () => {
    const gap = indexOf(raw, '/Contents <');
    for (let at = 0; at < raw.length; at += 331) {
      if (at > gap && at < gap + 16_400) continue;
      expect(await codeOf(() => readDocument(flipped(raw, at)))).toMatch(/^document_/);
    }
  });
});

describe('the report', () => {
  it.each([
    ['anchored.asice', 'valid', {}],
    ['recorded.asice', 'valid', {}],
    ['withdrawn.asice', 'withdrawn', { status: 'objection_withdrawn' }],
    ['forked.asice', 'invalid', { later: 'consistency_mismatch' }],
    ['proof.pdf', 'valid', {}],
    ['stranger.pdf', 'invalid', { document: 'document_signature_invalid' }],
    ['token.txt', 'valid', {}],
    ['presentation.txt', 'valid', {}],
  ])('%s: %s', async (name, verdict, expected) => {
    const report = await verified(sample(name));
    expect(report.verdict).toBe(verdict);
    expect(failures(report)).toEqual(expected);
    expect(report.shows.length > 0).toBe(verdict !== 'invalid');
  });

  it('says whose keys were used', async () => {
    expect((await verified(sample('proof.pdf'))).facts.keys_from).toBe('policy');
    const unpinned = await verified(sample('proof.pdf'), { pinned: false });
    expect(unpinned.facts.keys_from).toBe('bundle');
    expect(unpinned.doesNotShow).toContain('keys');
    expect((await verified(sample('token.txt'), { pinned: false })).verdict).toBe('invalid');
  });

  it('gives the fingerprint that sha256sum prints of what the register serves', async () => {
    const raw = sample('policy.json');
    const { fingerprint } = await parsePinnedPolicy(raw, 'file');
    expect(fingerprint).toBe(await sha256Hex(raw));
    const noted = replaced(raw, 'quorum both', '#uorum both'); // a comment, and so no quorum
    expect(await codeOf(() => parsePinnedPolicy(noted, 'file'))).toBe('policy_malformed');
    const text = new TextDecoder().decode(raw).replace('"log":"', '"log":"# a comment\\n\\n');
    expect((await parsePinnedPolicy(utf8(text), 'file')).fingerprint).toBe(fingerprint);
  });

  it('calls nothing independent whose keys the proof brought itself', async () => {
    for (const name of ['anchored.asice', 'proof.pdf']) {
      const unpinned = await verified(sample(name), { pinned: false });
      expect(unpinned.shows).toEqual(['objection', 'logged']);
      expect(unpinned.doesNotShow).toContain('time');
      const checked = { report: unpinned, name, sha256: '', checkedAtS: 0, expected: undefined };
      expect(headlineOf(checked)).toBe('unpinned');
      const pinned = await verified(sample(name));
      expect(pinned.shows).toEqual(['objection', 'logged', 'anchored', 'witnessed']);
      expect(headlineOf({ ...checked, report: pinned })).toBe('valid');
    }
  });

  it('gives what was added later a time of its own', async () => {
    const { facts } = await verified(sample('withdrawn.asice'));
    const [supplement, withdrawal] = facts.later ?? [];
    expect(facts.state).toBe('anchored');
    expect(supplement?.anchored_at).toBeGreaterThanOrEqual(facts.anchored_at ?? Number.NaN);
    expect(withdrawal?.anchored_at).toBeUndefined();
    const unpinned = await verified(sample('withdrawn.asice'), { pinned: false });
    expect(unpinned.facts.state).toBe('recorded');
    expect(unpinned.facts.anchored_at).toBeUndefined();
    expect(unpinned.facts.later?.map(({ anchored_at }) => anchored_at)).toEqual([undefined, undefined]);
  });

  it('refuses what is no proof', async () => {
    expect(await codeOf(() => verified(utf8('hello')))).toBe('file_unrecognised');
  });
});
