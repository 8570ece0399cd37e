import { type Field, firstField, type Head, type HeadLimits, lineEnd, readHead } from './head.js';
import { parameter, readStructured, textParameter } from './parameters.js';

export interface ScanLimits extends HeadLimits {
  readonly parts: number;
  readonly depth: number;
}

export type Encoding = 'identity' | 'base64' | 'quoted-printable' | 'unknown';

/** What a part's own header says of it. */
export interface PartHead {
  /** `text/plain`, lower case. */
  readonly type: string;
  readonly boundary: string | null;
  readonly charset: string | null;
  readonly encoding: Encoding;
  /** `binary` may hold any bytes, bare newlines among them. */
  readonly binary: boolean;
  /** In lower case; null where it is not said. */
  readonly disposition: string | null;
  /** Of the file, decoded. */
  readonly name: string | null;
  /** Without angle brackets. */
  readonly contentId: string | null;
  /** Its lines are paragraphs (RFC 3676); `delSp`: with the blank before each soft break left out. */
  readonly flowed: boolean;
  readonly delSp: boolean;
}

/** A part that is no multipart, by where it stands. */
export interface Leaf extends PartHead {
  /** `1`, `1.2`, as IMAP numbers them. */
  readonly path: string;
  /** 1, 2, 3 … in the order of the mail. */
  readonly n: number;
  /** Some multipart around it is multipart/alternative. */
  readonly alternative: boolean;
  readonly start: number;
  readonly end: number;
}

/** How a multipart differs from what it says. */
export interface Flaw {
  readonly code: 'boundary_missing' | 'boundary_repeated' | 'truncated';
  readonly path: string;
}

export interface Structure {
  readonly root: PartHead;
  readonly leaves: readonly Leaf[];
  readonly flaws: readonly Flaw[];
  /** Parts whose header has lines that are no fields. */
  readonly malformedHeads: readonly string[];
  /** Parts whose header is longer than is read. */
  readonly longHeads: readonly string[];
  /** Multiparts that are nested too deep to be taken apart: each is a leaf. */
  readonly tooDeep: readonly string[];
  /** Where the mail goes on beyond the most parts that are read; null where it does not. */
  readonly restFrom: number | null;
}

/** A multipart that is being read. */
interface Open {
  readonly boundary: string;
  readonly head: PartHead;
  readonly path: string;
  /** Where its body starts. */
  readonly start: number;
  readonly alternative: boolean;
  children: number;
}

/** Delimiters are at most 70 characters (RFC 2046); some senders write more. */
const MAX_DELIMITER_LINE = 1_024;
const DASH = 0x2d;
const LF = 0x0a;
const CR = 0x0d;

/**
 * Finds the parts of a mail by their delimiters, without decoding any. Linear in the length times the depth, which is
 * bounded. Nested messages (message/rfc822) are leaves. Never fails; what is wrong is in `flaws`.
 */
export function scanStructure(raw: Buffer, head: Head, limits: ScanLimits): Structure {
  return new Scanner(raw, limits).scan(head);
}

class Scanner {
  private readonly open: Open[] = [];
  private readonly leaves: Leaf[] = [];
  private readonly flaws: Flaw[] = [];
  private readonly malformedHeads: string[] = [];
  private readonly longHeads: string[] = [];
  private readonly tooDeep: string[] = [];
  private restFrom: number | null = null;
  /** The leaf whose end is not found yet; null in preambles and epilogues. */
  private current: Omit<Leaf, 'end'> | null = null;
  private parts = 0;

  constructor(
    private readonly raw: Buffer,
    private readonly limits: ScanLimits,
  ) {}

  scan(head: Head): Structure {
    const root = partHead(head.fields, true);
    this.enter(root, '', head.bodyStart);
    let at = head.bodyStart;
    while (this.open.length > 0 && this.restFrom === null) {
      const line = this.nextDelimiter(at);
      if (line === null) break;
      at = line.closes ? this.close(line) : this.next(line);
    }
    this.endLeafAt(this.raw.length);
    if (this.restFrom === null) this.abandon(0, this.raw.length);
    const { leaves, flaws, malformedHeads, longHeads, tooDeep, restFrom } = this;
    return { root, leaves, flaws, malformedHeads, longHeads, tooDeep, restFrom };
  }

  /** A part's header has been read: it is a leaf, or the multipart that the next delimiters belong to. */
  private enter(head: PartHead, path: string, start: number): void {
    const alternative = this.open.at(-1)?.alternative ?? false;
    if (!head.type.startsWith('multipart/') || head.boundary === null) {
      if (head.type.startsWith('multipart/')) this.flaw('boundary_missing', path);
      this.begin(head, path, start, alternative);
      return;
    }
    if (this.open.length >= this.limits.depth) {
      this.tooDeep.push(path);
      this.begin(head, path, start, alternative);
      return;
    }
    const { boundary } = head;
    if (this.open.some((outer) => outer.boundary === boundary)) this.flaw('boundary_repeated', path);
    const isAlternative = alternative || head.type === 'multipart/alternative';
    this.open.push({ boundary, head, path, start, alternative: isAlternative, children: 0 });
  }

  private begin(head: PartHead, path: string, start: number, alternative: boolean): void {
    // A mail that is no multipart though it says so is the text it is.
    const type = path === '' && head.type.startsWith('multipart/') ? 'text/plain' : head.type;
    this.current = { ...head, type, path: path || '1', n: this.leaves.length + 1, alternative, start };
  }

  /** A delimiter opens the next part of a multipart; those further in that were not closed end with it. */
  private next(line: Delimiter): number {
    this.endLeaf(line.start);
    this.abandon(line.level + 1, line.start);
    const parent = this.open[line.level] as Open;
    parent.children++;
    if (++this.parts > this.limits.parts) {
      this.restFrom = line.start;
      return line.end;
    }
    const path = parent.path === '' ? String(parent.children) : `${parent.path}.${parent.children}`;
    const head = readHead(this.raw, this.limits, line.end, this.raw.length, (start, end) =>
      this.isDelimiter(start, end),
    );
    if (head.malformed.length > 0) this.malformedHeads.push(path);
    if (head.cut) this.longHeads.push(path);
    this.enter(partHead(head.fields, false), path, head.bodyStart);
    return head.bodyStart;
  }

  private close(line: Delimiter): number {
    this.endLeaf(line.start);
    this.abandon(line.level + 1, line.start);
    const closed = this.open.pop() as Open;
    if (closed.children === 0) this.undivided(closed, line.start);
    return line.end;
  }

  /** Multiparts that end without their closing delimiter, or were never divided. */
  private abandon(level: number, end: number): void {
    for (const open of this.open.splice(level)) {
      if (open.children === 0) this.undivided(open, end);
      else this.flaw('truncated', open.path);
    }
  }

  /** A multipart in which its delimiter never stands is one leaf. */
  private undivided({ head, path, start, alternative }: Open, end: number): void {
    this.flaw('boundary_missing', path);
    this.begin(head, path, start, alternative);
    this.endLeaf(end);
  }

  /** A leaf ends at a delimiter, which the line break before it belongs to. */
  private endLeaf(delimiter: number): void {
    const hasBreak = this.raw[delimiter - 1] === LF;
    this.endLeafAt(hasBreak ? delimiter - (this.raw[delimiter - 2] === CR ? 2 : 1) : delimiter);
  }

  private endLeafAt(end: number): void {
    if (this.current !== null) this.leaves.push({ ...this.current, end: Math.max(end, this.current.start) });
    this.current = null;
  }

  private flaw(code: Flaw['code'], path: string): void {
    this.flaws.push({ code, path: path || 'body' });
  }

  /** The next line, from `from` (the start of a line) on, that is a delimiter of a multipart being read. */
  private nextDelimiter(from: number): Delimiter | null {
    for (let start = this.lineOfDashes(from); start !== -1; start = this.lineOfDashes(start + 2)) {
      const end = lineEnd(this.raw, start, this.raw.length);
      const delimiter = this.delimiterAt(start, end);
      if (delimiter !== null) return delimiter;
    }
    return null;
  }

  /** Where the next line begins that starts with two dashes; -1 when none does. */
  private lineOfDashes(from: number): number {
    const { raw } = this;
    if (raw[from] === DASH && raw[from + 1] === DASH && (from === 0 || raw[from - 1] === LF)) return from;
    const found = raw.indexOf('\n--', from, 'latin1');
    return found === -1 ? -1 : found + 1;
  }

  private isDelimiter(start: number, end: number): boolean {
    return this.raw[start] === DASH && this.raw[start + 1] === DASH && this.delimiterAt(start, end) !== null;
  }

  private delimiterAt(start: number, end: number): Delimiter | null {
    if (end - start > MAX_DELIMITER_LINE) return null;
    const text = this.raw.toString('utf8', start + 2, end).trimEnd();
    for (let level = this.open.length - 1; level >= 0; level--) {
      const { boundary } = this.open[level] as Open;
      if (text === boundary) return { level, start, end, closes: false };
      if (text.length === boundary.length + 2 && text.endsWith('--') && text.startsWith(boundary)) {
        return { level, start, end, closes: true };
      }
    }
    return null;
  }
}

interface Delimiter {
  /** Index of its multipart among the open ones. */
  readonly level: number;
  readonly start: number;
  readonly end: number;
  readonly closes: boolean;
}

const IDENTITIES: ReadonlySet<string> = new Set(['', '7bit', '8bit', 'binary', '7-bit', '8-bit']);

function partHead(fields: readonly Field[], isRoot: boolean): PartHead {
  const content = readStructured(firstField(fields, 'content-type')?.value ?? '');
  const disposition = readStructured(firstField(fields, 'content-disposition')?.value ?? '');
  const encoding = readStructured(firstField(fields, 'content-transfer-encoding')?.value ?? '').value;
  const boundary = parameter(content, 'boundary')?.trimEnd();
  return {
    // RFC 2045, 5.2: what is no type is none.
    type: content.value.includes('/') ? content.value : defaultType(disposition.value, isRoot),
    boundary: boundary === undefined || boundary === '' ? null : boundary,
    charset: parameter(content, 'charset') ?? null,
    encoding: encodingOf(encoding),
    binary: encoding === 'binary',
    disposition: disposition.value === '' ? null : disposition.value,
    name: textParameter(disposition, 'filename') ?? textParameter(content, 'name') ?? null,
    contentId: contentIdOf(firstField(fields, 'content-id')?.value ?? ''),
    flowed: parameter(content, 'format')?.toLowerCase() === 'flowed',
    delSp: parameter(content, 'delsp')?.toLowerCase() === 'yes',
  };
}

function defaultType(disposition: string, isRoot: boolean): string {
  return disposition === 'attachment' && !isRoot ? 'application/octet-stream' : 'text/plain';
}

function contentIdOf(value: string): string | null {
  const written = value.trim();
  const id = written.slice(written.startsWith('<') ? 1 : 0, written.endsWith('>') ? -1 : undefined).trim();
  return id === '' ? null : id;
}

function encodingOf(text: string): Encoding {
  if (text === 'base64' || text === 'quoted-printable') return text;
  return IDENTITIES.has(text) ? 'identity' : 'unknown';
}
