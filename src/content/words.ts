import { decoderFor, guessText } from './charset.js';
import type { DefectCode } from './defects.js';

/** One encoded word of RFC 2047, `=?charset?encoding?text?=`, within a text. */
interface Word {
  readonly charset: string;
  readonly encoding: 'b' | 'q';
  readonly text: string;
  readonly end: number;
}

const MAX_CHARSET = 64;

/**
 * Reads the encoded words of a header's value; what is none stays as it stands. Words that follow one another with
 * only white space between them are one text, and of one charset they are decoded together, since senders cut within
 * characters. Linear in the length whatever is in it: no expression that could backtrack, and the search for an end is
 * never repeated over the same stretch.
 */
export function decodeWords(value: string, note: (code: DefectCode) => void): string {
  if (!value.includes('=?')) return value;
  const finder = new WordFinder(value);
  let text = '';
  let at = 0;
  let run: Run | null = null;
  for (let word = finder.next(0); word !== null; word = finder.next(word.end)) {
    const between = value.slice(at, word.end - word.length);
    const adjoins = run !== null && between.trim() === '';
    if (!adjoins) text += (run === null ? '' : run.decoded(note)) + between;
    if (run !== null && adjoins && run.takes(word)) {
      run.add(word);
    } else {
      if (run !== null && adjoins) text += run.decoded(note);
      run = new Run(word);
    }
    at = word.end;
  }
  return text + (run === null ? '' : run.decoded(note)) + value.slice(at);
}

/** Adjoining words of one charset. */
class Run {
  private readonly charset: string;
  private readonly pieces: Buffer[];

  constructor(first: Word) {
    this.charset = first.charset;
    this.pieces = [wordBytes(first)];
  }

  /** Not so in ISO-2022: there each word shifts its own state, and says so at its beginning. */
  takes(word: Word): boolean {
    return word.charset === this.charset && !word.charset.startsWith('iso-2022');
  }

  add(word: Word): void {
    this.pieces.push(wordBytes(word));
  }

  decoded(note: (code: DefectCode) => void): string {
    const bytes = this.pieces.length === 1 ? (this.pieces[0] as Buffer) : Buffer.concat(this.pieces);
    const decoder = decoderFor(this.charset);
    if (decoder === undefined) {
      note('charset_unknown');
      return guessText(bytes);
    }
    const text = decoder.decode(bytes);
    if (text.includes('\ufffd')) note('charset_wrong');
    return text;
  }
}

function wordBytes(word: Word): Buffer {
  return word.encoding === 'b' ? Buffer.from(word.text, 'base64') : quotedBytes(word.text);
}

const HEX_PAIR = /=([0-9A-Fa-f]{2})/g;

function quotedBytes(text: string): Buffer {
  const spaced = text.replaceAll('_', ' ');
  if (!spaced.includes('=')) return Buffer.from(spaced, 'utf8');
  // Characters beyond ASCII don't belong here; as UTF-8 bytes they survive where the charset is UTF-8.
  const bytes = Buffer.from(spaced, 'utf8').toString('latin1');
  return Buffer.from(
    bytes.replace(HEX_PAIR, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16))),
    'latin1',
  );
}

class WordFinder {
  /** Where the first `?=` at or after `endSearchedFrom` stands; -1 when there is none. */
  private endAt = -2;
  private endSearchedFrom = 0;

  constructor(private readonly value: string) {}

  /** The first word at or after `from`. */
  next(from: number): (Word & { readonly length: number }) | null {
    for (let start = this.value.indexOf('=?', from); start !== -1; start = this.value.indexOf('=?', start + 2)) {
      const word = this.wordAt(start);
      if (word !== null) return { ...word, length: word.end - start };
    }
    return null;
  }

  private wordAt(start: number): Word | null {
    const charsetEnd = this.questionMark(start + 2, MAX_CHARSET);
    if (charsetEnd <= start + 2) return null;
    const encoding = this.value[charsetEnd + 1]?.toLowerCase();
    if ((encoding !== 'b' && encoding !== 'q') || this.value[charsetEnd + 2] !== '?') return null;
    const textStart = charsetEnd + 3;
    const end = this.endFrom(textStart);
    if (end === -1) return null;
    const text = this.value.slice(textStart, end);
    // An unfinished word before a finished one: the inner one is the word.
    if (text.includes('=?')) return null;
    return { charset: this.value.slice(start + 2, charsetEnd).toLowerCase(), encoding, text, end: end + 2 };
  }

  private questionMark(from: number, within: number): number {
    const last = Math.min(this.value.length, from + within);
    for (let at = from; at < last; at++) {
      const char = this.value[at] as string;
      if (char === '?') return at;
      if (char <= ' ' || char === '=') return -1;
    }
    return -1;
  }

  /** The first `?=` at or after `from`, remembered: many beginnings with one far end must not search it anew each. */
  private endFrom(from: number): number {
    const remembered = this.endAt !== -2 && from >= this.endSearchedFrom && (this.endAt === -1 || this.endAt >= from);
    if (!remembered) {
      this.endAt = this.value.indexOf('?=', from);
      this.endSearchedFrom = from;
    }
    return this.endAt;
  }
}
