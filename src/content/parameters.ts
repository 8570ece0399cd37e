import { decoderFor, guessText } from './charset.js';
import { hexAt } from './hex.js';
import { decodeWords } from './words.js';

/** A field such as Content-Type: `text/plain; charset="utf-8"`. Names and value in lower case, parameters as written. */
export interface Structured {
  readonly value: string;
  readonly parameters: ReadonlyMap<string, string>;
}

/** How many parameters of one field are read. */
const MAX_PARAMETERS = 1_000;

/** Reads a value and its parameters. Linear in the length; the first of equal names wins. */
export function readStructured(text: string): Structured {
  const parameters = new Map<string, string>();
  const first = text.indexOf(';');
  const [value = ''] = (first === -1 ? text : text.slice(0, first)).split('(', 1);
  let at = first === -1 ? text.length : first + 1;
  while (at < text.length && parameters.size < MAX_PARAMETERS) {
    const { name, value: written, end } = parameterAt(text, at);
    if (name !== '' && !parameters.has(name)) parameters.set(name, written);
    at = end;
  }
  return { value: value.trim().toLowerCase(), parameters };
}

/** A parameter, put together where RFC 2231 cut it in pieces (`boundary*0=…; boundary*1=…`). */
export function parameter({ parameters }: Structured, name: string): string | undefined {
  const whole = parameters.get(name) ?? parameters.get(`${name}*`);
  if (whole !== undefined) return whole;
  const pieces: string[] = [];
  for (let n = 0; n < MAX_PARAMETERS; n++) {
    const piece = parameters.get(`${name}*${n}`) ?? parameters.get(`${name}*${n}*`);
    if (piece === undefined) break;
    pieces.push(piece);
  }
  return pieces.length === 0 ? undefined : pieces.join('');
}

/** A parameter that is text for people, such as a file's name: RFC 2231 decoded, and encoded words, which many write there. */
export function textParameter(structured: Structured, name: string): string | undefined {
  const { parameters } = structured;
  const whole = parameters.get(`${name}*`);
  if (whole !== undefined) return decodedPieces([{ text: whole, extended: true }]);
  const pieces: Piece[] = [];
  for (let n = 0; n < MAX_PARAMETERS; n++) {
    const extended = parameters.get(`${name}*${n}*`);
    const text = extended ?? parameters.get(`${name}*${n}`);
    if (text === undefined) break;
    pieces.push({ text, extended: extended !== undefined });
  }
  if (pieces.length > 0) return decodedPieces(pieces);
  const plain = parameters.get(name);
  return plain === undefined ? undefined : decodeWords(plain, () => undefined);
}

interface Piece {
  readonly text: string;
  /** Its bytes may be written as `%e4`; the first such piece begins with `charset'language'`. */
  readonly extended: boolean;
}

function decodedPieces(pieces: readonly Piece[]): string {
  const [first] = pieces;
  const named = first?.extended ? /^([^']{0,64})'[^']{0,64}'/.exec(first.text) : null;
  const bytes = pieces.map(({ text, extended }, i) => {
    const written = i === 0 && named ? text.slice(named[0].length) : text;
    return extended ? percentDecoded(written) : Buffer.from(written);
  });
  const all = Buffer.concat(bytes);
  return (named ? decoderFor(named[1] as string)?.decode(all) : undefined) ?? guessText(all);
}

const PERCENT = 0x25;

function percentDecoded(text: string): Buffer {
  const written = Buffer.from(text);
  let length = 0;
  for (let at = 0; at < written.length; at++) {
    const byte = written[at] as number;
    const code = byte === PERCENT ? hexAt(written, at + 1) : -1;
    written[length++] = code >= 0 ? code : byte;
    if (code >= 0) at += 2;
  }
  return written.subarray(0, length);
}

function parameterAt(text: string, from: number): { name: string; value: string; end: number } {
  let at = from;
  while (at < text.length && text[at] !== '=' && text[at] !== ';') at++;
  const name = text.slice(from, at).trim().toLowerCase();
  if (text[at] !== '=') return { name, value: '', end: at + 1 };
  const pieces: string[] = [];
  for (at++; at < text.length && text[at] !== ';'; ) {
    const end = text[at] === '"' ? quotedEnd(text, at) : plainEnd(text, at);
    pieces.push(text[at] === '"' ? unquoted(text.slice(at + 1, end)) : text.slice(at, end).trim());
    at = text[at] === '"' ? end + 1 : end;
  }
  return { name, value: pieces.join(''), end: at + 1 };
}

function plainEnd(text: string, from: number): number {
  let at = from;
  while (at < text.length && text[at] !== ';' && text[at] !== '"') at++;
  return at;
}

/** Where the quote that stands at `from` closes, or the end. */
function quotedEnd(text: string, from: number): number {
  let at = from + 1;
  while (at < text.length && text[at] !== '"') at += text[at] === '\\' ? 2 : 1;
  return Math.min(at, text.length);
}

function unquoted(text: string): string {
  return text.replace(/\\(.)/g, '$1');
}
