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
/** What folding only makes lower case. */
const PLAIN = /^[a-z0-9]+$/i;
/** Characters of a word that are looked at; longer ones are no words of people. */
export const LONGEST = 40;
/** Characters of a word that are folded: marks are not counted above. */
const FOLDED = 8 * LONGEST;
/** Different runs of a text that are looked at, and words in those that are not plain: some ten milliseconds of work. */
const MOST_LOOKED_AT = 20_000;

/** Which ASCII letters are part of words. What is beyond ASCII is looked at further where it is not known yet. */
const IN_WORDS = Uint8Array.from({ length: 128 }, (_, code) => Number(PLAIN.test(String.fromCharCode(code))));

/**
 * Where runs of the text that is being read begin and end, by their hashes: most come again and again, and to compare one with
 * itself costs a tenth of making a text of it. Of two with one hash the later stands there.
 */
const KNOWN = 4_096;
const knownFrom = new Int32Array(KNOWN);
const knownTo = new Int32Array(KNOWN);

/** The different words of a text, folded, in the order they come; at most so many, among its first MOST_LOOKED_AT. */
export function wordsOf(text: string, most: number): string[] {
  const whole = text.toWellFormed();
  const words = new Set<string>();
  knownTo.fill(0);
  let left = MOST_LOOKED_AT;
  for (let at = 0; at < whole.length && left > 0 && words.size < most; at++) {
    const from = at;
    let hash = 0;
    for (let code = whole.charCodeAt(at); code >= 128 || IN_WORDS[code] === 1; code = whole.charCodeAt(++at)) {
      hash = (Math.imul(hash, 31) + code) | 0;
    }
    if (at > from && isNew(whole, from, at, hash)) left -= addWords(whole.slice(from, at), left, words);
  }
  return [...words].slice(0, most);
}

function isNew(text: string, from: number, to: number, hash: number): boolean {
  const slot = (hash ^ (hash >>> 12)) & (KNOWN - 1);
  const known = knownFrom[slot] as number;
  const isKnown = (knownTo[slot] as number) - known === to - from && isSame(text, known, from, to);
  knownFrom[slot] = from;
  knownTo[slot] = to;
  return !isKnown;
}

function isSame(text: string, known: number, from: number, to: number): boolean {
  for (let at = from, other = known; at < to; at++, other++) {
    if (text.charCodeAt(at) !== text.charCodeAt(other)) return false;
  }
  return true;
}

/** Answers how many were looked at. */
function addWords(run: string, most: number, words: Set<string>): number {
  if (PLAIN.test(run)) {
    words.add(run.slice(0, LONGEST).toLowerCase());
    return 1;
  }
  const found = (run.match(WORD) ?? []).slice(0, most);
  for (const word of found) addFolded(word, words);
  return 1 + found.length;
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
