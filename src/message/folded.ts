/* Words as search knows them: without case, accents or compatibility forms. */

/** Letters that no decomposition takes apart, as people type them. */
const SPELT: Readonly<Record<string, string>> = {
  ß: 'ss',
  æ: 'ae',
  œ: 'oe',
  ø: 'o',
  đ: 'd',
  ł: 'l',
  ħ: 'h',
  ı: 'i',
  þ: 'th',
};
const TO_SPELL = new RegExp(`[${Object.keys(SPELT).join('')}]`, 'g');

/** `Größe`, `grosse` and `ＧＲÖSSE` are one. */
export function folded(text: string): string {
  return text
    .normalize('NFKD')
    .replace(/\p{M}+/gu, '')
    .toLowerCase()
    .replace(/\p{M}+/gu, '')
    .replace(TO_SPELL, (letter) => SPELT[letter] ?? letter);
}

const WORD = /[\p{L}\p{N}\p{M}]+/gu;
/** What may be words: of ASCII exactly what WORD takes, and all beyond it. Looking further at every letter costs several times as much. */
const RUN = /[^\0-/:-@[-`{-\x7f]+/g;
/** What folding only makes lower case. */
const PLAIN = /^[a-z0-9]+$/i;
/** Characters of a word that are looked at; longer ones are no words of people. */
export const LONGEST = 40;
/** Characters of a word that are folded: marks are not counted above. */
const FOLDED = 8 * LONGEST;
/** Runs of a text that are looked at, different or not, and words in those that are not plain: some ten milliseconds of work. */
const MOST_LOOKED_AT = 20_000;

/** The different words of a text, folded, in the order they come; at most so many, among its first MOST_LOOKED_AT. */
export function wordsOf(text: string, most: number): string[] {
  const words = new Set<string>();
  let left = MOST_LOOKED_AT;
  // Texts say the same words again and again: each way to write one is folded once.
  for (const run of new Set((text.toWellFormed().match(RUN) ?? []).slice(0, MOST_LOOKED_AT))) {
    if (PLAIN.test(run)) words.add(run.slice(0, LONGEST).toLowerCase());
    else {
      const found = (run.match(WORD) ?? []).slice(0, left);
      left -= found.length;
      for (const word of found) addFolded(word, words);
    }
    if (words.size >= most) break;
  }
  return [...words].slice(0, most);
}

function addFolded(word: string, words: Set<string>): void {
  // Taken apart, one letter may be several: `㎒`.
  for (const part of folded(word.slice(0, FOLDED)).match(WORD) ?? []) words.add(part.slice(0, LONGEST));
}

/** A piece of a text; `hit` where it begins with a word that was searched for. */
export interface Piece {
  readonly text: string;
  readonly hit: boolean;
}

/** A text in pieces, words that begin with one of `wanted` (folded) apart. Together the pieces are the text. */
export function highlighted(text: string, wanted: readonly string[]): Piece[] {
  const pieces: Piece[] = [];
  let plain = 0;
  let looked = 0;
  for (const { 0: word, index } of text.matchAll(WORD)) {
    if (++looked > MOST_LOOKED_AT) break;
    if (!isHit(word, wanted)) continue;
    if (index > plain) pieces.push({ text: text.slice(plain, index), hit: false });
    pieces.push({ text: word, hit: true });
    plain = index + word.length;
  }
  if (plain < text.length) pieces.push({ text: text.slice(plain), hit: false });
  return pieces;
}

function isHit(word: string, wanted: readonly string[]): boolean {
  return wordsOf(word, 8).some((part) => wanted.some((one) => part.startsWith(one)));
}

/** Characters of a text that are looked through for a hit to show; no more words than MOST_LOOKED_AT. */
const LOOKED_THROUGH = 20_000;

/** Where a text has a hit, some characters around the first; null where it has none. */
export function excerpt(text: string, wanted: readonly string[], around: number): string | null {
  const looked = text.slice(0, LOOKED_THROUGH).toWellFormed();
  for (const { 0: word, index } of looked.matchAll(WORD)) {
    if (!isHit(word, wanted)) continue;
    const from = Math.max(0, index - around);
    const to = Math.min(looked.length, index + word.length + around);
    const cut = looked.slice(from, to).toWellFormed().replace(/\s+/g, ' ').trim();
    return `${from > 0 ? '…' : ''}${cut}${to < looked.length ? '…' : ''}`;
  }
  return null;
}
