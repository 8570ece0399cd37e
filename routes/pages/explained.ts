import type { ClauseExplanation, RuleExplanation, TermExplanation } from '../../src/routing/explain.js';
import type { ExplainedRules } from '../messages.js';

/* Why rules decided as they did, flattened for a table: a line for each clause. */

const STATES: Readonly<Record<RuleExplanation['state'], { label: string; tone: string }>> = {
  matched: { label: 'matched', tone: 'ok' },
  not_matched: { label: 'no match', tone: 'plain' },
  disabled: { label: 'disabled', tone: 'plain' },
  not_reached: { label: 'not asked', tone: 'plain' },
};

export function showRules({ version, mode, steps }: ExplainedRules) {
  return {
    version,
    mode: mode === 'first-match' ? 'the first rule that matches decides' : 'every rule that matches counts',
    rules: steps.map((step) => ({
      name: step.rule,
      description: step.description,
      badge: STATES[step.state],
      why: step.why,
      choice: 'close' in step.choice ? `close: ${step.choice.close}` : `→ ${step.choice.targets.join(', ')}`,
      open: step.state === 'matched',
      lines: step.terms.flatMap((term) => termLines(term, 0)),
    })),
  };
}

interface Line {
  /** How deep it lies in alternatives, 0 to 4. */
  readonly depth: number;
  readonly field: string;
  readonly test: string;
  readonly actual: string;
  readonly result: 'true' | 'false' | 'error';
}

const DEEPEST = 4;

function termLines({ holds, clauses, anyOf }: TermExplanation, depth: number): Line[] {
  const shown = Math.min(depth, DEEPEST);
  if (anyOf.length === 0) return clauses.map((clause) => clauseLine(clause, shown));
  const alternatives = anyOf.flatMap((one, i) => [
    {
      depth: Math.min(depth + 1, DEEPEST),
      field: `alternative ${i + 1}`,
      test: '',
      actual: '',
      result: text(one.holds),
    },
    ...one.terms.flatMap((term) => termLines(term, depth + 2)),
  ]);
  return [{ depth: shown, field: 'any of', test: '', actual: '', result: text(holds) }, ...alternatives];
}

function clauseLine({ path, operator, expected, actual, result, reason }: ClauseExplanation, depth: number): Line {
  const more = actual.count - actual.values.length;
  const values = actual.count === 0 ? 'not there' : actual.values.join(', ');
  const shown = more > 0 ? `${values} and ${more} more` : values;
  return {
    depth,
    field: path,
    test: `${operator} ${expected}`,
    actual: reason === null ? shown : `${shown} (${reason})`,
    result,
  };
}

function text(holds: boolean): 'true' | 'false' {
  return holds ? 'true' : 'false';
}
