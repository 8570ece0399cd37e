import { RE2JS } from 're2js';

/**
 * A regular expression takes about 8 ns for each character it looks at. One made for it, on a text made for it, takes 30 ns
 * for each character and each of its instructions: a tenth of a second within these bounds.
 */
export const EXPRESSION_LIMITS = {
  /** Characters of all values of a field together that one test looks at. */
  examined: 16_384,
  /** Instructions of all expressions of one test together: `x{100}` makes a hundred. */
  instructions: 250,
  /** Characters of all expressions of a rule set, each counted once: to read them takes a few seconds at worst. */
  written: 65_536,
} as const;

/** A regular expression ready to be asked. It is found anywhere in a text, unless it says where. */
export interface Expression {
  isIn(text: string): boolean;
  /** Of a text that goes on beyond `beginning`: whether it is found before its end, so that `$` is not taken for true there. */
  isWithin(beginning: string): boolean;
}

/** The text has been through `readExpression`. */
export function compileExpression(expression: string, ignoreCase: boolean): Expression {
  const flags = ignoreCase ? RE2JS.CASE_INSENSITIVE : 0;
  let whole: RE2JS | undefined;
  let within: RE2JS | undefined;
  return {
    isIn(text) {
      whole ??= compile(expression, flags);
      return whole.test(text);
    },
    isWithin(beginning) {
      within ??= compile(`(?:${expression})(?s:.)`, flags);
      return within.test(beginning);
    },
  };
}

/** What an expression remembers of what it has seen, in bytes. By itself it would be 8 MB, of each of thousands. */
const MEMORY = 1024 * 1024;

function compile(expression: string, flags: number): RE2JS {
  const compiled = RE2JS.compile(expression, flags);
  const { dfa } = compiled.re2();
  dfa.stateBudget = MEMORY;
  dfa.memBudget = MEMORY;
  return compiled;
}

/** How many instructions an expression takes, or what is wrong with it. */
export type ReadExpression = { readonly instructions: number } | { readonly problem: string };

export function readExpression(text: string): ReadExpression {
  try {
    // As it is asked of long texts, too: `(?` and a loose `)` hold in neither.
    RE2JS.compile(`(?:${text})(?s:.)`);
    return { instructions: RE2JS.compile(text).programSize() };
  } catch (error) {
    const why = error instanceof Error ? error.message.replace(/^error parsing regexp: /, '') : String(error);
    return { problem: `not a regular expression as RE2 has them: ${why.slice(0, 200)}` };
  }
}
