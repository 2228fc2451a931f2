/** True in the practice build only (WXT_PRACTICE=true): the bundler folds `if (__PRACTICE__)` away in production. */
declare const __PRACTICE__: boolean;
/** Where this build records, without a trailing slash: the environment variable REGISTER_URL at build time. */
declare const __REGISTER_URL__: string;
