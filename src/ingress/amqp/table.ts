import { isUtf8 } from 'node:buffer';
import { normalisedTime } from '../events/time.js';

/** A field table or a part of it as JSON. */
export type Plain = string | number | boolean | null | readonly Plain[] | { readonly [name: string]: Plain };

/** Deeper tables are nobody's headers. */
const MAX_DEPTH = 32;

export interface PlainTable {
  readonly table: Readonly<Record<string, Plain>>;
  /** Whether something lay too deep and is left out. */
  readonly cut: boolean;
}

/**
 * A decoded field table as JSON that can be stored: times in RFC 3339, decimals and bytes (base64) as texts, NUL
 * replaced. Looks at own members only. Never throws.
 */
export function plainTable(table: Readonly<Record<string, unknown>>): PlainTable {
  let cut = false;

  function plain(value: unknown, depth: number): Plain {
    if (typeof value === 'string') return clean(value);
    if (typeof value === 'number' || typeof value === 'boolean') return value;
    if (typeof value !== 'object' || value === null) return null;
    if (value instanceof Uint8Array) return Buffer.from(value).toString('base64');
    const special = specialText(value);
    if (special !== undefined) return special;
    if (depth === MAX_DEPTH) {
      cut = true;
      return null;
    }
    if (Array.isArray(value)) return value.map((item) => plain(item, depth + 1));
    return Object.fromEntries(Object.entries(value).map(([name, item]) => [clean(name), plain(item, depth + 1)]));
  }

  const entries = Object.entries(table).map(([name, value]) => [clean(name), plain(value, 1)] as const);
  return { table: Object.fromEntries(entries), cut };
}

/** Rough bytes of a table in memory; whatever it holds, in linear time. */
export function tableSize(table: Readonly<Record<string, unknown>>): number {
  let bytes = 0;
  const ahead: unknown[] = [table];
  for (let next = ahead.pop(); next !== undefined; next = ahead.pop()) {
    bytes += BYTES_A_VALUE;
    if (typeof next === 'string' || next instanceof Uint8Array) bytes += next.length;
    else if (typeof next === 'object' && next !== null) {
      for (const [name, value] of Object.entries(next)) {
        bytes += name.length;
        ahead.push(value ?? null);
      }
    }
  }
  return bytes;
}

const BYTES_A_VALUE = 32;

/**
 * A header's value as the text that can tell messages apart: texts, numbers, true and false, times (in seconds),
 * decimals, and bytes that are UTF-8. Undefined for tables and lists, and for what has lost something on its way here:
 * integers beyond what a double holds, texts that were no UTF-8.
 */
export function headerText(value: unknown): string | undefined {
  switch (typeof value) {
    case 'string':
      return value.includes(REPLACEMENT) ? undefined : value;
    case 'number':
      return numberText(value);
    case 'boolean':
      return String(value);
    case 'object':
      if (value instanceof Uint8Array) return isUtf8(value) ? Buffer.from(value).toString() : undefined;
      return value === null ? undefined : (decimalText(value) ?? numberText(secondsOf(value)));
    default:
      return undefined;
  }
}

/** A header's value as the text of a CloudEvents attribute: as above, but times in RFC 3339 and bytes in base64. */
export function attributeText(value: unknown): string | undefined {
  if (value instanceof Uint8Array) return Buffer.from(value).toString('base64');
  const seconds = secondsOf(value);
  return seconds === undefined ? headerText(value) : timeOf(seconds);
}

/** RFC 3339 in UTC of seconds since 1970; undefined for what is no time of the years 1970 to 9999. */
export function timeOf(seconds: number | undefined): string | undefined {
  if (seconds === undefined || !Number.isSafeInteger(seconds) || seconds < 0 || seconds >= YEAR_10000) return undefined;
  return normalisedTime(new Date(seconds * 1000).toISOString());
}

const YEAR_10000 = 253_402_300_800;
const REPLACEMENT = '\ufffd';

function clean(text: string): string {
  return text.replaceAll('\0', REPLACEMENT);
}

/** What JSON has no type for, and amqplib hands over as `{ '!': type, value }`. */
function specialText(value: object): string | undefined {
  return decimalText(value) ?? timeOf(secondsOf(value));
}

/** Of a timestamp. */
function secondsOf(value: unknown): number | undefined {
  const seconds = own(value, '!') === 'timestamp' ? own(value, 'value') : undefined;
  return typeof seconds === 'number' ? seconds : undefined;
}

function numberText(number: number | undefined): string | undefined {
  if (number === undefined || !Number.isFinite(number)) return undefined;
  return Number.isSafeInteger(number) || !Number.isInteger(number) ? String(number) : undefined;
}

function decimalText(value: object): string | undefined {
  if (own(value, '!') !== 'decimal') return undefined;
  const decimal = own(value, 'value');
  const [places, digits] = [own(decimal, 'places'), own(decimal, 'digits')];
  if (!isCount(digits) || !isCount(places) || places > MOST_PLACES) return undefined;
  const text = String(digits).padStart(places + 1, '0');
  return places === 0 ? text : `${text.slice(0, -places)}.${text.slice(-places)}`;
}

/** One byte says how many. */
const MOST_PLACES = 255;

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function own(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null && Object.hasOwn(value, name)
    ? (value as Record<string, unknown>)[name]
    : undefined;
}
