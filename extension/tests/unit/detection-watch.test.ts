// @vitest-environment jsdom
// @vitest-environment-options { "url": "https://www.facebook.com/" }
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { FoundNotice } from '../../src/page/watch';
import { watchForNotice } from '../../src/page/watch';

const NOTICE = '<h2>Improving AI at Meta</h2><p>We rely on legitimate interests.</p>';
let seen: (FoundNotice | undefined)[];
let watch: ReturnType<typeof watchForNotice>;

/** Mutation observers report in a microtask. */
const settle = () => new Promise((resolve) => setTimeout(resolve));

function add(html: string, parent: Element = document.body): Element {
  parent.insertAdjacentHTML('beforeend', html);
  return parent.lastElementChild as Element;
}

beforeEach(() => {
  document.body.innerHTML = '<div role="feed"></div>';
  seen = [];
  watch = watchForNotice(document, (found) => seen.push(found));
});
afterEach(() => {
  watch.stop();
  vi.useRealTimers();
  history.replaceState(null, '', '/');
});

test('a notice that arrives whole is found once', async () => {
  const dialog = add(`<div role="dialog">${NOTICE}</div>`);
  await settle();
  expect(seen.map((found) => found?.element)).toEqual([dialog]);
  expect(watch.current()?.text).toBe('Improving AI at Meta We rely on legitimate interests.');
});

test('a notice that arrives in an added subtree is found', async () => {
  add(`<div><div><div role="dialog">${NOTICE}</div></div></div>`);
  await settle();
  expect(seen).toHaveLength(1);
});

test('a notice that is built piece by piece is found when it says enough', async () => {
  const dialog = add('<div role="dialog"><h2></h2><p></p></div>');
  await settle();
  dialog.querySelector('h2')?.append('Improving AI at Meta');
  await settle();
  expect(seen).toHaveLength(0);
  dialog.querySelector('p')?.append('We rely on legitimate interests.');
  await settle();
  expect(seen).toHaveLength(1);
});

test('text that changes in place is read again', async () => {
  const dialog = add('<div role="dialog"><p>Loading AI at Meta</p></div>');
  await settle();
  const text = dialog.querySelector('p')?.firstChild;
  if (text) text.nodeValue = 'AI at Meta: your right to object';
  await settle();
  expect(seen).toHaveLength(1);
});

test('a role that is given later makes a place', async () => {
  const box = add(`<div>${NOTICE}</div>`);
  await settle();
  expect(seen).toHaveLength(0);
  box.setAttribute('role', 'dialog');
  await settle();
  expect(seen).toHaveLength(1);
});

test('a notice that is taken away is reported gone', async () => {
  const dialog = add(`<div role="dialog">${NOTICE}</div>`);
  await settle();
  dialog.remove();
  await settle();
  expect(seen).toHaveLength(2);
  expect(watch.current()).toBeUndefined();
});

test('feed churn beside a notice does not report it again', async () => {
  add(`<div role="dialog">${NOTICE}</div>`);
  await settle();
  const feed = document.querySelector('[role=feed]') as Element;
  for (let i = 0; i < 5; i++) add(`<div role="article">${NOTICE}</div>`, feed);
  await settle();
  expect(seen).toHaveLength(1);
});

test('a quotation in the feed is never reported', async () => {
  const feed = document.querySelector('[role=feed]') as Element;
  const article = add('<div role="article"><div role="region"></div></div>', feed);
  await settle();
  add(NOTICE, article.firstElementChild as Element);
  await settle();
  expect(seen).toHaveLength(0);
});

test('a single-page navigation to the objection form is seen', async () => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
  watch.stop();
  watch = watchForNotice(document, (found) => seen.push(found));
  history.pushState(null, '', '/help/contact/712876720715583');
  vi.advanceTimersByTime(1_000);
  expect(seen.map((found) => found?.rule)).toEqual(['facebook.form']);
  history.pushState(null, '', '/');
  vi.advanceTimersByTime(1_000);
  expect(watch.current()).toBeUndefined();
});

test('a notice shown by style alone is seen', async () => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
  watch.stop();
  watch = watchForNotice(document, (found) => seen.push(found));
  const dialog = add(`<div role="dialog" style="display:none">${NOTICE}</div>`) as HTMLElement;
  await settle();
  expect(seen).toHaveLength(0);
  dialog.style.display = 'block';
  vi.advanceTimersByTime(1_000);
  expect(seen).toHaveLength(1);
});

test('after stop nothing is reported', async () => {
  watch.stop();
  add(`<div role="dialog">${NOTICE}</div>`);
  await settle();
  expect(seen).toHaveLength(0);
});
