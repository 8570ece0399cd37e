import { Decimal } from 'decimal.js';
import { scalarText } from '../content/json/pointer.js';
import { parseDecimal } from '../routing/decimal.js';

/*
 * Numbers that are money. A value is taken from its source text and never becomes a double. What is taken has at most
 * 40 digits before the point and 20 after it; so have prices. A sum of 10^18 such values times a price has less than
 * 140 digits, so nothing of this is ever rounded but where the rate card says.
 */

export const Exact = Decimal.clone({
  precision: 400,
  rounding: Decimal.ROUND_HALF_EVEN,
  // No exponents in texts.
  toExpNeg: -9e15,
  toExpPos: 9e15,
});
export type Exact = Decimal;

export const ZERO = new Exact(0);

const WHOLE_DIGITS = 40;
const FRACTION_DIGITS = 20;

export type ValueCode = 'value_missing' | 'value_not_a_number' | 'value_too_long';

export type ValueRead = { readonly ok: true; readonly text: string } | { readonly ok: false; readonly code: ValueCode };

/** An event's value: a JSON number, or a string that is written like one. `text` is as the sender wrote it. */
export function readValue(value: unknown): ValueRead {
  if (value === undefined || value === null) return { ok: false, code: 'value_missing' };
  const text = scalarText(value);
  if (text === undefined) return { ok: false, code: 'value_not_a_number' };
  if (text.length > MOST_CHARACTERS) return { ok: false, code: tooLongOrNone(text) };
  const decimal = parseDecimal(text);
  if (!decimal) return { ok: false, code: 'value_not_a_number' };
  const { exponent, digits } = decimal;
  const fits = exponent <= WHOLE_DIGITS && digits.length - exponent <= FRACTION_DIGITS;
  return fits ? { ok: true, text } : { ok: false, code: 'value_too_long' };
}

/** Zeros in front of an exponent and behind the point may make a number longer than its digits. */
const MOST_CHARACTERS = 512;

function tooLongOrNone(text: string): ValueCode {
  return parseDecimal(text) ? 'value_too_long' : 'value_not_a_number';
}

/*
 * Values are added and compared as whole numbers of their last digit: several times faster than decimal.js, and the ledger
 * does it for every event.
 */

/** units × 10^-scale. */
interface Scaled {
  readonly units: bigint;
  readonly scale: number;
}

function scaledOf(text: string): Scaled {
  const plain = /[eE]/.test(text) ? new Exact(text).toFixed() : text;
  const point = plain.indexOf('.');
  if (point < 0) return { units: BigInt(plain), scale: 0 };
  return { units: BigInt(plain.slice(0, point) + plain.slice(point + 1)), scale: plain.length - point - 1 };
}

function unitsAt({ units, scale }: Scaled, wanted: number): bigint {
  return scale === wanted ? units : units * 10n ** BigInt(wanted - scale);
}

/** The sum of values that `readValue` has taken. */
export function sumOf(texts: readonly string[]): string {
  if (texts.length === 1) return texts[0] as string;
  let sum: Scaled = { units: 0n, scale: 0 };
  for (const text of texts) {
    const value = scaledOf(text);
    const scale = Math.max(sum.scale, value.scale);
    sum = { units: unitsAt(sum, scale) + unitsAt(value, scale), scale };
  }
  if (sum.scale === 0) return String(sum.units);
  const digits = String(sum.units < 0n ? -sum.units : sum.units).padStart(sum.scale + 1, '0');
  return `${sum.units < 0n ? '-' : ''}${digits.slice(0, -sum.scale)}.${digits.slice(-sum.scale)}`;
}

export function greaterOf(a: string, b: string): string {
  return isLess(a, b) ? b : a;
}

export function lesserOf(a: string, b: string): string {
  return isLess(b, a) ? b : a;
}

function isLess(a: string, b: string): boolean {
  const [x, y] = [scaledOf(a), scaledOf(b)];
  const scale = Math.max(x.scale, y.scale);
  return unitsAt(x, scale) < unitsAt(y, scale);
}

/** Whether a text is a decimal that may stand in a rate card: no exponent, within the same bounds. */
export function isPlainDecimal(text: string): boolean {
  return /^-?(?:0|[1-9]\d{0,39})(?:\.\d{1,20})?$/.test(text);
}

/** A fraction of a period, both ends whole and above none. */
export interface Share {
  readonly of: Exact;
  readonly whole: Exact;
}

export const ALL: Share = { of: new Exact(1), whole: new Exact(1) };

export function isWhole({ of, whole }: Share): boolean {
  return of.eq(whole);
}

/** That share of an amount. Multiplied first: what comes out even stays so. */
export function shareOf(amount: Exact, { of, whole }: Share): Exact {
  return of.eq(whole) ? amount : amount.times(of).div(whole);
}
