/**
 * What detection costs per mutation batch: the real watcher, bundled as for production, in real Chromium, on a feed of
 * 10,000 nodes. Each call of its MutationObserver is timed from outside; nothing is sampled or left out.
 */
import { existsSync } from 'node:fs';
import { chromium } from 'playwright-core';
import { build } from 'vite';

const NODES = 10_000;
const BATCHES = 300;
const CHROMIUM = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find(existsSync);
const ENTRY = `
import { watchForNotice } from '/src/page/watch';
window.start = (found) => watchForNotice(document, found);`;

const bundled = await build({
  root: new URL('..', import.meta.url).pathname,
  configFile: false,
  logLevel: 'error',
  publicDir: false,
  define: { __PRACTICE__: 'false' },
  plugins: [
    {
      name: 'entry',
      resolveId: (id) => (id === 'entry' ? '\0entry' : undefined),
      load: (id) => (id === '\0entry' ? ENTRY : undefined),
    },
  ],
  build: { write: false, rollupOptions: { input: 'entry', output: { format: 'iife' } } },
});
const { code } = bundled.output[0];

const browser = await chromium.launch({ executablePath: CHROMIUM, headless: true, chromiumSandbox: false });
try {
  const page = await browser.newPage();
  await page.route('**/*', (route) =>
    route.fulfill({ contentType: 'text/html', body: '<!doctype html><html lang="en">' }),
  );
  await page.goto('https://www.facebook.com/');
  await page.evaluate(prepare);
  await page.addScriptTag({ content: code });
  const result = await page.evaluate(measure, { nodes: NODES, batches: BATCHES });
  if (!result.found) throw new Error('the notice at the end was not found: what was measured does not work');
  const { costs, nodes } = result;
  costs.sort((a, b) => a - b);
  const at = (share) => Number(costs[Math.min(costs.length - 1, Math.floor(costs.length * share))].toFixed(3));
  const summary = { p50_ms: at(0.5), p95_ms: at(0.95), p99_ms: at(0.99), max_ms: at(1), batches: costs.length, nodes };
  console.log(`\ndetection, ms per mutation batch on a page of ${nodes} nodes (${costs.length} batches)`);
  console.log(`  p50 ${summary.p50_ms}   p95 ${summary.p95_ms}   p99 ${summary.p99_ms}   max ${summary.max_ms}`);
  console.log(JSON.stringify(summary));
} finally {
  await browser.close();
}

/** In the page: time every call of every MutationObserver that is made from here on. */
function prepare() {
  window.costs = [];
  const Observer = window.MutationObserver;
  window.MutationObserver = class extends Observer {
    constructor(callback) {
      super((...all) => {
        const start = performance.now();
        callback(...all);
        window.costs.push(performance.now() - start);
      });
    }
  };
}

/** In the page: a feed with side columns, then churn as it is there: posts, comments, presence, menus, navigation. */
async function measure({ nodes, batches }) {
  const words = 'We rely on each other, and people aged 18 or over like posts about the sea, work, AI and lunch. ';
  const post = (i) =>
    `<div role="article"><div><h3><span>Person ${i}</span></h3><p>${words.repeat(3)}</p><img alt="">
     <ul>${'<li><span>Nice!</span> <a href="/x">Like</a></li>'.repeat(5)}</ul></div></div>`;
  document.body.innerHTML = `<div role="banner"><nav>${'<a href="/n"><span>Menu</span></a>'.repeat(20)}</nav></div>
    <div role="region" aria-label="Contacts"><ul>${'<li><span>Friend</span></li>'.repeat(200)}</ul></div>
    <div role="main"><div role="feed"></div></div>`;
  const feed = document.querySelector('[role=feed]');
  for (let i = 0; document.querySelectorAll('*').length < nodes; i++) feed.insertAdjacentHTML('beforeend', post(i));
  const count = document.querySelectorAll('*').length;
  let found;
  window.start((notice) => {
    found = notice;
  });
  const friends = document.querySelectorAll('[role=region] li span');
  const next = () => new Promise((resolve) => setTimeout(resolve));
  for (let i = 0; i < batches; i++) {
    const kind = i % 6;
    if (kind === 0) feed.insertAdjacentHTML('beforeend', post(i));
    if (kind === 1) feed.insertAdjacentHTML('beforeend', Array.from({ length: 10 }, (_, n) => post(i + n)).join(''));
    if (kind === 2) feed.children[i % feed.children.length].querySelector('p').firstChild.nodeValue = `${words}${i}`;
    if (kind === 3) friends[i % friends.length].textContent = `Friend ${i}`;
    if (kind === 4)
      document.body.insertAdjacentHTML('beforeend', `<div role="dialog"><ul>${'<li>Item</li>'.repeat(40)}</ul></div>`);
    if (kind === 5) document.body.querySelector('[role=dialog]')?.remove();
    if (i % 50 === 49) history.pushState(null, '', `/groups/${i}`);
    await next();
  }
  document.body.insertAdjacentHTML('beforeend', '<div role="dialog">AI at Meta: legitimate interests</div>');
  await next();
  return { costs: window.costs, found: found !== undefined, nodes: count };
}
