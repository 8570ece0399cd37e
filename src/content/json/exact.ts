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

const QUOTE = 0x22;
const COMMA = 0x2c;
const OPEN_BRACKET = 0x5b;
const BACKSLASH = 0x5c;
const CLOSE_BRACKET = 0x5d;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;
const SPACE = 0x20;

class Reader {
  private at = 0;

  constructor(private readonly text: string) {}

  value(): unknown {
    switch (this.next()) {
      case QUOTE:
        return this.string();
      case OPEN_BRACE:
        return this.object();
      case OPEN_BRACKET:
        return this.array();
      default:
        return this.scalar();
    }
  }

  private object(): Record<string, unknown> {
    const object: Record<string, unknown> = {};
    this.at++;
    while (this.nextMember() !== CLOSE_BRACE) {
      const key = this.string();
      this.next();
      this.at++;
      setOwn(object, key, this.value());
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

  private string(): string {
    const start = this.at;
    let end = this.text.indexOf('"', start + 1);
    while (this.isEscaped(end)) end = this.text.indexOf('"', end + 1);
    this.at = end + 1;
    const content = this.text.slice(start + 1, end);
    return content.includes('\\') ? (JSON.parse(this.text.slice(start, end + 1)) as string) : content;
  }

  /** Whether an odd number of backslashes stands before the quote. */
  private isEscaped(quote: number): boolean {
    let before = quote;
    while (this.text.charCodeAt(before - 1) === BACKSLASH) before--;
    return (quote - before) % 2 === 1;
  }

  private scalar(): unknown {
    const start = this.at;
    while (!endsScalar(this.text.charCodeAt(this.at))) this.at++;
    const token = this.text.slice(start, this.at);
    if (token === 'true') return true;
    if (token === 'false') return false;
    if (token === 'null') return null;
    return keepsDigits(token) ? Number(token) : new LosslessNumber(token);
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
