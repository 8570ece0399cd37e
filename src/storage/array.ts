/** PostgreSQL array literals, written by hand: the driver's own are several times slower for a thousand values. */

/** Of numbers and booleans, which need no quoting. */
export function arrayOf(values: readonly (number | bigint | boolean)[]): string {
  return `{${values.join(',')}}`;
}

const NEEDS_ESCAPE = /["\\]/;

/** Of texts; null is NULL. */
export function textArray(values: readonly (string | null)[]): string {
  let out = '{';
  for (let i = 0; i < values.length; i++) {
    const value = values[i] as string | null;
    if (i > 0) out += ',';
    if (value === null) out += 'NULL';
    else if (NEEDS_ESCAPE.test(value)) out += `"${value.replace(/["\\]/g, '\\$&')}"`;
    else out += `"${value}"`;
  }
  return `${out}}`;
}
