/** An amount of money: decimal digits, and its currency in ISO 4217 where it is named. */
export interface Amount {
  readonly digits: string;
  readonly currency: string | null;
}

const SYMBOLS: ReadonlyMap<string, string> = new Map([
  ['€', 'EUR'],
  ['£', 'GBP'],
  ['₹', 'INR'],
  ['₺', 'TRY'],
  ['₽', 'RUB'],
  ['₩', 'KRW'],
  ['zł', 'PLN'],
  ['US$', 'USD'],
]);

/** ISO 4217, as far as people write it. Other words of three letters are no currency. */
const CODES: ReadonlySet<string> = new Set(
  `AED ARS AUD BGN BHD BRL CAD CHF CLP CNY COP CZK DKK EGP EUR GBP HKD HUF IDR ILS INR ISK JOD JPY KES KRW KWD MAD MXN
  MYR NGN NOK NZD OMR PEN PHP PKR PLN QAR RON RSD RUB SAR SEK SGD THB TND TRY TWD UAH USD VND ZAR`.split(/\s+/),
);

/** What stands before the first digit or sign, and after the last digit: both may name the currency. */
const AROUND = /^([^\d+.,-]{0,8})([-+]?)([^\d+.,-]{0,8})(\d[\d.,' \u00a0\u202f\u2019]{0,60})(.{0,8})$/u;

/**
 * Reads an amount as people write it: `1.250,00 €`, `EUR 1,250.00`, `-12.5`, `1 000`. Null for anything else, and for what
 * could be two amounts: `1.234` alone, unless `decimal` says what is the decimal sign there. No digit that counts is lost or made up.
 */
export function readAmount(text: string, decimal: '.' | ',' | null): Amount | null {
  const match = AROUND.exec(text.trim());
  if (!match) return null;
  const [, before = '', sign = '', between = '', number = '', after = ''] = match;
  const named = [before, between, after].map((one) => one.trim()).filter((one) => one !== '');
  const currency = currencyOf(named);
  if (currency === undefined) return null;
  const digits = digitsOf(number.trim(), decimal);
  return digits === null ? null : { digits: `${sign === '-' ? '-' : ''}${digits}`, currency };
}

/** Null where none is named; undefined where something is that is no currency, or two are. */
function currencyOf(named: readonly string[]): string | null | undefined {
  const [name, ...more] = named;
  if (name === undefined) return null;
  if (more.length > 0) return undefined;
  return SYMBOLS.get(name) ?? currencyCode(name);
}

/** A currency as its code; undefined for anything else. */
export function currencyCode(text: string | undefined): string | undefined {
  const code = text?.trim().toUpperCase() ?? '';
  return CODES.has(code) ? code : undefined;
}

const GROUPED = /^\d{1,3}(?:(.)\d{3})(?:\1\d{3})*$/u;

/** Digits with a point before the decimals; null where that is not certain. */
function digitsOf(number: string, decimal: '.' | ',' | null): string | null {
  const plain = number.replace(/[ \u00a0\u202f'\u2019]/g, ' ');
  const last = Math.max(plain.lastIndexOf('.'), plain.lastIndexOf(','));
  if (last === -1) return isWhole(plain) ? onlyDigits(plain) : null;
  const sign = plain[last] as string;
  const whole = plain.slice(0, last);
  const fraction = plain.slice(last + 1);
  if (decimal !== null && sign !== decimal) return GROUPED.test(plain) ? onlyDigits(plain) : null;
  if (!/^\d+$/.test(fraction)) return null;
  if (whole.includes(sign)) return decimal === null && GROUPED.test(plain) ? onlyDigits(plain) : null;
  // 1.234 is a thousand and more to some, one and a bit to others; 0.125 and 1,234.567 are not.
  const grouped = /[.,]/.test(whole);
  if (decimal === null && fraction.length === 3 && !grouped && /^[1-9]\d{0,2}$/.test(whole)) return null;
  return isWhole(whole) ? `${onlyDigits(whole)}.${fraction}` : null;
}

function isWhole(text: string): boolean {
  return /^\d+$/.test(text) || GROUPED.test(text);
}

function onlyDigits(text: string): string {
  return text.replace(/\D/g, '').replace(/^0+(?=\d)/, '');
}
