// @vitest-environment jsdom
// @vitest-environment-options { "url": "https://www.facebook.com/" }
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { findNotice } from '../../src/page/detection';
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
  document.body.innerHTML = '<nav>Meta</nav><div role="feed"></div>';
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

test('a notice that stays is told of once a second, for what stands beside it may be gone', () => {
  watch.stop();
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
  add(`<div role="dialog">${NOTICE}</div>`);
  watch = watchForNotice(document, (found) => seen.push(found));
  vi.advanceTimersByTime(3_000);
  expect(seen.length).toBe(4);
  expect(new Set(seen.map((found) => found?.element)).size).toBe(1);
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

test('a form that is not drawn yet is waited for', async () => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
  watch.stop();
  document.body.innerHTML = '';
  watch = watchForNotice(document, (found) => seen.push(found));
  history.pushState(null, '', '/help/contact/712876720715583');
  vi.advanceTimersByTime(1_000);
  expect(seen).toHaveLength(0);
  add('<main>The form</main>');
  vi.advanceTimersByTime(1_000);
  expect(seen.map((found) => found?.text)).toEqual(['The form']);
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

test('a notice in a hidden part of the page is seen when that part is shown', async () => {
  const part = add(`<div hidden><div><div role="dialog">${NOTICE}</div></div></div>`);
  await settle();
  expect(seen).toHaveLength(0);
  part.removeAttribute('hidden');
  await settle();
  expect(seen).toHaveLength(1);
});

test('a notice whose background hides it is reported gone', async () => {
  const part = add(`<div><div role="dialog">${NOTICE}</div></div>`);
  await settle();
  part.setAttribute('aria-hidden', 'true');
  await settle();
  expect(seen).toEqual([expect.objectContaining({ rule: 'facebook.dialog' }), undefined]);
});

test('a notice that says more is reported again, with what it says', async () => {
  const dialog = add(`<div role="dialog">${NOTICE}</div>`);
  await settle();
  dialog.insertAdjacentHTML('beforeend', '<p>You have the right to object.</p>');
  await settle();
  expect(seen.map((found) => found?.text)).toEqual([
    'Improving AI at Meta We rely on legitimate interests.',
    'Improving AI at Meta We rely on legitimate interests. You have the right to object.',
  ]);
});

test('a link that gets its address late is followed', async () => {
  const dialog = add('<div role="dialog"><p>News</p><a>More</a></div>');
  await settle();
  expect(seen).toHaveLength(0);
  dialog.querySelector('a')?.setAttribute('href', '/help/contact/712876720715583');
  await settle();
  expect(seen).toHaveLength(1);
});

const PANES = ['<div role="dialog" aria-label="Notifications"></div>', '<aside aria-label="Notifications"></aside>'];

test.each(PANES)('an entry that arrives in an open pane of notifications is found: %s', async (html) => {
  const pane = add(html);
  add('<ul><li>Ben liked your photo.</li></ul>', pane);
  await settle();
  const entry = add(`<li>${NOTICE}</li>`, pane.querySelector('ul') as Element);
  await settle();
  expect(seen.map((found) => found?.element)).toEqual([entry]);
  expect(watch.current()?.rule).toBe('facebook.notification');
});

test.each(PANES)('a pane that arrives with its entries is looked through: %s', async (html) => {
  const [start, end] = html.split('></');
  add(`${start}><ul><li>${NOTICE}</li></ul></${end}`);
  await settle();
  expect(watch.current()?.rule).toBe('facebook.notification');
});

test('a dialog that turns out to show a post is taken back', async () => {
  const dialog = add(`<div role="dialog">${NOTICE}</div>`);
  await settle();
  add('<div role="article">A comment</div>', dialog);
  await settle();
  expect(watch.current()).toBeUndefined();
});

test('a dialog over a notification is the notice', async () => {
  add(`<div role="region">${NOTICE}</div>`);
  await settle();
  const dialog = add(`<div role="dialog">${NOTICE}</div>`);
  await settle();
  expect(watch.current()?.element).toBe(dialog);
});

test('what no watched change announces is seen by the look at the whole page', async () => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
  watch.stop();
  add(`<h2>Notifications</h2><aside aria-labelledby="heading"><ul><li>${NOTICE}</li></ul></aside>`);
  watch = watchForNotice(document, (found) => seen.push(found));
  const heading = document.querySelector('h2');
  if (heading) heading.id = 'heading';
  await settle();
  expect(seen).toHaveLength(0);
  vi.advanceTimersByTime(5_000);
  expect(seen).toHaveLength(1);
});

test('a navigation is noticed with the first change after it', async () => {
  history.pushState(null, '', '/help/contact/712876720715583');
  add('<p>Loading</p>', document.querySelector('[role=feed]') as Element);
  await settle();
  expect(seen.map((found) => found?.rule)).toEqual(['facebook.form']);
});

test('a notice is taken back when the dialog around it turns out to take comments', async () => {
  const outer = add(`<div aria-modal="true"><div role="dialog">${NOTICE}</div></div>`);
  await settle();
  expect(watch.current()?.element).toBe(outer.firstElementChild);
  add('<div role="textbox"></div>', outer);
  await settle();
  expect(watch.current()).toBeUndefined();
});

test('a notice that is there from the start is reported at once', () => {
  watch.stop();
  add(`<div role="dialog">${NOTICE}</div>`);
  watch = watchForNotice(document, (found) => seen.push(found));
  expect(seen).toHaveLength(1);
});

test('a notice that is drawn anew is reported again, with the element that is there', async () => {
  add(`<div role="dialog">${NOTICE}</div>`).replaceWith(add(`<div role="dialog">${NOTICE}</div>`));
  await settle();
  const second = add(`<div role="dialog">${NOTICE}</div>`);
  document.querySelector('[role=dialog]')?.replaceWith(second);
  await settle();
  expect(seen).toHaveLength(2);
  expect(watch.current()?.element).toBe(second);
});

test('a notice that stays through a navigation is reported with the new address', async () => {
  add(`<div role="dialog">${NOTICE}</div>`);
  await settle();
  history.pushState(null, '', '/privacy/center');
  add('<p>Privacy</p>');
  await settle();
  expect(seen.map((found) => found?.url)).toEqual([
    'https://www.facebook.com/',
    'https://www.facebook.com/privacy/center',
  ]);
});

test('a notice that is moved into a post is one no longer', async () => {
  const dialog = add(`<div role="dialog">${NOTICE}</div>`);
  await settle();
  add('<div role="article"></div>', document.querySelector('[role=feed]') as Element).append(dialog);
  await settle();
  expect(watch.current()).toBeUndefined();
});

test('a page in the background is left alone', async () => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
  watch.stop();
  watch = watchForNotice(document, (found) => seen.push(found));
  const hidden = vi.spyOn(document, 'hidden', 'get').mockReturnValue(true);
  history.pushState(null, '', '/help/contact/712876720715583');
  vi.advanceTimersByTime(10_000);
  expect(seen).toHaveLength(0);
  hidden.mockReturnValue(false);
  vi.advanceTimersByTime(1_000);
  expect(seen).toHaveLength(1);
});

/** A small generator, so that a failure can be repeated (mulberry32). */
function randomNumbers(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

const PIECES = [
  '<p>AI at Meta</p>',
  '<p>legitimate interests</p>',
  '<div role="dialog"></div>',
  '<div role="region"></div>',
  '<div role="article"></div>',
  '<div role="dialog" aria-label="Notifications"><ul><li></li></ul></div>',
  '<li></li>',
  '<div role="textbox"></div>',
  `<div role="dialog">${NOTICE}</div>`,
  '<a href="/help/contact/712876720715583">x</a>',
  '<p>lunch</p>',
];

test.each(Array.from({ length: 20 }, (_, seed) => seed))(
  'whatever happens, what is watched is what a fresh look finds (seed %i)',
  async (seed) => {
    const below = randomNumbers(seed);
    for (let step = 0; step < 25; step++) {
      for (let changes = 1 + below(3); changes > 0; changes--) changeSomething(below);
      await settle();
      const fresh = findNotice(document, document.location);
      expect(watch.current()?.element).toBe(fresh?.element);
      expect(watch.current()?.text).toBe(fresh?.text);
    }
  },
);

function changeSomething(below: (limit: number) => number): void {
  const all = [document.body, ...document.body.querySelectorAll('*')];
  const some = all[below(all.length)] as Element;
  const kind = below(8);
  if (kind < 4) some.insertAdjacentHTML('beforeend', PIECES[below(PIECES.length)] as string);
  if (kind === 4 && some !== document.body) some.remove();
  if (kind === 5 && some !== document.body) some.toggleAttribute('hidden');
  if (kind === 6 && some.firstChild?.nodeType === Node.TEXT_NODE) some.firstChild.nodeValue = 'AI at Meta';
  if (kind === 7) {
    const target = all[below(all.length)] as Element;
    if (!some.contains(target) && some !== document.body) target.append(some);
  }
}

test('after stop nothing is reported', async () => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
  watch.stop();
  watch = watchForNotice(document, (found) => seen.push(found));
  watch.stop();
  add(`<div role="dialog">${NOTICE}</div>`);
  await settle();
  expect(seen).toHaveLength(0);
  vi.advanceTimersByTime(10_000);
  expect(seen).toHaveLength(0);
});
