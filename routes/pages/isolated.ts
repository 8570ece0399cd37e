/**
 * Characters that show nothing and change how what stands around them is shown: controls, and those that turn the direction
 * of writing or hide between letters. A name of a sender or a file may pretend with them to be another.
 */
const UNSEEN = /(?![\t\n\r\u200c\u200d])[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu;

/** A text of strangers for a line of a page: what can't be seen is written out, as `⟨202E⟩`. */
export function visible(text: string): string {
  return text.replace(UNSEEN, (one) => `⟨${(one.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, '0')}⟩`);
}
