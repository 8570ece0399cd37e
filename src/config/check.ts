import type { z } from 'zod';
import { type Complaint, complaints, valueAt } from './complaint.js';
import type { Path } from './yaml.js';

export interface Checked<T> {
  /** Undefined when there is anything to complain about. */
  readonly data: T | undefined;
  readonly complaints: readonly Complaint[];
}

/**
 * Checks `value` against a schema. Where a number or a truth value is wanted and a variable gave text, the text is
 * read as one, in place.
 */
export function check<S extends z.ZodType>(
  schema: S,
  value: unknown,
  isFromVariable: (path: Path) => boolean,
): Checked<z.output<S>> {
  for (;;) {
    const parsed = schema.safeParse(value);
    if (parsed.success) return { data: parsed.data, complaints: [] };
    const found = complaints(schema, value, parsed.error.issues);
    const converted = found.filter((complaint) => isFromVariable(complaint.path) && convert(value, complaint));
    // What was converted is of the wanted type now, so it is not complained about for the same reason again.
    if (converted.length === 0) return { data: undefined, complaints: found };
  }
}

function convert(value: unknown, { path, wants }: Complaint): boolean {
  const text = valueAt(value, path);
  const holder = valueAt(value, path.slice(0, -1)) as Record<string | number, unknown>;
  const step = path.at(-1);
  if (typeof text !== 'string' || step === undefined) return false;
  const meant = wants === 'number' ? numberIn(text) : wants === 'boolean' ? TRUTH[text] : undefined;
  if (meant === undefined) return false;
  holder[step] = meant;
  return true;
}

const TRUTH: Readonly<Record<string, boolean | undefined>> = { true: true, false: false };

function numberIn(text: string): number | undefined {
  return /^-?\d{1,15}(\.\d{1,15})?$/.test(text) ? Number(text) : undefined;
}
