/**
 * What every verifier here throws. `code` is stable and public: docs/formats.md lists the ones shared with the register.
 * The message is for people who read logs; nothing decides on it.
 */
export class ObjectionError extends Error {
  override readonly name = 'ObjectionError';

  constructor(
    readonly code: string,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}
