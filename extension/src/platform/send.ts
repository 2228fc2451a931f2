import { browser } from 'wxt/browser';
import { ObjectionError } from '../core/errors';
import type { Answer, Message } from './messages';

/** Sends a message to the background and returns what it answered. Throws ObjectionError with the background's code. */
export async function send<T>(message: Message): Promise<T> {
  const answer: Answer | undefined = await browser.runtime.sendMessage(message);
  if (!answer) throw new ObjectionError('no_answer', 'the background did not answer');
  if ('error' in answer) throw new ObjectionError(answer.error.code, answer.error.message);
  return answer.ok as T;
}
