import { pino } from 'pino';
import { meterSchema } from '../../dist/src/billing/definitions.js';
import { putBilling } from '../../dist/src/storage/billing.js';
import { Ledger } from '../../dist/src/storage/ledger.js';
import { createPool } from '../../dist/src/storage/pool.js';
import { rebuild } from '../../dist/src/storage/rebuild.js';
import { atLeast, familyCpuMs, median, perSecond, tenths } from '../measure.mjs';
import { startStack } from '../stack.mjs';

const ACCOUNTS = 1_000;
/** As many events as a plan of one of 16 channels has at the batch rate. */
const PER_PLAN = 125;
const CHANNELS = 16;
const ROUNDS = 3;

const METERS = {
  sum: { aggregation: 'sum', value: '/data/amount' },
  count: { aggregation: 'count' },
  max: { aggregation: 'max', value: '/data/amount' },
  min: { aggregation: 'min', value: '/data/amount' },
  last: { aggregation: 'last', value: '/data/amount' },
  unique: { aggregation: 'unique', value: '/data/user' },
};

/**
 * A ledger made anew from stored messages and their plans, compared with the live one and put in its place: with one meter, and with six on
 * every event. Events are a week's, of 1,000 accounts, two in each account's hour.
 */
export async function run({ scale }) {
  const results = [];
  for (const names of [['sum'], Object.keys(METERS)]) results.push(await measured(names, Math.ceil(400_000 * scale)));
  return results;
}

export async function measured(names, events, rounds = ROUNDS) {
  const stack = await startStack({ rabbitmq: false, roles: 'web' });
  const plain = stack.pool();
  const pool = createPool({ url: stack.databaseUrl, max: 8, applicationName: 'bench', log: pino({ level: 'silent' }) });
  try {
    const { rows } = await plain.query("select id, name, channels from tenant where name = 'default'");
    const [tenant] = rows;
    for (const name of names) {
      const definition = meterSchema.parse({ type: 'usage.*', ...METERS[name] });
      await putBilling(pool, tenant, 'meter', name, definition, { expected: 'absent', who: 'bench' });
    }
    await stack.first.stop();
    await fill(plain, tenant.id, events);
    // The live one, which what is made anew is compared with.
    const costs = { node: [], postgres: [] };
    const spent = async (job) => {
      const before = { node: process.cpuUsage(), postgres: familyCpuMs(stack.postgresPid()), at: performance.now() };
      await job();
      const took = performance.now() - before.at;
      const { user, system } = process.cpuUsage(before.node);
      costs.node.push((user + system) / events);
      costs.postgres.push(((familyCpuMs(stack.postgresPid()) - before.postgres) * 1_000) / events);
      return perSecond(events, took);
    };
    const live = await spent(() => takeAll(pool, tenant.id));
    const liveCost = { node: costs.node.pop(), postgres: costs.postgres.pop() };
    const rates = [];
    const removing = [];
    for (let round = 0; round < rounds; round++) {
      let rest;
      const inForce = async () => {
        rest = await rebuildOnce(pool, tenant);
      };
      rates.push(await spent(inForce));
      const begun = performance.now();
      await rest();
      removing.push(performance.now() - begun);
    }
    const figure = median(rates);
    return {
      row: `ledger made anew and compared, ${names.length === 1 ? 'one meter' : `${names.length} meters on every event`}`,
      unit: 'events/s',
      figure,
      goals: names.length === 1 ? [atLeast('rate', figure, 50_000)] : [],
      also: {
        nodeMicrosPerEvent: tenths(median(costs.node)),
        postgresMicrosPerEvent: tenths(median(costs.postgres)),
        removingTheOldMs: Math.round(median(removing)),
        liveRate: Math.round(live),
        liveNodeMicros: tenths(liveCost.node),
        livePostgresMicros: tenths(liveCost.postgres),
      },
      rounds: { measured: rates, costs },
    };
  } finally {
    await pool.end();
    await stack.stop();
  }
}

async function takeAll(pool, tenant) {
  const ledger = new Ledger({ pool });
  const left = Array.from({ length: CHANNELS }, (_, channel) => channel);
  const lane = async () => {
    for (let channel = left.pop(); channel !== undefined; channel = left.pop())
      while (await ledger.take({ tenant, book: 1, channel }));
  };
  await Promise.all([lane(), lane()]);
}

/** Resolves with what is left to do, when the new ledger is in force: removing the old one. */
async function rebuildOnce(pool, tenant) {
  const events = rebuild(pool, tenant, { who: 'bench', acceptDifferences: false });
  for (let next = await events.next(); !next.done; next = await events.next()) {
    if (next.value.event !== 'result') continue;
    if (!next.value.swapped) throw new Error(`it differs: ${JSON.stringify(next.value)}`);
    return () => events.next();
  }
  throw new Error('another one makes the ledger anew');
}

/** Events as accepting and owning would have left them; keys and hashes are none of the ledger's business. */
async function fill(pool, tenant, events) {
  const client = await pool.connect();
  try {
    await client.query('set synchronous_commit = off');
    await client.query(
      `insert into message (generation, tenant, channel, sequence, source, kind, account, type, external_id, value, event_time,
         arrived_at, peer, sha256, batch, raw)
       select 1, $1, channel, sequence, (select id from source where tenant = $1 and name = 'feed'), 'event', account,
         'usage.recorded', 'e' || n, null, time, now(), 'admin token', '\\x00', 1, convert_to(
           '{"specversion":"1.0","id":"evt-' || n || '","source":"/billing/meter","type":"usage.recorded","subject":"' || account ||
           '","time":"' || to_char(time at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') ||
           '","datacontenttype":"application/json","data":{"meter":"api-calls","amount":' || n % 97 || '.' || n % 1000003 ||
           ',"region":"eu-west-1","user":"u' || n % 31 || '","customer":{"name":"Some Customer","plan":"gold"},"note":"a remark"}}',
           'UTF8')
       from (select n, (n % ${CHANNELS})::smallint as channel, n / ${CHANNELS} + 1 as sequence,
           'account-' || (n % ${CHANNELS} + ${CHANNELS} * (n * 7919 / ${CHANNELS} % ${Math.floor(ACCOUNTS / CHANNELS)})) as account,
           timestamptz '2026-03-01' + n * (interval '8 days' / $2::int) as time
         from generate_series(0, $2::bigint - 1) n) e order by n`,
      [tenant, events],
    );
    await client.query(
      `insert into span (tenant, channel, first_sequence, generation)
       select tenant, channel, 1, 1 from channel where tenant = $1 on conflict do nothing`,
      [tenant],
    );
    await client.query(
      `insert into plan (tenant, channel, number, epoch, kind, first_sequence, last_sequence, runs, targets, chain, open)
       select $1, channel, (sequence - 1) / ${PER_PLAN} + 1, 1, 'stream', min(sequence), max(sequence), json_build_array(json_build_object(
           's', min(sequence), 'n', count(*), 'r', 0, 'm', 'deliver',
           'd', json_build_object('by', 'rules', 'set', 0, 'rules', json_build_array()), 't', json_build_array())), '{}', '', false
       from message where tenant = $1 group by channel, (sequence - 1) / ${PER_PLAN}`,
      [tenant],
    );
    await client.query(
      `update channel c set generation = 1, last_sequence = (select max(last_sequence) from plan p where p.tenant = $1 and p.channel = c.channel)
       where tenant = $1`,
      [tenant],
    );
    await client.query(
      `update reader r set planned = p.last, last_plan = p.number
       from (select channel, max(last_sequence) as last, max(number) as number from plan where tenant = $1 group by channel) p
       where r.tenant = $1 and r.channel = p.channel`,
      [tenant],
    );
    await client.query('vacuum (analyze) message');
    await client.query('checkpoint');
  } finally {
    client.release();
  }
}
