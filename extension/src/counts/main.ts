/** Starts the charts of a page, and opens a campaign's figures for who has its key. */
import { drawingOf, type Figures } from './charts';
import { openWithKey } from './key-form';

const data = document.getElementById('figures')?.textContent;
drawAll(document, JSON.parse(data ?? '{}') as Figures);
const form = document.querySelector<HTMLFormElement>('form.key');
if (form) openWithKey(form, drawAll);
// On paper nothing can be opened any more.
addEventListener('beforeprint', () => {
  for (const numbers of document.querySelectorAll<HTMLDetailsElement>('details.numbers')) numbers.open = true;
});

/** Draws each chart within `root` in the width it has, and anew when that changes. What cannot be drawn is hidden. */
function drawAll(root: ParentNode, figures: Figures): void {
  for (const place of root.querySelectorAll<HTMLElement>('[data-figure]')) {
    const draw = drawingOf(place.dataset.figure ?? '', figures);
    place.hidden = !draw;
    if (!draw) continue;
    let width = 0;
    new ResizeObserver(() => {
      if (place.clientWidth === width || place.clientWidth === 0) return;
      width = place.clientWidth;
      const drawing = draw(width);
      drawing.setAttribute('aria-hidden', 'true'); // the place itself is an image with a text, and a table follows
      place.replaceChildren(drawing);
    }).observe(place);
  }
}
