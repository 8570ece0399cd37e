import { type Portion, portionText } from '../message/portion.js';
import { plain } from './io.js';

/** What `GET /v1/messages/{id}/explain` tells. */
export interface Story {
  readonly message: string;
  readonly accepted: Accepted;
  readonly held: readonly Held[];
  readonly setAside: readonly SetAside[];
  readonly state: string;
  readonly version: number;
  readonly content: readonly ContentTry[];
  readonly plans: readonly Plan[];
  readonly rules: Rules | null;
  readonly automatic: Automatic | null;
  readonly thread: Thread | null;
  readonly decisions: readonly Decision[];
  readonly deliveries: readonly Delivery[];
  readonly olderDeliveries: number;
}

interface Accepted {
  readonly received: string;
  readonly peer: string;
  readonly tls: { readonly version: string; readonly cipher: string } | null;
  readonly source: string;
  readonly size: number;
  readonly sha256: string;
  readonly key: string | null;
  readonly channel: number;
  readonly sequence: number;
}

interface Held {
  readonly id: string;
  readonly cause: string;
  readonly state: string;
  readonly count: number;
  readonly last: string;
}

interface SetAside {
  readonly where: string;
  readonly name: string | null;
  readonly size: number;
  readonly why: string;
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
  readonly targets: readonly {
    readonly target: string;
    readonly number: number;
    readonly updated?: readonly string[];
  }[];
  readonly late: boolean;
  readonly replay: boolean;
  readonly portion: Portion | null;
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

interface Automatic {
  readonly model: number;
  readonly scores: readonly Score[];
}

interface Score {
  readonly target: string;
  readonly probability: number;
  readonly threshold: number;
  readonly exceeded: boolean;
  readonly evidence: readonly Evidence[];
  readonly further: number;
}

interface Evidence {
  readonly field: string;
  readonly word: string;
  readonly odds: number;
  readonly decisions: number;
  readonly chosen: number;
}

interface Thread {
  readonly id: number;
  readonly number: number;
  readonly of: number;
  readonly followed: number | null;
  readonly compared: readonly {
    readonly target: string;
    readonly with: readonly number[];
    readonly sent: 'fields' | 'nothing';
    readonly fields: readonly string[];
  }[];
  readonly changed: {
    readonly since: number;
    readonly fields: readonly { readonly type: string; readonly change: string }[] | null;
    readonly text: string;
    readonly newParts: number;
  } | null;
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
    ...acceptedLines(accepted),
    ...story.held.map(heldLine),
    ...story.content.map(contentLine),
    ...story.setAside.map(setAsideLine),
    ...rulesLines(story.rules),
    ...automaticLines(story.automatic),
    ...threadLines(story.thread),
    ...story.plans.map(planLine),
    ...story.decisions.map(decisionLine),
    ...(story.olderDeliveries === 0 ? [] : [line(0, `${story.olderDeliveries} older deliveries are not told`)]),
    ...story.deliveries.flatMap(deliveryLines),
  ];
}

function line(depth: number, text: string): string {
  return '  '.repeat(depth) + plain(text);
}

function because(reason: string | null): string {
  return reason === null ? '' : `: ${reason}`;
}

function acceptedLines(accepted: Accepted): string[] {
  const { received, peer, tls, source, size, sha256, key, channel, sequence } = accepted;
  const how = tls === null ? '' : ` over ${tls.version}, ${tls.cipher}`;
  return [
    line(0, `accepted ${received} by ${source} from ${peer}${how}, ${size} bytes, sha256 ${sha256}`),
    line(0, `sequenced as ${sequence} of channel ${channel}${key === null ? '' : `; told apart by ${key}`}`),
  ];
}

function heldLine({ id, cause, state, count, last }: Held): string {
  const times = count === 1 ? 'once' : `${count} times`;
  const what = cause === 'conflict' ? `other content with its key came ${times}, last ${last}` : `set aside ${last}`;
  return line(0, `quarantine ${id}, ${state}: ${what}`);
}

function setAsideLine({ where, name, size, why }: SetAside): string {
  return line(0, `left out: ${name ?? where}, ${size} bytes: ${why}`);
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

function automaticLines(automatic: Automatic | null): string[] {
  if (!automatic) return [];
  return [
    line(0, `no rule matched: probabilities by model ${automatic.model}`),
    ...automatic.scores.flatMap(scoreLines),
  ];
}

function scoreLines({ target, probability, threshold, exceeded, evidence, further }: Score): string[] {
  const compared = exceeded ? `${probability}, above ${threshold}` : `${probability} of ${threshold} needed`;
  return [
    line(1, `${exceeded ? '+' : '-'} ${target}: ${compared}`),
    ...evidence.map((one) =>
      line(
        3,
        `${one.field} ${one.word}: odds × ${one.odds.toPrecision(3)}, chosen ${one.chosen} of ${one.decisions} times`,
      ),
    ),
    ...(further > 0 ? [line(3, `and ${further} more that counted less`)] : []),
  ];
}

function threadLines(thread: Thread | null): string[] {
  if (!thread) return [];
  const { id, number, of, followed, compared, changed } = thread;
  const course = followed === null ? '' : `: no rule matched, so it followed number ${followed}`;
  return [
    line(0, `thread ${id}, number ${number} of ${of}${course}`),
    ...(changed ? [line(1, `beside number ${changed.since}: ${differences(changed).join(', ')}`)] : []),
    ...compared.map(({ target, with: known, sent, fields }) =>
      line(
        1,
        `${target} knew ${known.join(', ')}: ${sent === 'nothing' ? 'nothing is new' : `new is ${fields.join(', ')}`}`,
      ),
    ),
  ];
}

function differences({ fields, text, newParts }: NonNullable<Thread['changed']>): string[] {
  return [
    ...(fields ?? []).map(({ type, change }) => `${type} ${change}`),
    `text ${text}`,
    ...(newParts > 0 ? [`new attachments ${newParts}`] : []),
  ];
}

function planLine({ plan, at, did, by, rung, targets, late, replay, portion, why }: Plan): string {
  const to = targets
    .map(
      ({ target, number, updated }) => `${target} (number ${number}${updated ? `, only ${updated.join(', ')}` : ''})`,
    )
    .join(', ');
  const how = `${late ? ', late' : ''}${replay ? ', again' : ''}${rung > 0 ? `, on rung ${rung}` : ''}`;
  const what = portion ? ` ${portionText(portion)}` : '';
  return line(0, `plan ${plan}, ${at}: ${did}${what}${to === '' ? '' : ` to ${to}`}, by ${by}${how}${because(why)}`);
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
