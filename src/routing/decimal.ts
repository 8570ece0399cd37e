/**
 * A decimal number for comparing, exact whatever its length: (-1)^negative × 0.digits × 10^exponent.
 * `digits` has no zeros in front or at the end; zero has none at all, and exponent 0.
 */
export interface Decimal {
  readonly negative: boolean;
  readonly exponent: number;
  readonly digits: string;
}

/** JSON's grammar. Exponents of more than 15 digits are beyond what adds up exactly, and beyond any use. */
const NUMBER = /^(-?)(0|[1-9]\d*)(?:\.(\d+))?(?:[eE]([+-]?)0*(\d{1,15}))?$/;

/** Reads a number as JSON writes it; undefined for anything else. */
export function parseDecimal(text: string): Decimal | undefined {
  const match = NUMBER.exec(text);
  if (!match) return undefined;
  const [, minus, whole = '', fraction = '', exponentSign, exponentDigits = '0'] = match;
  const all = whole + fraction;
  const first = firstNonZero(all);
  if (first === all.length) return ZERO;
  const written = exponentSign === '-' ? -Number(exponentDigits) : Number(exponentDigits);
  return {
    negative: minus === '-',
    exponent: written + whole.length - first,
    digits: all.slice(first, afterLastNonZero(all)),
  };
}

const ZERO: Decimal = { negative: false, exponent: 0, digits: '' };

function firstNonZero(digits: string): number {
  let at = 0;
  while (at < digits.length && digits.charCodeAt(at) === 48) at++;
  return at;
}

function afterLastNonZero(digits: string): number {
  let end = digits.length;
  while (end > 0 && digits.charCodeAt(end - 1) === 48) end--;
  return end;
}

/** Below 0, 0 or above 0, as `a` is less than, equal to or greater than `b`. */
export function compareDecimals(a: Decimal, b: Decimal): number {
  const signA = sign(a);
  const signB = sign(b);
  if (signA !== signB) return signA - signB;
  return signA < 0 ? compareMagnitudes(b, a) : compareMagnitudes(a, b);
}

function sign(decimal: Decimal): number {
  if (decimal.digits === '') return 0;
  return decimal.negative ? -1 : 1;
}

function compareMagnitudes(a: Decimal, b: Decimal): number {
  if (a.exponent !== b.exponent) return a.exponent - b.exponent;
  if (a.digits === b.digits) return 0;
  return a.digits < b.digits ? -1 : 1;
}

/** The same text for equal numbers, however they were written. */
export function decimalKey(decimal: Decimal): string {
  return `${decimal.negative ? '-' : ''}${decimal.digits}e${decimal.exponent}`;
}
