/** A shape for each verdict: nobody should need the colour to tell them apart. */
import type { Headline } from './results';

const SVG = 'http://www.w3.org/2000/svg';
const CIRCLE = 'M24 3a21 21 0 1 1 0 42a21 21 0 1 1 0-42z';
const DASHED =
  'M24 3a21 21 0 0 1 14.8 6.2M45 24a21 21 0 0 1-6.2 14.8M24 45a21 21 0 0 1-14.8-6.2M3 24A21 21 0 0 1 9.2 9.2';
const SHAPES: Record<Headline | 'unusable' | 'resaved', string[]> = {
  valid: [CIRCLE, 'M14 25l7 7 14-15'],
  unpinned: [DASHED, 'M19 19a5 5 0 1 1 7 5c-2 1-2 2-2 4M24 33v1'],
  recorded: [DASHED, 'M14 25l7 7 14-15'],
  token: ['M7 7h34v34h-34z', 'M14 25l7 7 14-15'],
  withdrawn: [CIRCLE, 'M20 15l-8 8 8 8M12 23h15a7 7 0 0 1 0 14h-4'],
  erased: [CIRCLE, 'M13 24h22'],
  invalid: ['M15 3h18l12 12v18l-12 12h-18l-12-12v-18z', 'M16 16l16 16M32 16l-16 16'],
  mismatch: ['M24 4l21 38h-42z', 'M17 27h14M17 34h14M28 22l-8 17'],
  resaved: ['M14 13V5h24v30h-7', 'M7 13h24v31H7z', 'M13 23h12M13 30h12'],
  unusable: [CIRCLE, 'M18 19a6 6 0 1 1 8 6c-2 1-2 2-2 4M24 34v1'],
};

export function picture(kind: Headline | 'unusable' | 'resaved'): SVGSVGElement {
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('viewBox', '0 0 48 48');
  svg.setAttribute('aria-hidden', 'true');
  for (const line of SHAPES[kind]) {
    const path = document.createElementNS(SVG, 'path');
    path.setAttribute('d', line);
    svg.append(path);
  }
  return svg;
}
