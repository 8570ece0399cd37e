import { LosslessNumber } from 'lossless-json';

// Almost every key and string is free of these and is its own quotation; testing costs less than JSON.stringify.
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what JSON must escape
const NEEDS_ESCAPING = /["\\\u0000-\u001f\ud800-\udfff]/;

/** A JSON string literal as RFC 8785 writes it; lone surrogates, which that leaves out, as `\udxxx` in lower case. */
export function quoted(text: string): string {
  return NEEDS_ESCAPING.test(text) ? JSON.stringify(text) : `"${text}"`;
}

/** In the order of RFC 8785 (UTF-16 code units). Most objects are small, and then this beats Array.prototype.sort twice over. */
function sorted(keys: string[]): string[] {
  if (keys.length > 16) return keys.sort();
  for (let i = 1; i < keys.length; i++) {
    const key = keys[i] as string;
    let j = i - 1;
    while (j >= 0 && (keys[j] as string) > key) {
      keys[j + 1] = keys[j] as string;
      j--;
    }
    keys[j + 1] = key;
  }
  return keys;
}

/**
 * The canonical text of a JSON value as read (`ParsedJson.value`): members in the order of RFC 8785, no white space,
 * numbers with their digits as written. Recurses once a level, so the value's depth must be bounded by its reader.
 */
export function canonicalJson(value: unknown): string {
  if (typeof value === 'string') return quoted(value);
  if (typeof value === 'number') return Number.isFinite(value) ? String(value) : 'null';
  if (typeof value === 'boolean') return String(value);
  if (typeof value !== 'object' || value === null) return 'null';
  if (value instanceof LosslessNumber) return value.value;
  return Array.isArray(value) ? canonicalArray(value) : canonicalObject(value as Record<string, unknown>);
}

function canonicalArray(items: readonly unknown[]): string {
  let text = '[';
  for (let i = 0; i < items.length; i++) text += (i === 0 ? '' : ',') + canonicalJson(items[i]);
  return `${text}]`;
}

function canonicalObject(object: Record<string, unknown>): string {
  let text = '{';
  for (const key of sorted(Object.keys(object))) {
    text += `${text.length === 1 ? '' : ','}${quoted(key)}:${canonicalJson(object[key])}`;
  }
  return `${text}}`;
}
