/** Answers that are used in the order of their questions: the background may be slower with an earlier one. */

/** Returns a function that asks, and uses the answer unless that to a later question was used already. */
export function inOrder(): <T>(ask: () => Promise<T>, use: (answer: T) => void) => Promise<void> {
  let asked = 0;
  let used = 0;
  return async (ask, use) => {
    const mine = ++asked;
    const answer = await ask();
    if (mine < used) return;
    used = mine;
    use(answer);
  };
}
