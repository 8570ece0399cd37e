/** One header field of a mail: where it lies in the bytes, its name in lower case, its value still folded. */
export interface MailField {
  readonly start: number;
  /** Just behind its last line end. */
  readonly end: number;
  readonly name: string;
  readonly value: string;
}

export interface MailHeader {
  readonly fields: readonly MailField[];
  /** Where the header's first field begins: behind an mbox "From " line, if there is one. */
  readonly start: number;
  /** Just behind the last field: the empty line, or what follows a header that breaks off. */
  readonly end: number;
}

const LF = 0x0a;
const CR = 0x0d;
const SPACE = 0x20;
const TAB = 0x09;

// Printable ASCII without the colon; blanks before the colon were once allowed (RFC 5322, 4.5).
const FIELD = /^([\x21-\x39\x3b-\x7e]{1,998})[ \t]*:/;
const MBOX_LINE = /^>?From /;

/** Far beyond any honest mail; without a bound a header of many small fields would take a hundred times its size. */
const MOST_BYTES = 1024 * 1024;
const MOST_FIELDS = 10_000;

/**
 * Reads the header of a mail as bytes; anything that is no field ends it. Lines may end in CRLF or LF.
 * Undefined where it is larger than 1 MiB or has more than 10,000 fields.
 */
export function readMailHeader(raw: Buffer): MailHeader | undefined {
  const fields: MailField[] = [];
  const start = MBOX_LINE.test(raw.toString('latin1', 0, 6)) ? lineEnd(raw, 0) : 0;
  let at = start;
  while (at < raw.length && !isEmptyLine(raw, at)) {
    const end = fieldEnd(raw, at);
    if (end > MOST_BYTES || fields.length === MOST_FIELDS) return undefined;
    const text = raw.toString('latin1', at, end);
    const name = FIELD.exec(text)?.[1];
    if (name === undefined) break;
    fields.push({ start: at, end, name: name.toLowerCase(), value: text.slice(text.indexOf(':') + 1).trim() });
    at = end;
  }
  return { fields, start, end: at };
}

/** Behind the field's last line: further lines of it begin with a blank. */
function fieldEnd(raw: Buffer, start: number): number {
  let end = lineEnd(raw, start);
  while (end < raw.length && (raw[end] === SPACE || raw[end] === TAB)) end = lineEnd(raw, end);
  return end;
}

function lineEnd(raw: Buffer, from: number): number {
  const lf = raw.indexOf(LF, from);
  return lf === -1 ? raw.length : lf + 1;
}

function isEmptyLine(raw: Buffer, at: number): boolean {
  return raw[at] === LF || (raw[at] === CR && raw[at + 1] === LF);
}
