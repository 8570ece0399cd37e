const REPLACEMENT = '\ufffd';
/** NUL and surrogates without their other half: PostgreSQL's text holds neither. */
const UNSTORABLE = /[\0\p{Surrogate}]/u;
const ALL_UNSTORABLE = new RegExp(UNSTORABLE, 'gu');

/** Whether a value may be an envelope field: a string, not empty, within `maxBytes` of UTF-8, no NUL, well-formed. */
export function isField(value: unknown, maxBytes: number): value is string {
  return typeof value === 'string' && value.length > 0 && fits(value, maxBytes) && isStorable(value);
}

/** Neither NUL nor a lone surrogate in it. */
export function isStorable(text: string): boolean {
  return !UNSTORABLE.test(text);
}

/** The same as isField for text out of bytes that are no UTF-8: a replacement character may then stand for any byte, and two texts for one. */
export function isIntactField(value: unknown, maxBytes: number): value is string {
  return isField(value, maxBytes) && !value.includes(REPLACEMENT);
}

function fits(text: string, maxBytes: number): boolean {
  // A UTF-16 code unit takes at most three bytes of UTF-8.
  return text.length * 3 <= maxBytes || (text.length <= maxBytes && Buffer.byteLength(text) <= maxBytes);
}

/** The beginning of a text, printable, for notes about what was refused. */
export function excerpt(text: string): string {
  return text.slice(0, 200).replace(ALL_UNSTORABLE, REPLACEMENT);
}
