import { stringify } from 'lossless-json';

/** JSON as pages show it: indented, digits as they were written, what kind of thing each piece is. */
export interface ShownJson {
  readonly pieces: readonly Piece[];
  /** Only the beginning is shown. */
  readonly cut: boolean;
}

interface Piece {
  readonly kind: 'key' | 'string' | 'number' | 'word' | 'plain';
  readonly text: string;
}

/** Beyond this nobody reads on a page, in UTF-16 code units. */
const MOST_SHOWN = 200_000;
/** Beyond this it is shown without colours: every piece is an element. */
const MOST_COLOURED = 40_000;

/** `value` may hold LosslessNumbers. */
export function showJson(value: unknown): ShownJson {
  const text = stringify(value, undefined, 2) ?? 'null';
  const shown = text.slice(0, MOST_SHOWN).toWellFormed();
  const cut = shown.length < text.length;
  if (shown.length > MOST_COLOURED) return { pieces: [{ kind: 'plain', text: shown }], cut };
  return { pieces: piecesOf(shown), cut };
}

/** A text that stands for itself, without quotes. */
export function asIs(text: string): ShownJson {
  return { pieces: [{ kind: 'plain', text: text.slice(0, MOST_SHOWN) }], cut: text.length > MOST_SHOWN };
}

const TOKEN = /("(?:[^"\\]|\\.)*")(\s*:)?|(-?\d[\d.eE+-]*)|\b(true|false|null)\b/g;

function piecesOf(json: string): Piece[] {
  const pieces: Piece[] = [];
  let at = 0;
  for (const match of json.matchAll(TOKEN)) {
    const [whole, string, colon, number] = match;
    if (match.index > at) pieces.push({ kind: 'plain', text: json.slice(at, match.index) });
    if (string !== undefined) pieces.push({ kind: colon === undefined ? 'string' : 'key', text: whole });
    else pieces.push({ kind: number === undefined ? 'word' : 'number', text: whole });
    at = match.index + whole.length;
  }
  pieces.push({ kind: 'plain', text: json.slice(at) });
  return pieces;
}
