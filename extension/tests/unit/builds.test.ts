import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const root = new URL('../../', import.meta.url).pathname;
const out = mkdtempSync(join(tmpdir(), 'builds-'));
const PLATFORMS = [
  'https://*.facebook.com/*',
  'https://*.instagram.com/*',
  'https://*.threads.net/*',
  'https://*.threads.com/*',
];

/** Builds into a folder of its own, so that a build somebody uses is not pulled from under them. */
function build(environment: Record<string, string>, ...options: string[]): string {
  // Vitest's own variables would turn the production build into a test build.
  const { NODE_ENV, VITEST, MODE, DEV, PROD, REGISTER_URL, ...env } = process.env;
  const { status, stdout, stderr } = spawnSync('node_modules/.bin/wxt', ['build', ...options], {
    cwd: root,
    env: { ...env, OUTPUT_DIR: out, ...environment },
    encoding: 'utf8',
  });
  if (status !== 0) throw new Error(stderr);
  return stdout + stderr;
}

const manifest = (folder: string) => JSON.parse(readFileSync(join(out, folder, 'manifest.json'), 'utf8'));
const everything = (folder: string, kinds = /\.(?:js|json|html|css)$/) =>
  readdirSync(join(out, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => kinds.test(name))
    .map((name) => readFileSync(join(out, folder, name), 'utf8'))
    .join('\n');

const said = { chrome: '', firefox: '', practice: '' };

beforeAll(() => {
  said.chrome = build({});
  said.firefox = build({ REGISTER_URL: 'https://register.proof-of-objection.example' }, '-b', 'firefox', '--mv3');
  said.practice = build({ WXT_PRACTICE: 'true' });
}, 120_000);
afterAll(() => rmSync(out, { recursive: true }));

describe.each(['tests/chrome-mv3', 'release/firefox-mv3'])('%s', (folder) => {
  it('runs on Meta’s pages and nowhere else', () => {
    expect(manifest(folder).content_scripts.map(({ matches }: { matches: string[] }) => matches)).toEqual([PLATFORMS]);
  });

  it('has no trace of the practice page', () => {
    expect(everything(folder).match(/.{0,60}(?:\/practice|practice[.*]|127\.0\.0\.1|127\\+\.0).{0,20}/gi)).toBeNull();
  });

  it('talks to the register it was built for', () => {
    expect(everything(folder).includes('https://register.proof-of-objection.example')).toBe(true);
  });

  it('asks for nothing that docs/permissions.md does not explain', () => {
    const page = readFileSync(join(root, '../docs/permissions.md'), 'utf8');
    const explained = [...page.matchAll(/^\| `(\w+)`/gm)].map(([, name]) => name);
    const asked: string[] = manifest(folder).permissions;
    expect(explained).toEqual(expect.arrayContaining(asked));
    const elsewhere = folder.includes('firefox') ? ['offscreen'] : [];
    expect([...asked, ...elsewhere].sort()).toEqual(explained.sort());
    const others = [
      'host_permissions',
      'optional_permissions',
      'optional_host_permissions',
      'web_accessible_resources',
    ];
    for (const name of [...others, 'externally_connectable']) expect(manifest(folder)).not.toHaveProperty(name);
  });

  it('opens by a key of its own', () => {
    const { _execute_action } = manifest(folder).commands;
    const page = readFileSync(join(root, '../docs/permissions.md'), 'utf8');
    expect(page).toContain(_execute_action.suggested_key.default);
  });

  it('never writes HTML from strings', () => {
    expect(everything(folder)).not.toMatch(
      /innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function/,
    );
  });
});

it('without a register of its own, the build says that it is for tests only', () => {
  expect(said.chrome).toContain('REGISTER_URL is not set');
  expect(said.firefox).not.toContain('REGISTER_URL');
  expect(said.practice).not.toContain('REGISTER_URL');
});

describe('the Firefox build', () => {
  const gecko = () => manifest('release/firefox-mv3').browser_specific_settings;

  it('tells at installation all that docs/permissions.md says', () => {
    const page = readFileSync(join(root, '../docs/permissions.md'), 'utf8');
    const explained = [...page.matchAll(/^\| \*\*.+?\*\* \(`(\w+)`\)/gm)].map(([, name]) => name);
    expect(gecko().gecko.data_collection_permissions).toEqual({ required: explained });
  });

  it('has an id of its own for each register, so that no build replaces that of another one', () => {
    expect(gecko().gecko.id).toBe('extension@register.proof-of-objection.example');
  });

  it('is not offered on Android, where it could save nothing', () => {
    expect(gecko()).not.toHaveProperty('gecko_android');
  });
});

describe('the practice build', () => {
  it('runs on the practice page too', () => {
    const { content_scripts } = manifest('practice/chrome-mv3');
    expect(content_scripts[0].matches).toEqual([...PLATFORMS, 'http://127.0.0.1/practice*']);
    expect(everything('practice/chrome-mv3').includes('http://127.0.0.1:8000')).toBe(true);
  });

  it('says that it is for practice, and the production build has no such words to say', () => {
    expect(everything('practice/chrome-mv3', /\.js$/)).toContain('practice_banner');
    expect(everything('tests/chrome-mv3', /\.js$/)).not.toContain('practice_banner');
  });
});

it.each([
  ['a register without encryption', { REGISTER_URL: 'http://register.example' }],
  ['a register with a path', { REGISTER_URL: 'https://register.example/v1' }],
  ['a register that is no address', { REGISTER_URL: 'register.example' }],
  ['practice with a real register', { WXT_PRACTICE: 'true', REGISTER_URL: 'https://register.example' }],
])('refuses to build for %s', (_, environment) => expect(() => build(environment)).toThrow());

it('the lock file names no registry', () => {
  expect(readFileSync(join(root, 'package-lock.json'), 'utf8')).not.toContain('"resolved"');
});
