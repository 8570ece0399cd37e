import type { Pool, PoolClient } from 'pg';
import type { BackfillRange, BackfillState, Ending, NotEnded, NotSent, SeenBackfill } from '../billing/backfill.js';
import type { Tenant } from '../message/tenant.js';
import { arrayOf, textArray } from './array.js';
import { writeAudit } from './audit.js';
import { inTransaction, unhurried } from './pool.js';

/** Backfills of a tenant that take events at the same time. */
const MOST_OPEN = 10;
/** Events that may be sent to one, repeats among them. */
export const MOST_SENT = 1_000_000;
const LIVE = 'coalesce((select live from ledger where tenant = $1), 1)';

/** How long one may be open before it is somebody's business. */
const OVERDUE_DAYS = 7;

export interface Backfill {
  readonly id: number;
  readonly state: BackfillState;
  readonly from: Date;
  readonly to: Date;
  readonly account: string | null;
  readonly openedBy: string;
  readonly why: string;
  readonly openedAt: Date;
  readonly closedBy: string | null;
  readonly closedAt: Date | null;
  readonly revertedBy: string | null;
  readonly revertedWhy: string | null;
  readonly revertedAt: Date | null;
  readonly sent: number;
  /** Open for so long that somebody should look. */
  readonly overdue: boolean;
}

const BACKFILL = `select id, state, first as from, until as to, account, opened_by as "openedBy", why,
  opened_at as "openedAt", closed_by as "closedBy", closed_at as "closedAt", reverted_by as "revertedBy",
  reverted_why as "revertedWhy", reverted_at as "revertedAt", sent,
  state = 'open' and opened_at < now() - interval '${OVERDUE_DAYS} days' as overdue from backfill where tenant = $1`;

export async function getBackfill(db: Pool | PoolClient, tenant: number, id: number): Promise<Backfill | undefined> {
  const { rows } = await db.query<Backfill>(`${BACKFILL} and id = $2`, [tenant, id]);
  return rows[0];
}

/** The newest first, before one; of one account alone where it is given. */
export async function listBackfills(
  pool: Pool,
  tenant: number,
  { before, account, limit }: { readonly before: number; readonly account: string | null; readonly limit: number },
): Promise<Backfill[]> {
  const { rows } = await pool.query<Backfill>(
    `${BACKFILL} and id < $2 and ($3::text is null or account = $3 or exists (select from backfill_account a
       where a.tenant = backfill.tenant and a.backfill = backfill.id and a.account = $3)) order by id desc limit $4`,
    [tenant, before, account, limit],
  );
  return rows;
}

export type Opened =
  | { readonly result: 'ok'; readonly backfill: Backfill }
  | { readonly result: 'too_many'; readonly most: number };

export function openBackfill(
  pool: Pool,
  tenant: Tenant,
  { from, to, account }: BackfillRange,
  by: { readonly who: string; readonly why: string },
): Promise<Opened> {
  return inTransaction(pool, async (client): Promise<Opened> => {
    await client.query("select pg_advisory_xact_lock(hashtext('waybill backfill'), $1)", [tenant.id]);
    const { rows } = await client.query<{ open: number; id: number }>(
      `select count(*) filter (where state = 'open') as open, coalesce(max(id), 0) + 1 as id from backfill where tenant = $1`,
      [tenant.id],
    );
    const { open = 0, id = 1 } = rows[0] ?? {};
    if (open >= MOST_OPEN) return { result: 'too_many', most: MOST_OPEN };
    await client.query(
      `insert into backfill (tenant, id, state, first, until, account, opened_by, why)
       values ($1, $2, 'open', $3, $4, $5, $6, $7)`,
      [tenant.id, id, new Date(from), new Date(to), account, by.who, by.why],
    );
    await writeAudit(client, { tenant: tenant.id, who: by.who, action: 'backfill.open', object: String(id) });
    return { result: 'ok', backfill: (await getBackfill(client, tenant.id, id)) as Backfill };
  });
}

/** Whose events are sent, and of when; times are RFC 3339. */
export interface SentAccount {
  readonly account: string;
  readonly channel: number;
  readonly first: string;
  readonly last: string;
}

/** Before events of a backfill are taken: whoever closes it after this tells the channels of these accounts. */
export function beginSend(
  pool: Pool,
  tenant: number,
  id: number,
  accounts: readonly SentAccount[],
  events: number,
): Promise<'ok' | NotSent> {
  return inTransaction(pool, async (client): Promise<'ok' | NotSent> => {
    const { rows } = await client.query<{ state: BackfillState; sent: number }>(
      'select state, sent from backfill where tenant = $1 and id = $2 for no key update',
      [tenant, id],
    );
    const [row] = rows;
    if (!row) return 'not_found';
    if (row.state !== 'open') return 'not_open';
    if (row.sent + events > MOST_SENT) return 'too_many_events';
    await client.query('update backfill set sent = sent + $3 where tenant = $1 and id = $2', [tenant, id, events]);
    await client.query(
      `insert into backfill_account as a (tenant, backfill, account, channel, first, last)
       select $1, $2, * from unnest($3::text[], $4::smallint[], $5::timestamptz[], $6::timestamptz[])
       on conflict (tenant, backfill, account) do update
         set first = least(a.first, excluded.first), last = greatest(a.last, excluded.last)`,
      [
        tenant,
        id,
        textArray(accounts.map(({ account }) => account)),
        arrayOf(accounts.map(({ channel }) => channel)),
        textArray(accounts.map(({ first }) => first)),
        textArray(accounts.map(({ last }) => last)),
      ],
    );
    return 'ok';
  });
}

export type EndBegun =
  /** `done`: it was before. */
  | { readonly result: 'ok'; readonly done: boolean; readonly channels: readonly number[]; readonly why: string }
  | NotEnded;

/** From here on it takes no events, and its channels are to be told. May be done again when the telling was cut off. */
export function beginEnd(pool: Pool, tenant: Tenant, id: number, ending: Ending): Promise<EndBegun> {
  const { action, who, why, adjust, seen } = ending;
  return inTransaction(pool, async (client): Promise<EndBegun> => {
    // Nothing is sent to it from here on.
    await client.query('select from backfill where tenant = $1 and id = $2 for update', [tenant.id, id]);
    const there = await getBackfill(client, tenant.id, id);
    if (!there) return { result: 'not_found' };
    const { state } = there;
    const [under, done] = action === 'close' ? (['closing', 'closed'] as const) : (['reverting', 'reverted'] as const);
    if (action === 'close' && state !== 'open' && state !== under && state !== done) return { result: 'state', state };
    const before = action === 'close' ? there.why : (there.revertedWhy ?? why);
    if (state === under || state === done)
      return { result: 'ok', done: state === done, channels: await channelsOf(client, tenant.id, id), why: before };
    if (action === 'close') {
      const unfit = await unfitToClose(client, tenant.id, id);
      if (unfit) return unfit;
      // Not before: once the ledger has read all that was sent, what it has read stands still.
      if (seen && !(await isAsSeen(client, tenant.id, there, seen))) return { result: 'changed' };
    }
    // What never counted changes no period.
    const final =
      adjust || (action === 'revert' && state === 'open') ? undefined : await finalIn(client, tenant.id, id);
    if (final) return { result: 'period_final', ...final };
    await client.query(
      action === 'close'
        ? `update backfill set state = 'closing', closed_by = $3, closed_at = now() where tenant = $1 and id = $2`
        : `update backfill set state = 'reverting', reverted_by = $3, reverted_at = now(), reverted_why = $4
           where tenant = $1 and id = $2`,
      action === 'close' ? [tenant.id, id, who] : [tenant.id, id, who, why],
    );
    const detail = action === 'close' ? {} : { why };
    await writeAudit(client, { tenant: tenant.id, who, action: `backfill.${action}`, object: String(id), detail });
    return { result: 'ok', done: false, channels: await channelsOf(client, tenant.id, id), why: before };
  });
}

/** Where the ledger has to have come to know all of a backfill's events. */
export async function noteSent(
  pool: Pool,
  tenant: number,
  id: number,
  last: ReadonlyMap<string, number>,
): Promise<void> {
  await pool.query(
    `update backfill_account a set sequence = i.sequence from unnest($3::text[], $4::bigint[]) as i(account, sequence)
     where a.tenant = $1 and a.backfill = $2 and a.account = i.account and a.sequence < i.sequence`,
    [tenant, id, textArray([...last.keys()]), arrayOf([...last.values()])],
  );
}

/** All channels have been told. */
export async function endBackfill(pool: Pool, tenant: number, id: number, action: Ending['action']): Promise<void> {
  const [under, done] = action === 'close' ? ['closing', 'closed'] : ['reverting', 'reverted'];
  await pool.query('update backfill set state = $4 where tenant = $1 and id = $2 and state = $3', [
    tenant,
    id,
    under,
    done,
  ]);
}

async function isAsSeen(
  client: PoolClient,
  tenant: number,
  { id, sent }: Backfill,
  seen: SeenBackfill,
): Promise<boolean> {
  if (seen.sent !== sent) return false;
  const { rows } = await client.query<{ read: number }>(
    `select count(*) as read from backfill_event where tenant = $1 and book = ${LIVE} and backfill = $2`,
    [tenant, id],
  );
  return seen.read === rows[0]?.read;
}

const MOST_CONFLICTS = 100;

const CONFLICTS = `with wanted as materialized (
    select b.channel, b.sequence, b.identity from backfill_event b where b.tenant = $1 and b.book = ${LIVE}
      and b.backfill = $2 and not exists (select from ledger_correction c where c.tenant = b.tenant and c.book = b.book
        and c.channel = b.channel and c.target = b.sequence)
  ), found as (
    select w.channel, w.sequence, l.channel as of_channel, i.sequence as of_sequence
      from ledger_identity l cross join lateral unnest(l.sequences, l.identities) as i(sequence, identity)
      join wanted w on w.identity = i.identity and w.channel <> l.channel where l.tenant = $1 and l.book = ${LIVE}
    union all
    select w.channel, w.sequence, b.channel, b.sequence from wanted w join backfill_event b on b.tenant = $1
      and b.book = ${LIVE} and b.identity = w.identity and b.channel <> w.channel
      and backfill_counts(b.tenant, b.book, b.channel, b.backfill)
  )
  select distinct on (channel, sequence) channel, sequence, of_channel as "ofChannel", of_sequence as "ofSequence"
  from found order by channel, sequence, of_channel, of_sequence limit ${MOST_CONFLICTS}`;

async function unfitToClose(
  client: PoolClient,
  tenant: number,
  id: number,
): Promise<Extract<NotEnded, { result: 'behind' | 'conflict' }> | undefined> {
  const { rows } = await client.query(
    `select from backfill_account a left join ledger_mark m on m.tenant = a.tenant and m.book = ${LIVE} and m.channel = a.channel
     where a.tenant = $1 and a.backfill = $2 and a.sequence > coalesce(m.through, 0) limit 1`,
    [tenant, id],
  );
  if (rows.length > 0) return { result: 'behind' };
  // All identities of a tenant are read.
  const ask = await unhurried(client);
  const found = await ask<{ channel: number; sequence: number; ofChannel: number; ofSequence: number }>(CONFLICTS, [
    tenant,
    id,
  ]);
  if (found.rows.length === 0) return undefined;
  const conflicts = found.rows.map(({ channel, sequence, ofChannel, ofSequence }) => ({
    message: { channel, sequence },
    of: { channel: ofChannel, sequence: ofSequence },
  }));
  return { result: 'conflict', conflicts };
}

async function channelsOf(client: PoolClient, tenant: number, id: number): Promise<number[]> {
  const { rows } = await client.query<{ channel: number }>(
    'select distinct channel from backfill_account where tenant = $1 and backfill = $2 order by channel',
    [tenant, id],
  );
  return rows.map(({ channel }) => channel);
}

async function finalIn(
  client: PoolClient,
  tenant: number,
  id: number,
): Promise<{ account: string; period: string } | undefined> {
  const { rows } = await client.query<{ account: string; period: string }>(
    `select a.account, s.body::json->'period'->>'name' as period from backfill_account a
     join statement s on s.tenant = a.tenant and s.account = a.account and s.period_from <= a.last and s.period_to > a.first
     where a.tenant = $1 and a.backfill = $2 order by a.account, s.period_from limit 1`,
    [tenant, id],
  );
  return rows[0];
}

/** Of any tenant, those whose channels were not all told, a while after they were to be. */
export async function unfinishedBackfills(
  pool: Pool,
  most: number,
): Promise<
  { readonly tenant: Tenant; readonly id: number; readonly action: Ending['action']; readonly who: string }[]
> {
  const { rows } = await pool.query<{ tenant: Tenant; id: number; action: Ending['action']; who: string }>(
    `select json_build_object('id', t.id, 'name', t.name, 'channels', t.channels) as tenant, b.id,
       case b.state when 'closing' then 'close' else 'revert' end as action,
       case b.state when 'closing' then b.closed_by else b.reverted_by end as who
     from backfill b join tenant t on t.id = b.tenant where b.state in ('closing', 'reverting')
       and coalesce(b.reverted_at, b.closed_at) < now() - interval '5 seconds' order by b.tenant, b.id limit $1`,
    [most],
  );
  return rows;
}

/** Those that have been open for long, each said once. */
export async function alarmBackfills(pool: Pool): Promise<{ readonly tenant: string; readonly backfill: number }[]> {
  const { rows } = await pool.query<{ tenant: string; backfill: number }>(
    `update backfill b set alarmed_at = now() from tenant t where t.id = b.tenant and b.state = 'open'
       and b.alarmed_at is null and b.opened_at < now() - interval '${OVERDUE_DAYS} days'
     returning t.name as tenant, b.id as backfill`,
  );
  return rows;
}

/** What the live ledger makes of a backfill's events. */
export interface BackfillFigures {
  /** Events that the ledger has read. */
  readonly read: number;
  readonly counted: number;
  /** The same event was counted already. */
  readonly known: number;
  /** A meter is for it and can't count it. */
  readonly uncountable: number;
  /** No meter is for it. */
  readonly unmetered: number;
  readonly accounts: number;
}

export async function backfillFigures(pool: Pool, tenant: number, id: number): Promise<BackfillFigures> {
  const { rows } = await pool.query<BackfillFigures>(
    `with e as materialized (
       select b.channel, b.sequence, array(select e.state from usage_entry e where e.tenant = b.tenant and e.book = b.book
           and e.channel = b.channel and e.sequence = b.sequence) as states,
         exists (select from usage_problem p where p.tenant = b.tenant and p.book = b.book and p.channel = b.channel
           and p.sequence = b.sequence) as problem
       from backfill_event b where b.tenant = $1 and b.book = ${LIVE} and b.backfill = $2)
     select count(*) as read, count(*) filter (where 'c' = any (states)) as counted,
       count(*) filter (where 'k' = any (states)) as known, count(*) filter (where problem) as uncountable,
       count(*) filter (where states = '{}' and not problem) as unmetered,
       (select count(*) from backfill_account where tenant = $1 and backfill = $2) as accounts from e`,
    [tenant, id],
  );
  return rows[0] as BackfillFigures;
}

/** What of a backfill a meter would count, were it closed now and nothing of it known. */
export interface WaitingUsage {
  readonly meter: string;
  readonly events: number;
}

/** By meter, the most events first. */
export async function waitingUsage(pool: Pool, tenant: number, id: number): Promise<WaitingUsage[]> {
  const { rows } = await pool.query<WaitingUsage>(
    `with waiting as (
       select e.series, count(*) as events from backfill_event b join usage_entry e on e.tenant = b.tenant and e.book = b.book
         and e.channel = b.channel and e.sequence = b.sequence and e.state = 'b'
       where b.tenant = $1 and b.book = ${LIVE} and b.backfill = $2 group by e.series)
     select d.name as meter, sum(w.events)::bigint as events from waiting w
     join usage_series s on s.tenant = $1 and s.id = w.series
     join billing_definition d on d.tenant = $1 and d.id = s.meter group by d.name order by events desc, d.name`,
    [tenant, id],
  );
  return rows;
}

/** An event of a backfill that its meter has already. */
export interface KnownEvent {
  readonly channel: number;
  readonly sequence: number;
  readonly of: number;
}

/** By place, from one on: each with the first message that says the same. */
export async function knownEvents(
  pool: Pool,
  tenant: number,
  id: number,
  after: { readonly channel: number; readonly sequence: number },
  limit: number,
): Promise<KnownEvent[]> {
  const { rows } = await pool.query<KnownEvent>(
    `select b.channel, b.sequence, least(
         (select min(k.known) from backfill_known k where k.tenant = b.tenant and k.book = b.book and k.channel = b.channel
            and k.sequence = b.sequence),
         (select min(o.sequence) from backfill_event o where o.tenant = b.tenant and o.book = b.book
            and o.channel = b.channel and o.identity = b.identity and o.sequence < b.sequence
            and backfill_counts(o.tenant, o.book, o.channel, o.backfill))) as of
     from backfill_event b where b.tenant = $1 and b.book = ${LIVE} and b.backfill = $2
       and (b.channel, b.sequence) > ($3, $4) and exists (select from usage_entry e where e.tenant = b.tenant
         and e.book = b.book and e.channel = b.channel and e.sequence = b.sequence and e.state = 'k')
     order by b.channel, b.sequence limit $5`,
    [tenant, id, after.channel, after.sequence, limit],
  );
  return rows;
}
