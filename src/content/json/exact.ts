import { LosslessNumber } from 'lossless-json';
import { keepsDigits } from './scan.js';

/**
 * Reads JSON that JSON.parse has already taken and that is at most MAX_DEPTH deep, with every digit kept: numbers that
 * a double would print otherwise become LosslessNumbers. Otherwise as JSON.parse: the last of equal keys wins, and
 * `__proto__` is a key like any other. Never fails on such text.
 *
 * Why not lossless-json's own parser: it joins strings one character at a time, which takes 36 MB and half a second
 * for every megabyte of a string, so that one sender's `1.0` beside a long string would stop the process.
 */
export function readExact(text: string): unknown {
  return new Reader(text).value();
}

/** What of a document is wanted, by key: `all` of a member's value, or what is wanted of that. */
export type Wanted = ReadonlyMap<string, Wanted | 'all'>;

/** What the steps of pointers lead to, together. */
export function wantedBy(pointers: readonly (readonly string[])[]): Wanted | 'all' {
  const inside = new Map<string, (readonly string[])[]>();
  for (const [first, ...rest] of pointers) {
    if (first === undefined) return 'all';
    inside.set(first, [...(inside.get(first) ?? []), rest]);
  }
  return new Map([...inside].map(([key, steps]) => [key, wantedBy(steps)]));
}

/**
 * Reads of JSON only what is wanted, as `readExact` would, and passes over the rest, several times as fast: what pointers lead
 * to in it is what they lead to in the whole. Of text that JSON.parse would not take it reads something or other, or
 * undefined. Never throws.
 */
export function readWanted(text: string, wanted: Wanted | 'all'): unknown {
  try {
    return new Reader(text).value(wanted);
  } catch {
    return undefined;
  }
}

const QUOTE = 0x22;
const COMMA = 0x2c;
const OPEN_BRACKET = 0x5b;
const BACKSLASH = 0x5c;
const CLOSE_BRACKET = 0x5d;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;
const COLON = 0x3a;
const SPACE = 0x20;

class Reader {
  private at = 0;

  constructor(private readonly text: string) {}

  value(wanted: Wanted | 'all' = 'all'): unknown {
    switch (this.next()) {
      case QUOTE:
        return this.string();
      case OPEN_BRACE:
        return this.object(wanted);
      case OPEN_BRACKET:
        return this.array();
      default:
        return this.scalar();
    }
  }

  private object(wanted: Wanted | 'all'): Record<string, unknown> {
    const object: Record<string, unknown> = {};
    this.at++;
    while (this.nextMember() !== CLOSE_BRACE) {
      const key = this.string();
      this.next();
      this.at++;
      const inside = wanted === 'all' ? wanted : wanted.get(key);
      if (inside === undefined) this.pass();
      else setOwn(object, key, this.value(inside));
    }
    this.at++;
    return object;
  }

  private array(): unknown[] {
    const items: unknown[] = [];
    this.at++;
    while (this.nextMember() !== CLOSE_BRACKET) items.push(this.value());
    this.at++;
    return items;
  }

  /** Goes behind the next value. */
  private pass(): void {
    let depth = this.passToken();
    while (depth > 0) depth += this.passToken();
  }

  /** Goes behind the next token; answers how much deeper it is there. */
  private passToken(): number {
    switch (this.next()) {
      case QUOTE:
        this.at = this.stringEnd() + 1;
        return 0;
      case OPEN_BRACE:
      case OPEN_BRACKET:
        this.at++;
        return 1;
      case CLOSE_BRACE:
      case CLOSE_BRACKET:
        this.at++;
        return -1;
      case COMMA:
      case COLON:
        this.at++;
        return 0;
      default:
        this.passScalar();
        return 0;
    }
  }

  private string(): string {
    const start = this.at;
    const end = this.stringEnd();
    this.at = end + 1;
    const content = this.text.slice(start + 1, end);
    return content.includes('\\') ? (JSON.parse(this.text.slice(start, end + 1)) as string) : content;
  }

  /** Where the quote is that ends the string which begins here. */
  private stringEnd(): number {
    let end = this.text.indexOf('"', this.at + 1);
    while (this.isEscaped(end)) end = this.text.indexOf('"', end + 1);
    if (end < 0) throw new SyntaxError('a string without an end');
    return end;
  }

  /** Whether an odd number of backslashes stands before the quote. */
  private isEscaped(quote: number): boolean {
    let before = quote;
    while (this.text.charCodeAt(before - 1) === BACKSLASH) before--;
    return (quote - before) % 2 === 1;
  }

  private scalar(): unknown {
    const start = this.at;
    this.passScalar();
    const token = this.text.slice(start, this.at);
    if (token === 'true') return true;
    if (token === 'false') return false;
    if (token === 'null') return null;
    return keepsDigits(token) ? Number(token) : new LosslessNumber(token);
  }

  private passScalar(): void {
    const start = this.at;
    while (!endsScalar(this.text.charCodeAt(this.at))) this.at++;
    if (this.at === start) throw new SyntaxError('no value');
  }

  /** The first character of the next member or item, or what closes them. */
  private nextMember(): number {
    const code = this.next();
    if (code !== COMMA) return code;
    this.at++;
    return this.next();
  }

  /** The first character after white space, which is all there is below a space. */
  private next(): number {
    while (this.text.charCodeAt(this.at) <= SPACE) this.at++;
    return this.text.charCodeAt(this.at);
  }
}

/** White space, what separates, or the end of the text (NaN). */
function endsScalar(code: number): boolean {
  return !(code > SPACE) || code === COMMA || code === CLOSE_BRACE || code === CLOSE_BRACKET;
}

function setOwn(object: Record<string, unknown>, key: string, value: unknown): void {
  if (key === '__proto__') {
    Object.defineProperty(object, key, { value, writable: true, enumerable: true, configurable: true });
  } else {
    object[key] = value;
  }
}
