import { deciderText } from '../../src/delivery/plan.js';
import { deliveryId } from '../../src/message/id.js';
import type { DecisionEntry } from '../../src/storage/decisions.js';
import type { DeliveryAttempt, DeliveryEntry, PlannedRun } from '../../src/storage/deliveries-read.js';
import type { ContentAttempt, Story } from '../../src/storage/story.js';
import type { ReadMessage } from '../messages.js';
import { portionWords } from './found.js';
import { type Badge, deliveryBadge, size, type When, when, yetToCome } from './words.js';

/** One thing that happened to a message. */
export interface Happening {
  readonly at: When;
  readonly title: string;
  readonly tone: Badge['tone'];
  /** What there is to say of it, a line each. */
  readonly lines: readonly string[];
  /** Where there is more. */
  readonly more?: { readonly href: string; readonly label: string };
}

interface Dated {
  readonly time: number;
  readonly happening: Happening;
}

/** What happened to a message and why, oldest first. `names` are targets by id, `now` in milliseconds since 1970. */
export function timelineOf(
  read: ReadMessage,
  story: Story,
  names: ReadonlyMap<number, string>,
  now: number,
): Happening[] {
  const all = [
    accepted(read, now),
    ...story.content.map((one) => contentTry(one, now)),
    ...story.plans.map((one) => planned(one, read.message.sequence, names, now)),
    ...story.decisions.map((one) => decided(one, names, now)),
    ...story.deliveries.flatMap((one) => delivery(one, now)),
  ];
  return all.sort((a, b) => a.time - b.time).map(({ happening }) => happening);
}

function dated(at: Date, now: number, happening: Omit<Happening, 'at'>): Dated {
  return { time: at.getTime(), happening: { at: when(at, now), ...happening } };
}

function accepted({ message, standing }: ReadMessage, now: number): Dated {
  const { channel, sequence, peer, sha256, eventTime } = message;
  return dated(standing.received, now, {
    title: `Accepted: number ${sequence} of channel ${channel}`,
    tone: 'plain',
    lines: [
      `Source ${standing.source}, account ${message.account}, from ${peer}.`,
      `${size(standing.size)}, SHA-256 ${Buffer.from(sha256).toString('hex')}`,
      ...(eventTime === null ? [] : [`It says it happened at ${eventTime}.`]),
    ],
  });
}

function contentTry({ started, ended, rung, stage, outcome, reason, try: n }: ContentAttempt, now: number): Dated {
  const tones = { processed: 'plain', failed: 'bad', interrupted: 'wait', not_tried: 'wait' } as const;
  const words = {
    processed: 'Read',
    failed: 'Reading failed',
    interrupted: 'Reading was interrupted',
    not_tried: 'Not read: its like failed while it waited',
  } as const;
  return dated(ended ?? started, now, {
    title: outcome === null ? 'Is being read' : words[outcome],
    tone: outcome === null ? 'wait' : tones[outcome],
    lines: [`Rung ${rung}, try ${n}, up to ${stage}.`, ...(reason === null ? [] : [reason])],
  });
}

function planned(
  { plan, plannedAt, run }: PlannedRun,
  sequence: number,
  names: ReadonlyMap<number, string>,
  now: number,
): Dated {
  const targets = run.t.map(([target, first]) => {
    const what = run.u?.[target] ? `what is new in it (${run.u[target].join(', ')})` : 'it';
    return `${names.get(target) ?? target} gets ${what} as number ${first + sequence - run.s}`;
  });
  const { title, tone } = planTitle(run);
  const nobody = run.d.by === 'rules' && run.d.set === 0;
  return dated(plannedAt, now, {
    title,
    tone,
    lines: [
      `Plan ${plan}, ${nobody ? '' : `by ${deciderText(run.d)}, `}rung ${run.r}${run.late ? ', late' : ''}${run.replay ? ', sent again' : ''}.`,
      ...(run.p ? [`Only ${portionWords(run.p)}.`] : []),
      ...targets.map((line) => `${line}.`),
      ...(run.why === undefined ? [] : [run.why]),
    ],
  });
}

function planTitle({ m: mode, d: decider }: PlannedRun['run']): { title: string; tone: Badge['tone'] } {
  const rules = decider.by === 'rules' ? decider.rules.join(', ') : '';
  if (decider.by === 'thread' && mode === 'deliver') return { title: 'Followed its conversation', tone: 'ok' };
  switch (mode) {
    case 'deliver':
      return { title: rules === '' ? 'Planned to be delivered' : `Routed by ${rules}`, tone: 'ok' };
    case 'close':
      return { title: rules === '' ? 'Closed' : `Closed by ${rules}`, tone: 'plain' };
    case 'wait':
      return { title: 'No rule matched: it waits for a person', tone: 'wait' };
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

function decided(one: DecisionEntry, names: ReadonlyMap<number, string>, now: number): Dated {
  const targets = one.targets.map((id) => names.get(id) ?? String(id)).join(', ');
  return dated(one.decidedAt, now, {
    title: `${one.who} ${DID[one.action]}${targets === '' ? '' : ` ${targets}`}`,
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

function delivery(one: DeliveryEntry & { readonly tries: readonly DeliveryAttempt[] }, now: number): Dated[] {
  if (one.state === 'pending' && one.attempts === 0) return [];
  const words = { pending: 'not taken yet', delivered: 'delivered', failed: 'failed', cancelled: 'cancelled' } as const;
  const last = one.tries.at(-1);
  const next = yetToCome(one.next, now);
  return [
    dated(one.settled ?? last?.started ?? one.created, now, {
      title: `${one.target}: ${words[one.state]}`,
      tone: deliveryBadge(one.state).tone,
      lines: [
        `Number ${one.number}, ${one.attempts === 1 ? 'one try' : `${one.attempts} tries`}.`,
        ...(one.reason === null ? [] : [`${one.code ?? ''} ${one.reason}`.trim()]),
        ...(next === null ? [] : [`Next try ${next.full}.`]),
      ],
      more: { href: `/deliveries/${deliveryId(one)}`, label: 'every try' },
    }),
  ];
}
