import { LineCounter, parseDocument, stringify } from 'yaml';
import type { z } from 'zod';
import { tooDeep } from '../../src/routing/nesting.js';

/* Definitions as people write them on a page: YAML, of which JSON is a part. */

/** In UTF-16 code units: a form's body is at most 1 MiB. */
export const DEFINITION_TEXT = 200_000;
const DEEPEST = 32;
const MOST_PROBLEMS = 50;

export interface TextProblem {
  /** Both count from 1. */
  readonly line: number;
  readonly column: number;
  readonly message: string;
}

export type DefinitionRead<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly problems: readonly TextProblem[] };

/** Reads a text by a schema; what is wrong is said with its place. */
export function readDefinition<T>(text: string, schema: z.ZodType<T>): DefinitionRead<T> {
  const deep = tooDeep(text, DEEPEST);
  if (deep) return { ok: false, problems: [{ ...deep, message: 'It is nested too deeply.' }] };
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines });
  const at = (offset: number) => {
    const { line, col } = lines.linePos(offset);
    return { line: Math.max(1, line), column: Math.max(1, col) };
  };
  const faults = document.errors.slice(0, MOST_PROBLEMS).map(({ pos, message }) => ({
    ...at(pos[0]),
    message: message.split(' at line ')[0] ?? message,
  }));
  if (faults.length > 0) return { ok: false, problems: faults };
  const checked = schema.safeParse(plainOf(document));
  if (checked.success) return { ok: true, value: checked.data };
  const place = (path: readonly PropertyKey[]): number => {
    for (let length = path.length; length > 0; length -= 1) {
      const node = document.getIn(path.slice(0, length), true) as { readonly range?: readonly number[] } | undefined;
      if (node?.range) return node.range[0] ?? 0;
    }
    return 0;
  };
  const problems = checked.error.issues.slice(0, MOST_PROBLEMS).map(({ path, message }) => ({
    ...at(place(path)),
    message: `${path.length === 0 ? '' : `${path.map(String).join('.')}: `}${inQuotes(message)}`,
  }));
  return { ok: false, problems };
}

/** Aliases could multiply a small text without end; what has too many is no definition. */
function plainOf(document: ReturnType<typeof parseDocument>): unknown {
  try {
    return document.toJS({ maxAliasCount: 100 });
  } catch {
    return undefined;
  }
}

/** A number of YAML has lost digits before anybody could look at them. */
function inQuotes(message: string): string {
  return message.includes('expected string, received number')
    ? 'write the number in quotes, so that it keeps every digit'
    : message;
}

export function definitionText(definition: object): string {
  return stringify(definition);
}
