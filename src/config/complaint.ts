import type { z } from 'zod';
import { didYouMean } from '../routing/spelling.js';
import { alternativesOf, schemaAt, shapeOf, typeText } from './introspect.js';
import type { ProblemCode } from './problem.js';
import type { Path } from './yaml.js';

/** One thing a schema has against a value: what, where, and what was probably meant. */
export interface Complaint {
  readonly code: Extract<ProblemCode, 'key_unknown' | 'value_missing' | 'value_invalid'>;
  readonly path: Path;
  /** Whether it is about the key itself rather than what stands behind it. */
  readonly aboutKey: boolean;
  readonly message: string;
  readonly suggestion?: string;
  /** A number or truth value was wanted: text from a variable may be one once it is read as such. */
  readonly wants?: 'number' | 'boolean';
}

/** Turns what zod found into sentences. Values are never quoted: they may be secret. */
export function complaints(schema: z.ZodType, value: unknown, issues: readonly z.core.$ZodIssue[]): Complaint[] {
  return issues.flatMap((issue) => complaintsOf(schema, value, issue));
}

function complaintsOf(schema: z.ZodType, value: unknown, issue: z.core.$ZodIssue): Complaint[] {
  const path = issue.path as Path;
  const given = valueAt(value, path);
  const invalid = (message: string): Complaint => ({ code: 'value_invalid', path, aboutKey: false, message });
  switch (issue.code) {
    case 'unrecognized_keys':
      return issue.keys.map((key) => unknownKey(schema, value, [...path, key]));
    case 'invalid_key':
      return [{ ...invalid(`must be ${issue.issues[0]?.message ?? 'another name'}`), aboutKey: true }];
    case 'invalid_type':
      if (given === undefined) return [missing(path)];
      return [wrongType(invalid, wantsWhole(schema, value, issue) ? 'int' : issue.expected, issue.message)];
    case 'invalid_value':
      return [given === undefined ? missing(path) : notOneOf(path, given, issue.values.map(String))];
    case 'invalid_union':
      return [noAlternative(schema, value, path, 'options' in issue ? (issue.options ?? []).map(String) : [])];
    case 'invalid_format':
      return [invalid(`must be ${FORMATS[issue.format] ?? issue.message}`)];
    case 'too_small':
      return [invalid(`must be ${amount(issue.origin, 'at least', issue.minimum)}`)];
    case 'too_big':
      return [invalid(`must be ${amount(issue.origin, 'at most', issue.maximum)}`)];
    case 'not_multiple_of':
      return [invalid(`must be a multiple of ${issue.divisor}`)];
    case 'invalid_element':
    case 'custom':
      return [invalid(`must be ${issue.message}`)];
    default: {
      const never: never = issue;
      return never;
    }
  }
}

/** Schemas say what they want as a noun phrase, so that "must be …" goes before it; zod's own formats don't. */
const FORMATS: Readonly<Record<string, string>> = { url: 'an http:// or https:// URL' };

const TYPES: Readonly<Record<string, string>> = {
  string: 'text; put it in quotes if it looks like a number',
  number: 'a number',
  int: 'a whole number',
  boolean: 'true or false',
  array: 'a list',
  object: 'a group of keys and values',
  record: 'a group of keys and values',
};

function unknownKey(schema: z.ZodType, value: unknown, path: Path): Complaint {
  const key = String(path.at(-1));
  const holder = schemaAt(schema, value, path.slice(0, -1));
  const known = Object.keys((holder && shapeOf(holder)) ?? {});
  const complaint: Complaint = { code: 'key_unknown', path, aboutKey: true, message: 'unknown key' };
  return withSuggestion(complaint, didYouMean(key, known));
}

function missing(path: Path): Complaint {
  return { code: 'value_missing', path, aboutKey: true, message: 'is missing' };
}

function wrongType(invalid: (message: string) => Complaint, expected: string, message: string): Complaint {
  // A schema with words of its own for this says more than the type does.
  const own = message.startsWith('Invalid input') ? undefined : message;
  const complaint = invalid(`must be ${own ?? TYPES[expected] ?? expected}`);
  if (expected === 'boolean') return { ...complaint, wants: 'boolean' };
  return expected === 'number' || expected === 'int' ? { ...complaint, wants: 'number' } : complaint;
}

/** Of text in the place of a whole number zod says only that it is no number. */
function wantsWhole(schema: z.ZodType, value: unknown, { path, expected }: z.core.$ZodIssueInvalidType): boolean {
  if (expected !== 'number') return false;
  const wanted = schemaAt(schema, value, path);
  return wanted !== undefined && typeText(wanted).startsWith('integer');
}

function notOneOf(path: Path, given: unknown, values: readonly string[]): Complaint {
  const message = values.length === 1 ? `must be ${values[0]}` : `must be one of ${values.join(', ')}`;
  const suggestion = typeof given === 'string' ? didYouMean(given, values) : undefined;
  return withSuggestion({ code: 'value_invalid', path, aboutKey: false, message }, suggestion);
}

/** The key that tells the alternatives apart is missing, or names none of them. */
function noAlternative(schema: z.ZodType, value: unknown, path: Path, values: readonly string[]): Complaint {
  const given = valueAt(value, path);
  if (given !== undefined) return notOneOf(path, given, values);
  const holderPath = path.slice(0, -1);
  const holder = schemaAt(schema, value, holderPath);
  const key = (holder && alternativesOf(holder)?.key) ?? '';
  const siblings = Object.keys((valueAt(value, holderPath) as Record<string, unknown> | undefined) ?? {});
  const slip = didYouMean(key, siblings);
  if (slip !== undefined) {
    return {
      code: 'key_unknown',
      path: [...holderPath, slip],
      aboutKey: true,
      message: 'unknown key',
      suggestion: key,
    };
  }
  return { code: 'value_missing', path, aboutKey: true, message: `is missing; it is one of ${values.join(', ')}` };
}

function amount(origin: string, word: string, bound: number | bigint): string {
  switch (origin) {
    case 'string':
      return `${word} ${bound} characters long`;
    case 'array':
      return `a list of ${word} ${bound}`;
    default:
      return `${word} ${bound}`;
  }
}

function withSuggestion(complaint: Complaint, suggestion: string | undefined): Complaint {
  return suggestion === undefined ? complaint : { ...complaint, suggestion };
}

export function valueAt(value: unknown, path: Path): unknown {
  let at = value;
  for (const step of path) {
    if (typeof at !== 'object' || at === null || !Object.hasOwn(at, step)) return undefined;
    at = (at as Record<string | number, unknown>)[step];
  }
  return at;
}
