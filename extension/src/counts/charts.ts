/** Draws the released figures. What they are stands in the page as JSON; the tables beside them need no script. */
import * as Plot from '@observablehq/plot';
import { type Shape, shapes } from './europe';

export interface Value {
  value: number;
  low: number;
  high: number;
}
export interface Week extends Value {
  epoch: string;
  date: string;
}
export interface Country extends Value {
  geo: string;
  name: string;
  ranked: boolean;
  inhabitants: number;
}
export interface Platform extends Value {
  platform: string;
  channel: string;
}
export interface Outcome extends Value {
  epoch: string;
  outcome: string;
}
export interface Figures {
  weeks?: Week[];
  map?: Country[];
  ranking?: Country[];
  platforms?: Platform[];
  outcomes?: Outcome[];
}

/** Below this a figure is mostly noise: people see "<10". */
const SMALL = 10;
const ACCENT = 'var(--accent)';
const LINE = 'var(--line)';
const ROW = 22;
/** Of the map: Iceland, Portugal's south, Cyprus, the North Cape; what lies between is shown. */
const CORNERS: [number, number][] = [
  [-24, 65],
  [-9, 36.5],
  [34.5, 34.5],
  [31, 70.5],
];

type Drawing = (width: number) => Element;

/** Returns how to draw the figure `name`, or nothing when there is nothing to draw. */
export function drawingOf(name: string, figures: Figures): Drawing | undefined {
  const { weeks, map, ranking, platforms, outcomes } = figures;
  if (name === 'weeks' && weeks?.length) return (width) => drawWeeks(weeks, width);
  if (name === 'map' && map?.some(({ ranked }) => ranked)) return (width) => drawMap(map, width);
  const ranked = ranking?.filter((one) => one.ranked);
  if (name === 'ranking' && ranked?.length) return (width) => drawRanking(ranked, width);
  if (name === 'platforms' && platforms?.length) return (width) => drawPlatforms(platforms, width);
  if (name === 'outcomes' && outcomes?.length) return (width) => drawOutcomes(outcomes, width);
  return undefined;
}

function drawWeeks(weeks: Week[], width: number): Element {
  const data = weeks.map((week) => ({ ...drawn(week), date: new Date(week.date), epoch: week.epoch }));
  return Plot.plot({
    ...frame(width, Math.max(220, Math.min(360, width * 0.5))),
    x: { label: null, grid: false },
    y: { label: 'registrations', grid: true, zero: true },
    marks: [
      Plot.areaY(data, { x: 'date', y1: 'low', y2: 'high', fill: ACCENT, fillOpacity: 0.22 }),
      Plot.lineY(data, { x: 'date', y: 'value', stroke: ACCENT, strokeWidth: 2 }),
      Plot.dot(data.slice(-1), { x: 'date', y: 'value', fill: ACCENT, r: 4 }),
      Plot.ruleY([0], { stroke: LINE }),
      Plot.tip(data, Plot.pointerX({ x: 'date', y: 'value', title: (one) => `${one.epoch}\n${told(one)}` })),
    ],
  });
}

function drawMap(countries: Country[], width: number): Element {
  const byCode = new Map(countries.filter(({ ranked }) => ranked).map((one) => [one.geo, one]));
  const most = Math.max(...[...byCode.values()].map(perMillion));
  const all = shapes();
  const of = (shape: Shape) => byCode.get(shape.properties.geo ?? '');
  const shade = (shape: Shape) => {
    const country = of(shape);
    return country ? 0.15 + (0.85 * perMillion(country)) / most : 0;
  };
  return Plot.plot({
    ...frame(width, Math.min(620, width * 0.95)),
    margin: 0,
    projection: {
      type: 'azimuthal-equal-area',
      rotate: [-14, -53],
      domain: { type: 'MultiPoint', coordinates: CORNERS },
      inset: 8,
      clip: 'frame',
    },
    marks: [
      Plot.geo(all, { fill: 'var(--panel)', stroke: LINE, strokeWidth: 0.7 }),
      Plot.geo(
        all.filter((shape) => of(shape)),
        { fill: ACCENT, fillOpacity: shade, stroke: 'var(--paper)', strokeWidth: 0.7 },
      ),
      Plot.tip(
        all.filter((shape) => of(shape)),
        Plot.pointer(Plot.centroid({ title: (shape: Shape) => mapText(of(shape)) })),
      ),
    ],
  });
}

function mapText(country: Country | undefined): string {
  return country ? `${country.name}\n${perMillion(country).toFixed(1)} per million\n${told(country)}` : '';
}

function drawRanking(ranked: Country[], width: number): Element {
  const data = ranked.map((country) => ({
    name: country.name,
    rate: perMillion(country),
    low: (Math.max(country.low, 0) * 1e6) / country.inhabitants,
    high: (country.high * 1e6) / country.inhabitants,
    title: mapText(country),
  }));
  return Plot.plot({
    ...frame(width, data.length * ROW + 72),
    marginLeft: 105,
    x: { label: 'per million inhabitants', labelOffset: 38, grid: true, zero: true },
    y: { label: null, domain: data.map(({ name }) => name), tickSize: 0 },
    marks: [
      Plot.ruleX([0], { stroke: LINE }),
      Plot.ruleY(data, { y: 'name', x1: 'low', x2: 'high', stroke: ACCENT, strokeOpacity: 0.4, strokeWidth: 6 }),
      Plot.dot(data, { y: 'name', x: 'rate', fill: ACCENT, r: 4 }),
      Plot.tip(data, Plot.pointerY({ y: 'name', x: 'rate', title: 'title' })),
    ],
  });
}

function drawPlatforms(platforms: Platform[], width: number): Element {
  return drawBars(
    platforms.map((one) => ({ ...drawn(one), group: one.platform, name: one.channel })),
    width,
  );
}

function drawOutcomes(outcomes: Outcome[], width: number): Element {
  return drawBars(
    outcomes.map((one) => ({ ...drawn(one), group: one.epoch, name: one.outcome })),
    width,
  );
}

/** Bars in groups, each with its interval. */
function drawBars(data: (Value & { group: string; name: string })[], width: number): Element {
  const groups = [...new Set(data.map(({ group }) => group))];
  const names = [...new Set(data.map(({ name }) => name))];
  return Plot.plot({
    ...frame(width, groups.length * (names.length * ROW + 14) + 62),
    marginLeft: 14 + 7 * Math.max(...names.map(({ length }) => length)),
    marginRight: 76,
    x: { label: 'registrations', labelOffset: 38, grid: true, zero: true },
    y: { label: null, domain: names, tickSize: 0 },
    fy: { label: null, domain: groups, padding: 0.08 },
    marks: [
      Plot.ruleX([0], { stroke: LINE }),
      Plot.barX(data, {
        fy: 'group',
        y: 'name',
        x: 'value',
        fill: ACCENT,
        fillOpacity: 0.55,
        insetTop: 3,
        insetBottom: 3,
      }),
      Plot.ruleY(data, { fy: 'group', y: 'name', x1: 'low', x2: 'high', stroke: 'var(--ink)', strokeWidth: 1.5 }),
      Plot.tip(
        data,
        Plot.pointerY({
          fy: 'group',
          y: 'name',
          x: 'value',
          title: (one) => `${one.group}, ${one.name}\n${told(one)}`,
        }),
      ),
    ],
  });
}

function frame(width: number, height: number): Plot.PlotOptions {
  return {
    width,
    height,
    className: 'drawn',
    style: { background: 'transparent', color: 'inherit', fontSize: '13px' },
  };
}

/** What a chart shows of a noisy value: not less than nothing. */
function drawn({ value, low, high }: Value): Value {
  return { value: Math.max(value, 0), low: Math.max(low, 0), high: Math.max(high, 0) };
}

function told({ value, low, high }: Value): string {
  return `${shown(value)} registrations, ${shown(Math.max(low, 0), 0)} to ${shown(Math.max(high, 0), 0)}`;
}

function shown(value: number, small = SMALL): string {
  return value < small ? `<${small}` : value.toLocaleString('en');
}

function perMillion({ value, inhabitants }: Country): number {
  return (value * 1e6) / inhabitants;
}
