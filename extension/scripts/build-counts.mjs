/**
 * Writes the charts of the counts as one script: `server/assets/charts.js`. It asks nobody for anything.
 *
 * The map is Natural Earth's (1:50m, public domain, from the package world-atlas), reduced to Europe and simplified.
 */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { geoArea, geoBounds } from 'd3-geo';
import { feature, quantize } from 'topojson-client';
import { topology } from 'topojson-server';
import { presimplify, quantile, simplify } from 'topojson-simplify';
import { build } from 'vite';

const root = fileURLToPath(new URL('../', import.meta.url));
const target = fileURLToPath(new URL('../../server/assets', import.meta.url));
const KEPT_POINTS = 0.4;
const GRID = 4_000;
const SMALLEST_PART = 2e-7; // of the unit sphere: islands below that are a speck on a phone, and half the bytes

// ISO 3166-1: the numbers that Natural Earth has, and the letters that we count by.
const COUNTED = Object.entries({
  ...{ AT: '040', BE: '056', BG: '100', CY: '196', CZ: '203', DE: '276', DK: '208', EE: '233', ES: '724', FI: '246' },
  ...{ FR: '250', GR: '300', HR: '191', HU: '348', IE: '372', IT: '380', LT: '440', LU: '442', LV: '428', MT: '470' },
  ...{ NL: '528', PL: '616', PT: '620', RO: '642', SE: '752', SI: '705', SK: '703', IS: '352', LI: '438', NO: '578' },
});
const letters = new Map(COUNTED.map(([geo, id]) => [id, geo]));

const plugin = {
  name: 'counts',
  enforce: 'pre',
  resolveId: (id) => (id === 'virtual:europe' ? '\0europe' : undefined),
  load: async (id) => (id === '\0europe' ? `export default ${JSON.stringify(await europe())}` : undefined),
  transform(code, id) {
    if (!id.endsWith('/@observablehq/plot/src/plot.js')) return undefined;
    // Plot writes a style element into each chart, which our policy (CSP) forbids; its rules stand in our style sheet.
    const without = code.replace(/svg\.append\("style"\)\.text\(\s*`[^`]*`\s*\)/, 'svg');
    if (without === code) throw new Error('Plot writes its style in another way now');
    return without;
  },
};

const { output } = (
  await build({
    root,
    configFile: false,
    logLevel: 'warn',
    publicDir: false,
    plugins: [plugin],
    build: {
      write: false,
      target: 'es2022',
      modulePreload: false,
      lib: { entry: `${root}src/counts/main.ts`, formats: ['iife'], name: 'counts', fileName: 'charts' },
    },
  })
).flat()[0];
const script = output.find(({ type }) => type === 'chunk')?.code;
if (!script) throw new Error('the build has no script');
await mkdir(target, { recursive: true });
await writeFile(`${target}/charts.js`, script);
console.log(`${target}/charts.js ${Buffer.byteLength(script)} bytes`);

async function europe() {
  const source = createRequire(import.meta.url).resolve('world-atlas/countries-50m.json');
  const world = JSON.parse(await readFile(source, 'utf8'));
  const features = feature(world, world.objects.countries).features.flatMap((country) => {
    const geometry = partsOf(country).filter(isEuropean);
    if (geometry.length === 0) return [];
    const geo = letters.get(country.id);
    const coordinates = geometry.map(({ coordinates }) => coordinates);
    return [{ type: 'Feature', properties: geo ? { geo } : {}, geometry: { type: 'MultiPolygon', coordinates } }];
  });
  const missing = COUNTED.filter(([geo]) => !features.some(({ properties }) => properties.geo === geo));
  if (missing.length > 0) throw new Error(`the map has no ${missing.join(', ')}`);
  const prepared = presimplify(topology({ countries: { type: 'FeatureCollection', features } }));
  return quantize(simplify(prepared, quantile(prepared, 1 - KEPT_POINTS)), GRID);
}

function partsOf({ id, geometry }) {
  const polygons = geometry.type === 'Polygon' ? [geometry.coordinates] : geometry.coordinates;
  const parts = polygons.map((coordinates) => ({ type: 'Polygon', coordinates }));
  // The largest part stays, however small the country is.
  const largest = Math.max(...parts.map(geoArea));
  return parts.filter((part) => geoArea(part) > SMALLEST_PART || (letters.has(id) && geoArea(part) === largest));
}

/** Neither Guadeloupe nor Siberia is on the map. */
function isEuropean(polygon) {
  const [[west, south], [east, north]] = geoBounds(polygon);
  return east > -26 && west < 46 && north > 33 && south < 72.5 && west > -30;
}
