import { type Decider, deciderText } from '../../src/delivery/plan.js';
import { deliveryId, quarantineId } from '../../src/message/id.js';
import type { DecisionEntry } from '../../src/storage/decisions.js';
import type { DeliveryAttempt, DeliveryEntry, PlannedRun } from '../../src/storage/deliveries-read.js';
import type { ContentAttempt, HeldCopy, Story } from '../../src/storage/story.js';
import type { ReadMessage } from '../messages.js';
import { portionWords } from './found.js';
import { type Badge, count, deliveryBadge, kindLabel, size, type When, when, yetToCome } from './words.js';

/** One thing that happened to a message. */
export interface Happening {
  /** Of the element that tells it: the picture leads there. */
  readonly id: string;
  /** Null of what has no time of its own: it comes last. */
  readonly at: When | null;
  readonly title: string;
  readonly tone: Badge['tone'];
  /** What there is to say of it, a line each. */
  readonly lines: readonly string[];
  /** Where there is more. */
  readonly more?: { readonly href: string; readonly label: string };
}

/** A place that the message came by, in the picture. */
export interface Station {
  readonly href: string | null;
  readonly title: string;
  readonly text: string;
  readonly tone: Badge['tone'];
}

/** A message's whole way: as a picture, and as the list that is its text. */
export interface Lineage {
  readonly stations: readonly Station[];
  /** Where it went, one for each target. */
  readonly branches: readonly Station[];
  readonly moreBranches: number;
  readonly first: readonly Happening[];
  /** How many there are between the first and the last that are told. */
  readonly between: number;
  readonly last: readonly Happening[];
}

interface Dated {
  readonly time: number;
  readonly happening: Happening;
}

/** Of a message that was decided a thousand times. */
const FIRST_TOLD = 20;
const LAST_TOLD = 80;
const BRANCHES = 12;
/** Tries of a delivery and parts that were left out; the pages behind them have all. */
const TRIES_TOLD = 5;
const SET_ASIDE_TOLD = 10;
const ANSWER_TOLD = 200;

export interface LineageOf {
  readonly read: ReadMessage;
  readonly story: Story;
  /** What tells it apart, in words; null where its source is gone. */
  readonly key: string | null;
  /** Whether the page tells what the rules made of it. */
  readonly explained: boolean;
  /** Targets by id. */
  readonly names: ReadonlyMap<number, string>;
  /** What the ledger made of it; null where nothing is metered, or who looks may not know. */
  readonly usage: UsageStory | null;
  /** Milliseconds since 1970. */
  readonly now: number;
}

/** How a message's way ends where usage is counted. */
export interface UsageStory {
  readonly station: Station;
  readonly happening: Happening;
}

export function lineageOf(of: LineageOf): Lineage {
  const { usage } = of;
  const all = [...happenings(of), ...(usage === null ? [] : [usage.happening])];
  const cut = all.length > FIRST_TOLD + LAST_TOLD;
  const first = cut ? all.slice(0, FIRST_TOLD) : all;
  const last = cut ? all.slice(-LAST_TOLD) : [];
  const told = new Set([...first, ...last].map(({ id }) => id));
  // A place whose entry is not told leads nowhere.
  const leading = (station: Station) => ({
    ...station,
    href: told.has(station.href ?? '') ? `#${station.href}` : null,
  });
  const branches = branchesOf(of);
  return {
    stations: [...stationsOf(of), ...(usage === null ? [] : [usage.station])].map(leading),
    branches: branches.slice(0, BRANCHES).map(leading),
    moreBranches: Math.max(0, branches.length - BRANCHES),
    first,
    between: all.length - first.length - last.length,
    last,
  };
}

/** What happened and why, oldest first. */
function happenings({ read, story, key, explained, names, now }: LineageOf): Happening[] {
  const all = [
    accepted(read, key, now),
    ...story.held.map((one) => heldCopy(one, now)),
    ...story.content.map((one, i) => contentTry(one, i, now)),
    ...wasRead(read, story, now),
    ...story.plans.map((one, i) => planned(one, i, read.message.sequence, { explained, names, now })),
    ...story.decisions.map((one) => decided(one, names, now)),
    ...story.deliveries.map((one) => afterItsPlan(delivery(one, now), one, story.plans, read.message.sequence, names)),
  ];
  return all.sort((a, b) => a.time - b.time).map(({ happening }) => happening);
}

function dated(at: Date, now: number, happening: Omit<Happening, 'at'>): Dated {
  return { time: at.getTime(), happening: { at: when(at, now), ...happening } };
}

const ACCEPTED = 'way-accepted';
const READ = 'way-read';

function accepted({ message, standing, envelope }: ReadMessage, key: string | null, now: number): Dated {
  const { channel, sequence, peer, sha256, eventTime } = message;
  return dated(standing.received, now, {
    id: ACCEPTED,
    title: `Accepted: number ${sequence} of channel ${channel}`,
    tone: 'plain',
    lines: [
      `Source ${standing.source}, account ${message.account}, from ${peer}${tlsText(envelope.tls)}.`,
      `${size(standing.size)}, SHA-256 ${Buffer.from(sha256).toString('hex')}`,
      ...(key === null
        ? []
        : [`New by its key, ${key}. Mere repeats of it are counted by channel, and leave nothing else.`]),
      ...(eventTime === null ? [] : [`It says it happened at ${eventTime}.`]),
    ],
  });
}

/** Of mail only; what came by HTTP came by whatever stands in front of Waybill. */
function tlsText(tls: unknown): string {
  if (tls === undefined) return '';
  if (tls === null) return ', without TLS';
  const { version, cipher } = tls as { version?: unknown; cipher?: unknown };
  return ` over ${String(version)} (${String(cipher)})`;
}

function heldCopy({ number, cause, state, count: times, first, last }: HeldCopy, now: number): Dated {
  const id = quarantineId(number);
  const conflict = cause === 'conflict';
  return dated(first, now, {
    id: `way-${id}`,
    title: conflict ? 'The same key came with other content' : 'Set aside in quarantine',
    tone: 'bad',
    lines: [
      `${id} is ${state}.`,
      ...(times > 1 ? [`It came ${times.toLocaleString('en')} times, last at ${when(last, now).full}.`] : []),
    ],
    more: { href: `/quarantine/${id}`, label: 'the entry' },
  });
}

function contentTry(
  { started, ended, rung, stage, outcome, reason, try: n, child }: ContentAttempt,
  i: number,
  now: number,
): Dated {
  const tones = { processed: 'plain', failed: 'bad', interrupted: 'wait', not_tried: 'wait' } as const;
  const words = {
    processed: 'Reading ended',
    failed: 'Reading failed',
    interrupted: 'Reading was interrupted',
    not_tried: 'Not read: its like failed while it waited',
  } as const;
  return dated(ended ?? started, now, {
    id: `way-try-${i + 1}`,
    title: outcome === null ? 'Is being read' : words[outcome],
    tone: outcome === null ? 'wait' : tones[outcome],
    lines: [
      `Rung ${rung}, try ${n}, up to ${stage}${child === null ? '' : `, in child ${child}`}.`,
      ...(reason === null ? [] : [reason]),
    ],
  });
}

/** What its rung made of it; of events no try is kept that went well. */
function wasRead({ view }: ReadMessage, { content, plans }: Story, now: number): Dated[] {
  const ended = content.findLast(({ outcome }) => outcome === 'processed')?.ended;
  const at = ended ?? plans[0]?.plannedAt;
  if (view === null || !at) return [];
  const { rung, defects, setAside } = view;
  const rest = setAside.length - SET_ASIDE_TOLD;
  return [
    dated(at, now, {
      id: READ,
      title: rung === 0 ? 'Read, all of it' : `Read on rung ${rung}`,
      tone: rung === 0 ? 'ok' : 'wait',
      lines: [
        ...(defects.length === 0 ? [] : [`${count(defects.length, 'thing is', 'things are')} wrong with its content.`]),
        ...setAside
          .slice(0, SET_ASIDE_TOLD)
          .map((one) => `Left out: ${one.name ?? one.where}, ${size(one.size)}: ${one.why}`),
        ...(rest > 0 ? [`And ${rest} more were left out.`] : []),
      ],
    }),
  ];
}

function planned(
  { plan, plannedAt, run }: PlannedRun,
  i: number,
  sequence: number,
  { explained, names, now }: Pick<LineageOf, 'explained' | 'names' | 'now'>,
): Dated {
  const targets = run.t.map(([target, first]) => {
    const what = run.u?.[target] ? `what is new in it (${run.u[target].join(', ')})` : 'it';
    return `${names.get(target) ?? target} gets ${what} as number ${first + sequence - run.s}`;
  });
  const { title, tone } = planTitle(run);
  const nobody = run.d.by === 'rules' && run.d.set === 0;
  const byRules = run.d.by === 'rules' && run.d.set > 0;
  return dated(plannedAt, now, {
    id: `way-plan-${i + 1}`,
    title,
    tone,
    lines: [
      `Plan ${plan}, ${nobody ? '' : `by ${deciderText(run.d)}, `}rung ${run.r}${run.late ? ', late' : ''}${run.replay ? ', sent again' : ''}.`,
      ...(run.p ? [`Only ${portionWords(run.p)}.`] : []),
      ...targets.map((line) => `${line}.`),
      ...(run.why === undefined ? [] : [run.why]),
    ],
    ...(byRules && explained && { more: { href: '#rules-title', label: 'what the rules made of it' } }),
  });
}

function planTitle({ m: mode, d: decider }: PlannedRun['run']): { title: string; tone: Badge['tone'] } {
  const rules = decider.by === 'rules' ? decider.rules.join(', ') : '';
  const suggested = decider.by === 'suggestion';
  switch (mode) {
    case 'deliver':
      if (suggested) return { title: 'Routed by what people decided before', tone: 'ok' };
      if (decider.by === 'thread') return { title: 'Followed its conversation', tone: 'ok' };
      return { title: rules === '' ? 'Planned to be delivered' : `Routed by ${rules}`, tone: 'ok' };
    case 'close':
      return { title: rules === '' ? 'Closed' : `Closed by ${rules}`, tone: 'plain' };
    case 'wait':
      return {
        title: suggested
          ? 'No rule matched, and no threshold was exceeded: it waits for a person'
          : 'No rule matched: it waits for a person',
        tone: 'wait',
      };
    case 'park':
      return { title: 'Parked: the channel goes on without it', tone: 'wait' };
    case 'quarantine':
      return { title: 'Taken out of the stream into quarantine', tone: 'bad' };
    case 'cancel':
      return { title: 'Taken back', tone: 'plain' };
    default: {
      const never: never = mode;
      throw new Error(`no such mode: ${String(never)}`);
    }
  }
}

const DID: Readonly<Record<DecisionEntry['action'], string>> = {
  assign: 'assigned it to',
  unassign: 'took it back from',
  close: 'closed it',
  snooze: 'snoozed it',
  reopen: 'reopened it',
  note: 'wrote a note',
  replay: 'had it sent again to',
};

function decisionText(one: DecisionEntry, names: ReadonlyMap<number, string>): string {
  const targets = one.targets.map((id) => names.get(id) ?? String(id)).join(', ');
  return `${one.who} ${DID[one.action]}${targets === '' ? '' : ` ${targets}`}`;
}

function decided(one: DecisionEntry, names: ReadonlyMap<number, string>, now: number): Dated {
  return dated(one.decidedAt, now, {
    id: `way-decision-${one.version}`,
    title: decisionText(one, names),
    tone: 'plain',
    lines: [
      ...(one.portion ? [`Only ${portionWords(one.portion)}.`] : []),
      ...(one.reason === null ? [] : [`“${one.reason}”`]),
      ...(one.until === null ? [] : [`Until ${when(one.until, now).full}.`]),
      ...(one.plan === null ? ['Waits to be carried out.'] : []),
      `Version ${one.version}.`,
    ],
  });
}

function delivery(one: Story['deliveries'][number], now: number): Dated {
  const words = { pending: 'not taken yet', delivered: 'delivered', failed: 'failed', cancelled: 'cancelled' } as const;
  const { tries } = one;
  const next = yetToCome(one.next, now);
  const waits = one.state === 'pending' && one.attempts === 0;
  const untold = Math.max(0, tries.length - TRIES_TOLD);
  return dated(one.settled ?? tries.at(-1)?.started ?? one.created, now, {
    id: wayOf(one),
    title: `${one.target}: ${waits ? 'waits to be sent' : words[one.state]}`,
    tone: deliveryBadge(one.state).tone,
    lines: [
      `Number ${one.number}, ${waits ? 'not tried yet' : count(one.attempts, 'try', 'tries')}.`,
      ...(one.reason === null ? [] : [`${one.code ?? ''} ${one.reason}`.trim()]),
      ...(untold > 0 ? [`${count(untold, 'earlier try is', 'earlier tries are')} told on its own page.`] : []),
      ...tries.slice(-TRIES_TOLD).map(tryLine),
      ...(next === null ? [] : [`Next try ${next.full}.`]),
    ],
    more: { href: `/deliveries/${deliveryId(one)}`, label: 'every try' },
  });
}

function tryLine({ attempt, what, started, tookMs, result, code, reason, answer }: DeliveryAttempt): string {
  const said = answer === null || answer === '' ? '' : `; it answered “${answer.slice(0, ANSWER_TOLD)}”`;
  const why = [code, reason].filter((one) => one !== null && one !== '').join(' ');
  const of = what === 'void' ? ' of the notice that the number carries nothing' : '';
  const time = `${started.toISOString().slice(0, 19).replace('T', ' ')} UTC`;
  return `Try ${attempt}${of}, ${time}, ${tookMs} ms: ${result}${why === '' ? '' : `, ${why}`}${said}`;
}

/** The plan that sends it, or takes it back, is written in the same transaction, by another clock. */
function afterItsPlan(
  told: Dated,
  { target, number, state }: DeliveryEntry,
  plans: readonly PlannedRun[],
  sequence: number,
  names: ReadonlyMap<number, string>,
): Dated {
  const sends = ({ run }: PlannedRun) =>
    run.t.some(([id, first]) => names.get(id) === target && first + sequence - run.s === number);
  const takesBack = ({ run, plannedAt }: PlannedRun) =>
    state === 'cancelled' && run.m === 'cancel' && plannedAt.getTime() >= told.time;
  const causes = [plans.find(sends), plans.find(takesBack)];
  return { ...told, time: Math.max(told.time, ...causes.map((plan) => plan?.plannedAt.getTime() ?? 0)) };
}

function wayOf(one: DeliveryEntry): string {
  return `way-${deliveryId(one)}`;
}

/* The picture: received → channel → read → decided → a branch for each target. `href` is the id of an entry of the list. */

function stationsOf({ read, story, names }: LineageOf): Station[] {
  const { message, standing } = read;
  const conflicts = story.held.filter(({ cause }) => cause === 'conflict').length;
  const decision = decisionStation(story, names);
  return [
    {
      href: ACCEPTED,
      title: 'Received',
      text: `${kindLabel(message.kind)} by ${standing.source}, ${size(standing.size)}`,
      tone: 'plain',
    },
    {
      href: ACCEPTED,
      title: `Channel ${message.channel}`,
      text: `number ${message.sequence}${conflicts === 0 ? '' : `, ${count(conflicts, 'conflict', 'conflicts')} later`}`,
      tone: 'plain',
    },
    readStation(read, story),
    ...(decision === null ? [] : [decision]),
  ];
}

function readStation({ view, standing }: ReadMessage, { content, plans }: Story): Station {
  const failed = content.findLastIndex(({ outcome }) => outcome === 'failed');
  const lastTry = failed < 0 ? null : `way-try-${failed + 1}`;
  if (standing.state === 'quarantined') {
    return { href: lastTry, title: 'Not read', text: 'no rung could read it', tone: 'bad' };
  }
  if (standing.state === 'parked') {
    return { href: lastTry, title: 'Parked', text: 'it is tried again', tone: 'wait' };
  }
  if (view === null || plans.length === 0) return { href: null, title: 'Not read yet', text: '', tone: 'wait' };
  const out = view.setAside.length;
  const text = view.rung === 0 ? 'all of it' : `on rung ${view.rung}`;
  return {
    href: READ,
    title: 'Read',
    text: out === 0 ? text : `${text}, ${count(out, 'part', 'parts')} left out`,
    tone: view.rung === 0 ? 'ok' : 'wait',
  };
}

/** What was decided last; null where nothing was yet. */
function decisionStation({ plans, decisions }: Story, names: ReadonlyMap<number, string>): Station | null {
  const plan = plans.findLastIndex(({ run }) => run.m !== 'park' && run.m !== 'quarantine');
  const planned = plans[plan];
  const last = decisions.findLast(({ action }) => action !== 'note');
  if (last && (planned === undefined || last.decidedAt > planned.plannedAt)) {
    return { href: `way-decision-${last.version}`, title: 'Decided', text: decisionText(last, names), tone: 'plain' };
  }
  if (planned === undefined) return null;
  const { title, tone } = planTitle(planned.run);
  const { d: by } = planned.run;
  const text = by.by === 'person' ? `${title}, by ${by.who}` : title;
  return { href: `way-plan-${plan + 1}`, title: DECIDED_BY[by.by], text, tone };
}

const DECIDED_BY: Readonly<Record<Decider['by'], string>> = {
  rules: 'Rules',
  person: 'Decided',
  suggestion: 'Probability',
  thread: 'Conversation',
};

/** The last delivery of each target, and what is yet to be planned. */
function branchesOf({ story, names }: LineageOf): Station[] {
  const byTarget = new Map<string, { last: Story['deliveries'][number]; count: number }>();
  for (const one of story.deliveries) {
    byTarget.set(one.target, { last: one, count: (byTarget.get(one.target)?.count ?? 0) + 1 });
  }
  const sent = [...byTarget.values()].map(({ last, count: times }): Station => {
    const { label, tone } = deliveryBadge(last.state);
    const tries = last.attempts === 0 ? 'not tried yet' : count(last.attempts, 'try', 'tries');
    const again = times === 1 ? '' : `, ${times} deliveries`;
    return { href: wayOf(last), title: last.target, text: `${label}, ${tries}${again}`, tone };
  });
  const coming = story.decisions
    .filter(({ plan, action }) => plan === null && (action === 'assign' || action === 'replay'))
    .flatMap(({ targets, version }) =>
      targets.map(
        (id): Station => ({
          href: `way-decision-${version}`,
          title: names.get(id) ?? String(id),
          text: 'goes out soon',
          tone: 'wait',
        }),
      ),
    );
  return [...sent, ...coming];
}
