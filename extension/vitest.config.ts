import { defineConfig } from 'vitest/config';
import { WxtVitest } from 'wxt/testing/vitest-plugin';

export default defineConfig({
  plugins: [WxtVitest()],
  // The production build's constants, whatever the environment.
  define: {
    __PRACTICE__: 'false',
    __REGISTER_URL__: JSON.stringify('https://register.proof-of-objection.example'),
  },
  test: {
    // One file that needs a document says so itself: // @vitest-environment jsdom
    environment: 'node',
    include: ['tests/**/*.test.ts'],
    setupFiles: ['tests/support/setup.ts'],
    restoreMocks: true,
    testTimeout: 60_000, // a hung test fails; a busy machine does not
  },
});
