/**
 * Rules as they are written in `config/rules.yaml`, read by `parseRuleSet`, printed by `printRuleSet`.
 * The user's page about them is `docs/rules.md`. An example with most of the grammar:
 *
 * ```yaml
 * mode: first-match            # or all-match
 * rules:
 *   - name: newsletters
 *     description: Nobody reads these.
 *     priority: 10             # lower goes first; 100 where nothing is said
 *     when:
 *       kind: mail
 *       headers.list-id: { exists: true }
 *     then: { close: newsletter }
 *
 *   - name: large-orders
 *     when:
 *       kind: event
 *       type: [order.placed, order.changed]          # one of these
 *       data.amount: { numeric: [">=", 1000, "<", 50000] }
 *       data.customer.country: { anything-but: [US, CA] }
 *     then: { targets: [sales, accounting] }
 *
 *   - name: invoices
 *     when:
 *       to: billing@example.com
 *       $or:
 *         - subject: [{ prefix: Invoice }, { wildcard: "*rechnung*" }]
 *         - parts.type: application/pdf
 *     then: { targets: accounting }
 *
 *   - name: everything-else
 *     enabled: false
 *     when: {}
 *     then: { targets: archive }
 * ```
 */
export interface RuleSet {
  /** `first-match`: the first rule that holds decides. `all-match`: all rules that hold do, their targets united. */
  readonly mode: 'first-match' | 'all-match';
  /** In the order of the file. */
  readonly rules: readonly Rule[];
}

export interface Rule {
  /** Unique within the set. */
  readonly name: string;
  readonly description: string | null;
  readonly enabled: boolean;
  /** Lower goes first; equal ones in the order of the file. */
  readonly priority: number;
  readonly when: Pattern;
  readonly choice: Choice;
}

/** What stands under `then`. */
export type Choice = { readonly targets: readonly string[] } | { readonly close: string };

/** Holds when all its terms do; without any, always. */
export type Pattern = readonly Term[];

export type Term =
  /** Holds when one of the tests does. `path` is in the spelling that `resolveField` gives. */
  | { readonly path: string; readonly tests: readonly Test[] }
  /** `$or`: holds when one of the patterns does. */
  | { readonly anyOf: readonly Pattern[] };

export type Test =
  | ComparableTest
  /** Holds when there is a value and none of the values satisfies the inner test. */
  | { readonly op: 'anything-but'; readonly of: ComparableTest }
  /** Holds when every bound does. */
  | { readonly op: 'numeric'; readonly bounds: readonly Bound[] }
  | { readonly op: 'exists'; readonly exists: boolean };

/** Holds when one of `any` fits. */
export type ComparableTest =
  | { readonly op: 'equals'; readonly any: readonly Literal[] }
  | { readonly op: TextOperator; readonly any: readonly string[] };

export const TEXT_OPERATORS = ['prefix', 'suffix', 'wildcard', 'equals-ignore-case', 'cidr', 'matches'] as const;
export type TextOperator = (typeof TEXT_OPERATORS)[number];

export const COMPARISONS = ['=', '<', '<=', '>', '>='] as const;
export interface Bound {
  readonly is: (typeof COMPARISONS)[number];
  /** A number as it was written, every digit kept. */
  readonly than: string;
}

export type Literal = string | boolean | null | NumberLiteral;
/** A number as it was written, every digit kept. */
export interface NumberLiteral {
  readonly digits: string;
}

export const DEFAULT_PRIORITY = 100;

/** What a rule set may grow to. */
export const LIMITS = {
  /** Bytes of UTF-8. */
  text: 1024 * 1024,
  rules: 5000,
  /** Characters of one rule: what is done rule by rule is never long about one. */
  rule: 128 * 1024,
  /** How deep `$or` may stand in `$or`. */
  depth: 5,
  /** Fields of one pattern, and patterns of one `$or`. */
  terms: 100,
  /** Entries of one list of literals or texts. */
  list: 1000,
  targets: 32,
  /** Characters of a literal, a field path, a description or a reason. */
  string: 512,
  /** Characters of a wildcard: up to 250, V8 searches a string in linear time whatever stands in it. */
  wildcard: 250,
  priority: 1_000_000,
} as const;

/** Every target the rules name, each once, disabled rules included. */
export function targetsOf(ruleSet: RuleSet): string[] {
  return [...new Set(ruleSet.rules.flatMap((rule) => ('targets' in rule.choice ? rule.choice.targets : [])))];
}
