import { defineContentScript } from 'wxt/utils/define-content-script';
import { startContent } from '../platform/content';

export default defineContentScript({
  // The whole list is in wxt.config.ts, which the practice build extends.
  matches: ['https://*.facebook.com/*'],
  runAt: 'document_idle',
  main(context) {
    context.onInvalidated(startContent(document));
  },
});
