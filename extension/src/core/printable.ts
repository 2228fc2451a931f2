/** What strangers wrote, made harmless to show. */
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
