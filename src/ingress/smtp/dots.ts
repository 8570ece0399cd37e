const CR = 0x0d;
const LF = 0x0a;
const DOT = 0x2e;
const NOTHING = Buffer.alloc(0);
const LINE_BREAK = Buffer.from('\r\n');
const LINE_WITH_DOT = Buffer.from('\r\n.');

/** What one piece of input came to: content as the sender meant it, and, once the data has ended, what follows it. */
interface Unstuffed {
  readonly content: Buffer;
  readonly rest: Buffer | null;
}

/**
 * Reads the data of one mail (RFC 5321 4.5.2): finds its end and removes the dots its sender put in.
 *
 * A line begins after CR LF and nowhere else, so only CR LF . CR LF ends the data, and only the dot after CR LF is
 * removed. Bare CR and bare LF are content like any other byte. With that there is nothing to smuggle: whatever a
 * server before us took for one mail is one mail here too, byte for byte (docs/decisions/0006-smtp.md).
 */
export class DotReader {
  /** Input that can't be judged before more comes, at most 4 bytes. At first the line break that ends DATA itself. */
  #held: Buffer = LINE_BREAK;
  /** How many of the held bytes are not content. */
  #skip = LINE_BREAK.length;

  read(chunk: Buffer): Unstuffed {
    this.#passFirstLine(chunk);
    const bytes = this.#held.length === 0 ? chunk : Buffer.concat([this.#held, chunk]);
    const lines: Buffer[] = [];
    let start = this.#skip;
    for (let at = bytes.indexOf(LINE_WITH_DOT); at !== -1; at = bytes.indexOf(LINE_WITH_DOT, start)) {
      const dot = at + 2;
      const after = dot + 1;
      if (bytes[after] === CR && bytes[after + 1] === LF) {
        lines.push(bytes.subarray(start, dot));
        return { content: joined(lines), rest: bytes.subarray(after + 2) };
      }
      const undecided = bytes.length === after || (bytes[after] === CR && bytes.length === after + 1);
      if (undecided) return { content: this.#hold(lines, bytes, start, at), rest: null };
      lines.push(bytes.subarray(start, dot));
      start = after;
    }
    return { content: this.#hold(lines, bytes, start, bytes.length - lineBreakBytesAtEnd(bytes, start)), rest: null };
  }

  /** Saves nearly every mail a copy: DATA's line break matters only to a first line that begins with a dot. */
  #passFirstLine(chunk: Buffer): void {
    if (this.#held !== LINE_BREAK || chunk[0] === DOT) return;
    this.#held = NOTHING;
    this.#skip = 0;
  }

  /** Keeps what begins at `from` for later and gives out the content before it. */
  #hold(lines: Buffer[], bytes: Buffer, start: number, from: number): Buffer {
    this.#held = bytes.subarray(from);
    this.#skip = Math.max(0, start - from);
    if (from > start) lines.push(bytes.subarray(start, from));
    return joined(lines);
  }
}

/** How many bytes at the end may be the beginning of a line break and a dot. */
function lineBreakBytesAtEnd(bytes: Buffer, start: number): number {
  const length = bytes.length;
  if (length - start >= 1 && bytes[length - 1] === CR) return 1;
  if (length - start >= 2 && bytes[length - 2] === CR && bytes[length - 1] === LF) return 2;
  return 0;
}

function joined(pieces: readonly Buffer[]): Buffer {
  return pieces.length === 1 && pieces[0] ? pieces[0] : pieces.length === 0 ? NOTHING : Buffer.concat(pieces);
}
