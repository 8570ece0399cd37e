import { isAscii } from 'node:buffer';
import { guessText } from './charset.js';

const LF = 0x0a;
const CR = 0x0d;
const SPACE = 0x20;
const TAB = 0x09;
const COLON = 0x3a;
const MAX_NAME = 128;

/** One field of a header as it stands. */
export interface Field {
  /** Lower case. */
  readonly name: string;
  /** Unfolded; not decoded but for bytes beyond ASCII, which are read as UTF-8 or else Windows-1252. */
  readonly value: string;
  readonly eightBit: boolean;
  /** Its bytes, line ending included. */
  readonly start: number;
  readonly end: number;
}

export interface HeadLimits {
  /** Bytes and lines beyond which fields are no longer read. */
  readonly headerBytes: number;
  readonly headerLines: number;
}

/** A header, and where what it heads begins. */
export interface Head {
  readonly fields: readonly Field[];
  readonly bodyStart: number;
  /** Lines that are no part of a field, by their number from 1; at most MAX_MALFORMED. */
  readonly malformed: readonly number[];
  /** It went on beyond the limits. */
  readonly cut: boolean;
}

const MAX_MALFORMED = 10;

/**
 * Reads the header that starts at `from`. Linear in its length, and never fails: a line that is no field is passed
 * over, as mail programs do. The header ends at an empty line, at `to`, or where `isDelimiter` says so.
 */
export function readHead(
  raw: Buffer,
  limits: HeadLimits,
  from = 0,
  to = raw.length,
  isDelimiter: (lineStart: number, lineEnd: number) => boolean = () => false,
): Head {
  const fields: Field[] = [];
  const malformed: number[] = [];
  let lines = 0;
  let at = from === 0 ? afterMailboxLine(raw, to) : from;
  let cut = false;
  while (at < to) {
    const end = lineEnd(raw, at, to);
    if (isBlank(raw, at, end)) return { fields, bodyStart: end, malformed, cut };
    if (isDelimiter(at, end)) break;
    const span = fieldSpan(raw, end, to);
    const line = lines + 1;
    lines += span.lines;
    cut ||= span.end - from > limits.headerBytes || lines > limits.headerLines;
    if (!cut) {
      const field = readField(raw, at, span.end);
      if (field !== null) fields.push(field);
      else if (malformed.length < MAX_MALFORMED) malformed.push(line);
    }
    at = span.end;
  }
  return { fields, bodyStart: at, malformed, cut };
}

const MAILBOX_LINE = Buffer.from('From ');

/** `From anna@example.com Tue May 10 …`: how mailboxes part their mails. It is no part of any, and often left behind. */
function afterMailboxLine(raw: Buffer, to: number): number {
  return raw.subarray(0, MAILBOX_LINE.length).equals(MAILBOX_LINE) ? lineEnd(raw, 0, to) : 0;
}

/** The first field of a name (lower case). */
export function firstField(fields: readonly Field[], name: string): Field | undefined {
  return fields.find((field) => field.name === name);
}

/** Where the line that starts at `at` ends, after its LF. */
export function lineEnd(raw: Buffer, at: number, to: number): number {
  const found = raw.indexOf(LF, at);
  return found === -1 || found >= to ? to : found + 1;
}

function isBlank(raw: Buffer, start: number, end: number): boolean {
  return raw[start] === LF || (raw[start] === CR && (raw[start + 1] === LF || end === start + 1));
}

/** A line with those that continue it. */
function fieldSpan(raw: Buffer, firstEnd: number, to: number): { end: number; lines: number } {
  let end = firstEnd;
  let lines = 1;
  while (end < to && (raw[end] === SPACE || raw[end] === TAB)) {
    end = lineEnd(raw, end, to);
    lines++;
  }
  return { end, lines };
}

function readField(raw: Buffer, start: number, end: number): Field | null {
  const colon = colonOf(raw, start, Math.min(end, start + MAX_NAME));
  if (colon === -1) return null;
  const name = raw.toString('latin1', start, colon).trimEnd().toLowerCase();
  const bytes = raw.subarray(colon + 1, end);
  const eightBit = !isAscii(bytes);
  return { name, value: unfold(eightBit ? guessText(bytes) : bytes.toString('latin1')), eightBit, start, end };
}

/** Position of the colon after a field's name; -1 where there is no name. Blanks may stand before the colon. */
function colonOf(raw: Buffer, start: number, end: number): number {
  let nameEnded = false;
  for (let at = start; at < end; at++) {
    const byte = raw[at] as number;
    if (byte === COLON) return at > start ? at : -1;
    if (byte === SPACE || byte === TAB) nameEnded = true;
    else if (nameEnded || byte < 0x21 || byte > 0x7e) return -1;
    if (nameEnded && at === start) return -1;
  }
  return -1;
}

function unfold(value: string): string {
  return value.replace(/\r?\n/g, '').replace(/\r/g, ' ').trim();
}
