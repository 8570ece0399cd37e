import { z } from 'zod';
import type { Principal } from '../../src/access/principal.js';
import { Exact } from '../../src/billing/exact.js';
import type { Contract, Series, Statement } from '../../src/billing/statement.js';
import { type Period, periodAfter, type Span, startOfDate } from '../../src/billing/zone.js';
import { nameSchema } from '../../src/channel/source.js';
import { messageId, parseMessageId } from '../../src/message/id.js';
import { correctionsOf, type TakenCorrection } from '../../src/storage/corrections.js';
import { contractsOf, draft, nextPeriod, periodOf, statementsOf } from '../../src/storage/statements.js';
import { openGaps, seriesOf, type UsagePlace, usageIn } from '../../src/storage/usage.js';
import { busiestSeries, thresholdsPassed, type UsageEntry } from '../../src/storage/usage-views.js';
import { cursorSchema, text, timeSchema } from '../fields.js';
import { type AccountUsage, accountUsage, eventPage, placeOf } from '../ledger-views.js';
import { caller } from '../problem.js';
import { type ApiRequest, Problem, type Reply, type Route } from '../route.js';
import { checkKnown, windowsOf } from '../usage.js';
import { type BarValue, barsOf, scaleOf } from './bars.js';
import { usageShown } from './billing-accounts.js';
import {
  accountPath,
  backTo,
  dimensionText,
  entryBadge,
  exactTime,
  GAP_WORDS,
  grouped,
  localTime,
  mayCorrect,
  quantityText,
  sections,
} from './billing-words.js';
import type { PageDeps } from './deps.js';
import { address, backField, given, listOf } from './form.js';
import { visible } from './isolated.js';
import type { Site } from './show.js';
import { count, when } from './words.js';

const WINDOWS = ['hour', 'day', 'month'] as const;
type Window = (typeof WINDOWS)[number];

const METERS_SHOWN = 50;
const MOST_BARS = 400;
const MOST_CHARTS = 12;
const MOST_GAPS = 50;
const MOST_CORRECTIONS = 50;
const MOST_STATEMENTS = 60;
/** Periods that have ended and are not final, of which the oldest are listed. */
const MOST_OPEN = 24;
const EVENTS = 50;

const day = z.iso.date().refine((date) => /^(19[7-9]\d|2\d{3})-/.test(date), 'a day from 1970 to 2999');

const accountQuery = z.object({
  meter: given(nameSchema),
  by: given(z.string().regex(/^[A-Za-z_][A-Za-z0-9_-]{0,31}$/)),
  window: given(z.enum(WINDOWS)),
  from: given(day),
  to: given(day),
  done: given(z.enum(['void', 'amend'])),
  of: given(z.string().max(24)),
});
type AccountQuery = z.infer<typeof accountQuery>;

const accountParams = z.object({ account: text(512) });
export type OfAccount = z.output<typeof accountParams>;

const eventsQuery = z.object({
  meter: nameSchema,
  from: timeSchema,
  to: timeSchema,
  where: listOf(z.string().max(200), 8),
  /** Of a line of a statement: only these sequences. */
  first: given(z.coerce.number().int().min(0).max(Number.MAX_SAFE_INTEGER)),
  last: given(z.coerce.number().int().min(0).max(Number.MAX_SAFE_INTEGER)),
  cursor: given(cursorSchema),
  back: backField,
});
type EventsQuery = z.infer<typeof eventsQuery>;

/** One account: its usage as charts, the events behind them, and what is charged for it. */
export function billingAccountPages(deps: PageDeps, site: Site): Route[] {
  const replies = { 200: { description: 'The page', type: 'text/html' } };
  return [
    {
      method: 'get',
      path: '/billing/accounts/:account',
      permission: 'billing.read',
      summary: 'One account: usage, statements, corrections',
      params: accountParams,
      query: accountQuery,
      replies,
      handler: ({ principal, params, query }: ApiRequest<OfAccount, AccountQuery>) =>
        showAccount(deps, site, caller(principal), params.account, query),
    },
    {
      method: 'get',
      path: '/billing/accounts/:account/events',
      permission: 'billing.read',
      summary: 'The events behind some usage of an account',
      params: accountParams,
      query: eventsQuery,
      replies,
      handler: ({ principal, params, query }: ApiRequest<OfAccount, EventsQuery>) =>
        showEvents(deps, site, caller(principal), params.account, query),
    },
  ];
}

async function showAccount(
  deps: PageDeps,
  site: Site,
  by: Principal,
  account: string,
  query: AccountQuery,
): Promise<Reply> {
  const { pool } = deps;
  const { tenant } = by;
  await checkKnown(pool, tenant, account);
  const now = deps.now();
  const current = await accountUsage(deps, tenant, account, METERS_SHOWN);
  const { period, contracts } = current;
  const series = await seriesOf(pool, tenant.id, account, null);
  const place = await placeOf(pool, tenant, account, series);
  const [gaps, corrections, statement, passed] = await Promise.all([
    openGaps(pool, place, account, { from: 0, to: period.to }, MOST_GAPS),
    correctionsOf(pool, tenant.id, account, MOST_CORRECTIONS),
    draft(pool, tenant, account, period),
    thresholdsPassed(pool, tenant.id, account, period.from),
  ]);
  const of = parseMessageId(query.of ?? '');
  return site.show(
    { template: 'billing-account', title: visible(account), part: 'billing', scripts: ['billing.js'] },
    by,
    {
      sections: sections(null),
      account: visible(account),
      messagesHref: address('/messages', { account }),
      period: periodShown(period),
      usage: current.usage.map(usageShown),
      moreMeters: current.moreMeters > 0 && current.moreMeters,
      chart: await chartsOf(deps, account, query, { series, place, zone: period.zone, now }),
      incomplete: gaps.length > 0,
      gaps: gaps.map((gap) => ({
        id: messageId(gap),
        href: `/messages/${messageId(gap)}`,
        why: GAP_WORDS[gap.reason] ?? gap.reason,
      })),
      moreGaps: gaps.length === MOST_GAPS,
      subscriptions: contracts.map((contract) => subscriptionShown(contract, current, passed, now)),
      statements: await statementRows(deps, by, account, current, statement),
      corrections: corrections.map((one) => correctionShown(one, account, now)),
      moreCorrections: corrections.length === MOST_CORRECTIONS,
      done: query.done &&
        of && { did: DONE[query.done], messages: [{ id: messageId(of), href: `/messages/${messageId(of)}` }] },
    },
  );
}

const DONE: Readonly<Record<'void' | 'amend', string>> = {
  void: 'Voided. The numbers here follow as soon as the ledger has come to the correction',
  amend: 'Amended. The numbers here follow as soon as the ledger has come to the correction',
};

function periodShown({ name, kind, zone, from, to }: Period) {
  return { name, kind, zone, from: localTime(from, zone), to: localTime(to, zone) };
}

interface ChartsOf {
  readonly series: readonly (Series & { readonly channel: number })[];
  readonly place: UsagePlace;
  readonly zone: string;
  readonly now: number;
}

/** Charts of one meter, one for each value of a dimension, all drawn by one scale; and the same in numbers. */
async function chartsOf(deps: PageDeps, account: string, query: AccountQuery, of: ChartsOf) {
  const { series: all, place, zone, now } = of;
  const meters = [...new Set(all.map(({ meter }) => meter))];
  const meter = meters.find((name) => name === query.meter) ?? meters[0];
  if (meter === undefined) return null;
  const series = all.filter((one) => one.meter === meter);
  const names = [...new Set(series.flatMap(({ dimensions }) => Object.keys(dimensions)))].sort();
  const by = names.find((name) => name === query.by);
  const window = query.window ?? 'day';
  const { from, to } = datesOf(query, window, zone, now);
  const form = {
    meters: meters.map((name) => ({ name, selected: name === meter })),
    dimensions: names.map((name) => ({ name, selected: name === by })),
    windows: WINDOWS.map((name) => ({ name, selected: name === window })),
    from,
    to,
  };
  const whole = { from: startOfDate(from, zone), to: startOfDate(dayAfter(to), zone) };
  const spans = spansOf(whole, window, zone);
  if (typeof spans === 'string') return { form, meter, problem: spans };
  const groups = await groupsOf(deps, place, series, by, whole);
  const shown = groups.slice(0, MOST_CHARTS);
  const [{ aggregation, unit } = { aggregation: 'count', unit: null } as const] = series;
  const here = address(accountPath(account), { meter, by, window, from, to });
  const behind = ({ where }: Group, span: Span) =>
    address(accountPath(account, '/events'), { meter, where, ...instants(span), back: backTo(here) });
  const answered = await Promise.all(
    shown.map(async (group) => {
      const [total, ...found] = await usageIn(deps.pool, place, { series: group.ids, aggregation }, [whole, ...spans]);
      return { group, total: total?.quantity ?? '0', events: total?.events ?? 0, found };
    }),
  );
  const scale = scaleOf(answered.flatMap(({ found }) => found.map(({ quantity }) => quantity)));
  const rows = spans.flatMap((span, i) => {
    const cells = answered.map(({ group, found }) => {
      const { quantity = '0', events = 0 } = found[i] ?? {};
      return { label: group.title, value: grouped(quantity), href: events > 0 && behind(group, span) };
    });
    return cells.some(({ href }) => href !== false) ? [{ time: windowText(span, window, zone), cells }] : [];
  });
  return {
    form,
    meter,
    zone,
    by,
    aggregation,
    unit,
    groups: answered.map(({ group, total, events, found }, n) => ({
      id: `chart-${n + 1}`,
      title: group.title,
      total: quantityText(total, unit),
      events: count(events, 'event', 'events'),
      href: behind(group, whole),
      description: `${meter}${by === undefined ? '' : `, ${group.title}`}, by ${window}`,
      ...barsOf(
        found.map(({ quantity, events: n }, i): BarValue | null => {
          const span = spans[i];
          if (n === 0 || !span) return null;
          const text = `${windowText(span, window, zone)}: ${quantityText(quantity, unit)}, ${count(n, 'event', 'events')}`;
          return { quantity, label: text, href: behind(group, span) };
        }),
        scale,
      ),
    })),
    most: quantityText(scale.most, unit),
    least: scale.least === '0' ? null : quantityText(scale.least, unit),
    first: windowText(spans[0] ?? whole, window, zone),
    last: windowText(spans.at(-1) ?? whole, window, zone),
    moreGroups: groups.length > MOST_CHARTS && groups.length - MOST_CHARTS,
    columns: answered.map(({ group }) => group.title),
    rows,
    nothing: rows.length === 0,
  };
}

interface Group {
  readonly title: string;
  readonly ids: number[];
  /** As the list of events is asked for it. */
  readonly where: readonly string[];
}

/** Series told apart by a dimension, those with most events first. */
async function groupsOf(
  { pool }: PageDeps,
  place: UsagePlace,
  series: readonly Series[],
  by: string | undefined,
  whole: Span,
): Promise<Group[]> {
  if (by === undefined) return [{ title: 'all', ids: series.map(({ id }) => id), where: [] }];
  const groups = new Map<string | undefined, Group>();
  for (const { id, dimensions } of series) {
    const value = dimensions[by];
    const known = groups.get(value);
    const title = value === undefined ? `no ${by}` : visible(value);
    if (known) known.ids.push(id);
    else groups.set(value, { title, ids: [id], where: [value === undefined ? by : `${by}=${value}`] });
  }
  const ids = series.map(({ id }) => id);
  const events = await busiestSeries(pool, place, ids, whole);
  const eventsOf = (group: Group) => group.ids.reduce((sum, id) => sum + (events.get(id) ?? 0), 0);
  return [...groups.values()].sort((a, b) => eventsOf(b) - eventsOf(a));
}

const DAY_MS = 86_400_000;

function dayAfter(date: string): string {
  return new Date(Date.parse(date) + DAY_MS).toISOString().slice(0, 10);
}

/** The days that a chart is of: those that were asked for, else as many as its windows fill well. */
function datesOf({ from, to }: AccountQuery, window: Window, zone: string, now: number) {
  const last = to ?? localTime(now, zone).slice(0, 10);
  if (from !== undefined) return { from, to: last };
  const back = { hour: 1, day: 30, month: 334 }[window];
  const first = new Date(Date.parse(last) - back * DAY_MS).toISOString().slice(0, 10);
  return { from: window === 'month' ? `${first.slice(0, 7)}-01` : first, to: last };
}

/** The windows of a time, or why there are none. */
function spansOf(whole: Span, window: Window, zone: string): readonly Span[] | string {
  if (whole.from >= whole.to) return 'The last day is before the first.';
  const tooMany = `At most ${MOST_BARS} bars are drawn: choose a longer window or fewer days.`;
  try {
    const spans = windowsOf(whole, window, zone);
    return spans.length > MOST_BARS ? tooMany : spans;
  } catch (error) {
    if (error instanceof Problem) return tooMany;
    throw error;
  }
}

function instants({ from, to }: Span) {
  return { from: new Date(from).toISOString(), to: new Date(to).toISOString() };
}

function windowText({ from }: Span, window: Window, zone: string): string {
  return localTime(from, zone).slice(0, { hour: 16, day: 10, month: 7 }[window]);
}

function subscriptionShown(
  { name, subscription, card }: Contract,
  { usage, period }: AccountUsage,
  passed: readonly { readonly meter: string; readonly percent: number; readonly at: Date }[],
  now: number,
) {
  const { from, until, rateCard, currency, zone, graceHours, target, thresholds } = subscription;
  const today = localTime(now, zone).slice(0, 10);
  const inForce = from <= today && (until === undefined || today < until);
  return {
    name,
    href: address('/billing/subscriptions', { edit: name }),
    badge: inForce ? { label: 'in force', tone: 'ok' } : { label: from > today ? 'to come' : 'ended', tone: 'plain' },
    rateCard,
    rateCardHref: address('/billing/rate-cards', { edit: rateCard }),
    currency,
    digits: card.rounding.digits,
    from,
    until,
    zone,
    grace: count(graceHours, 'hour', 'hours'),
    target,
    thresholds: inForce
      ? thresholds.map(({ meter, of, percent }) => {
          const used = usage.find((one) => one.meter === meter)?.quantity ?? '0';
          const share = new Exact(used).div(of).times(100).toDecimalPlaces(1);
          return {
            meter,
            of: grouped(of),
            used: `${share.toFixed()} %`,
            at: percent.map((one) => {
              const notice = passed.find((each) => each.meter === meter && each.percent === one);
              return { percent: one, said: notice && when(notice.at, now), reached: share.gte(one) };
            }),
            period: period.name,
          };
        })
      : [],
  };
}

interface StatementRow {
  readonly period: string;
  readonly href: string;
  readonly badge: { readonly label: string; readonly tone: string };
  readonly total: string | null;
  readonly incomplete: boolean;
  readonly made: string | null;
}

/** The running period, those that have ended and are not final, and final ones. */
async function statementRows(
  { pool }: PageDeps,
  { tenant }: Principal,
  account: string,
  { period, contracts }: AccountUsage,
  running: Statement,
): Promise<StatementRow[]> {
  const href = (name: string) => accountPath(account, `/statements/${name}`);
  const final = await statementsOf(pool, tenant.id, account, MOST_STATEMENTS);
  const row = (statement: Statement, badge: StatementRow['badge'], made: string | null): StatementRow => ({
    period: statement.period.name,
    href: href(statement.period.name),
    badge,
    total: statement.currency === null ? null : `${grouped(statement.total)} ${statement.currency}`,
    incomplete: !statement.complete,
    made,
  });
  const open = contracts.length === 0 ? [] : await openPeriods(pool, tenant.id, account, contracts, period);
  return [
    row(running, { label: 'running', tone: 'plain' }, null),
    ...open.map(({ name }) => ({
      period: name,
      href: href(name),
      badge: { label: 'ended, not final', tone: 'wait' },
      total: null,
      incomplete: false,
      made: null,
    })),
    ...final.map(({ body, madeAt, madeBy }) =>
      row(
        JSON.parse(body) as Statement,
        { label: 'final', tone: 'ok' },
        `${madeAt.toISOString().slice(0, 10)} by ${madeBy}`,
      ),
    ),
  ];
}

/** Those that have ended and are not final, the latest first. */
async function openPeriods(
  pool: PageDeps['pool'],
  tenant: number,
  account: string,
  contracts: readonly Contract[],
  running: Period,
): Promise<Period[]> {
  const open: Period[] = [];
  let next = await nextPeriod(pool, tenant, account, contracts);
  for (; next.from < running.from && open.length < MOST_OPEN; next = periodAfter(next)) open.push(next);
  return open.reverse();
}

function correctionShown(
  { channel, sequence, action, target, who, why, at }: TakenCorrection,
  account: string,
  now: number,
) {
  const [id, of] = [messageId({ channel, sequence }), messageId({ channel, sequence: target })];
  return {
    id,
    href: `/messages/${id}`,
    did: action === 'void' ? 'voided' : 'amended',
    of,
    ofHref: accountPath(account, `/correct/${of}`),
    who,
    why: visible(why),
    at: when(at, now),
  };
}

async function showEvents(
  deps: PageDeps,
  site: Site,
  by: Principal,
  account: string,
  query: EventsQuery,
): Promise<Reply> {
  const { pool } = deps;
  await checkKnown(pool, by.tenant, account);
  const { meter, where, first, last, cursor, back } = query;
  const span = { from: query.from.getTime(), to: query.to.getTime() };
  const sequences = first === undefined || last === undefined ? undefined : { first, last };
  const { entries, next } = await eventPage(pool, by.tenant, account, {
    ...span,
    meter,
    where,
    cursor,
    sequences,
    limit: EVENTS,
  });
  const zone = periodOf(await contractsOf(pool, by.tenant.id, account), deps.now()).zone;
  const here = (more: { readonly cursor?: string }) =>
    address(accountPath(account, '/events'), {
      meter,
      where,
      ...instants(span),
      first: first?.toString(),
      last: last?.toString(),
      back,
      ...more,
    });
  const title = visible(`${meter} of ${account}`);
  return site.show({ template: 'billing-events', title, part: 'billing' }, by, {
    account: visible(account),
    back: back ?? address(accountPath(account), { meter }),
    backLabel: back?.includes('/statements/') ? 'Statement' : 'Account',
    meter,
    where: where.map((one) => visible(one.includes('=') ? one.replace('=', ' ') : `no ${one}`)).join(', '),
    from: localTime(span.from, zone),
    to: localTime(span.to, zone),
    zone,
    sequences,
    entries: entries.map((entry) =>
      entryRow(entry, account, backTo(here(cursor === undefined ? {} : { cursor })), mayCorrect(by)),
    ),
    first: cursor !== undefined && here({}),
    next: next !== null && here({ cursor: next }),
  });
}

function entryRow(entry: UsageEntry, account: string, back: string | undefined, corrects: boolean) {
  const { channel, value, unit, dimensions, at, arrivedAt, state, correctedBy, amends } = entry;
  const id = messageId(entry);
  const inChannel = (sequence: number | null) => {
    const other = sequence === null ? null : messageId({ channel, sequence });
    return other !== null && { id: other, href: address(`/messages/${other}`, { back }) };
  };
  return {
    id,
    href: address(`/messages/${id}`, { back }),
    at: exactTime(at),
    arrived: `${arrivedAt.toISOString().slice(0, 19).replace('T', ' ')} UTC`,
    value: value === null ? '1 event' : quantityText(value, unit),
    dimensions: visible(dimensionText(dimensions)),
    badge: entryBadge(state),
    correctedBy: inChannel(correctedBy),
    amends: inChannel(amends),
    correct: corrects && correctedBy === null && accountPath(account, `/correct/${id}`),
  };
}
