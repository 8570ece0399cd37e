import {
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  type Pair,
  parseDocument,
  type Scalar,
  visit,
  type YAMLMap,
} from 'yaml';
import { compareDecimals, parseDecimal } from './decimal.js';
import { EXPRESSION_LIMITS, type ReadExpression, readExpression } from './expression.js';
import { type Field, resolveField } from './field.js';
import { tooDeep } from './nesting.js';
import {
  type Bound,
  type Choice,
  COMPARISONS,
  type ComparableTest,
  DEFAULT_PRIORITY,
  LIMITS,
  type Literal,
  type Pattern,
  type Rule,
  type RuleSet,
  TEXT_OPERATORS,
  type Term,
  type Test,
  type TextOperator,
} from './rule.js';
import { didYouMean } from './spelling.js';
import { parseNetwork } from './test.js';

/** One thing wrong with the text of a rule set. Lines and columns count from 1. */
export interface RuleProblem {
  readonly line: number;
  readonly column: number;
  /** Where in the document, for example `rules[2].when.subject`; empty for the whole of it. */
  readonly path: string;
  /** A sentence: what is wrong and what would be right. */
  readonly message: string;
  readonly didYouMean?: string;
}

/** A rule naming a target, with its place, so that the caller can say where an unknown one stands. */
export interface TargetMention {
  readonly target: string;
  readonly line: number;
  readonly column: number;
  readonly path: string;
}

/** Where something stands in the text; both count from 1. */
export interface TextPlace {
  readonly line: number;
  readonly column: number;
}

export type ParsedRuleSet =
  | {
      readonly ok: true;
      readonly ruleSet: RuleSet;
      readonly mentions: readonly TargetMention[];
      /** Of each rule its name's place, by that name. */
      readonly places: ReadonlyMap<string, TextPlace>;
    }
  | {
      readonly ok: false;
      readonly problems: readonly RuleProblem[];
      /** Those that could be read. */
      readonly mentions: readonly TargetMention[];
    };

/** `$or` in `$or` as deep as it may stand makes 18. */
const MAX_NESTING = 32;

/** Reads rules as `rule.ts` describes them. Finds all problems at once, in the order of the text. */
export function parseRuleSet(text: string): ParsedRuleSet {
  const bytes = Buffer.byteLength(text);
  if (bytes > LIMITS.text) {
    return failed([
      { line: 1, column: 1, path: '', message: `rules are at most ${LIMITS.text} bytes long, not ${bytes}` },
    ]);
  }
  const deep = tooDeep(text, MAX_NESTING);
  if (deep) return failed([{ ...deep, path: '', message: 'this is nested deeper than any rule can be' }]);
  const lines = new LineCounter();
  // Keys are checked for repetition below: yaml's own check takes time quadratic in their number.
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, uniqueKeys: false });
  const report = new Report(lines);
  for (const problem of [...document.errors, ...document.warnings]) {
    report.add(problem.pos[0], '', problem.code === 'BAD_ALIAS' ? NO_ALIASES : unreadable(problem.message));
  }
  visit(document, { Alias: (_, alias) => report.add(alias, '', NO_ALIASES) });
  if (report.problems.length > 0) return failed(report.inOrder());

  const ruleSet = readRuleSet(document.contents, report);
  return report.problems.length > 0 || !ruleSet
    ? failed(report.inOrder(), report.mentions)
    : { ok: true, ruleSet, mentions: report.mentions, places: report.places };
}

/** The mentions of targets that don't exist, as problems of the text they stand in. */
export function unknownTargets(mentions: readonly TargetMention[], known: ReadonlySet<string>): RuleProblem[] {
  return mentions
    .filter((mention) => !known.has(mention.target))
    .map(({ target, line, column, path }) => {
      const near = didYouMean(target, known);
      const message = `there is no target "${target}"; define it first, or name another`;
      return { line, column, path, message, ...(near !== undefined && { didYouMean: near }) };
    });
}

function failed(problems: readonly RuleProblem[], mentions: readonly TargetMention[] = []): ParsedRuleSet {
  return { ok: false, problems, mentions };
}

const NO_ALIASES = 'text that begins with * stands in quotes; YAML aliases are not read in rules';

/** yaml's messages can be long and show source; the place says that already. */
function unreadable(message: string): string {
  return `this is not readable YAML: ${(message.split('\n')[0] as string).slice(0, 200)}`;
}

/** More than a person reads; the rest is counted. */
const MAX_PROBLEMS = 100;

type Place = Node | number | null;

/** What was found while reading. */
class Report {
  readonly problems: RuleProblem[] = [];
  readonly mentions: TargetMention[] = [];
  readonly places = new Map<string, TextPlace>();
  readonly expressions = new Expressions();
  private more = 0;

  constructor(private readonly lines: LineCounter) {}

  add(at: Place, path: string, message: string, near?: string): void {
    if (this.problems.length >= MAX_PROBLEMS) this.more++;
    else this.problems.push({ ...this.place(at), path, message, ...(near !== undefined && { didYouMean: near }) });
  }

  mention(at: Node, path: string, target: string): void {
    this.mentions.push({ ...this.place(at), path, target });
  }

  named(at: Place, rule: string): void {
    this.places.set(rule, this.place(at));
  }

  inOrder(): RuleProblem[] {
    const sorted = this.problems.toSorted((a, b) => a.line - b.line || a.column - b.column);
    const last = sorted.at(-1);
    if (last && this.more > 0) sorted.push({ ...last, path: '', message: `and ${this.more} problems more` });
    return sorted;
  }

  private place(at: Place): TextPlace {
    const offset = typeof at === 'number' ? at : (at?.range?.[0] ?? 0);
    const { line, col } = this.lines.linePos(offset);
    return { line: Math.max(line, 1), column: Math.max(col, 1) };
  }
}

/** What was read of each expression: that takes milliseconds, and some stand in many rules. */
class Expressions {
  private readonly known = new Map<string, ReadExpression>();
  private characters = 0;

  read(text: string): ReadExpression {
    const known = this.known.get(text);
    if (known) return known;
    this.characters += text.length;
    const read = this.characters > EXPRESSION_LIMITS.written ? TOO_MANY : readExpression(text);
    this.known.set(text, read);
    return read;
  }
}

const TOO_MANY: ReadExpression = {
  problem: `all expressions of a rule set together have at most ${EXPRESSION_LIMITS.written} characters, the same one counted once`,
};

interface Entry {
  readonly key: Node;
  readonly value: Node | null;
}

/** Reads a mapping whose keys are all known. Undefined when it is none at all. */
function readMapping(
  node: Node | null,
  path: string,
  what: string,
  known: readonly string[],
  report: Report,
): Map<string, Entry> | undefined {
  const entries = readEntries(node, path, what, report);
  for (const [name, { key }] of entries ?? []) {
    if (known.includes(name)) continue;
    const message = `${what} has no "${shorten(name)}"; it has ${known.join(', ')}`;
    report.add(key, join(path, shorten(name)), message, didYouMean(name, known));
  }
  return entries;
}

function readEntries(node: Node | null, path: string, what: string, report: Report): Map<string, Entry> | undefined {
  if (!isMap(node)) {
    report.add(node, path, `${what} must be a mapping of names to values`);
    return undefined;
  }
  const entries = new Map<string, Entry>();
  for (const pair of (node as YAMLMap).items as Pair<Node, Node | null>[]) {
    const name = scalarText(pair.key);
    if (name === undefined) report.add(pair.key, path, 'a name must be plain text');
    else if (entries.has(name)) report.add(pair.key, join(path, shorten(name)), `"${shorten(name)}" is there twice`);
    else entries.set(name, { key: pair.key, value: pair.value });
  }
  return entries;
}

function readRuleSet(node: Node | null, report: Report): RuleSet | undefined {
  const entries = readMapping(node, '', 'a rule set', ['mode', 'rules'], report);
  if (!entries) return undefined;
  const mode = readMode(entries.get('mode'), report);
  const rules = readRules(entries.get('rules'), node, report);
  return { mode, rules };
}

const MODES = ['first-match', 'all-match'] as const;

function readMode(entry: Entry | undefined, report: Report): RuleSet['mode'] {
  if (!entry) return 'first-match';
  const text = scalarText(entry.value);
  const mode = MODES.find((one) => one === text);
  if (!mode) {
    report.add(
      entry.value ?? entry.key,
      'mode',
      'mode must be first-match or all-match',
      didYouMean(text ?? '', MODES),
    );
  }
  return mode ?? 'first-match';
}

function readRules(entry: Entry | undefined, root: Node | null, report: Report): Rule[] {
  if (!isSeq(entry?.value)) {
    report.add(entry?.value ?? entry?.key ?? root, 'rules', 'rules must be a list; write "rules: []" for none');
    return [];
  }
  const nodes = entry.value.items as (Node | null)[];
  if (nodes.length > LIMITS.rules) {
    report.add(entry.key, 'rules', `there may be at most ${LIMITS.rules} rules, not ${nodes.length}`);
    return [];
  }
  const names = new Map<string, string>();
  return nodes.flatMap((node, index) => {
    const path = `rules[${index}]`;
    return readRule(node ?? entry.value, path, names, report) ?? [];
  });
}

const RULE_KEYS = ['name', 'description', 'enabled', 'priority', 'when', 'then'] as const;

function readRule(node: Node | null, path: string, names: Map<string, string>, report: Report): Rule | undefined {
  const [start = 0, end = 0] = node?.range ?? [];
  if (end - start > LIMITS.rule) {
    report.add(node, path, `a rule has at most ${LIMITS.rule} characters, not ${end - start}; split it`);
    return undefined;
  }
  const entries = readMapping(node, path, 'a rule', RULE_KEYS, report);
  if (!entries) return undefined;
  return {
    name: readName(entries.get('name'), node, path, names, report),
    description: readDescription(entries.get('description'), path, report),
    enabled: readEnabled(entries.get('enabled'), path, report),
    priority: readPriority(entries.get('priority'), path, report),
    when: readWhen(entries.get('when'), node, path, report),
    choice: readThen(entries.get('then'), node, path, report),
  };
}

/** As for sources and targets: names stand in URLs, logs and delivery headers. */
const NAME = /^[a-z0-9][a-z0-9-]{0,62}$/;
const NAME_IS = 'lower-case letters, digits and hyphens, at most 63, beginning with a letter or digit';

function readName(
  entry: Entry | undefined,
  rule: Node | null,
  path: string,
  names: Map<string, string>,
  report: Report,
): string {
  const name = scalarText(entry?.value ?? null);
  const at = entry?.value ?? entry?.key ?? rule;
  if (name === undefined) {
    report.add(at, `${path}.name`, 'a rule needs a name');
    return '';
  }
  const first = names.get(name);
  if (!NAME.test(name)) report.add(at, `${path}.name`, `a rule's name is ${NAME_IS}`, asName(name));
  else if (first !== undefined) report.add(at, `${path}.name`, `${first} has the name "${name}" already`);
  else {
    names.set(name, path);
    report.named(at, name);
  }
  return name;
}

function asName(text: string): string | undefined {
  const name = text
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^-|-$/g, '')
    .slice(0, 63);
  return NAME.test(name) ? name : undefined;
}

function readDescription(entry: Entry | undefined, path: string, report: Report): string | null {
  if (!entry) return null;
  return readText(entry.value ?? entry.key, `${path}.description`, 'a description', report) ?? null;
}

function readEnabled(entry: Entry | undefined, path: string, report: Report): boolean {
  if (!entry) return true;
  return readBoolean(entry.value ?? entry.key, `${path}.enabled`, 'enabled', report) ?? true;
}

function readPriority(entry: Entry | undefined, path: string, report: Report): number {
  if (!entry) return DEFAULT_PRIORITY;
  const value = isScalar(entry.value) ? entry.value.value : undefined;
  if (typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= LIMITS.priority) return value;
  report.add(
    entry.value ?? entry.key,
    `${path}.priority`,
    `priority must be a whole number from 0 to ${LIMITS.priority}; lower goes first`,
  );
  return DEFAULT_PRIORITY;
}

function readThen(entry: Entry | undefined, rule: Node | null, rulePath: string, report: Report): Choice {
  const path = `${rulePath}.then`;
  const nothing: Choice = { close: '' };
  if (!entry) {
    report.add(rule, path, 'a rule needs "then", with the targets it chooses or the reason it closes with');
    return nothing;
  }
  const entries = readMapping(entry.value ?? entry.key, path, '"then"', ['targets', 'close'], report);
  if (!entries) return nothing;
  const targets = entries.get('targets');
  const close = entries.get('close');
  if (Boolean(targets) === Boolean(close)) {
    report.add(
      entry.key,
      path,
      '"then" names either targets or close: a rule chooses targets, or closes with a reason',
    );
  }
  if (targets) return { targets: readTargets(targets, `${path}.targets`, report) };
  if (close) return { close: readText(close.value ?? close.key, `${path}.close`, 'the reason to close', report) ?? '' };
  return nothing;
}

function readTargets(entry: Entry, path: string, report: Report): string[] {
  const nodes = listed(entry.value);
  if (nodes.length === 0 || nodes.length > LIMITS.targets) {
    report.add(entry.value ?? entry.key, path, `a rule names 1 to ${LIMITS.targets} targets, not ${nodes.length}`);
    return [];
  }
  const targets = new Set<string>();
  for (const [index, node] of nodes.entries()) {
    const at = isSeq(entry.value) ? `${path}[${index}]` : path;
    const name = scalarText(node);
    if (name === undefined || !NAME.test(name)) {
      report.add(node ?? entry.key, at, `a target's name is ${NAME_IS}`, asName(name ?? ''));
    } else if (targets.has(name)) {
      report.add(node ?? entry.key, at, `"${name}" is there twice`);
    } else {
      targets.add(name);
      report.mention(node as Node, at, name);
    }
  }
  return [...targets];
}

function readWhen(entry: Entry | undefined, rule: Node | null, path: string, report: Report): Pattern {
  if (entry) return readPattern(entry.value ?? entry.key, `${path}.when`, 0, report);
  report.add(rule, `${path}.when`, 'a rule needs "when"; write "when: {}" for every message');
  return [];
}

function readPattern(node: Node | null, path: string, depth: number, report: Report): Pattern {
  const entries = readEntries(node, path, 'a pattern', report);
  if (!entries) return [];
  if (entries.size > LIMITS.terms) {
    report.add(node, path, `a pattern names at most ${LIMITS.terms} fields, not ${entries.size}`);
    return [];
  }
  const seen = new Set<string>();
  return [...entries].flatMap(([name, entry]) => {
    const term =
      name === '$or' ? readAnyOf(entry, `${path}.$or`, depth + 1, report) : readField(name, entry, path, seen, report);
    return term ?? [];
  });
}

function readAnyOf(entry: Entry, path: string, depth: number, report: Report): Term | undefined {
  if (depth > LIMITS.depth) {
    report.add(entry.key, path, `$or may stand in $or ${LIMITS.depth} deep; split the rule instead`);
    return undefined;
  }
  if (!isSeq(entry.value) || entry.value.items.length === 0 || entry.value.items.length > LIMITS.terms) {
    report.add(entry.value ?? entry.key, path, `$or must be a list of 1 to ${LIMITS.terms} patterns`);
    return undefined;
  }
  const nodes = entry.value.items as (Node | null)[];
  return { anyOf: nodes.map((node, index) => readPattern(node ?? entry.key, `${path}[${index}]`, depth, report)) };
}

function readField(
  name: string,
  entry: Entry,
  patternPath: string,
  seen: Set<string>,
  report: Report,
): Term | undefined {
  const path = join(patternPath, shorten(name));
  if (name.length > LIMITS.string) {
    report.add(entry.key, path, `a field's path has at most ${LIMITS.string} characters, not ${name.length}`);
    return undefined;
  }
  const field = resolveField(name);
  if (!('read' in field)) {
    report.add(entry.key, path, field.message, field.didYouMean);
    return undefined;
  }
  if (seen.has(field.path)) {
    report.add(entry.key, path, `${field.path} is there twice; to ask for both, put one into $or`);
    return undefined;
  }
  seen.add(field.path);
  return { path: field.path, tests: readTests(entry, field, path, report) };
}

function readTests(entry: Entry, field: Field, path: string, report: Report): Test[] {
  const nodes = listed(entry.value);
  if (!withinList(nodes, entry.value ?? entry.key, path, report)) return [];
  const tests: Test[] = [];
  /** All literals of a field are one test, which stands where the first of them does. */
  const literals: Literal[] = [];
  for (const [index, node] of nodes.entries()) {
    const at = isSeq(entry.value) ? `${path}[${index}]` : path;
    const test = isMap(node)
      ? readOperator(node, field, at, report)
      : readLiteralTest(node ?? entry.key, field, at, report);
    if (!test) continue;
    if (test.op !== 'equals') tests.push(test);
    else {
      if (literals.length === 0) tests.push({ op: 'equals', any: literals });
      literals.push(...test.any);
    }
  }
  return tests;
}

const OPERATORS = ['equals', ...TEXT_OPERATORS, 'anything-but', 'numeric', 'exists'] as const;
const NUMBER_OPERATORS: readonly string[] = ['equals', 'anything-but', 'numeric', 'exists'];

function readOperator(node: YAMLMap, field: Field, path: string, report: Report): Test | undefined {
  const open = field.path === 'data' || field.path === 'envelope';
  const what = open ? `a test of ${field.path} (fields within it are written ${field.path}.<name>)` : 'a test';
  const entries = readMapping(node, path, what, OPERATORS, report);
  const [only, another] = entries ?? [];
  if (!only || another) {
    report.add(node, path, 'a test names one operator; write several as a list, of which one must hold');
    return undefined;
  }
  const [name, entry] = only;
  const operator = OPERATORS.find((one) => one === name);
  if (!operator) return undefined;
  return readOperatorTest(operator, entry, field, `${path}.${operator}`, report);
}

function readOperatorTest(
  operator: (typeof OPERATORS)[number],
  entry: Entry,
  field: Field,
  path: string,
  report: Report,
): Test | undefined {
  if (field.type === 'number' && !NUMBER_OPERATORS.includes(operator)) {
    report.add(entry.key, path, `${field.path} is a number: ask for numbers, numeric, anything-but or exists`);
    return undefined;
  }
  switch (operator) {
    case 'exists': {
      const exists = readBoolean(entry.value ?? entry.key, path, 'exists', report);
      return exists === undefined ? undefined : { op: 'exists', exists };
    }
    case 'numeric':
      return readNumeric(entry, path, report);
    case 'anything-but': {
      const of = isMap(entry.value)
        ? readInner(entry.value, field, path, report)
        : readEquals(entry, field, path, report);
      return of && { op: 'anything-but', of };
    }
    case 'equals':
      return readEquals(entry, field, path, report);
    default:
      return readTextTest(operator, entry, path, report);
  }
}

const INNER_OPERATORS: readonly string[] = ['equals', ...TEXT_OPERATORS];

function readInner(node: YAMLMap, field: Field, path: string, report: Report): ComparableTest | undefined {
  const test = readOperator(node, field, path, report);
  if (!test) return undefined;
  if (test.op !== 'anything-but' && test.op !== 'numeric' && test.op !== 'exists') return test;
  report.add(node, path, `anything-but takes literals, or one of ${INNER_OPERATORS.join(', ')}`);
  return undefined;
}

function readEquals(entry: Entry, field: Field, path: string, report: Report): ComparableTest | undefined {
  const nodes = listed(entry.value);
  if (!withinList(nodes, entry.value ?? entry.key, path, report)) return undefined;
  const any = nodes.flatMap((node, index) => {
    const literal = readLiteral(node ?? entry.key, field, isSeq(entry.value) ? `${path}[${index}]` : path, report);
    return literal === undefined ? [] : [literal];
  });
  return { op: 'equals', any };
}

function readLiteralTest(node: Node, field: Field, path: string, report: Report): Test | undefined {
  const literal = readLiteral(node, field, path, report);
  return literal === undefined ? undefined : { op: 'equals', any: [literal] };
}

function readLiteral(node: Node, field: Field, path: string, report: Report): Literal | undefined {
  switch (field.type) {
    case 'text':
    case 'address':
      return readTextLiteral(node, field, path, report);
    case 'number': {
      const digits = readNumber(node, path, `${field.path} is a number`, report);
      return digits === undefined ? undefined : { digits };
    }
    case 'any':
      return readAnyLiteral(node, field, path, report);
    default: {
      const never: never = field.type;
      return never;
    }
  }
}

function readTextLiteral(node: Node, field: Field, path: string, report: Report): string | undefined {
  const text = readText(node, path, field.path, report, 0);
  if (text !== undefined && field.values && !field.values.includes(text)) {
    report.add(node, path, `${field.path} is one of ${field.values.join(', ')}`, didYouMean(text, field.values));
  }
  return text;
}

function readAnyLiteral(node: Node, field: Field, path: string, report: Report): Literal | undefined {
  const value = isScalar(node) ? node.value : undefined;
  if (typeof value === 'boolean') return value;
  if (value === null && isScalar(node) && node.source !== '') return null;
  if (typeof value === 'number') {
    const digits = readNumber(
      node,
      path,
      'a number is written as in JSON, and text that looks like one in quotes',
      report,
    );
    return digits === undefined ? undefined : { digits };
  }
  return readText(node, path, field.path, report, 0);
}

function readTextTest(op: TextOperator, entry: Entry, path: string, report: Report): ComparableTest | undefined {
  const nodes = listed(entry.value);
  if (!withinList(nodes, entry.value ?? entry.key, path, report)) return undefined;
  const any = nodes.flatMap((node, index) => {
    const at = isSeq(entry.value) ? `${path}[${index}]` : path;
    const text = readText(node ?? entry.key, at, op, report);
    if (text === undefined || !fitsOperator(op, text, node ?? entry.key, at, report)) return [];
    return [text];
  });
  if (op === 'matches') checkExpressions(any, entry, path, report);
  return { op, any };
}

function fitsOperator(op: TextOperator, text: string, node: Node, path: string, report: Report): boolean {
  if (op === 'cidr' && !parseNetwork(text)) {
    report.add(node, path, 'cidr takes a network such as 10.0.0.0/8 or 2001:db8::/32, or a single address');
    return false;
  }
  if (op === 'wildcard' && text.length > LIMITS.wildcard) {
    report.add(node, path, `a wildcard has at most ${LIMITS.wildcard} characters, not ${text.length}`);
    return false;
  }
  const read = op === 'matches' ? report.expressions.read(text) : null;
  if (read && 'problem' in read) {
    report.add(node, path, read.problem);
    return false;
  }
  return true;
}

/** Each by itself has been read before. */
function checkExpressions(expressions: readonly string[], entry: Entry, path: string, report: Report): void {
  const sizes = expressions
    .map((text) => report.expressions.read(text))
    .map((read) => ('instructions' in read ? read.instructions : 0));
  const size = sizes.reduce((sum, one) => sum + one, 0);
  if (size <= EXPRESSION_LIMITS.instructions) return;
  const most = `all expressions of a test together take at most ${EXPRESSION_LIMITS.instructions} steps, not ${size}`;
  report.add(entry.value ?? entry.key, path, `${most}; repeat less, or split the rule`);
}

const NUMERIC_IS = 'numeric is a list such as [">", 0], [">=", 10, "<", 20] or ["=", 5]';

function readNumeric(entry: Entry, path: string, report: Report): Test | undefined {
  const at = entry.value ?? entry.key;
  const nodes = isSeq(entry.value) ? (entry.value.items as (Node | null)[]) : [];
  if (nodes.length !== 2 && nodes.length !== 4) {
    report.add(at, path, NUMERIC_IS);
    return undefined;
  }
  const bounds: Bound[] = [];
  for (let index = 0; index < nodes.length; index += 2) {
    const sign = scalarText(nodes[index] ?? null);
    const is = COMPARISONS.find((one) => one === sign);
    if (!is) report.add(nodes[index] ?? at, `${path}[${index}]`, NUMERIC_IS);
    const than = readNumber(nodes[index + 1] ?? at, `${path}[${index + 1}]`, NUMERIC_IS, report);
    if (is && than !== undefined) bounds.push({ is, than });
  }
  if (bounds.length * 2 < nodes.length) return undefined;
  if (bounds.length === 2 && !isRange(bounds)) {
    report.add(at, path, 'a range has one lower bound (> or >=) and one higher upper bound (< or <=)');
    return undefined;
  }
  return { op: 'numeric', bounds };
}

function isRange(bounds: readonly Bound[]): boolean {
  const lower = bounds.find((bound) => bound.is.startsWith('>'));
  const upper = bounds.find((bound) => bound.is.startsWith('<'));
  const from = lower && parseDecimal(lower.than);
  const to = upper && parseDecimal(upper.than);
  if (!lower || !upper || !from || !to) return false;
  const order = compareDecimals(from, to);
  return order < 0 || (order === 0 && lower.is === '>=' && upper.is === '<=');
}

/** Digits as they stand in the text; text of digits will do. */
function readNumber(node: Node, path: string, message: string, report: Report): string | undefined {
  const text = isScalar(node) && typeof node.value !== 'boolean' ? scalarText(node) : undefined;
  if (text === undefined || text.length > LIMITS.string || !parseDecimal(text)) {
    report.add(node, path, `${message}: such as 250, -1.50 or 6e3`);
    return undefined;
  }
  return text;
}

function readText(node: Node, path: string, what: string, report: Report, least = 1): string | undefined {
  const text = scalarText(node);
  if (text === undefined) {
    report.add(node, path, `${what} must be text`);
    return undefined;
  }
  if (text.length < least || text.length > LIMITS.string) {
    report.add(node, path, `${what} must have ${least} to ${LIMITS.string} characters, not ${text.length}`);
    return undefined;
  }
  return text;
}

function readBoolean(node: Node, path: string, what: string, report: Report): boolean | undefined {
  if (isScalar(node) && typeof node.value === 'boolean') return node.value;
  report.add(node, path, `${what} must be true or false`);
  return undefined;
}

function withinList(nodes: readonly unknown[], at: Node, path: string, report: Report): boolean {
  if (nodes.length > 0 && nodes.length <= LIMITS.list) return true;
  report.add(at, path, `a list has 1 to ${LIMITS.list} entries, not ${nodes.length}`);
  return false;
}

/** A list's nodes, or the one node that stands for a list of one. */
function listed(node: Node | null): readonly (Node | null)[] {
  return isSeq(node) ? (node.items as (Node | null)[]) : [node];
}

/** Text, or a number, true or false as written; undefined for null, lists, mappings and aliases. */
function scalarText(node: unknown): string | undefined {
  if (!isScalar(node) || node.value === null) return undefined;
  if (typeof node.value === 'string') return node.value;
  return (node as Scalar).source ?? String(node.value);
}

function join(path: string, name: string): string {
  return path === '' ? name : `${path}.${name}`;
}

function shorten(name: string): string {
  return name.length > 60 ? `${name.slice(0, 60)}…` : name;
}
