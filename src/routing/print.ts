import { Document, type ScalarTag } from 'yaml';
import {
  type ComparableTest,
  DEFAULT_PRIORITY,
  type Literal,
  type NumberLiteral,
  type Pattern,
  type Rule,
  type RuleSet,
  type Term,
  type Test,
} from './rule.js';

/** Writes rules as `parseRuleSet` reads them: parsing what was printed gives the same rule set. */
export function printRuleSet(ruleSet: RuleSet): string {
  const document = new Document(null, { customTags: (tags) => [...tags, digitsTag], aliasDuplicateObjects: false });
  const rules = ruleSet.rules.map((rule) => ruleToPlain(rule, (value) => document.createNode(value, { flow: true })));
  document.contents = document.createNode({ mode: ruleSet.mode, rules });
  return document.toString({ lineWidth: 0 });
}

/** Puts a value on one line, where it reads better than spread over several. */
type OnOneLine = (value: unknown) => unknown;

/** Numbers go out with the digits they came with. */
const digitsTag: ScalarTag = {
  tag: 'tag:yaml.org,2002:float',
  default: true,
  identify: isNumber,
  resolve: (text) => text,
  stringify: (scalar) => (scalar.value as NumberLiteral).digits,
};

function isNumber(value: unknown): value is NumberLiteral {
  return typeof value === 'object' && value !== null && 'digits' in value;
}

function ruleToPlain(rule: Rule, onOneLine: OnOneLine): Map<string, unknown> {
  const plain = new Map<string, unknown>([['name', rule.name]]);
  if (rule.description !== null) plain.set('description', rule.description);
  if (!rule.enabled) plain.set('enabled', false);
  if (rule.priority !== DEFAULT_PRIORITY) plain.set('priority', rule.priority);
  return plain.set('when', patternToPlain(rule.when, onOneLine)).set('then', onOneLine(rule.choice));
}

function patternToPlain(pattern: Pattern, onOneLine: OnOneLine): Map<string, unknown> {
  return new Map(pattern.map((term) => termToPlain(term, onOneLine)));
}

function termToPlain(term: Term, onOneLine: OnOneLine): [string, unknown] {
  if ('path' in term) return [term.path, onOneLine(shortest(term.tests.flatMap(testToPlain)))];
  return ['$or', term.anyOf.map((pattern) => patternToPlain(pattern, onOneLine))];
}

/** What stands in a field's list for one test. */
function testToPlain(test: Test): unknown[] {
  switch (test.op) {
    case 'equals':
      return [...test.any];
    case 'numeric':
      return [{ numeric: test.bounds.flatMap((bound) => [bound.is, { digits: bound.than }]) }];
    case 'exists':
      return [{ exists: test.exists }];
    case 'anything-but':
      return [{ 'anything-but': test.of.op === 'equals' ? shortest(test.of.any) : textTestToPlain(test.of) }];
    default:
      return [textTestToPlain(test)];
  }
}

function textTestToPlain(test: ComparableTest): Record<string, unknown> {
  return { [test.op]: shortest<Literal>(test.any) };
}

/** A list of one is written without brackets. */
function shortest<T>(values: readonly T[]): T | readonly T[] {
  return values.length === 1 ? (values[0] as T) : values;
}
