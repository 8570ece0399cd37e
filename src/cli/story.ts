import { plain } from './io.js';

/** What `GET /v1/messages/{id}/explain` tells. */
export interface Story {
  readonly message: string;
  readonly accepted: { readonly received: string; readonly peer: string; readonly sha256: string };
  readonly state: string;
  readonly version: number;
  readonly content: readonly ContentTry[];
  readonly plans: readonly Plan[];
  readonly rules: Rules | null;
  readonly decisions: readonly Decision[];
  readonly deliveries: readonly Delivery[];
}

interface ContentTry {
  readonly rung: number;
  readonly stage: string;
  readonly try: number;
  readonly outcome: string | null;
  readonly reason: string | null;
}

interface Plan {
  readonly plan: number;
  readonly at: string;
  readonly did: string;
  readonly by: string;
  readonly rung: number;
  readonly targets: readonly { readonly target: string; readonly number: number }[];
  readonly late: boolean;
  readonly replay: boolean;
  readonly why: string | null;
}

interface Rules {
  readonly version: number;
  readonly mode: string;
  readonly steps: readonly Step[];
}

export interface Step {
  readonly rule: string;
  readonly state: 'matched' | 'not_matched' | 'disabled' | 'not_reached';
  readonly why: string;
  readonly terms: readonly Term[];
}

interface Term {
  readonly holds: boolean;
  readonly clauses: readonly Clause[];
  readonly anyOf: readonly { readonly holds: boolean; readonly terms: readonly Term[] }[];
}

interface Clause {
  readonly path: string;
  readonly operator: string;
  readonly expected: string;
  readonly actual: { readonly count: number; readonly values: readonly string[] };
  readonly result: 'true' | 'false' | 'error';
  readonly reason: string | null;
}

interface Decision {
  readonly version: number;
  readonly action: string;
  readonly who: string;
  readonly targets: readonly string[];
  readonly reason: string | null;
  readonly decidedAt: string;
}

interface Delivery {
  readonly id: string;
  readonly state: string;
  readonly attempts: number;
  readonly code: string | null;
  readonly reason: string | null;
  readonly next: string | null;
  readonly tries: readonly DeliveryTry[];
}

interface DeliveryTry {
  readonly attempt: number;
  readonly started: string;
  readonly tookMs: number;
  readonly result: string;
  readonly code: string | null;
  readonly reason: string | null;
}

/** The story of a message in lines for people, in the order it happened. */
export function storyLines(story: Story): string[] {
  const { message, accepted, state, version } = story;
  return [
    line(0, `${message} is ${state}, version ${version}`),
    line(0, `accepted ${accepted.received} from ${accepted.peer}, sha256 ${accepted.sha256}`),
    ...story.content.map(contentLine),
    ...rulesLines(story.rules),
    ...story.plans.map(planLine),
    ...story.decisions.map(decisionLine),
    ...story.deliveries.flatMap(deliveryLines),
  ];
}

function line(depth: number, text: string): string {
  return '  '.repeat(depth) + plain(text);
}

function because(reason: string | null): string {
  return reason === null ? '' : `: ${reason}`;
}

function contentLine({ rung, stage, try: attempt, outcome, reason }: ContentTry): string {
  return line(0, `read on rung ${rung} (${stage}), try ${attempt}: ${outcome ?? 'under way'}${because(reason)}`);
}

function rulesLines(rules: Rules | null): string[] {
  if (!rules) return ['no rules were asked'];
  return [line(0, `rules, version ${rules.version}, ${rules.mode}`), ...stepsLines(rules)];
}

/** What every rule made of a message. */
export function stepsLines({ steps }: { readonly steps: readonly Step[] }): string[] {
  return steps.flatMap(stepLines);
}

const MARKS = { matched: '+', not_matched: '-', disabled: '.', not_reached: '.' } as const;

function stepLines({ rule, state, why, terms }: Step): string[] {
  return [line(1, `${MARKS[state]} ${rule}: ${why}`), ...terms.flatMap((term) => termLines(term, 3))];
}

function termLines({ holds, clauses, anyOf }: Term, depth: number): string[] {
  if (anyOf.length === 0) return clauses.map((clause) => clauseLine(clause, depth));
  return [
    line(depth, `one of ${anyOf.length} patterns: ${holds}`),
    ...anyOf.flatMap((pattern, n) => [
      line(depth + 1, `pattern ${n + 1}: ${pattern.holds}`),
      ...pattern.terms.flatMap((term) => termLines(term, depth + 2)),
    ]),
  ];
}

function clauseLine({ path, operator, expected, actual, result, reason }: Clause, depth: number): string {
  const more = actual.count > actual.values.length ? ` and ${actual.count - actual.values.length} more` : '';
  const found = actual.count === 0 ? 'nothing' : `${actual.values.join(', ')}${more}`;
  return line(depth, `${path} ${operator} ${expected}: ${result}, found ${found}${because(reason)}`);
}

function planLine({ plan, at, did, by, rung, targets, late, replay, why }: Plan): string {
  const to = targets.map(({ target, number }) => `${target} (number ${number})`).join(', ');
  const how = `${late ? ', late' : ''}${replay ? ', again' : ''}${rung > 0 ? `, on rung ${rung}` : ''}`;
  return line(0, `plan ${plan}, ${at}: ${did}${to === '' ? '' : ` to ${to}`}, by ${by}${how}${because(why)}`);
}

function decisionLine({ version, action, who, targets, reason, decidedAt }: Decision): string {
  const to = targets.length === 0 ? '' : ` ${targets.join(', ')}`;
  return line(0, `decision ${version}, ${decidedAt}: ${who}: ${action}${to}${because(reason)}`);
}

function deliveryLines({ id, state, attempts, code, reason, next, tries }: Delivery): string[] {
  const trouble = code === null ? '' : ` (${code}${because(reason)})`;
  const again = next === null ? '' : `, next try ${next}`;
  return [
    line(0, `delivery ${id}: ${state}${attempts > 1 ? ` after ${attempts} tries` : ''}${trouble}${again}`),
    ...tries.map((one) =>
      line(
        1,
        `try ${one.attempt}, ${one.started}, ${one.tookMs} ms: ${one.result}${because(one.code)}${because(one.reason)}`,
      ),
    ),
  ];
}
