/**
 * Writes the verifier as one file that needs nothing else: `server/assets/verify.html`.
 *
 * Its own policy (CSP) allows this one script and this one style sheet, by hash, and no network at all. A register that
 * serves it takes the hashes from there, and puts its trust policy where `<!--policy-->` stands.
 */
import { createHash } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { build } from 'vite';

const root = fileURLToPath(new URL('../', import.meta.url));
const source = `${root}src/verifier`;
const target = fileURLToPath(new URL('../../server/assets', import.meta.url));

// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const CONTROL = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\ufdd0-\ufdef\ufffe\uffff]/g;

/** Of the contract the verifier reads the schemas alone. */
const contract = {
  name: 'contract',
  enforce: 'pre',
  transform(code, id) {
    if (!id.endsWith('schemas/openapi.json')) return undefined;
    return JSON.stringify({ components: { schemas: JSON.parse(code).components.schemas } });
  },
};

const { output } = (
  await build({
    root,
    configFile: false,
    logLevel: 'warn',
    publicDir: false,
    plugins: [contract],
    build: {
      write: false,
      target: 'es2022',
      cssCodeSplit: false,
      modulePreload: false,
      lib: { entry: `${source}/main.ts`, formats: ['iife'], name: 'verifier', fileName: 'verifier' },
    },
  })
).flat()[0];

const script = code(output.find(({ type }) => type === 'chunk')?.code);
const style = code(output.find(({ fileName }) => fileName.endsWith('.css'))?.source);
const policy = [
  "default-src 'none'",
  `script-src ${hashOf(script)}`,
  `style-src ${hashOf(style)}`,
  'img-src data:', // its icon
  "base-uri 'none'",
  "form-action 'none'",
].join('; ');

const icon = await readFile(`${root}assets/icon.svg`);
const template = await readFile(`${source}/index.html`, 'utf8');
const page = template
  .replace('<!--policy-->', () => `<meta http-equiv="Content-Security-Policy" content="${policy}">\n<!--policy-->`)
  .replace('<!--icon-->', () => `<link rel="icon" href="data:image/svg+xml;base64,${icon.toString('base64')}">`)
  .replace('<!--style-->', () => `<style>${style}</style>`)
  .replace('<!--script-->', () => `<script>${script}</script>`);
await mkdir(target, { recursive: true });
await writeFile(`${target}/verify.html`, page);
console.log(`${target}/verify.html ${Buffer.byteLength(page)} bytes`);

/** Returns code that can stand in a page as it is. */
function code(text) {
  if (!text) throw new Error('the build has no script, or no style');
  // The bundler writes escapes out as the characters themselves, of which HTML allows no control characters.
  const trimmed = text
    .trim()
    .replace(CONTROL, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`);
  if (/<\/(?:script|style)|<!--/i.test(trimmed)) throw new Error('the code would end its own element');
  return trimmed;
}

function hashOf(text) {
  return `'sha256-${createHash('sha256').update(text).digest('base64')}'`;
}
