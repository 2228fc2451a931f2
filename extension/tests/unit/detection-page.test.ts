// @vitest-environment jsdom
// @vitest-environment-options { "url": "https://www.facebook.com/" }
import { expect, test, vi } from 'vitest';
import { MAX_TEXT } from '../../src/core/detection';
import { candidatesAround, candidatesIn, findNotice } from '../../src/page/detection';

const HOME = new URL('https://www.facebook.com/');
const WORDS = 'AI at Meta: legitimate interests. ';

function find(body: string, location = HOME) {
  document.body.innerHTML = body;
  return findNotice(document, location);
}

test('buttons are read as words of their own', () => {
  const found = find(`<div role="dialog"><p>${WORDS}</p><button>More</button><button>Object</button></div>`);
  expect(found?.text).toBe('AI at Meta: legitimate interests. More Object');
});

test('words that are split over spans are read as one', () => {
  const found = find('<div role="dialog">AI at Meta, <span>legit<b>imate</b></span> interests<br>Learn</div>');
  expect(found?.text).toBe('AI at Meta, legitimate interests Learn');
});

test('only what is shown, and not what others wrote, becomes the text', () => {
  const found = find(
    `<div role="dialog"><p>${WORDS}</p><p hidden>a</p><p aria-hidden="true">b</p><p style="display:none">c</p>
     <p style="visibility:hidden">d<b style="visibility:visible">e</b></p><script>f</script><blockquote>g</blockquote>
     <select><option>h</option></select><input value="i"></div>`,
  );
  expect(found?.text).toBe('AI at Meta: legitimate interests. e');
});

test('our card among the words leaves them as they were', () => {
  const words = 'AI at Meta: legitimate interests. Learn<a href="/x">more</a>';
  const card = '<div style="display:contents"></div>'; // what is in it, nobody sees
  const before = find(`<div role="dialog">${words}</div>`)?.text;
  expect(find(`<div role="dialog">${words.replace('<a', `${card}<a`)}</div>`)?.text).toBe(before);
  expect(find(`<div role="dialog">${words.replace('rest', `${card}rest`)}</div>`)?.text).toBe(before);
});

test('of dialogs within each other, the inner one is the notice', () => {
  const found = find(`<div aria-modal="true"><div role="dialog" id="inner">${WORDS}</div></div>`);
  expect(found?.element.id).toBe('inner');
});

test('of entries within each other, the inner one is the notice', () => {
  const found = find(
    `<ul><li><div role="listitem" id="inner">${WORDS}</div></li></ul>`,
    new URL('/notifications', HOME),
  );
  expect(found?.element.id).toBe('inner');
});

test('a link with a label is read, one with words is not read twice', () => {
  const found = find(`<div role="dialog">${WORDS}<a href="/x" aria-label="Object"></a> <a aria-label="n">No</a></div>`);
  expect(found?.text).toBe('AI at Meta: legitimate interests. Object No');
});

test('the text of a long notice is cut, the text of a whole page is no notice', () => {
  const long = (length: number) => find(`<div role="dialog">${WORDS}${'x'.repeat(length)}</div>`);
  expect(long(MAX_TEXT)?.text).toHaveLength(MAX_TEXT);
  expect(long(40_000)).toBeUndefined();
});

test('a place of thousands of elements is no notice', () => {
  const wide = (count: number) => find(`<div role="dialog">${WORDS}${'<i></i>'.repeat(count)}</div>`);
  expect(wide(3_000)).toBeDefined();
  expect(wide(4_001)).toBeUndefined();
});

test('the language of a notice that is known by its link alone is that of the page around it', () => {
  const link = '<a href="/help/contact/712876720715583">→</a>';
  expect(find(`<div lang="fr-FR"><div role="dialog">${link}</div></div>`)?.language).toBe('fr');
  expect(find(`<div role="dialog" lang="deu">${link}</div>`)?.language).toBe('en');
});

test('the address is kept without what identifies', () => {
  const found = find(`<div role="dialog">${WORDS}</div>`, new URL('/anna.b?ref=a#b', HOME));
  expect(found?.url).toBe('https://www.facebook.com/');
});

test.each([
  ['the main content', '<header><form>Search</form></header><main>The form</main>'],
  ['the main content, although a form comes first', '<form>Search</form><div role="main">The form</div>'],
  ['a form that is no search', '<header><form>Search</form></header><form role="search">?</form><form>The form</form>'],
  ['what is shown of them', '<main style="display:none">Old</main><form><input></form><p>The form</p>'],
])('the text of the objection form’s page is that of %s', (_, body) => {
  expect(find(body, new URL('/help/contact/712876720715583', HOME))?.text).toBe('The form');
});

test('only an element of the page given is searched', () => {
  find(`<div id="here"></div><div role="dialog">${WORDS}</div>`);
  expect(findNotice(document.querySelector('#here') as Element, HOME)).toBeUndefined();
  expect(findNotice(document.querySelector('[role=dialog]') as Element, HOME)).toBeDefined();
});

test('what has no words or links of a notice is not read at all', () => {
  find('<div role="dialog"><p>Lunch</p><a href="/x">menu</a></div><div role="region">Contacts</div>');
  expect([...candidatesIn(document, HOME)]).toEqual([]);
  expect([...candidatesAround(document.querySelector('p') as Element, HOME)]).toEqual([]);
});

test('on pages of people’s own words nothing is read', () => {
  find(`<div role="dialog"><p>${WORDS}</p></div>`);
  const paragraph = document.querySelector('p') as Element;
  expect([...candidatesAround(paragraph, HOME)]).toHaveLength(1);
  expect([...candidatesAround(paragraph, new URL('/messages/t/1', HOME))]).toEqual([]);
});

test('a part of the page that has never been shown has no notice', () => {
  find('');
  const loose = document.createElement('div');
  loose.innerHTML = `<div role="dialog" style="display:none">${WORDS}</div>`;
  expect(findNotice(loose, HOME)).toBeUndefined();
});

test('thousands of nested dialogs cost no more than the depth that a real page has', () => {
  const depth = 3_000;
  let inner = document.createElement('div');
  inner.innerHTML = `<p>${WORDS}</p>`;
  for (let i = 0; i < depth; i++) {
    const outer = document.createElement('div');
    outer.setAttribute('role', 'dialog');
    outer.append(inner);
    inner = outer;
  }
  document.body.replaceChildren(inner);
  const styles = vi.spyOn(window, 'getComputedStyle');
  findNotice(document, HOME);
  const innermost = document.querySelector('p') as Element;
  for (const _ of candidatesAround(innermost, HOME)) break;
  expect(styles.mock.calls.length).toBeLessThan(20_000);
  styles.mockRestore();
});
