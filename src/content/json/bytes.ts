import { LosslessNumber } from 'lossless-json';

const FIRST_SIZE = 64 * 1024;
/** What a large document needed is given back with the next one, in bytes. */
const MOST_KEPT = 1024 * 1024;

/** Texts up to this length are written character by character; beyond it the engine's own encoder is quicker (measured). */
const SHORT = 64;

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const SPACE = 0x20;
const NOT_ASCII = 0x80;
const COMMA = 0x2c;
const COLON = 0x3a;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;

/**
 * Writes JSON as UTF-8 into memory that is used again and again: joined out of strings, a message would cost more to
 * collect than to write. One document at a time, and nothing of it is left once the next one begins.
 */
export class JsonBytes {
  #bytes = Buffer.allocUnsafeSlow(FIRST_SIZE);
  #length = 0;

  /** Begins a document; what was written before is forgotten. */
  begin(): this {
    if (this.#bytes.length > MOST_KEPT) this.#bytes = Buffer.allocUnsafeSlow(FIRST_SIZE);
    this.#length = 0;
    return this;
  }

  /** JSON as it stands, well-formed. */
  json(text: string): this {
    const { length } = text;
    if (length > SHORT) return this.#encoded(text);
    this.#reserve(length);
    const bytes = this.#bytes;
    const from = this.#length;
    for (let i = 0; i < length; i++) {
      const character = text.charCodeAt(i);
      if (character >= NOT_ASCII) return this.#encoded(text);
      bytes[from + i] = character;
    }
    this.#length = from + length;
    return this;
  }

  /** A JSON string literal as RFC 8785 writes it; lone surrogates, which that leaves out, as `\udxxx` in lower case. Null is `null`. */
  text(text: string | null): this {
    if (text === null) return this.json('null');
    const { length } = text;
    if (length > SHORT) return this.#encoded(JSON.stringify(text));
    this.#reserve(length + 2);
    const bytes = this.#bytes;
    let at = this.#length;
    bytes[at++] = QUOTE;
    for (let i = 0; i < length; i++) {
      const character = text.charCodeAt(i);
      if (character < SPACE || character >= NOT_ASCII || character === QUOTE || character === BACKSLASH) {
        return this.#encoded(JSON.stringify(text));
      }
      bytes[at++] = character;
    }
    bytes[at++] = QUOTE;
    this.#length = at;
    return this;
  }

  /**
   * The canonical text of a JSON value as read (`ParsedJson.value`): members in the order of RFC 8785, no white space,
   * numbers with their digits as written. Recurses once a level, so the value's depth must be bounded by its reader.
   */
  canonical(value: unknown): this {
    if (typeof value === 'string') return this.text(value);
    if (typeof value === 'number') return this.json(Number.isFinite(value) ? String(value) : 'null');
    if (typeof value === 'boolean') return this.json(value ? 'true' : 'false');
    if (typeof value !== 'object' || value === null) return this.json('null');
    if (value instanceof LosslessNumber) return this.json(value.value);
    return Array.isArray(value) ? this.#array(value) : this.#object(value as Record<string, unknown>);
  }

  /** What was written, until the next document begins. */
  view(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }

  /** A copy of what was written. */
  copy(): Buffer {
    const copy = Buffer.allocUnsafe(this.#length);
    this.#bytes.copy(copy, 0, 0, this.#length);
    return copy;
  }

  #array(items: readonly unknown[]): this {
    this.#byte(OPEN_BRACKET);
    for (let i = 0; i < items.length; i++) {
      if (i > 0) this.#byte(COMMA);
      this.canonical(items[i]);
    }
    return this.#byte(CLOSE_BRACKET);
  }

  #object(object: Record<string, unknown>): this {
    this.#byte(OPEN_BRACE);
    const keys = sorted(Object.keys(object));
    for (let i = 0; i < keys.length; i++) {
      const key = keys[i] as string;
      if (i > 0) this.#byte(COMMA);
      this.text(key).#byte(COLON).canonical(object[key]);
    }
    return this.#byte(CLOSE_BRACE);
  }

  #byte(byte: number): this {
    this.#reserve(1);
    this.#bytes[this.#length++] = byte;
    return this;
  }

  #encoded(text: string): this {
    // A character of UTF-16 is at most three bytes of UTF-8; of a long text it is worth counting them.
    this.#reserve(text.length > FIRST_SIZE ? Buffer.byteLength(text) : text.length * 3);
    this.#length += this.#bytes.write(text, this.#length);
    return this;
  }

  #reserve(count: number): void {
    const needed = this.#length + count;
    if (needed <= this.#bytes.length) return;
    const larger = Buffer.allocUnsafeSlow(Math.max(needed, 2 * this.#bytes.length));
    this.#bytes.copy(larger, 0, 0, this.#length);
    this.#bytes = larger;
  }
}

/** In the order of RFC 8785 (UTF-16 code units). Most objects are small, and then this beats Array.prototype.sort twice over. */
function sorted(keys: string[]): string[] {
  if (keys.length > 16) return keys.sort();
  for (let i = 1; i < keys.length; i++) {
    const key = keys[i] as string;
    let j = i - 1;
    while (j >= 0 && (keys[j] as string) > key) {
      keys[j + 1] = keys[j] as string;
      j--;
    }
    keys[j + 1] = key;
  }
  return keys;
}
