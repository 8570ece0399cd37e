import { literalsOf } from './wildcard.js';

/*
 * A rule that asks for a prefix, a suffix or a wildcard holds only for texts in which the characters it names stand. Any three
 * of them in a row do to find it by.
 */

const LENGTH = 3;
/** Of each piece of a rule's text: enough to find something rare, and little to count. The rest is looked at when the rule is asked. */
const MOST_OF_PIECE = 16;
/** Characters of a field that are looked through, some microseconds; of a longer one every rule is asked. */
export const MOST_CHARACTERS = 2_048;

/** What a text must contain for a test to hold, three characters at a time, each once; none where the test names fewer in a row. */
export function trigramsOf(op: 'prefix' | 'suffix' | 'wildcard', expected: string): string[] {
  const pieces = op === 'wildcard' ? literalsOf(expected) : [expected];
  return [...new Set(pieces.flatMap((piece) => within(piece.slice(0, MOST_OF_PIECE))))];
}

function within(piece: string): string[] {
  return Array.from({ length: Math.max(0, piece.length - LENGTH + 1) }, (_, at) => piece.slice(at, at + LENGTH));
}

/** A power of two. */
const SLOTS = 4_096;

/** Rules, as positions, by three characters that a text must contain. Positions are added in their order. */
export class Trigrams {
  /** All positions, ascending. */
  readonly every: number[] = [];
  private readonly positions = new Map<string, number[]>();
  /** Whether some trigram falls into a slot: most of a text's do not, and making a string of them costs ten times as much. */
  private readonly taken = new Uint8Array(SLOTS);

  add(trigram: string, position: number): void {
    const known = this.positions.get(trigram);
    if (known === undefined) this.positions.set(trigram, [position]);
    else if (known.at(-1) !== position) known.push(position);
    if (this.every.at(-1) !== position) this.every.push(position);
    this.taken[slotOf(trigram, 0)] = 1;
  }

  /** Hands over the positions that a text of at most MOST_CHARACTERS leads to, list by list; some several times. */
  find(text: string, found: (positions: readonly number[]) => void): void {
    for (let at = 0; at + LENGTH <= text.length; at++) {
      if (this.taken[slotOf(text, at)] === 0) continue;
      const positions = this.positions.get(text.slice(at, at + LENGTH));
      if (positions) found(positions);
    }
  }
}

function slotOf(text: string, at: number): number {
  const mixed = (text.charCodeAt(at) * 31 + text.charCodeAt(at + 1)) * 31 + text.charCodeAt(at + 2);
  return mixed & (SLOTS - 1);
}
