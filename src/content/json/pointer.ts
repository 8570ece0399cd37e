import { LosslessNumber } from 'lossless-json';
import { FIELD_LIMITS } from '../../message/arrival.js';

/** The steps of a JSON pointer (RFC 6901), unescaped. The pointer has been checked where it was configured. */
export function pointerSteps(pointer: string): readonly string[] {
  return pointer
    .split('/')
    .slice(1)
    .map((step) => step.replaceAll('~1', '/').replaceAll('~0', '~'));
}

const ARRAY_INDEX = /^(?:0|[1-9]\d*)$/;

/** What the steps lead to, looking at own members only; undefined where there is nothing. */
export function follow(value: unknown, steps: readonly string[]): unknown {
  let at = value;
  for (const step of steps) {
    if (typeof at !== 'object' || at === null || at instanceof LosslessNumber) return undefined;
    if (Array.isArray(at) && !ARRAY_INDEX.test(step)) return undefined;
    if (!Object.hasOwn(at, step)) return undefined;
    at = (at as Record<string, unknown>)[step];
  }
  return at;
}

/** A string as it is, a number with its digits as written; undefined for anything else. */
export function scalarText(value: unknown): string | undefined {
  if (typeof value === 'string') return value;
  if (typeof value === 'number') return String(value);
  return value instanceof LosslessNumber ? value.value : undefined;
}

const NUMBER = /^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?$/;

/** A message's value: a JSON number, or a string that is written like one; null for anything else or over-long. */
export function numericText(value: unknown): string | null {
  const text = scalarText(value);
  return text !== undefined && text.length <= FIELD_LIMITS.value && NUMBER.test(text) ? text : null;
}
