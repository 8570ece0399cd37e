import { LONGEST, wordsOf } from './folded.js';
import type { View } from './view.js';

/** Different words kept of one message, to be found by. */
export const MOST_WORDS = 2_000;
/** Bytes of them in UTF-8, with blanks between them, at most. */
export const MOST_WORD_BYTES = MOST_WORDS * (3 * LONGEST + 1);
/** Characters of a text, and bytes of a body, that are read for words. */
export const READ_FOR_WORDS = 100_000;

/** What of a view its words are from. */
export type Searched = Pick<View, 'subject' | 'text' | 'from' | 'to' | 'cc'> & {
  /** Of its parts. */
  readonly names: readonly (string | null)[];
};

/** The words of a view, folded, with blanks between them. */
export function wordsOfView(view: View): string {
  const text = view.text?.slice(0, READ_FOR_WORDS) ?? null;
  return wordsOf(searchedText({ ...view, text, names: view.parts.map(({ name }) => name) }), MOST_WORDS).join(' ');
}

export function searchedText({ subject, text, from, to, cc, names }: Searched): string {
  const people = [...from, ...to, ...cc].flatMap(({ name, address }) => [name, address]);
  return [subject, ...people, ...names, text].filter((each) => each !== null).join('\n');
}
