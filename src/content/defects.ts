import type { Defect } from '../message/view.js';

/**
 * Everything that can be wrong with a message's content: what it means, how grave it is, and what is done about it.
 * A closed list, because rules, pages and documents name these codes: one may be added, none changes its meaning.
 *
 * `note`: worth knowing, nothing was lost. `warning`: read with a guess. `error`: something is missing from the view.
 */
export const DEFECTS = {
  header_malformed: {
    severity: 'warning',
    means: 'A line of the header is neither a field nor the continuation of one.',
    action: 'the line was left out',
  },
  header_too_long: {
    severity: 'error',
    means: 'The header is longer than is read.',
    action: 'what lies beyond the limit was left out',
  },
  header_repeated: {
    severity: 'warning',
    means: 'A field that may stand once stands more often.',
    action: 'the first one counts',
  },
  eight_bit_headers: {
    severity: 'note',
    means: 'The header holds bytes beyond ASCII without saying what they mean.',
    action: 'read as UTF-8, else as Windows-1252',
  },
  address_malformed: {
    severity: 'warning',
    means: 'An address field holds what is no address.',
    action: 'read as well as it could be',
  },
  too_many_addresses: {
    severity: 'error',
    means: 'An address field holds more addresses than are read.',
    action: 'what lies beyond the limit was left out',
  },
  too_many_hops: {
    severity: 'error',
    means: 'The mail has gone through more servers than any should: it may be running in circles.',
    action: 'it is not sent on as a mail',
  },
  date_missing: { severity: 'note', means: 'The mail has no date.', action: 'none is shown' },
  date_malformed: {
    severity: 'warning',
    means: 'The date is not written as RFC 5322 says.',
    action: 'read as well as it could be, else left out',
  },
  charset_unknown: {
    severity: 'warning',
    means: 'The text names a character set that nobody knows.',
    action: 'read as UTF-8, else as Windows-1252',
  },
  charset_wrong: {
    severity: 'warning',
    means: 'The text is not written in the character set it names.',
    action: 'what could not be read is shown as U+FFFD',
  },
  encoding_unknown: {
    severity: 'warning',
    means: 'A part names a transfer encoding that nobody knows.',
    action: 'taken as it stands',
  },
  base64_broken: {
    severity: 'error',
    means: 'A part is not the base64 it says it is.',
    action: 'decoded as far as it goes',
  },
  boundary_missing: {
    severity: 'error',
    means: 'A mail of several parts names no boundary, or one that does not occur.',
    action: 'its body was read as one text',
  },
  boundary_repeated: {
    severity: 'warning',
    means: 'Two nested parts use the same boundary.',
    action: 'each delimiter was taken for the inner one',
  },
  truncated: {
    severity: 'warning',
    means: 'A mail of several parts ends, or goes on, before its closing delimiter.',
    action: 'read as far as it goes',
  },
  parts_disagree: {
    severity: 'error',
    means: 'The parser found other parts than there are delimiters for.',
    action: "the parser's parts are shown",
  },
  too_many_parts: {
    severity: 'error',
    means: 'The mail has more parts than are read.',
    action: 'the others are in the raw message only',
  },
  nesting_too_deep: {
    severity: 'error',
    means: 'Parts, or JSON, are nested deeper than is read.',
    action: 'not read',
  },
  nul: { severity: 'warning', means: 'There are NUL bytes.', action: 'shown as U+FFFD' },
  bare_newline: {
    severity: 'warning',
    means: 'Lines end in different ways, as in attempts to smuggle one mail inside another.',
    action: 'each was taken for the end of a line',
  },
  too_large: { severity: 'error', means: 'A text is longer than is read.', action: 'cut at the limit' },
  html_too_deep: {
    severity: 'warning',
    means: 'The HTML is nested too deep to make plain text of it.',
    action: 'no plain text was made',
  },
  tnef: {
    severity: 'note',
    means: "Outlook's winmail.dat wraps what was sent.",
    action: 'what it holds is listed with the parts',
  },
  tnef_broken: {
    severity: 'error',
    means: 'A winmail.dat is none, or ends early.',
    action: 'what could be read of it is listed with the parts',
  },
  calendar_broken: { severity: 'warning', means: 'A calendar can not be read.', action: 'kept as the file it is' },
  part_set_aside: {
    severity: 'error',
    means: 'A part is left out, since the message could not be read with it.',
    action: 'it is in the raw message only',
  },
  feature_set_aside: {
    severity: 'warning',
    means: 'A part is not looked into, or a text not made readable, since the message could not be read with that.',
    action: 'kept as the file it is',
  },
  field_set_aside: {
    severity: 'error',
    means: "A field is not what its source's schema says.",
    action: 'it is in the raw message only',
  },
  field_missing: {
    severity: 'warning',
    means: "A field is missing that its source's schema asks for.",
    action: 'the others are used',
  },
  envelope_only: {
    severity: 'error',
    means: 'Nothing of the message could be read.',
    action: 'only what was said as it was handed over is used',
  },
  body_set_aside: {
    severity: 'error',
    means: 'The message could not be read whole.',
    action: 'body and parts are in the raw message only',
  },
  all_set_aside: {
    severity: 'error',
    means: 'The message could not be read at all.',
    action: 'it is in the raw message only',
  },
  binary_data: {
    severity: 'note',
    means: 'The data are bytes, no text and no JSON.',
    action: 'they are in the raw message only',
  },
  json_malformed: { severity: 'error', means: 'The body is not JSON.', action: 'it is in the raw message only' },
  too_many_defects: {
    severity: 'note',
    means: 'There are more defects than are listed.',
    action: 'the others were left out',
  },
} as const satisfies Record<string, Pick<Defect, 'severity' | 'action'> & { readonly means: string }>;

export type DefectCode = keyof typeof DEFECTS;

/** How many defects a view lists at most. */
export const MAX_DEFECTS = 100;
/** How much of a place's name is kept, in UTF-16 code units: senders choose field names. */
const MAX_WHERE = 128;

/** One defect; `action` only where it is another than the usual one. */
export function defect(code: DefectCode, where: string, action: string = DEFECTS[code].action): Defect {
  return { code, severity: DEFECTS[code].severity, where: where.slice(0, MAX_WHERE), action };
}

/** Gathers the defects of one message: each code once a place, at most MAX_DEFECTS of them. */
export class DefectList {
  private readonly found = new Map<string, Defect>();
  private full = false;

  add(code: DefectCode, where: string, action?: string): void {
    const key = `${code} ${where}`;
    if (this.found.has(key)) return;
    if (this.found.size >= MAX_DEFECTS - 1) this.full = true;
    else this.found.set(key, defect(code, where, action));
  }

  list(): Defect[] {
    const defects = [...this.found.values()];
    if (this.full) defects.push(defect('too_many_defects', 'defects'));
    return defects;
  }
}
