import type { Pool, PoolClient } from 'pg';
import { rateCardSchema, type Subscription, subscriptionSchema } from '../billing/definitions.js';
import { ALL, Exact } from '../billing/exact.js';
import {
  adjustments,
  askedOf,
  type Contract,
  flatLines,
  iso,
  joinRanges,
  type Line,
  type Rounding,
  type Segment,
  type Series,
  type Statement,
  segmentsOf,
  totalOf,
  usageLine,
} from '../billing/statement.js';
import { type Period, periodAfter, periodAt, startOfDate } from '../billing/zone.js';
import { accountHash, channelOf } from '../channel/partition.js';
import { JsonBytes } from '../content/json/bytes.js';
import { grouped } from '../message/grouped.js';
import type { Tenant } from '../message/tenant.js';
import { textArray } from './array.js';
import { inTransaction } from './pool.js';
import { isUnseen } from './unseen-read.js';
import { liveBook, openGaps, seriesOf, usage } from './usage.js';

type Db = Pool | PoolClient;

/** Ranges that one line names at most; nearer ones are named as one. */
const MOST_RANGES = 100;
const MOST_GAPS = 100;
/** Closed periods that a statement looks back at. */
const LOOKED_BACK = 36;
const NO_ROUNDING: Rounding = { digits: 2, mode: 'half_even' };

/** The subscriptions of an account with their rate cards, in the order of their first days. */
export async function contractsOf(db: Db, tenant: number, account: string): Promise<readonly Contract[]> {
  return (await contractsOfEach(db, tenant, [account])).get(account) ?? [];
}

/** By account; those without are not in it. */
export async function contractsOfEach(
  db: Db,
  tenant: number,
  accounts: readonly string[],
): Promise<ReadonlyMap<string, readonly Contract[]>> {
  const { rows } = await db.query<{ name: string; subscription: unknown; card: unknown }>(
    `select s.name, s.definition as subscription, c.definition as card from billing_definition s
     join billing_definition c on c.tenant = s.tenant and c.kind = 'rate-card' and c.removed_at is null
       and c.name = s.definition->>'rateCard'
     where s.tenant = $1 and s.kind = 'subscription' and s.removed_at is null
       and s.definition->>'account' = any ($2::text[])
     order by s.definition->>'from'`,
    [tenant, textArray(accounts)],
  );
  const contracts = rows.map(({ name, subscription, card }) => ({
    name,
    subscription: subscriptionSchema.parse(subscription),
    card: rateCardSchema.parse(card),
  }));
  return grouped(contracts, ({ subscription }) => subscription.account);
}

/** The period of an account's that an instant lies in: months in UTC where it has no subscription. */
export function periodOf(contracts: readonly Contract[], at: number): Period {
  const { period = 'month', zone = 'UTC' } = contracts[0]?.subscription ?? {};
  return periodAt(at, period, zone);
}

interface Place {
  readonly tenant: number;
  readonly book: number;
  readonly channel: number;
}

/** What an account's period comes to as things stand: a draft, until it is made final. */
export async function draft(db: Db, tenant: Tenant, account: string, period: Period): Promise<Statement> {
  const contracts = await contractsOf(db, tenant.id, account);
  const series = await seriesOf(db, tenant.id, account, null);
  const channel = series[0]?.channel ?? channelOf(accountHash(account), tenant.channels);
  const place = { tenant: tenant.id, book: await liveBook(db, tenant.id), channel };
  const through = await markOf(db, place);
  const segments = segmentsOf(period, contracts);
  const rounding = roundingOf(contracts, segments);
  const own = await linesOf(db, place, segments, series, rounding);
  const later = await adjustmentsOf(db, place, account, period, series, rounding);
  const lines = [...own, ...later];
  const gaps = await openGaps(db, place, account, period, MOST_GAPS);
  return {
    account,
    period: { name: period.name, kind: period.kind, zone: period.zone, from: iso(period.from), to: iso(period.to) },
    currency: contracts[0]?.subscription.currency ?? null,
    rounding,
    terms: segments.map(({ from, to, terms }) => ({ from: iso(from), to: iso(to), terms })),
    lines,
    total: totalOf(lines, rounding),
    through: { channel, sequence: through },
    complete: gaps.length === 0,
    gaps,
  };
}

async function markOf(db: Db, { tenant, book, channel }: Place): Promise<number> {
  const { rows } = await db.query<{ through: number }>(
    'select through from ledger_mark where tenant = $1 and book = $2 and channel = $3',
    [tenant, book, channel],
  );
  return rows[0]?.through ?? 0;
}

/** Stated once: by the card of the first part of the period that has one. */
function roundingOf(contracts: readonly Contract[], segments: readonly Segment[]): Rounding {
  const first = segments.find(({ terms }) => terms !== null)?.terms?.subscription;
  return contracts.find(({ name }) => name === first)?.card.rounding ?? contracts[0]?.card.rounding ?? NO_ROUNDING;
}

async function linesOf(
  db: Db,
  place: Place,
  segments: readonly Segment[],
  series: readonly Series[],
  rounding: Rounding,
): Promise<Line[]> {
  const lines: Line[] = [];
  for (const segment of segments) {
    lines.push(...flatLines(segment, rounding));
    const asked = askedOf(segment, series);
    const found = await usage(
      db,
      place,
      asked.map(({ series: ids, aggregation }) => ({ series: ids, aggregation, from: segment.from, to: segment.to })),
    );
    asked.forEach((each, i) => {
      const { quantity = '0', events = 0, ranges = [] } = found[i] ?? {};
      if (events === 0) return;
      lines.push(usageLine(each, { quantity, events, ranges: joinRanges(ranges, MOST_RANGES) }, rounding));
    });
  }
  return lines;
}

/** What has changed in closed periods since they were charged. */
async function adjustmentsOf(
  db: Db,
  place: Place,
  account: string,
  { from }: Period,
  series: readonly Series[],
  rounding: Rounding,
): Promise<Line[]> {
  const { rows } = await db.query<{ body: string }>(
    `select body from statement where tenant = $1 and account = $2 and period_to <= $3 order by period_from desc
     limit ${LOOKED_BACK}`,
    [place.tenant, account, new Date(from)],
  );
  const closed = rows.map(({ body }) => JSON.parse(body) as Statement).reverse();
  const lines: Line[] = [];
  for (const statement of closed) {
    const { name } = statement.period;
    const charged = [
      ...statement.lines.filter(({ kind }) => kind !== 'adjustment'),
      ...closed.flatMap((later) => later.lines.filter(({ period }) => period === name)),
    ];
    const now = await linesOf(db, place, segmentsAgain(statement), series, statement.rounding);
    lines.push(...adjustments(name, charged, now, rounding));
  }
  return lines;
}

/** The parts of a closed period, at the prices it was charged by. */
function segmentsAgain({ period, terms }: Statement): Segment[] {
  const whole = new Exact(Date.parse(period.to) - Date.parse(period.from));
  return terms.map((each) => {
    const [from, to] = [Date.parse(each.from), Date.parse(each.to)];
    return { from, to, terms: each.terms, share: terms.length === 1 ? ALL : { of: new Exact(to - from), whole } };
  });
}

export type Closed =
  | { readonly result: 'final'; readonly statement: Statement; readonly hash: string }
  /** It is final already. */
  | { readonly result: 'already'; readonly hash: string }
  | { readonly result: 'not_ended' | 'not_subscribed' }
  /** The period before it is not final yet. */
  | { readonly result: 'out_of_order'; readonly period: string }
  | { readonly result: 'incomplete'; readonly statement: Statement }
  /** Messages that came in time have not been counted yet. */
  | { readonly result: 'behind' };

/**
 * Makes an account's statement of a period final. While it does, the channel of the account stands still for the ledger: what
 * is counted before is in it, and what comes after is late.
 */
export async function closePeriod(
  pool: Pool,
  tenant: Tenant,
  account: string,
  period: Period,
  by: {
    readonly who: string;
    readonly now: number;
    readonly graceMs: number;
    /** A person takes it as it is. */
    readonly incomplete: boolean;
  },
): Promise<Closed> {
  return inTransaction(pool, async (client): Promise<Closed> => {
    const contracts = await contractsOf(client, tenant.id, account);
    const first = contracts[0];
    if (!first) return { result: 'not_subscribed' };
    if (by.now < period.to) return { result: 'not_ended' };
    await lockChannelOf(client, tenant, account);
    const known = await statementAt(client, tenant.id, account, period.from);
    if (known) return { result: 'already', hash: known.hash };
    const due = await nextPeriod(client, tenant.id, account, contracts);
    if (due.from < period.from) return { result: 'out_of_order', period: due.name };
    const statement = await draft(client, tenant, account, period);
    const inTime = period.to + by.graceMs;
    if (await isBehind(client, tenant.id, statement.through, inTime)) return { result: 'behind' };
    if (await isUnseen(client, tenant.id, account, inTime)) return { result: 'behind' };
    if (!statement.complete && !by.incomplete) return { result: 'incomplete', statement };
    const body = new JsonBytes().canonical(statement).copy().toString();
    const { rows } = await client.query<{ hash: string }>(
      `insert into statement (tenant, account, period_from, period_to, channel, through, body, hash, made_by)
       values ($1, $2, $3, $4, $5, $6, $7, sha256(convert_to($7, 'UTF8')), $8) returning encode(hash, 'hex') as hash`,
      [
        tenant.id,
        account,
        new Date(period.from),
        new Date(period.to),
        statement.through.channel,
        statement.through.sequence,
        body,
        by.who,
      ],
    );
    return { result: 'final', statement, hash: rows[0]?.hash ?? '' };
  });
}

/** Whether the first message that the ledger has not seen came before a time. */
async function isBehind(
  client: PoolClient,
  tenant: number,
  { channel, sequence }: Statement['through'],
  at: number,
): Promise<boolean> {
  const { rows } = await client.query(
    `select from message where generation = generation_of($1, $2::smallint, $3) and tenant = $1 and channel = $2
       and sequence = $3 and arrived_at < $4`,
    [tenant, channel, sequence + 1, new Date(at)],
  );
  return rows.length > 0;
}

/** The account's channel of the live ledger stands still until the end of the transaction. */
async function lockChannelOf(client: PoolClient, tenant: Tenant, account: string): Promise<void> {
  const channel = channelOf(accountHash(account), tenant.channels);
  const book = await liveBook(client, tenant.id);
  await client.query('insert into ledger_mark (tenant, book, channel) values ($1, $2, $3) on conflict do nothing', [
    tenant.id,
    book,
    channel,
  ]);
  await client.query('select from ledger_mark where tenant = $1 and book = $2 and channel = $3 for update', [
    tenant.id,
    book,
    channel,
  ]);
  // Whoever made the ledger anew may have held it, and put another book in its place.
  if ((await liveBook(client, tenant.id)) !== book) await lockChannelOf(client, tenant, account);
}

/** The first period of an account that is not final. */
export async function nextPeriod(
  db: Db,
  tenant: number,
  account: string,
  contracts: readonly Contract[],
): Promise<Period> {
  const { rows } = await db.query<{ from: Date }>(
    'select max(period_from) as from from statement where tenant = $1 and account = $2 having count(*) > 0',
    [tenant, account],
  );
  const last = rows[0]?.from;
  if (last) return periodAfter(periodOf(contracts, last.getTime()));
  const first = contracts[0]?.subscription;
  return periodOf(contracts, first ? startOfDate(first.from, first.zone) : 0);
}

export interface StoredStatement {
  readonly body: string;
  /** Hex. */
  readonly hash: string;
  readonly madeAt: Date;
  readonly madeBy: string;
  readonly sent: string | null;
  readonly erased: boolean;
}

const STATEMENT = `select body, encode(hash, 'hex') as hash, made_at as "madeAt", made_by as "madeBy", sent,
  erased_at is not null as erased from statement where tenant = $1 and account = $2`;

export async function statementAt(
  db: Db,
  tenant: number,
  account: string,
  from: number,
): Promise<StoredStatement | undefined> {
  const { rows } = await db.query<StoredStatement>(`${STATEMENT} and period_from = $3`, [
    tenant,
    account,
    new Date(from),
  ]);
  return rows[0];
}

/** The newest first. */
export async function statementsOf(db: Db, tenant: number, account: string, most: number): Promise<StoredStatement[]> {
  const { rows } = await db.query<StoredStatement>(`${STATEMENT} order by period_from desc limit $3`, [
    tenant,
    account,
    most,
  ]);
  return rows;
}

/** Accounts with a subscription, from one on, in the order of tenants and names. */
export async function subscribed(
  db: Db,
  after: { readonly tenant: number; readonly account: string },
  most: number,
): Promise<{ readonly tenant: Tenant; readonly account: string; readonly subscription: Subscription }[]> {
  const { rows } = await db.query<{ tenant: Tenant; account: string; subscription: unknown }>(
    `select distinct on (s.tenant, s.definition->>'account') json_build_object('id', t.id, 'name', t.name,
       'channels', t.channels) as tenant, s.definition->>'account' as account, s.definition as subscription
     from billing_definition s join tenant t on t.id = s.tenant
     where s.kind = 'subscription' and s.removed_at is null and (s.tenant, s.definition->>'account') > ($1, $2)
     order by s.tenant, s.definition->>'account', s.definition->>'from' desc limit $3`,
    [after.tenant, after.account, most],
  );
  return rows.map((row) => ({ ...row, subscription: subscriptionSchema.parse(row.subscription) }));
}

/** Statements whose text is not the one they were made with. */
export async function alteredStatements(
  db: Db,
  tenant: number,
): Promise<{ readonly account: string; readonly from: Date; readonly channel: number }[]> {
  const { rows } = await db.query<{ account: string; from: Date; channel: number }>(
    `select account, period_from as from, channel from statement where tenant = $1 and erased_at is null
       and hash <> sha256(convert_to(body, 'UTF8')) order by account, period_from`,
    [tenant],
  );
  return rows;
}

export interface UnsentStatement {
  readonly tenant: Tenant;
  readonly account: string;
  readonly from: Date;
  readonly target: string;
  readonly body: string;
  readonly hash: string;
}

/** Final statements whose account has a target that was not told of them. */
export async function unsentStatements(db: Db, most: number): Promise<UnsentStatement[]> {
  const { rows } = await db.query<UnsentStatement>(
    `select json_build_object('id', t.id, 'name', t.name, 'channels', t.channels) as tenant, s.account,
       s.period_from as from, d.target, s.body, encode(s.hash, 'hex') as hash
     from statement s join tenant t on t.id = s.tenant
     cross join lateral (select definition->>'target' as target from billing_definition where tenant = s.tenant
       and kind = 'subscription' and removed_at is null and definition->>'account' = s.account
       and definition ? 'target' order by definition->>'from' desc limit 1) d
     where s.sent is null and s.erased_at is null order by s.made_at limit $1`,
    [most],
  );
  return rows;
}

export async function markSent(db: Db, tenant: number, account: string, from: Date, message: string): Promise<void> {
  await db.query('update statement set sent = $4 where tenant = $1 and account = $2 and period_from = $3', [
    tenant,
    account,
    from,
    message,
  ]);
}
