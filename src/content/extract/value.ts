import type { Found } from '../../message/found.js';
import { type Amount, readAmount } from './amount.js';
import { readDate } from './date.js';

/** What is longer is prose, and no piece of data, in UTF-16 code units. */
const MOST_CHARACTERS = 1_000;

/** How values of an extractor are written. */
export interface Spelling {
  readonly type: string;
  /** Of amounts: what is the decimal sign there; null where amounts must show it themselves. */
  readonly decimal: '.' | ',' | null;
}

/** A value and the place it was found in, spelled as its type is; undefined where there is nothing to be found. */
export function foundOf({ type, decimal }: Spelling, text: string, where: string): Found | undefined {
  if (text.length > MOST_CHARACTERS) return undefined;
  const written = text.replace(/[\s\p{Cc}]+/gu, ' ').trim();
  if (written === '') return undefined;
  if (type === 'amount') return amountFound(readAmount(written, decimal), written, where);
  const value = spelled(type, written);
  return value === null ? { type, value: written, written, where, unclear: true } : { type, value, written, where };
}

/** An amount that a program wrote, with its currency beside it. */
export function amountFound(amount: Amount | null, written: string, where: string): Found {
  const type = 'amount';
  if (amount === null) return { type, value: written, written, where, unclear: true };
  const { digits, currency } = amount;
  return { type, value: digits, written, where, ...(currency !== null && { currency }) };
}

/** Null where what is written is not, or not certainly, of the type. */
function spelled(type: string, written: string): string | null {
  switch (type) {
    case 'date':
      return readDate(written);
    case 'phone':
      return phone(written);
    case 'email':
      return email(written);
    default:
      return written;
  }
}

const PHONE = /^(?:tel:)?\+?[\d\s().\-/\u00a0]{5,40}$/i;
/** The fewest and the most digits of a number somebody can be called by (E.164). */
const PHONE_DIGITS = { least: 5, most: 15 } as const;

function phone(written: string): string | null {
  if (!PHONE.test(written)) return null;
  const international = /^(?:tel:)?\+/i.test(written);
  // +49 (0)30: the zero is for those who call from within the country.
  const digits = (international ? written.replace('(0)', '') : written).replace(/\D/g, '');
  if (digits.length < PHONE_DIGITS.least || digits.length > PHONE_DIGITS.most) return null;
  return international ? `+${digits}` : digits;
}

const EMAIL = /^[^\s@<>()[\]:;,\\"]{1,64}@[A-Za-z0-9\u0080-\uffff.-]{1,253}$/;

/** `Anna <anna@Example.com>` too; the domain in lower case, what stands before it as its owner may tell apart. */
function email(written: string): string | null {
  const open = written.indexOf('<');
  const inner = open !== -1 && written.endsWith('>') ? written.slice(open + 1, -1) : written;
  const address = inner.trim().replace(/^mailto:/i, '');
  if (!EMAIL.test(address)) return null;
  const at = address.lastIndexOf('@') + 1;
  return address.slice(0, at) + address.slice(at).toLowerCase();
}
