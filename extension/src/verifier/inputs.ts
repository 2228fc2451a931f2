/** What a person can paste: the link of a QR code, or a token. */
import { formatHex, parseBase64url } from '../core/encoding';
import { ObjectionError } from '../core/errors';

const LINK = /^https?:\/\/\S*$/;

/** Returns the receipt hash (hex) that a link's fragment names; undefined when it names none. */
export function receiptNamedBy(fragment: string): string | undefined {
  try {
    return formatHex(parseBase64url(fragment.replace(/^#/, ''), 32));
  } catch (error) {
    if (error instanceof ObjectionError) return undefined;
    throw error;
  }
}

export function isLink(text: string): boolean {
  return LINK.test(text.trim());
}

/** Returns what stands behind the # of a link; empty when there is nothing. */
export function fragmentOf(link: string): string {
  const at = link.indexOf('#');
  return at < 0 ? '' : link.slice(at + 1).trim();
}
