import { isMap, isSeq, type Node, parseDocument, type YAMLSeq } from 'yaml';
import { parseRuleSet } from './parse.js';
import { printRuleSet } from './print.js';
import type { Rule } from './rule.js';

/** The text of rules where there are none yet. */
export const NO_RULES = 'mode: first-match\n\nrules: []\n';

/**
 * The text of a rule set with one rule more: in front of the rule of that name, or as the last one. Everything else stays as it
 * is written, comments too; only where a text is written in a way that leaves no room it is printed anew.
 */
export function insertRule(text: string, rule: Rule, before: string | null): string {
  const parsed = parseRuleSet(text);
  const rules = parsed.ok ? parsed.ruleSet.rules : [];
  const found = rules.findIndex(({ name }) => name === before);
  const at = found < 0 ? rules.length : found;
  // What the rule chooses may be still to be filled in, and would be a problem of its own.
  const written = insertText(text, { ...rule, choice: { close: 'x' } }, at);
  const wanted = rules.map(({ name }) => name).toSpliced(at, 0, rule.name);
  if (written !== undefined && isSame(namesOf(written), wanted)) return insertText(text, rule, at) ?? text;
  return printRuleSet({ mode: parsed.ok ? parsed.ruleSet.mode : 'first-match', rules: rules.toSpliced(at, 0, rule) });
}

function namesOf(text: string): readonly string[] {
  const parsed = parseRuleSet(text);
  return parsed.ok ? parsed.ruleSet.rules.map(({ name }) => name) : [];
}

function isSame(some: readonly string[], others: readonly string[]): boolean {
  return some.length === others.length && some.every((one, i) => one === others[i]);
}

/** Undefined where the list is not written with a line for each rule. */
function insertText(text: string, rule: Rule, at: number): string | undefined {
  const root = parseDocument(text, { uniqueKeys: false }).contents;
  const list = isMap(root) ? root.get('rules', true) : undefined;
  if (!isSeq(list) || !list.range) return undefined;
  const items = list.items as Node[];
  if (items.length === 0) {
    const [start, end] = list.range;
    return `${text.slice(0, start).trimEnd()}\n${blockOf(rule, '  ')}${text.slice(end).replace(/^[^\S\n]*\n/, '')}`;
  }
  const indentation = indentationOf(text, list, items[Math.min(at, items.length - 1)]);
  if (indentation === undefined) return undefined;
  const block = blockOf(rule, indentation);
  const next = items[at];
  if (next) {
    const place = aboveComments(text, lineOf(text, next.range?.[0] ?? 0));
    return `${text.slice(0, place)}${block}\n${text.slice(place)}`;
  }
  const end = afterLine(text, text.slice(0, items.at(-1)?.range?.[1] ?? 0).trimEnd().length);
  return `${text.slice(0, end)}${text[end - 1] === '\n' ? '' : '\n'}\n${block}${text.slice(end)}`;
}

/** The rule's own lines, each moved in as far as the others. */
function blockOf(rule: Rule, indentation: string): string {
  const printed = printRuleSet({ mode: 'first-match', rules: [rule] });
  const lines = printed.slice(printed.indexOf('rules:\n') + 'rules:\n'.length).split('\n');
  return lines.map((line) => (line === '' ? line : indentation + line.replace(/^ {2}/, ''))).join('\n');
}

/** What stands in front of an item's dash. */
function indentationOf(text: string, list: YAMLSeq, item: Node | undefined): string | undefined {
  if (list.flow || !item?.range) return undefined;
  const start = lineOf(text, item.range[0]);
  return /^( *)- +$/.exec(text.slice(start, item.range[0]))?.[1];
}

/** Where the line begins that a place is in. */
function lineOf(text: string, place: number): number {
  return text.lastIndexOf('\n', place - 1) + 1;
}

function afterLine(text: string, place: number): number {
  const end = text.indexOf('\n', place);
  return end < 0 ? text.length : end + 1;
}

/** Comments right above a rule are about it. */
function aboveComments(text: string, line: number): number {
  let place = line;
  while (place > 0) {
    const above = lineOf(text, place - 1);
    if (!/^\s*#/.test(text.slice(above, place))) break;
    place = above;
  }
  return place;
}
