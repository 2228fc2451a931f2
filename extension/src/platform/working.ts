/** The work proof that goes with an objection. Without one the objection is recorded all the same, and not counted. */
import { formatJson, type Json } from '../core/encoding';
import { solveWork } from '../core/work';
import { getChallenge } from './register';

const LIMIT_MS = 20_000;

/** Returns the proof as JSON, or nothing: the register asks for none, is not there, or asks for too much. */
export async function workFor(receipt: string): Promise<string | undefined> {
  try {
    const challenge = await getChallenge(receipt);
    const solution = await solveWork(challenge, Date.now() + LIMIT_MS);
    return solution && formatJson({ challenge, solution } as unknown as Json);
  } catch {
    return undefined;
  }
}
