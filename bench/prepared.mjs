import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { post } from './events.mjs';
import { until } from './measure.mjs';
import { startStack } from './stack.mjs';

/*
 * Databases as the program would have written them in weeks: five generations a week apart, each channel's sequences
 * without a gap, spans, keys by the installation's own secret, plans with their running hashes, everything delivered.
 */

const GENERATIONS = 5;
const DAYS_A_GENERATION = 7;
/** How long ago the current generation was opened. */
const CURRENT_DAYS = 3;
/** As many events as a plan of one of 16 channels has at the batch rate. */
const PER_PLAN = 125;
const ACCOUNTS = 5000;
const CHUNK = 100_000;
/** The oldest events would leave the window of 35 days soon after. */
const GOOD_FOR_MS = 3 * 86_400_000;
/** Runs add to what is there; beyond this share it is made anew. */
const GROWN = 1.3;

const MIGRATIONS = fileURLToPath(new URL('../dist/src/storage/migrations/', import.meta.url));
const temporary = new Set();

/**
 * A data directory whose database holds so many events, from the cache where there is one that fits. Answers its path,
 * and a stack is started on it with `startStack({ dataDir })`.
 */
export async function prepared(messages, { cache }) {
  const dataDir = placeOf(messages, cache);
  const stamp = join(dataDir, 'prepared.json');
  const version = migrationsHash();
  const known = existsSync(stamp) ? JSON.parse(readFileSync(stamp, 'utf8')) : null;
  if (known?.version === version && Date.now() - known.at < GOOD_FOR_MS) return dataDir;
  rmSync(dataDir, { recursive: true, force: true });
  mkdirSync(dataDir, { recursive: true, mode: 0o700 });
  const at = Date.now();
  const stack = await startStack({ rabbitmq: false, dataDir });
  try {
    // Waybill has made tables, installation, tenant, sources and targets; now it makes room.
    await stack.first.stop();
    await fill(stack.pool(), messages);
    // The filters of sealed generations are made by the program itself.
    const waybill = await stack.add();
    say(`filling ${messages.toLocaleString('en')}: filters`);
    await until(() => filtersReady(waybill), 'the filters', 200, 600_000);
  } finally {
    await stack.stop();
  }
  say('\n');
  writeFileSync(stamp, JSON.stringify({ version, at, messages }));
  return dataDir;
}

/** Marks a prepared directory as unfit for the next run where runs have added too much to it. */
export async function checkGrowth(dataDir, pool) {
  const stamp = join(dataDir, 'prepared.json');
  const { messages } = JSON.parse(readFileSync(stamp, 'utf8'));
  const { rows } = await pool.query('select sum(last_sequence)::float8 as stored from channel');
  if (rows[0].stored > messages * GROWN) rmSync(stamp);
  return rows[0].stored;
}

/** Removes what was prepared without a cache. */
export function forgetPrepared() {
  for (const directory of temporary) rmSync(directory, { recursive: true, force: true });
}

function placeOf(messages, cache) {
  if (cache !== undefined) return join(cache, `events-${messages}`);
  for (const directory of temporary)
    if (existsSync(join(directory, `events-${messages}`))) return join(directory, `events-${messages}`);
  const directory = mkdtempSync(join(tmpdir(), 'waybill-bench-filled-'));
  temporary.add(directory);
  return join(directory, `events-${messages}`);
}

function migrationsHash() {
  const hash = createHash('sha256').update(readFileSync(fileURLToPath(import.meta.url)));
  for (const name of readdirSync(MIGRATIONS).sort()) hash.update(readFileSync(join(MIGRATIONS, name)));
  return hash.digest('hex');
}

function say(text) {
  process.stderr.write(text === '\n' ? text : `\r  ${text}          `);
}

/** Whether a process has the filters of all generations, so that nothing is looked up any more. */
export async function filtersReady({ http }) {
  const { filters } = JSON.parse(
    await post(`${http}/v1/channels`, undefined, Buffer.alloc(0), 'application/json', 'GET'),
  );
  return filters.every(({ ready }) => ready);
}

async function fill(pool, messages) {
  const client = await pool.connect();
  try {
    // Nothing here is acknowledged to anybody before the checkpoint at the end.
    await client.query('set synchronous_commit = off');
    await client.query(HELPERS);
    await client.query(
      `insert into bench_account select n, 'account-' || n, sha256(convert_to('account-' || n, 'UTF8')) from generate_series(0, ${ACCOUNTS - 1}) n`,
    );
    await client.query('update bench_account set channel = bench_channel(hash)');
    for (let generation = 1; generation <= GENERATIONS; generation++) {
      if (generation > 1) await client.query('select rotate_generation($1)', [generation - 1]);
      const first = Math.floor(((generation - 1) * messages) / GENERATIONS);
      const end = Math.floor((generation * messages) / GENERATIONS);
      for (let from = first; from < end; from += CHUNK) {
        await client.query('select bench_fill($1, $2, $3, $4)', [
          generation,
          from,
          Math.min(from + CHUNK, end),
          JSON.stringify(clock(generation, first, end)),
        ]);
        say(
          `filling ${messages.toLocaleString('en')}: ${Math.floor((Math.min(from + CHUNK, end) / messages) * 100)} %`,
        );
      }
    }
    for (let generation = 1; generation <= GENERATIONS; generation++) {
      const { opened, closed } = days(generation);
      await client.query(
        `update generation set opened_at = $2, sealed_at = case when id < $4 then $3::timestamptz end,
           last_arrival = case when id < $4 then $3::timestamptz end where id = $1`,
        [generation, opened, closed, GENERATIONS],
      );
    }
    say(`filling ${messages.toLocaleString('en')}: plans`);
    await client.query('select bench_plan()');
    await client.query('drop function bench_fill, bench_plan, bench_channel; drop table bench_account');
    say(`filling ${messages.toLocaleString('en')}: vacuum`);
    // What the program's settings keep from being vacuumed in a month of additions is not vacuumed here.
    const { rows } = await client.query(
      `select oid::regclass as name from pg_class
       where relkind = 'r' and relnamespace = 'waybill'::regnamespace and not relispartition`,
    );
    if (rows.length === 0) throw new Error('no tables were found: without names everything would be vacuumed');
    await client.query(`vacuum (analyze) ${rows.map(({ name }) => name).join(', ')}`);
    await client.query('analyze');
    await client.query('checkpoint');
  } finally {
    client.release();
  }
}

/** When a generation was opened and when its successor was. */
function days(generation) {
  const opened = Date.now() - (CURRENT_DAYS + (GENERATIONS - generation) * DAYS_A_GENERATION) * 86_400_000;
  const closed = generation === GENERATIONS ? Date.now() : opened + DAYS_A_GENERATION * 86_400_000;
  return { opened: new Date(opened), closed: new Date(closed) };
}

/** Events arrive evenly while their generation is the current one. */
function clock(generation, first, end) {
  const { opened, closed } = days(generation);
  return { first, opened: opened.toISOString(), step: (closed - opened) / 1000 / (end - first) };
}

/**
 * bench_fill writes events n of p_from up to p_to as `accept` would. An event's fingerprint, digest, hashes and channel
 * are worked out as src/channel does (fingerprint.ts, identity.ts, partition.ts), so that the program knows it again.
 * bench_plan writes the plans of all that, sent at once to the queue target and confirmed.
 */
const HELPERS = `
create table bench_account (n int primary key, account text not null, hash bytea not null, channel smallint);

create function bench_channel(p_hash bytea) returns smallint language sql as $$
  select ((get_byte(p_hash, 0)::bigint << 24 | get_byte(p_hash, 1) << 16 | get_byte(p_hash, 2) << 8 | get_byte(p_hash, 3))
    % (select channels from tenant where name = 'default'))::smallint
$$;

create function bench_fill(p_generation int, p_from int, p_to int, p_clock json) returns void language plpgsql as $$
declare
  v_tenant int := (select id from tenant where name = 'default');
  v_source int := (select id from source where name = 'feed' and tenant = v_tenant);
  v_secret bytea := (select fingerprint_secret from installation);
  v_opened timestamptz := (p_clock ->> 'opened')::timestamptz;
  v_first int := (p_clock ->> 'first')::int;
  v_step float8 := (p_clock ->> 'step')::float8;
begin
  insert into span (tenant, channel, first_sequence, generation)
    select c.tenant, c.channel, c.last_sequence + 1, p_generation from channel c
    where c.tenant = v_tenant and c.generation <> p_generation;
  update channel set generation = p_generation where tenant = v_tenant;

  create temporary table fresh on commit drop as
    select e.*, convert_to(
        '{"specversion":"1.0","id":"' || e.id || '","source":"/billing/meter","type":"usage.recorded","subject":"' ||
        e.account || '","time":"' || e.time || '","data":{"amount":' || e.amount || ',"region":"eu-west-1"}}', 'UTF8') as raw,
      substr(sha256(convert_to('["usage.recorded","' || e.account || '","' || e.time || '",{"json":{"amount":' || e.amount ||
        ',"region":"eu-west-1"}}]', 'UTF8')), 1, 16) || substr(e.hash, 1, 8) as digest,
      substr(sha256(v_secret || '\\x00000004' || int4send(v_tenant) || '\\x00000004' || int4send(v_source) ||
        int4send(18 + octet_length(e.id)) || '\\x0000000e' || convert_to('/billing/meter' || e.id, 'UTF8')), 1, 16) as fingerprint
    from (
      select series.n, 'filled-' || series.n as id, series.n % 97 as amount, a.account, a.hash, a.channel,
        c.last_sequence + row_number() over (partition by a.channel order by series.n) as sequence,
        v_opened + (series.n - v_first) * v_step * interval '1 second' as at,
        to_char((v_opened + (series.n - v_first) * v_step * interval '1 second') at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as time
      from generate_series(p_from, p_to - 1) as series(n)
      join bench_account a on a.n = series.n * 7919::bigint % ${ACCOUNTS}
      join channel c on c.tenant = v_tenant and c.channel = a.channel
    ) e;

  insert into key (generation, tenant, fingerprint, channel, sequence, digest)
    select p_generation, v_tenant, fingerprint, channel, sequence, digest from fresh order by n / 2000, fingerprint;
  insert into message (generation, tenant, channel, sequence, source, kind, account, type, external_id, value,
      event_time, arrived_at, peer, meta, sha256, batch, raw)
    select p_generation, v_tenant, channel, sequence, v_source, 'event', account, 'usage.recorded', id, amount::text,
      at, at, 'admin token', null, sha256(raw), 1 + n / 2000, raw from fresh order by n;
  update channel c set last_sequence = f.last
    from (select channel, max(sequence) as last from fresh group by channel) f
    where c.tenant = v_tenant and c.channel = f.channel;
  drop table fresh;
end $$;

create function bench_plan() returns void language plpgsql as $$
declare
  v_tenant int := (select id from tenant where name = 'default');
  v_target int := (select id from target where name = 'erp' and tenant = v_tenant);
  v_epoch bigint := (select epoch from installation);
  v_set int := (select version from rule_set where tenant = v_tenant and active);
  v_channel record;
  v_plan record;
  v_chain bytea;
begin
  for v_channel in select * from channel where tenant = v_tenant order by channel loop
    v_chain := decode(repeat('00', 32), 'hex');
    for v_plan in
      select (m.sequence - 1) / ${PER_PLAN} + 1 as number, min(m.sequence) as first, max(m.sequence) as last,
        max(m.arrived_at) as at, string_agg(int8send(m.sequence) || m.sha256, ''::bytea order by m.sequence) as hashes
      from message m where m.tenant = v_tenant and m.channel = v_channel.channel group by 1 order by 1
    loop
      v_chain := sha256(v_chain || v_plan.hashes);
      insert into plan (tenant, channel, number, epoch, kind, first_sequence, last_sequence, runs, targets, chain, open,
          planned_at, closed_at)
        values (v_tenant, v_channel.channel, v_plan.number, v_epoch, 'stream', v_plan.first, v_plan.last,
          json_build_array(json_build_object('s', v_plan.first, 'n', v_plan.last - v_plan.first + 1, 'r', 0, 'm', 'deliver',
            'd', json_build_object('by', 'rules', 'set', v_set, 'rules', json_build_array('usage')),
            't', json_build_array(json_build_array(v_target, v_plan.first, 'now')))),
          array[v_target], v_chain, false, v_plan.at, v_plan.at);
    end loop;
    update reader set planned = v_channel.last_sequence, chain = v_chain,
        last_plan = coalesce((select max(number) from plan p where p.tenant = v_tenant and p.channel = v_channel.channel), 0)
      where tenant = v_tenant and channel = v_channel.channel;
    insert into line (tenant, target, channel, epoch, last_number)
      values (v_tenant, v_target, v_channel.channel, v_epoch, v_channel.last_sequence);
  end loop;
end $$;
`;
