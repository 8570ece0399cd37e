import { afterAll, beforeAll, expect, it } from 'vitest';
import { AGGREGATIONS } from '../../src/billing/definitions.js';
import { seriesOf, type UsagePlace, usage, usageFromJournal, usageIn } from '../../src/storage/usage.js';
import { freshDatabase, type TestDatabase } from '../support/postgres.js';
import { usageBooks } from '../support/usage.js';

/*
 * A year of an account that is busy in every hour. WAYBILL_USAGE_REGIONS says in how many regions,
 * WAYBILL_USAGE_EVENTS_AN_HOUR how busy in each; WAYBILL_USAGE_FIGURES=1 prints how long answers take.
 */
const AN_HOUR = Number(process.env.WAYBILL_USAGE_EVENTS_AN_HOUR ?? 4);
const REGIONS = ['ap', 'eu', 'us'].slice(0, Number(process.env.WAYBILL_USAGE_REGIONS ?? 1));
const HOUR = 3_600_000;
const FROM = Date.UTC(2025, 2, 1);
const TO = Date.UTC(2026, 2, 1);
/** Minutes and microseconds beyond whole hours at both ends. */
const UNEVEN = { from: FROM + 17 * 60_000 + 1, to: TO - 23 * 60_000 - 7 };
const WITHIN_MS = 50;

let database: TestDatabase;
beforeAll(async () => {
  database = await freshDatabase({ max: 4 });
});
afterAll(() => database.drop());

it('answers within 50 ms, with the digits of the journal', { timeout: 240_000 }, async () => {
  const { pool } = database;
  const books = await usageBooks(pool, 'year', 1);
  for (const aggregation of AGGREGATIONS)
    await books.meter(aggregation, {
      type: 'usage',
      aggregation,
      ...(aggregation !== 'count' && { value: '/data/n' }),
    });
  await pool.query(
    `insert into usage_series (tenant, account, meter, dimensions, channel)
     select $1, 'busy', d.id, json_build_object('region', r)::text, 0 from billing_definition d, unnest($2::text[]) r
     where d.tenant = $1`,
    [books.tenant.id, REGIONS],
  );
  const client = await pool.connect();
  try {
    await client.query('set statement_timeout = 0; set synchronous_commit = off; select setseed(0.5)');
    await client.query(
      `insert into usage_entry (tenant, book, channel, sequence, series, at, arrived_at, value, member, state)
       select $1, 1, 0, row_number() over (order by e.at), s.id, e.at, e.at,
         case when d.definition->>'aggregation' in ('count', 'unique') then null else e.value end,
         case when d.definition->>'aggregation' = 'unique' then md5(e.who::text)::uuid end, 'c'
       from usage_series s join billing_definition d on d.tenant = s.tenant and d.id = s.meter
       cross join lateral (select h + random() * interval '1 hour' as at, (random() * 1e9 + s.id)::numeric(20, 6) as value,
           floor(random() * 500) as who
         from generate_series($2::timestamptz, $3::timestamptz - interval '1 hour', interval '1 hour') h,
           generate_series(1, $4)) e
       where s.tenant = $1`,
      [books.tenant.id, new Date(FROM), new Date(TO), AN_HOUR],
    );
    // As the ledger makes them, all at once.
    await client.query(
      `insert into usage_cell (tenant, book, series, hour, how, events, value, at, sequence, first_sequence, last_sequence)
       select e.tenant, 1, e.series, date_trunc('hour', e.at, 'UTC'), how_of(min(d.definition->>'aggregation')), count(*),
         case min(d.definition->>'aggregation') when 'sum' then sum(e.value) when 'max' then max(e.value)
           when 'min' then min(e.value) when 'last' then (array_agg(e.value order by e.at desc))[1] end,
         max(e.at), (array_agg(e.sequence order by e.at desc))[1], min(e.sequence), max(e.sequence)
       from usage_entry e join usage_series s on s.tenant = e.tenant and s.id = e.series
       join billing_definition d on d.tenant = s.tenant and d.id = s.meter
       where e.tenant = $1 group by e.tenant, e.series, 4`,
      [books.tenant.id],
    );
    await client.query(
      `insert into usage_member (tenant, book, series, hour, member)
       select distinct tenant, 1, series, date_trunc('hour', at, 'UTC'), member from usage_entry
       where tenant = $1 and member is not null`,
      [books.tenant.id],
    );
    // What is not on the disk yet can't be marked as seen by everybody; a year's usage has long been.
    await client.query('reset synchronous_commit; create temp table flushed ()');
    for (const table of ['usage_entry', 'usage_cell', 'usage_member']) await client.query(`vacuum (analyze) ${table}`);
    await client.query('reset statement_timeout');
  } finally {
    client.release();
  }

  const place: UsagePlace = { tenant: books.tenant.id, book: 1, channel: 0 };
  const days = Array.from({ length: (TO - FROM) / (24 * HOUR) }, (_, day) => ({
    from: FROM + day * 24 * HOUR,
    to: FROM + (day + 1) * 24 * HOUR,
  }));
  for (const aggregation of AGGREGATIONS) {
    const series = (await seriesOf(pool, books.tenant.id, 'busy', aggregation)).map(({ id }) => id);
    const [answer] = await usage(pool, place, [{ series, aggregation, ...UNEVEN }]);
    const raw = await usageFromJournal(pool, place, { series, aggregation, ...UNEVEN });
    expect(answer).toMatchObject({ quantity: raw.quantity, events: raw.events });
    const year = await quickest(WITHIN_MS, () => usageIn(pool, place, { series, aggregation }, [UNEVEN]));
    const byDay = await quickest(WITHIN_MS, () => usageIn(pool, place, { series, aggregation }, days));
    if (process.env.WAYBILL_USAGE_FIGURES)
      process.stdout.write(
        `${aggregation}: ${raw.events} events, a year ${year.toFixed(1)} ms, by day ${byDay.toFixed(1)} ms\n`,
      );
    else expect(Math.max(year, byDay)).toBeLessThan(WITHIN_MS);
  }
});

/**
 * In milliseconds, of seven, or of as many more as it takes until one is within the limit: what others do on the machine
 * meanwhile is not what is asked, and costs some of them, not all.
 */
async function quickest(withinMs: number, question: () => Promise<unknown>): Promise<number> {
  let least = Number.POSITIVE_INFINITY;
  for (let i = 0; i < 7 || (i < 50 && least >= withinMs); i++) {
    const began = performance.now();
    await question();
    least = Math.min(least, performance.now() - began);
  }
  return least;
}
