// @vitest-environment jsdom
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { findNotice } from '../../src/page/detection';

const PAGES = join(import.meta.dirname, '../fixtures/pages');
const HEAD = /^<!-- url: (\S+) expect: (.+?) -->\n/;
const rows: string[] = [];

function readPages(kind: string) {
  return readdirSync(join(PAGES, kind)).map((file) => {
    const html = readFileSync(join(PAGES, kind, file), 'utf8');
    const [, url, expected] = html.match(HEAD) ?? [];
    if (!url || !expected) throw new Error(`${file} does not say what is expected of it`);
    return { file: `${kind}/${file}`, url: url.replaceAll('&amp;', '&'), expected, html };
  });
}

function detect(html: string, url: string): string {
  document.open();
  document.write(html);
  document.close();
  const base = document.createElement('base');
  base.href = url;
  document.head.append(base);
  const found = findNotice(document, new URL(url));
  return found ? `${found.rule} ${found.channel} ${found.language}` : 'nothing';
}

describe.each(['positive', 'negative'])('%s pages', (kind) => {
  const pages = readPages(kind);

  test('there are enough of them', () => expect(pages.length).toBeGreaterThanOrEqual(16));

  test.each(pages)('$file', ({ file, html, url, expected }) => {
    const found = detect(html, url);
    rows.push(`${file.padEnd(48)} ${expected.padEnd(46)} ${found.padEnd(46)} ${found === expected ? 'ok' : 'WRONG'}`);
    expect(found).toBe(expected);
  });
});

afterAll(() => {
  const head = `${'page'.padEnd(48)} ${'expected'.padEnd(46)} ${'found'.padEnd(46)}`;
  console.info([head, ...rows].join('\n'));
});
