import { cleanLine } from './clean.js';
import type { Head, HeadLimits } from './head.js';
import { readHead } from './head.js';
import { decodeWords } from './words.js';

/** A delivery report, a receipt or a complaint: one group of fields about the message, and one for each recipient. */
export interface Report {
  /** Media type of the part, which says what kind it is. */
  readonly type: string;
  readonly message: Readonly<Record<string, string>>;
  readonly recipients: readonly Readonly<Record<string, string>>[];
}

/** How many recipients of a report are read. */
export const MAX_RECIPIENTS = 1_000;
const MAX_VALUE = 1_000;

/** Reads the groups of fields of RFC 3464, 8098 and 5965: names in lower case, the first of equal names. Linear. */
export function readReport(type: string, bytes: Buffer, limits: HeadLimits): Report {
  const groups: Readonly<Record<string, string>>[] = [];
  let at = blankLinesEnd(bytes, 0);
  while (at < bytes.length && groups.length <= MAX_RECIPIENTS) {
    const head = readHead(bytes, limits, at);
    groups.push(fieldsOf(head));
    // A group ends at an empty line; there may be several.
    at = blankLinesEnd(bytes, head.bodyStart);
  }
  const [message = {}, ...recipients] = groups;
  return { type, message, recipients };
}

function fieldsOf({ fields }: Head): Record<string, string> {
  const values = new Map<string, string>();
  for (const { name, value } of fields) {
    if (!values.has(name))
      values.set(
        name,
        cleanLine(
          decodeWords(value, () => undefined),
          MAX_VALUE,
        ),
      );
  }
  return Object.fromEntries(values);
}

const CR = 0x0d;
const LF = 0x0a;

function blankLinesEnd(bytes: Buffer, from: number): number {
  let at = from;
  while (bytes[at] === CR || bytes[at] === LF) at++;
  return at;
}
