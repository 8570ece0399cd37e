import type { Principal } from '../../src/access/principal.js';
import type { MaybePolicy } from '../../src/channel/maybe.js';
import { verdictOn } from '../../src/overview/judge.js';
import {
  boundsOf,
  LAST_DAY,
  LAST_HOUR,
  levelsOf,
  ratesOf,
  type Sample,
  type Stretch,
} from '../../src/overview/series.js';
import type { MaybeEntry } from '../../src/storage/unseen-read.js';
import type { FilterState } from '../channels.js';
import { FLOWS, type Flow, type Overview, overviewOf, type TargetOverview, totalsOf } from '../overview.js';
import { caller } from '../problem.js';
import type { Reply, Route } from '../route.js';
import type { PageDeps } from './deps.js';
import { countText, type Site } from './show.js';
import { figure, sparkOf } from './sparkline.js';
import { type Badge, when } from './words.js';

/** Whether all is well, what flows, and what waits. */
export function overviewPages(deps: PageDeps, site: Site): Route[] {
  return [
    {
      method: 'get',
      path: '/overview',
      permission: 'channels.read',
      summary: 'Whether all is well, what flows, and what waits',
      replies: { 200: { description: 'The page', type: 'text/html' } },
      handler: ({ principal }) => showOverview(deps, site, caller(principal)),
    },
  ];
}

async function showOverview(deps: PageDeps, site: Site, by: Principal): Promise<Reply> {
  const overview = await overviewOf(deps, by);
  const { findings, samples, targets, filters, maybe, channels } = overview;
  const now = overview.at.getTime();
  return site.show({ template: 'overview', title: 'Overview', part: 'overview' }, by, {
    verdict: {
      sentence: verdictOn(findings),
      tone: findings.some(({ severity }) => severity === 'bad') ? 'bad' : findings.length > 0 ? 'warn' : 'ok',
      findings: findings.map(({ severity, ...one }) => ({ ...one, badge: SEVERITIES[severity] })),
    },
    flows: FLOWS.map((flow) => flowOf(flow, overview, now)),
    nothingCounted: samples.hour.length === 0,
    figures: figuresOf(overview, now),
    mayTargets: targets !== null,
    targets: targets?.map((target) => targetRow(target, now)),
    filters: filters.map((filter) => filterRow(filter, now)),
    maybe: maybe?.map((one) => maybeRow(one, now)),
    channels: channels.map((one) => ({
      channel: one.channel,
      href: `/messages?channel=${one.channel}`,
      last: one.lastSequence.toLocaleString('en'),
      behind: (one.lastSequence - one.readUpTo).toLocaleString('en'),
      owner: one.owner,
      term: one.term,
      parked: one.parked,
      duplicates: one.duplicates.toLocaleString('en'),
      conflicts: one.conflicts.toLocaleString('en'),
    })),
    tables: [
      { id: 'hour', title: 'The last hour', ...tableOf(overview, samples.hour, HOUR_TABLE) },
      { id: 'day', title: 'The last day', ...tableOf(overview, samples.day, DAY_TABLE) },
    ],
  });
}

const SEVERITIES: Readonly<Record<'bad' | 'warn', Badge>> = {
  bad: { label: 'not well', tone: 'bad' },
  warn: { label: 'look', tone: 'wait' },
};

/** The list behind each. */
const BEHIND: Readonly<Record<Flow, string>> = {
  accepted: '/messages',
  sequenced: '/messages',
  routed: '/messages?state=routed',
  delivered: '/targets',
};

function flowOf(flow: Flow, { rates, samples }: Overview, now: number) {
  const of = (sample: Sample) => sample[flow];
  const spark = (name: string, all: readonly Sample[], stretch: Stretch) =>
    sparkOf(`${flow}-${name}`, `${flow}, last ${name}`, 'a second', ratesOf(all, stretch, now, of));
  return {
    label: flow,
    href: BEHIND[flow],
    rate: figure(rates[flow]),
    hour: spark('hour', samples.hour, LAST_HOUR),
    day: spark('day', samples.day, LAST_DAY),
  };
}

interface Figure {
  readonly label: string;
  readonly number: string;
  readonly href: string;
  readonly hint?: string;
}

function figuresOf({ inbox, channels }: Overview, now: number): Figure[] {
  const totals = totalsOf(channels);
  const number = (value: number) => value.toLocaleString('en');
  return [
    ...(inbox === null
      ? []
      : [
          {
            label: 'waiting for a person',
            number: countText(inbox.waiting),
            href: '/inbox',
            hint: inbox.oldest === null ? 'nothing waits' : `the oldest for ${when(inbox.oldest, now).ago}`,
          },
        ]),
    { label: 'not read yet', number: number(totals.unread), href: '/messages?state=accepted' },
    { label: 'parked', number: number(totals.parked), href: '/messages?state=parked' },
    { label: 'duplicates', number: number(totals.duplicates), href: '#channels' },
    { label: 'conflicts', number: number(totals.conflicts), href: '/quarantine?cause=conflict' },
    { label: 'expired', number: number(totals.expired), href: '/quarantine?cause=expired' },
  ];
}

function targetRow(target: TargetOverview, now: number) {
  const { name, waiting, more, oldest, lastTaken, lastHour } = target;
  return {
    name,
    href: `/targets/${name}`,
    waitingHref: `/targets/${name}?state=pending`,
    badge: badgeOf(target),
    waiting: more ? `${waiting.toLocaleString('en')}+` : waiting.toLocaleString('en'),
    oldest: oldest && when(oldest, now),
    lastTaken: lastTaken && when(lastTaken, now),
    lag: sparkOf(`lag-${name}`, `waiting for ${name}, last hour`, 'messages', lastHour),
  };
}

function badgeOf({ paused, trouble, waiting }: TargetOverview): Badge {
  if (paused) return { label: 'paused', tone: 'bad' };
  if (waiting === 0) return { label: 'ok', tone: 'ok' };
  return trouble === null ? { label: 'waiting', tone: 'plain' } : { label: 'failing', tone: 'wait' };
}

function filterRow({ generation, openedAt, sealedAt, ready, keys, fill, falsePositives }: FilterState, now: number) {
  return {
    generation,
    opened: when(openedAt, now),
    badge: ready
      ? { label: sealedAt === null ? 'current' : 'sealed', tone: 'ok' }
      : { label: 'not loaded yet', tone: 'wait' },
    keys: keys.toLocaleString('en'),
    fill: `${(fill * 100).toFixed(1)} %`,
    wrong: falsePositives === null ? '–' : `${(falsePositives * 100).toFixed(3)} %`,
  };
}

function maybeRow({ source, policy, saved, waiting, oldest, falsePositives, conflicts }: MaybeEntry, now: number) {
  return {
    source,
    href: `/messages?source=${source}`,
    policy: policy === null ? 'always looked up' : POLICIES[policy.below](policy.threshold),
    saved: saved.toLocaleString('en'),
    waiting: waiting.toLocaleString('en'),
    oldest: oldest && when(oldest, now),
    wrong: falsePositives.events.toLocaleString('en'),
    worth: falsePositives.value,
    conflicts: conflicts.toLocaleString('en'),
  };
}

const POLICIES: Readonly<Record<MaybePolicy['below'], (threshold: string) => string>> = {
  duplicate: (threshold) => `a duplicate below ${threshold}`,
  'look-up': () => 'always looked up',
};

const MINUTE = 60_000;
const HOUR_TABLE: Stretch = { ...LAST_HOUR, step: 5 * MINUTE, points: 12 };
const DAY_TABLE: Stretch = { ...LAST_DAY, step: 120 * MINUTE, points: 12 };

/** The charts in numbers, the newest first, as far as the caller may see them. */
function tableOf({ at, inbox, targets }: Overview, samples: readonly Sample[], stretch: Stretch) {
  const now = at.getTime();
  const bounds = boundsOf(stretch, now);
  const columns = [
    ...FLOWS.map((flow) => ({
      label: FLOW_COLUMNS[flow],
      series: ratesOf(samples, stretch, now, (sample) => sample[flow]),
    })),
    ...(inbox ? [{ label: 'In the inbox', series: levelsOf(samples, stretch, now, (sample) => sample.inbox) }] : []),
    ...(targets ? [{ label: 'For targets', series: levelsOf(samples, stretch, now, (sample) => sample.waiting) }] : []),
  ];
  const rows = bounds
    .slice(1)
    .map((end, i) => ({
      time: `${clock(bounds[i] ?? end)}–${clock(end)}`,
      cells: columns.map(({ label, series }) => ({ label, value: figure(series[i] ?? null) })),
    }))
    .reverse();
  return { columns: columns.map(({ label }) => label), rows };
}

const FLOW_COLUMNS: Readonly<Record<Flow, string>> = {
  accepted: 'Accepted/s',
  sequenced: 'Sequenced/s',
  routed: 'Routed/s',
  delivered: 'Delivered/s',
};

/** `14:05`, UTC. */
function clock(at: number): string {
  return new Date(at).toISOString().slice(11, 16);
}
