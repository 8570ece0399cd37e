import type { Found } from '../message/found.js';
import { grouped } from '../message/grouped.js';

/** A target's own names for the types of data it knows: `order-number` to `orderId`. */
export type FieldNames = Readonly<Record<string, string>>;

/** Of one target. */
export const MOST_FIELDS = 100;
const MOST_DEPTH = 8;

const NAME = /^[A-Za-z_][A-Za-z0-9_-]{0,63}$/;
/** Names that mean something else to objects of JavaScript, ours and those of consumers. */
const NO_NAMES: ReadonlySet<string> = new Set(['__proto__', 'constructor', 'prototype']);

/** Whether a text is a place in an object: names joined by dots. */
export function isFieldPath(text: string): boolean {
  const names = text.split('.');
  return names.length <= MOST_DEPTH && names.every((name) => NAME.test(name) && !NO_NAMES.has(name));
}

/** The first type whose path is another's, or lies within it; undefined where all can stand beside each other. */
export function fieldClash(names: FieldNames): { readonly type: string; readonly why: string } | undefined {
  const taken = new Map<string, string>();
  for (const [type, path] of Object.entries(names)) {
    const other = [...taken].find(([each]) => each === path || within(each, path) || within(path, each));
    if (other) return { type, why: `a place of its own: "${other[0]}" is where ${other[1]} goes` };
    taken.set(path, type);
  }
  return undefined;
}

function within(inner: string, outer: string): boolean {
  return inner.startsWith(`${outer}.`);
}

/** What was found, as a target gets it. */
export interface MappedFields {
  /** Under the target's own names; several values of a type are a list. */
  readonly fields: Readonly<Record<string, unknown>>;
  /** Types that were found and that it does not know, each once. */
  readonly unmapped: readonly string[];
}

/** Puts what was found where a target wants it. One that names no fields knows each type by the type's own name. */
export function mapFields(found: readonly Found[], names: FieldNames | undefined): MappedFields {
  const fields: Record<string, unknown> = {};
  const unmapped: string[] = [];
  for (const [type, values] of grouped(found, typeOf)) {
    const path = names === undefined ? type : Object.hasOwn(names, type) ? names[type] : undefined;
    if (path === undefined) unmapped.push(type);
    else put(fields, path.split('.'), values.length === 1 ? writtenOut(values[0] as Found) : values.map(writtenOut));
  }
  return { fields, unmapped };
}

/** Types that were found and that a target does not know, with how many values there are of each. */
export function unknownTo(
  names: FieldNames,
  found: readonly Found[],
): { readonly type: string; readonly count: number }[] {
  const types = [...grouped(found, typeOf)].map(([type, values]) => ({ type, count: values.length }));
  return types.filter(({ type }) => !Object.hasOwn(names, type));
}

function typeOf({ type }: Found): string {
  return type;
}

/** An amount keeps its digits, which a JSON number would not everywhere; null where they are not certain. */
function writtenOut({ type, value, written, currency, unclear }: Found): unknown {
  return type === 'amount' ? { amount: unclear ? null : value, currency: currency ?? null, written } : value;
}

function put(fields: Record<string, unknown>, [name = '', ...rest]: readonly string[], value: unknown): void {
  if (rest.length === 0) {
    fields[name] = value;
    return;
  }
  const inner = (Object.hasOwn(fields, name) ? fields[name] : {}) as Record<string, unknown>;
  fields[name] = inner;
  put(inner, rest, value);
}
