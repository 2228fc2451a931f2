import { defineConfig } from 'wxt';
import { geckoId, outDir, practice, registerUrl, warning } from './build.config';

/** The only pages the content script runs on. */
const PLATFORM_MATCHES = [
  'https://*.facebook.com/*',
  'https://*.instagram.com/*',
  'https://*.threads.net/*',
  'https://*.threads.com/*',
];

/** Takes from the contract what the extension reads, and in production what only the practice page may do. */
function contract() {
  return {
    name: 'contract',
    enforce: 'pre' as const,
    transform(code: string, id: string) {
      if (!id.endsWith('schemas/openapi.json')) return undefined;
      const { schemas } = JSON.parse(code).components;
      const { url } = schemas.SeenNotice.properties;
      const pattern = url.pattern.replace(String.raw`|http://127\.0\.0\.1:[0-9]{1,5}/practice`, '');
      if (pattern === url.pattern) throw new Error('the contract has another pattern for the practice page now');
      if (!practice) url.pattern = pattern;
      return JSON.stringify({ components: { schemas } });
    },
  };
}

export default defineConfig({
  srcDir: 'src',
  publicDir: 'public',
  outDir,
  outDirTemplate: '{{browser}}-mv{{manifestVersion}}',
  imports: false, // explicit imports: plain tsc, Biome and Vitest understand the code
  webExt: { disabled: true },
  targetBrowsers: ['chrome', 'edge', 'firefox'],
  zip: {
    artifactTemplate: '{{name}}-{{version}}-{{browser}}.zip',
    zipSources: false, // `make extension` takes them from git: WXT would leave out what Firefox has no use for
  },
  vite: () => ({
    plugins: [contract()],
    define: { __PRACTICE__: JSON.stringify(practice), __REGISTER_URL__: JSON.stringify(registerUrl) },
    build: { target: 'es2022' },
  }),
  hooks: {
    'build:before': ({ logger }) => {
      if (warning) logger.warn(warning);
    },
    'build:manifestGenerated': (_wxt, manifest) => {
      for (const script of manifest.content_scripts ?? []) {
        script.matches = practice ? [...PLATFORM_MATCHES, 'http://127.0.0.1/practice*'] : PLATFORM_MATCHES;
      }
      if (manifest.action) manifest.action.default_title = '__MSG_name__';
    },
  },
  manifest: ({ browser }) => ({
    name: '__MSG_name__',
    short_name: '__MSG_short_name__',
    description: '__MSG_description__',
    default_locale: 'en',
    // Each one is explained to ordinary people in docs/permissions.md; a test keeps the two lists equal.
    permissions: ['storage', 'downloads', 'activeTab', 'alarms', ...(browser === 'firefox' ? [] : ['offscreen'])],
    // Where a page keeps the focus to itself, the keyboard reaches the popup all the same.
    commands: {
      _execute_action: { suggested_key: { default: 'Alt+Shift+O', mac: 'MacCtrl+Shift+O' } },
    },
    icons: { 16: 'icons/16.png', 32: 'icons/32.png', 48: 'icons/48.png', 128: 'icons/128.png' },
    ...(browser === 'firefox'
      ? {
          browser_specific_settings: {
            gecko: {
              id: geckoId,
              // web-ext takes it for Android's, too, where 142 is the first that knows data_collection_permissions.
              strict_min_version: '142.0',
              // All that can leave the browser, in Mozilla's words; docs/permissions.md says what each is here.
              data_collection_permissions: {
                required: [
                  'websiteContent',
                  'browsingActivity',
                  'locationInfo',
                  'personalCommunications',
                  'personallyIdentifyingInfo',
                ],
              },
            },
          },
        }
      : { minimum_chrome_version: '137' /* Ed25519 in WebCrypto */ }),
  }),
});
