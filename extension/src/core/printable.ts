/** What strangers wrote, made harmless to keep and to show. */
const MAX_SHOWN = 1000;

/**
 * Returns `text` so that it cannot forge lines, hide words or turn their direction: strangers wrote it. Line breaks and
 * whatever has no shape of its own are written as escapes.
 */
export function printable(text: string): string {
  const bounded = text.length <= MAX_SHOWN ? text : `${text.slice(0, MAX_SHOWN)}…`;
  return bounded.replace(
    /[\p{C}\p{Zl}\p{Zp}]/gu,
    (character) => `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`,
  );
}

/** Letters that are read from right to left. */
const LEFTWARD =
  /[\p{Script=Hebrew}\p{Script=Arabic}\p{Script=Syriac}\p{Script=Thaana}\p{Script=Nko}\p{Script=Adlam}]/u;

/** Returns what is printable of `text`, so that a name in Arabic does not turn the words around it. */
export function isolated(text: string): string {
  const shown = printable(text);
  return LEFTWARD.test(shown) ? `\u2068${shown}\u2069` : shown;
}
