import { setTimeout as sleep } from 'node:timers/promises';
import type { Pool, PoolClient } from 'pg';
import type { Tenant } from '../message/tenant.js';
import { writeAudit } from './audit.js';
import { Ledger } from './ledger.js';
import { lookOver } from './ledger-backfills.js';
import { inTransaction, type Unhurried, unhurried } from './pool.js';
import { liveBook, makeMarks } from './usage.js';

export type RebuildEvent =
  | { readonly event: 'progress'; readonly done: number; readonly total: number }
  /** Hours of one meter of one account that came to something else. */
  | {
      readonly event: 'difference';
      readonly account: string;
      readonly meter: string;
      readonly hours: number;
      readonly eventsBefore: number;
      readonly eventsAfter: number;
    }
  | {
      readonly event: 'result';
      readonly ok: boolean;
      readonly swapped: boolean;
      readonly messages: number;
      readonly differences: number;
    };

export interface RebuildWish {
  readonly who: string;
  /** The new ledger takes the place of the old one whatever the difference. */
  readonly acceptDifferences: boolean;
}

const MOST_TOLD = 100;
/** Channels worked on at the same time: while some batches are with the database, another one is reckoned. */
const AT_ONCE = 4;
const PROGRESS_MS = 500;
/** Rounds end with one that brought no more messages than this: what is left is taken while the live book stands still. */
const SOON_DONE = 1_000;
const ROUNDS = 20;
/** Messages after which the book is looked over, and again when there are twice as many. */
const LOOKED_OVER_FROM = 20_000;

/**
 * Makes a tenant's ledger anew from sequence 1, beside the live one; catches up; compares; and takes its place if nothing
 * differs. Answers false, and does nothing, where another rebuild of the tenant is going on.
 */
export async function* rebuild(pool: Pool, tenant: Tenant, wish: RebuildWish): AsyncGenerator<RebuildEvent, boolean> {
  const guard = await pool.connect();
  let broken = true;
  try {
    const { rows } = await guard.query<{ ours: boolean }>(
      "select pg_try_advisory_lock(hashtext('waybill ledger rebuild'), $1) as ours",
      [tenant.id],
    );
    if (!rows[0]?.ours) {
      broken = false;
      return false;
    }
    yield* rebuilt(pool, tenant, wish);
    await guard.query("select pg_advisory_unlock(hashtext('waybill ledger rebuild'), $1)", [tenant.id]);
    broken = false;
    return true;
  } finally {
    // The lock ends with the connection.
    guard.release(broken);
  }
}

/** Who asked for the rebuild that is going on, and when; of one that was cut off it says so until the next begins. */
export async function rebuildGoingOn(pool: Pool, tenant: number): Promise<{ who: string; since: Date } | null> {
  const { rows } = await pool.query<{ who: string; since: Date }>(
    `select rebuilding_by as who, rebuilding_since as since from ledger
     where tenant = $1 and rebuilding is not null`,
    [tenant],
  );
  return rows[0] ?? null;
}

/** The book in force, and the one that is to take its place. */
interface Making {
  readonly pool: Pool;
  readonly ledger: Ledger;
  readonly tenant: Tenant;
  readonly live: number;
  readonly book: number;
}

async function* rebuilt(pool: Pool, tenant: Tenant, wish: RebuildWish): AsyncGenerator<RebuildEvent> {
  const live = await liveBook(pool, tenant.id);
  const book = live === 1 ? 2 : 1;
  await pool.query(
    `insert into ledger (tenant, live, rebuilding, rebuilding_since, rebuilding_by) values ($1, $2, $3, now(), $4)
     on conflict (tenant) do update set rebuilding = $3, rebuilding_since = now(), rebuilding_by = $4`,
    [tenant.id, live, book, wish.who],
  );
  await clear(pool, tenant.id, book);
  await makeMarks(pool, tenant, live);
  const making: Making = { pool, ledger: new Ledger({ pool }), tenant, live, book };
  let messages = 0;
  let lookedOverAt = LOOKED_OVER_FROM;
  for (let round = 0; round < ROUNDS; round++) {
    const before = messages;
    for await (const done of catchUp(making)) {
      messages += done;
      if (messages >= lookedOverAt) {
        await inTransaction(pool, lookOver);
        lookedOverAt = 2 * messages;
      }
      yield { event: 'progress', done: messages, total: await totalOf(making) };
    }
    await inTransaction(pool, (client) => takeOver(client, making));
    if (messages - before <= SOON_DONE) break;
  }
  const ended = await compareAndSwap(making, wish);
  for (const difference of ended.told) yield { event: 'difference', ...difference };
  messages += ended.messages;
  const differences = ended.count;
  // It is what it came to, whatever becomes of the removing: the next one begins with that.
  yield { event: 'result', ok: differences === 0, swapped: ended.swapped, messages, differences };
  await clear(pool, tenant.id, ended.swapped ? live : book);
}

/** Takes what the live book had taken when it began, and yields now and then how many messages batches have had since. */
async function* catchUp({ pool, ledger, tenant, live, book }: Making): AsyncGenerator<number> {
  const { rows: left } = await pool.query<{ channel: number; plan: number }>(
    'select channel, plan from ledger_mark where tenant = $1 and book = $2',
    [tenant.id, live],
  );
  let messages = 0;
  let ended = false;
  const lane = async () => {
    for (let mark = left.pop(); mark !== undefined; mark = left.pop()) {
      for (let more = true; more && !ended; ) {
        const taken = await ledger.takeThrough({ tenant: tenant.id, book, channel: mark.channel }, mark.plan);
        messages += taken?.messages ?? 0;
        more = taken !== null;
      }
    }
  };
  const lanes = Promise.all(Array.from({ length: AT_ONCE }, lane)).finally(() => {
    ended = true;
  });
  try {
    while (!ended) {
      const pause = new AbortController();
      const told = sleep(PROGRESS_MS, undefined, { signal: pause.signal }).catch(() => undefined);
      await Promise.race([lanes, told]);
      pause.abort();
      yield messages;
      messages = 0;
    }
  } finally {
    // Whoever listened may have gone.
    ended = true;
    await lanes.catch(() => undefined);
  }
}

/** Messages that the live book has come to. */
async function totalOf({ pool, tenant, live }: Making): Promise<number> {
  const { rows } = await pool.query<{ total: number }>(
    'select coalesce(sum(through), 0)::bigint as total from ledger_mark where tenant = $1 and book = $2',
    [tenant.id, live],
  );
  return rows[0]?.total ?? 0;
}

/** What is not in the store any more, and the live ledger has counted, is taken from its journal. */
async function takeOver(client: PoolClient, { tenant: { id: tenant }, live, book }: Making): Promise<void> {
  const ask = await unhurried(client);
  await ask(
    `create temp table gone on commit drop as
       select g.channel, g.sequence from ledger_gap g where g.tenant = $1 and g.book = $3 and g.reason = 'missing'
         and not exists (select from ledger_gap o where o.tenant = $1 and o.book = $2 and o.channel = g.channel
           and o.sequence = g.sequence)
         and exists (select from ledger_mark m where m.tenant = $1 and m.book = $2 and m.channel = g.channel
           and m.through >= g.sequence)`,
    [tenant, live, book],
  );
  const gone = await ask<{ some: boolean }>('select exists (select from gone) as some', []);
  if (!gone.rows[0]?.some) return;
  await lookOver(client);
  await ask(
    `insert into usage_entry (tenant, book, channel, sequence, series, at, arrived_at, value, member, state)
     select e.tenant, $3, e.channel, e.sequence, e.series, e.at, e.arrived_at, e.value, e.member, e.state
     from gone join usage_entry e on e.tenant = $1 and e.book = $2 and e.channel = gone.channel and e.sequence = gone.sequence`,
    [tenant, live, book],
  );
  await ask(
    `insert into ledger_correction (tenant, book, channel, sequence, action, target, who, why, arrived_at)
     select c.tenant, $3, c.channel, c.sequence, c.action, c.target, c.who, c.why, c.arrived_at
     from gone join ledger_correction c on c.tenant = $1 and c.book = $2 and c.channel = gone.channel
       and c.sequence = gone.sequence`,
    [tenant, live, book],
  );
  await ask(
    `insert into backfill_event (tenant, book, channel, sequence, backfill, identity)
     select b.tenant, $3, b.channel, b.sequence, b.backfill, b.identity
     from gone join backfill_event b on b.tenant = $1 and b.book = $2 and b.channel = gone.channel
       and b.sequence = gone.sequence`,
    [tenant, live, book],
  );
  await ask(
    `insert into backfill_word (tenant, book, channel, sequence, backfill, action, who, why, arrived_at)
     select b.tenant, $3, b.channel, b.sequence, b.backfill, b.action, b.who, b.why, b.arrived_at
     from gone join backfill_word b on b.tenant = $1 and b.book = $2 and b.channel = gone.channel
       and b.sequence = gone.sequence`,
    [tenant, live, book],
  );
  await ask(
    `insert into ledger_acceptance (tenant, book, channel, sequence, target, who, why, arrived_at)
     select a.tenant, $3, a.channel, a.sequence, a.target, a.who, a.why, a.arrived_at
     from gone join ledger_acceptance a on a.tenant = $1 and a.book = $2 and a.channel = gone.channel
       and a.sequence = gone.sequence`,
    [tenant, live, book],
  );
  await ask(
    `insert into ledger_identity (tenant, book, channel, first_sequence, sequences, identities)
     select $1, $3, l.channel, min(i.sequence), array_agg(i.sequence), array_agg(i.identity)
     from ledger_identity l cross join lateral unnest(l.sequences, l.identities) as i(sequence, identity)
     join gone on gone.channel = l.channel and gone.sequence = i.sequence
     where l.tenant = $1 and l.book = $2 group by l.channel`,
    [tenant, live, book],
  );
  await ask(
    `insert into usage_problem (tenant, book, channel, sequence, meter, code, account, at)
     select p.tenant, $3, p.channel, p.sequence, p.meter, p.code, p.account, p.at
     from gone join usage_problem p on p.tenant = $1 and p.book = $2 and p.channel = gone.channel
       and p.sequence = gone.sequence`,
    [tenant, live, book],
  );
  await ask(
    `delete from ledger_gap g using gone where g.tenant = $1 and g.book = $2 and g.channel = gone.channel
       and g.sequence = gone.sequence`,
    [tenant, book],
  );
  await ask(
    `select recount_cells($1, $2::smallint, array_agg(series), array_agg(hour)) from (
       select distinct e.series, date_trunc('hour', e.at, 'UTC') as hour from gone
       join usage_entry e on e.tenant = $1 and e.book = $2 and e.channel = gone.channel and e.sequence = gone.sequence) h
     having count(*) > 0`,
    [tenant, book],
  );
  await ask(
    `select apply_corrections($1, $2::smallint, channel, with_corrections($1, $2::smallint, channel, array_agg(sequence)))
     from (select c.channel, c.target as sequence from gone join ledger_correction c on c.tenant = $1 and c.book = $2
         and c.channel = gone.channel and gone.sequence in (c.sequence, c.target)) named
     group by channel`,
    [tenant, book],
  );
  await ask(
    `select settle_backfills($1, $2::smallint, g.channel,
       array(select sequence from backfill_event where tenant = $1 and book = $2 and channel = g.channel),
       array(select sequence from backfill_event where tenant = $1 and book = $2 and channel = g.channel
         union select target from ledger_acceptance where tenant = $1 and book = $2 and channel = g.channel))
     from (select distinct channel from gone) g`,
    [tenant, book],
  );
}

interface Difference {
  readonly account: string;
  readonly meter: string;
  readonly hours: number;
  readonly eventsBefore: number;
  readonly eventsAfter: number;
}

/** Holds both books, brings the new one to where the live one stands, and puts it in its place if nothing differs. */
async function compareAndSwap(
  making: Making,
  wish: RebuildWish,
): Promise<{
  readonly messages: number;
  readonly told: Difference[];
  readonly count: number;
  readonly swapped: boolean;
}> {
  const { pool, tenant, live, book } = making;
  return inTransaction(pool, async (client) => {
    const holding = await unhurried(client);
    const marks = await holding<Mark>(
      `select channel, book, plan from ledger_mark where tenant = $1 and book in ($2, $3)
       order by book, channel for update`,
      [tenant.id, live, book],
    );
    // Batches, in as much of a hurry as others.
    await client.query('set local statement_timeout to default');
    const messages = await takeRest(
      client,
      making,
      marks.rows.filter((mark) => mark.book === live),
    );
    const ask = await unhurried(client);
    await takeOver(client, making);
    await checkEven(ask, making);
    const { told, count } = await differences(ask, tenant.id, live, book);
    const swapped = count === 0 || wish.acceptDifferences;
    await client.query(
      'update ledger set live = $2, rebuilding = null, rebuilding_since = null, rebuilding_by = null where tenant = $1',
      [tenant.id, swapped ? book : live],
    );
    const detail = { differences: count, swapped };
    await writeAudit(client, {
      tenant: tenant.id,
      who: wish.who,
      action: 'ledger.rebuild',
      object: tenant.name,
      detail,
    });
    return { messages, told, count, swapped };
  });
}

interface Mark {
  readonly channel: number;
  readonly book: number;
  readonly plan: number;
}

/** What the live book took since the last round; answers how many messages it was. */
async function takeRest(client: PoolClient, { ledger, tenant, book }: Making, marks: readonly Mark[]): Promise<number> {
  let messages = 0;
  for (const { channel, plan } of marks) {
    const place = { tenant: tenant.id, book, channel };
    for (let taken = await ledger.takeWithin(client, place, plan); taken; ) {
      messages += taken.messages;
      taken = await ledger.takeWithin(client, place, plan);
    }
  }
  return messages;
}

/** Only books that speak of the same plans can be compared. */
async function checkEven(ask: Unhurried, { tenant, live, book }: Making): Promise<void> {
  const { rows } = await ask<{ channel: number }>(
    `select channel from ledger_mark where tenant = $1 and book in ($2, $3) group by channel
     having coalesce(max(plan) filter (where book = $2), 0) <> coalesce(max(plan) filter (where book = $3), 0)`,
    [tenant.id, live, book],
  );
  if (rows.length > 0) {
    throw new Error(`the rebuilt ledger is not where the live one is, in ${rows.length} channels: ask again`);
  }
}

const CELLS = (book: string) => `
  select c.series, c.hour, c.events, c.value, c.at, c.sequence, m.members, m.told_apart from usage_cell c
  left join (select series, hour, count(*) as members, bit_xor(uuid_hash_extended(member, 0)) as told_apart
    from usage_member where tenant = $1 and book = ${book} group by series, hour) m using (series, hour)
  where c.tenant = $1 and c.book = ${book}`;

/** Compared hour by hour, members with them. Both books stand still meanwhile, so it is worth more than one process. */
async function differences(
  ask: Unhurried,
  tenant: number,
  live: number,
  book: number,
): Promise<{ told: Difference[]; count: number }> {
  await ask('set local max_parallel_workers_per_gather = 2', []);
  // Of a book just written nothing is known yet: taken for a few rows, its members would be counted for each cell anew.
  await ask('set local enable_nestloop = off', []);
  const { rows } = await ask<Difference & { count: number }>(
    `with unequal as (
       select series, a.events as before, b.events as after
       from (${CELLS('$2')}) a full join (${CELLS('$3')}) b using (series, hour)
       where (a.events, a.value, a.at, a.sequence, a.members, a.told_apart)
         is distinct from (b.events, b.value, b.at, b.sequence, b.members, b.told_apart)
     )
     select s.account, d.name as meter, count(*) as hours, coalesce(sum(u.before), 0)::bigint as "eventsBefore",
       coalesce(sum(u.after), 0)::bigint as "eventsAfter", count(*) over () as count
     from unequal u join usage_series s on s.tenant = $1 and s.id = u.series
     join billing_definition d on d.tenant = $1 and d.id = s.meter
     group by s.account, d.name order by s.account, d.name limit ${MOST_TOLD}`,
    [tenant, live, book],
  );
  const told = rows.map(({ count: _, ...difference }) => difference);
  return { told, count: rows[0]?.count ?? 0 };
}

const TABLES = [
  'usage_member',
  'usage_cell',
  'usage_entry',
  'usage_unmetered',
  'usage_problem',
  'ledger_correction',
  'backfill_event',
  'backfill_known',
  'backfill_word',
  'ledger_acceptance',
  'ledger_identity',
  'ledger_gap',
  'ledger_mark',
] as const;

/** Rows that one statement removes. */
const A_PORTION = 200_000;

/** Removes what is left of a book that nobody counts by. It may be half done: who makes the book anew begins with this. */
async function clear(pool: Pool, tenant: number, book: number): Promise<void> {
  for (const table of TABLES) {
    const remove = `delete from ${table} where ctid = any (array(
      select ctid from ${table} where tenant = $1 and book = $2 limit ${A_PORTION}))`;
    for (let removed = A_PORTION; removed === A_PORTION; )
      removed = (await pool.query(remove, [tenant, book])).rowCount ?? 0;
  }
}
