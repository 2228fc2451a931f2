/** Draws public/icons/*.png from assets/icon.svg. Run by hand after changing the drawing; the results are committed. */
import { readFile } from 'node:fs/promises';
import { chromium } from 'playwright-core';

const root = new URL('../', import.meta.url);
const svg = await readFile(new URL('assets/icon.svg', root), 'utf8');
const browser = await chromium.launch({ executablePath: '/usr/bin/chromium', chromiumSandbox: false });
for (const size of [16, 32, 48, 128]) {
  const page = await browser.newPage({ viewport: { width: size, height: size } });
  await page.setContent(`<style>*{margin:0}svg{display:block;width:${size}px;height:${size}px}</style>${svg}`);
  await page.screenshot({ path: new URL(`public/icons/${size}.png`, root).pathname, omitBackground: true });
}
await browser.close();
