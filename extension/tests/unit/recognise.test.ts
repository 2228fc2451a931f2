/** What is no proof as it is: copies that programs changed, by real programs; and what was never a proof. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { deflateSync, gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { type Bytes, concat, utf8 } from '../../src/core/encoding';
import { ChangedCopy } from '../../src/core/recognise';
import { codeOf, failures, sample, verified } from '../support/samples';

const [container, certificate] = [sample('anchored.asice'), sample('proof.pdf')];

/** Runs `work` in a folder of its own, in which `raw` is the file IN; returns the file OUT. */
function inFolder(raw: Bytes, work: (run: (...command: string[]) => void) => void): Bytes {
  const folder = mkdtempSync(join(tmpdir(), 'copy-'));
  try {
    writeFileSync(join(folder, 'IN'), raw);
    work((program = '', ...rest) => execFileSync(program, rest, { cwd: folder, stdio: 'ignore' }));
    return Uint8Array.from(readFileSync(join(folder, 'OUT')));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function zipped(raw: Bytes): Bytes {
  return inFolder(raw, (run) => {
    run('zip', '-q', 'OUT.zip', 'IN');
    run('mv', 'OUT.zip', 'OUT');
  });
}

function bytesOf(text: string, encoding: BufferEncoding = 'latin1'): Bytes {
  return Uint8Array.from(Buffer.from(text, encoding));
}

const text = (raw: Bytes) => Buffer.from(raw).toString('latin1');
const base64 = (raw: Bytes) => Buffer.from(raw).toString('base64');

const swapped = (raw: Bytes) => Uint8Array.from(Buffer.from(raw).swap16());
const quotedPrintable = (raw: Bytes) =>
  text(raw).replace(/[^ -<>-~\n]/g, (one) => `=${one.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`);

async function copyOf(raw: Bytes): Promise<ChangedCopy> {
  const error = await verified(raw).catch((reason) => reason);
  expect(error).toBeInstanceOf(ChangedCopy);
  expect(error.code).toBe('file_resaved');
  return error;
}

describe('a copy that a program changed', () => {
  const ofBoth: [string, string, (raw: Bytes) => Bytes][] = [
    ['with lines as on Windows', 'line-ends', (raw) => bytesOf(text(raw).replace(/\n/g, '\r\n'))],
    ['with lines as on old Macs', 'line-ends', (raw) => bytesOf(text(raw).replace(/\n/g, '\r'))],
    ['taken for Latin-1', 'recoded', (raw) => bytesOf(text(raw), 'utf8')],
    ['in base64', 'base64', (raw) => utf8(base64(raw).replace(/.{76}/g, '$&\r\n'))],
    ['in a mail', 'base64', (raw) => utf8(`Subject: x\n\nJVBERi0xLjQ=\n--x\n\n${base64(raw)}\n--x--\n`)],
    ['in gzip', 'gzip', (raw) => Uint8Array.from(gzipSync(raw))],
    ['behind a byte order mark', 'wrapped', (raw) => concat(utf8('\ufeff'), raw)],
    ['in UTF-8 with a mark', 'wrapped', (raw) => utf8(`\ufeff${text(raw)}`)],
    ['in UTF-16', 'recoded', (raw) => bytesOf(`\ufeff${text(raw)}`, 'utf16le')],
    ['in UTF-16, big-endian', 'recoded', (raw) => swapped(bytesOf(`\ufeff${text(raw)}`, 'utf16le'))],
    ['in a mail in quoted-printable', 'recoded', (raw) => utf8(`Subject: x\n\n${quotedPrintable(raw)}`)],
    ['in base64, quoted', 'base64', (raw) => utf8(base64(raw).replace(/.{76}/g, '$& \n> '))],
    ['in base64url', 'base64', (raw) => utf8(Buffer.from(raw).toString('base64url'))],
  ];
  const cases = ofBoth.flatMap(([name, noticed, change]): [string, string, Bytes][] => [
    [`a container ${name}`, noticed, change(container)],
    [`a certificate ${name}`, noticed, change(certificate)],
  ]);
  const qpdf = (...options: string[]) => inFolder(certificate, (run) => run('qpdf', ...options, 'IN', 'OUT'));

  it.each([
    ...cases,
    ['a certificate with lines as on Unix', 'line-ends', bytesOf(text(certificate).replace(/\r\n/g, '\n'))],
    ['a certificate saved by qpdf', 'saved-again', qpdf()],
    ['a certificate, readable', 'saved-again', qpdf('--qdf')],
    ['a certificate, linearised', 'saved-again', qpdf('--linearize', '--object-streams=generate')],
    ['a printed certificate', 'printed', sample('printed.pdf')],
    [
      'a container zipped again',
      'zipped-again',
      inFolder(container, (run) => {
        run('unzip', '-q', 'IN', '-d', 'files');
        run('zip', '-q', '-r', 'OUT.zip', 'files');
        run('mv', 'OUT.zip', 'OUT');
      }),
    ],
  ])('%s is told from a false one: %s', async (_, noticed, raw) => {
    expect((await copyOf(raw)).noticed).toBe(noticed);
  });

  it('in a ZIP is named', async () => {
    for (const raw of [container, certificate]) {
      expect((await copyOf(zipped(raw))).inner).toBe('IN');
      expect((await copyOf(zipped(zipped(raw)))).inner).toBe('IN');
    }
  });
});

describe('what is damaged', () => {
  it.each([
    ['a container', container],
    ['a certificate', certificate],
  ])('%s stays a verdict: one failed check, and others that were not checked', async (_, raw) => {
    const report = await verified(raw.slice(0, -30));
    expect(report.verdict).toBe('invalid');
    expect(Object.keys(failures(report))).toEqual(['container']);
    const unchecked = report.checks.filter(({ outcome }) => outcome === 'not-checked');
    expect(unchecked.length).toBeGreaterThan(10);
    expect(unchecked.filter(({ code }) => code)).toEqual([]);
  });
});

describe('looking is bounded', () => {
  const stream = (data: string, about = '') => `1 0 obj\n<<${about}>>\nstream\n${data}\nendstream\nendobj\n`;
  const bomb = stream(text(Uint8Array.from(deflateSync(new Uint8Array(2 ** 20 - 1)))), '/FlateDecode');
  const tooLarge = stream(text(Uint8Array.from(deflateSync(new Uint8Array(2 ** 20 + 1)))), '/FlateDecode');
  const ranges = stream(`beginbfrange ${'<0000> <ffff> <0000>\n'.repeat(12_000)}endbfrange`);
  it.each([
    ['bombs', bomb.repeat(4000)],
    ['bombs that are too large', tooLarge.repeat(4000)],
    ['ranges', ranges.repeat(8)],
    ['strings that do not end', stream(`Tj ${'(\\'.repeat(2 ** 19)}`)],
    ['a string that does not end', stream(`Tj (x${'\\('.repeat(2 ** 19 - 4)}\\`)],
    ['lists that do not end', stream('beginbfchar '.repeat(20_000))],
    ['lists of lists that do not end', stream(`beginbfrange ${'<00><00>['.repeat(28_000)}endbfrange`)],
  ])('of %s', async (_, body) => {
    const raw = bytesOf(`%PDF-1.7\n${body}`);
    const start = process.cpuUsage();
    expect(await codeOf(() => verified(raw))).toBe('file_unrecognised');
    expect(process.cpuUsage(start).user / 1e6).toBeLessThan(5);
  });

  it('of PDFs in a ZIP, together', async () => {
    const raw = inFolder(bytesOf(`%PDF-1.7\n${bomb.repeat(16)}`), (run) => {
      for (let n = 0; n < 100; n++) run('ln', 'IN', `${n}`);
      run('zip', '-q', '-r', 'OUT.zip', '.');
      run('mv', 'OUT.zip', 'OUT');
    });
    const start = process.cpuUsage();
    expect(await codeOf(() => verified(raw))).toBe('file_unrecognised');
    expect(process.cpuUsage(start).user / 1e6).toBeLessThan(5);
  });
});

describe('what was never a proof', () => {
  it.each([
    ['a PDF', utf8('%PDF-1.4\n1 0 obj\n<<>>\nendobj\n')],
    ['a ZIP', zipped(utf8('something else'))],
    ['a PDF in a ZIP', zipped(utf8('%PDF-1.4\n'))],
    ['the head of a ZIP', utf8('PK\u0003\u0004')],
    ['base64 of a PDF', utf8('JVBERi0xLjQK')],
    ['our own description', bytesOf(readFileSync('../docs/formats.md', 'latin1'))],
    ['nothing', new Uint8Array()],
  ])('%s is said to be none', async (_, raw) => {
    expect(await codeOf(() => verified(raw))).toBe('file_unrecognised');
  });
});
