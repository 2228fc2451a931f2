/**
 * What detection costs per mutation batch: the real watcher, bundled as for production, in real Chromium, on a feed of
 * 10,000 nodes. Each call of its MutationObserver is timed from outside; nothing is sampled or left out. What it does
 * once a second besides, a look at the whole page, is timed on its own.
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
  const { costs, finding, beside, rechecks, nodes } = result;
  const percentiles = (values) => {
    const sorted = values.toSorted((a, b) => a - b);
    const at = (share) => Number(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))].toFixed(3));
    return { p50_ms: at(0.5), p95_ms: at(0.95), p99_ms: at(0.99), max_ms: at(1) };
  };
  const summary = {
    ...percentiles(costs),
    batches: costs.length,
    nodes,
    finding_ms: percentiles(finding).max_ms,
    beside_notice: percentiles(beside),
    recheck: percentiles(rechecks),
  };
  console.log(`\ndetection, ms per mutation batch on a page of ${nodes} nodes (${costs.length} batches)`);
  console.log(`  p50 ${summary.p50_ms}   p95 ${summary.p95_ms}   p99 ${summary.p99_ms}   max ${summary.max_ms}`);
  console.log(
    `  the look at the whole page once a second: p50 ${summary.recheck.p50_ms}   max ${summary.recheck.max_ms}`,
  );
  console.log(JSON.stringify(summary));
} finally {
  await browser.close();
}

/** In the page: time every call of every MutationObserver and interval that is made from here on. */
function prepare() {
  window.costs = [];
  window.rechecks = [];
  const every = window.setInterval;
  window.setInterval = (callback, time) => {
    window.recheck = () => {
      const start = performance.now();
      callback();
      window.rechecks.push(performance.now() - start);
    };
    return every(window.recheck, time);
  };
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
    <div role="main"><div id="panel"></div><div role="feed"></div></div>`;
  const panel = document.getElementById('panel');
  const feed = document.querySelector('[role=feed]');
  for (let i = 0; document.querySelectorAll('*').length < nodes; i++) feed.insertAdjacentHTML('beforeend', post(i));
  const count = document.querySelectorAll('*').length;
  let found;
  window.start((notice) => {
    found = notice;
  });
  const friends = document.querySelectorAll('[role=region] li span');
  const next = () => new Promise((resolve) => setTimeout(resolve));
  const churn = async (count) => {
    for (let i = 0; i < count; i++) await change(i);
    return window.costs.splice(0);
  };
  const change = async (i) => {
    const kind = i % 6;
    if (kind === 0) feed.insertAdjacentHTML('beforeend', post(i));
    if (kind === 1) feed.insertAdjacentHTML('beforeend', Array.from({ length: 10 }, (_, n) => post(i + n)).join(''));
    if (kind === 2) feed.children[i % feed.children.length].querySelector('p').firstChild.nodeValue = `${words}${i}`;
    if (kind === 3) friends[i % friends.length].textContent = `Friend ${i}`;
    if (kind === 4)
      document.body.insertAdjacentHTML('beforeend', `<div role="dialog"><ul>${'<li>Item</li>'.repeat(40)}</ul></div>`);
    if (kind === 5 && i % 12 === 5)
      panel.innerHTML = `<div>${'<div><span>Row</span></div>'.repeat(1 + (i % 67))}</div>`;
    if (kind === 5) document.body.querySelector('[role=dialog]:not(#notice)')?.remove();
    if (i % 50 === 49) history.pushState(null, '', `/groups/${i}`);
    await next();
  };
  const costs = await churn(batches);
  for (let i = 0; i < 30; i++) {
    feed.insertAdjacentHTML('beforeend', post(i)); // so that no style or selector cache is warm
    await next();
    window.recheck();
  }
  window.costs.length = 0;
  document.body.insertAdjacentHTML(
    'beforeend',
    '<div role="dialog" id="notice">AI at Meta: legitimate interests</div>',
  );
  await next();
  const finding = window.costs.splice(0);
  const beside = await churn(batches / 3);
  return { costs, finding, beside, rechecks: window.rechecks, found: found !== undefined, nodes: count };
}
