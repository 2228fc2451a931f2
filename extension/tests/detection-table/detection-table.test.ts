// @vitest-environment jsdom
/** Every fixture page, what must be found on it and what is found, as a table. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { findNotice } from '../../src/page/detection';

const PAGES = join(import.meta.dirname, '../fixtures/pages');
const HEAD = /^<!-- url: (\S+) expect: (.+?) -->\n/;
const AT_LEAST = 16;
const WIDTHS = [54, 48, 24, 18, 9];
const rows = [['page', 'expected', 'found rule', 'channel', 'language', 'ok']];

function readPages(kind: string) {
  return readdirSync(join(PAGES, kind)).map((file) => {
    const html = readFileSync(join(PAGES, kind, file), 'utf8');
    const [, url, expected] = html.match(HEAD) ?? [];
    if (!url || !expected) throw new Error(`${file} does not say what is expected of it`);
    return { file: `${kind}/${file}`, url: url.replaceAll('&amp;', '&'), expected, html };
  });
}

function detect(html: string, url: string) {
  document.open();
  document.write(html);
  document.close();
  const base = document.createElement('base');
  base.href = url;
  document.head.append(base);
  return findNotice(document, new URL(url));
}

describe.each(['positive', 'negative'])('%s pages', (kind) => {
  const pages = readPages(kind);

  test('there are enough of them, each in the folder it belongs in', () => {
    expect(pages.length).toBeGreaterThanOrEqual(AT_LEAST);
    expect(pages.filter(({ expected }) => (expected === 'nothing') !== (kind === 'negative'))).toEqual([]);
  });

  test.each(pages)('$file', ({ file, html, url, expected }) => {
    const found = detect(html, url);
    const told = found ? `${found.rule} ${found.channel} ${found.language}` : 'nothing';
    const { rule = '-', channel = '-', language = '-' } = found ?? {};
    rows.push([file, expected, rule, channel, language, told === expected ? 'ok' : 'WRONG']);
    expect(told).toBe(expected);
  });
});

afterAll(() => {
  console.info(rows.map((row) => row.map((cell, i) => cell.padEnd(WIDTHS[i] ?? 0)).join(' ')).join('\n'));
});
