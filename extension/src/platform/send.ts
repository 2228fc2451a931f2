/** How the extension's pages ask the background, which the browser may stop at any moment. */
import { browser } from 'wxt/browser';
import { ObjectionError } from '../core/errors';
import type { Answer, Message } from './messages';

const ATTEMPTS = 3;
const PAUSE_MS = 150;
const PATIENCE_MS = 5_000;
const WAITS_FOR_THE_NETWORK: Message['kind'][] = [
  'ui/attempt',
  'ui/again',
  'ui/sign-again',
  'ui/save',
  'ui/certificate',
  'ui/name',
  'ui/acknowledgement',
  'ui/kit',
  'ui/forget',
  'ui/keys',
  'ui/accept-keys',
  'ui/campaigns',
  'ui/leave',
];

/**
 * Returns what the background answers. Throws its error, with its code.
 *
 * A background that is stopped while it works leaves the question without an answer. It is then asked again: every
 * message may be sent twice, and what the first one began is found in the database and carried on.
 */
export async function send<T>(message: Message): Promise<T> {
  const answer = await ask(message, ATTEMPTS);
  if (answer === undefined) throw new ObjectionError('no_answer', 'the background did not answer');
  if ('error' in answer) throw new ObjectionError(answer.error.code, answer.error.message);
  return answer.ok as T;
}

async function ask(message: Message, attempts: number): Promise<Answer | undefined> {
  try {
    return await inTime(browser.runtime.sendMessage(message), message.kind);
  } catch (error) {
    // Only a lost connection comes here: what the background itself refuses comes as an answer.
    if (attempts <= 1) throw error;
    await pause(PAUSE_MS);
    return ask(message, attempts - 1);
  }
}

/** A background that is being stopped just then may leave a question open for ever, without an error. */
function inTime<T>(answer: Promise<T>, kind: Message['kind']): Promise<T> {
  if (WAITS_FOR_THE_NETWORK.includes(kind)) return answer;
  const late = pause(PATIENCE_MS).then(() => Promise.reject(new ObjectionError('no_answer', 'no answer in time')));
  return Promise.race([answer, late]);
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
