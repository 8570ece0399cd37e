import { fork } from 'node:child_process';
import { once } from 'node:events';
import { Agent } from 'node:http';
import { batch, post } from '../events.mjs';
import { abreast, cpuMs, familyCpuMs, median, perSecond, tenths, writtenBytes } from '../measure.mjs';
import { QUEUE, startStack } from '../stack.mjs';
import { send } from './single-events.mjs';

const PER_REQUEST = 1000;
const ABREAST = 8;
const ROUNDS = 3;

/**
 * What one event costs each part, with accepting and owning in processes of their own as on several machines:
 * processor time, bytes written, fsyncs. No row of the goals; docs/scaling.md reckons with it.
 */
export async function run({ scale }) {
  const stack = await startStack({ rabbitmq: true, roles: 'ingress,web' });
  const pool = stack.pool();
  const owner = await stack.add('owner');
  const consumer = fork(new URL('../peers/consumer.mjs', import.meta.url), [stack.amqp, QUEUE]);
  await once(consumer, 'message');
  try {
    const requests = Math.ceil(100 * scale);
    const parts = {
      accept: () => cpuMs(stack.pid),
      owner: () => cpuMs(owner.pid),
      consumer: () => cpuMs(consumer.pid),
    };
    parts.postgres = () => familyCpuMs(stack.postgresPid());
    const rabbit = stack.rabbitmqPid();
    parts.rabbitmq = () => cpuMs(rabbit);
    const look = async () => ({
      cpu: Object.fromEntries(Object.entries(parts).map(([name, read]) => [name, read()])),
      ...(await store(pool)),
      rabbitmqBytes: writtenBytes(rabbit),
    });
    await carry(stack, consumer, Math.ceil(requests / 5));
    const rounds = [];
    for (let round = 0; round < ROUNDS; round++) {
      const before = await look();
      const rate = await carry(stack, consumer, requests);
      rounds.push(each(before, await look(), requests * PER_REQUEST, rate));
    }
    const batches = medians(rounds);
    const before = await look();
    const count = Math.ceil(8000 * scale);
    const arrived = more(consumer, count + 64);
    const rate = await send(`${stack.http}/v1/events`, count, []);
    await arrived;
    const singles = each(before, await look(), count + 64, rate);
    return {
      row: 'what an event costs each part: 1,000 a request, accepting and owning apart',
      unit: 'events/s end to end',
      figure: batches.rate,
      also: { ...batches.also, ...prefixed('single', singles.also) },
      rounds,
    };
  } finally {
    consumer.kill();
    await stack.stop();
  }
}

async function carry(stack, consumer, requests) {
  const agent = new Agent({ keepAlive: true, maxSockets: ABREAST });
  const bodies = Array.from({ length: requests }, () => batch(PER_REQUEST));
  const begun = performance.now();
  const arrived = more(consumer, requests * PER_REQUEST);
  await abreast(
    ABREAST,
    bodies.map((body) => () => post(`${stack.http}/v1/events`, agent, body, 'application/x-ndjson')),
  );
  await arrived;
  agent.destroy();
  return perSecond(requests * PER_REQUEST, performance.now() - begun);
}

async function more(consumer, count) {
  consumer.send({ more: count });
  await once(consumer, 'message');
}

/** Of the database since it was started. */
async function store(pool) {
  const { rows } = await pool.query(
    `select pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::float8 as wal,
       pg_database_size(current_database())::float8 as size,
       (select sum(fsyncs)::float8 from pg_stat_io where object = 'wal') as fsyncs`,
  );
  return rows[0];
}

function each(before, after, events, rate) {
  const cpu = Object.entries(after.cpu).map(([name, ms]) => [
    `${name}Micros`,
    tenths(((ms - before.cpu[name]) * 1000) / events),
  ]);
  return {
    rate,
    also: {
      ...Object.fromEntries(cpu),
      walBytes: Math.round((after.wal - before.wal) / events),
      databaseBytes: Math.round((after.size - before.size) / events),
      rabbitmqBytes: Math.round((after.rabbitmqBytes - before.rabbitmqBytes) / events),
      databaseFsyncsPer1000: tenths(((after.fsyncs - before.fsyncs) * 1000) / events),
    },
  };
}

function medians(rounds) {
  const names = Object.keys(rounds[0].also);
  return {
    rate: median(rounds.map(({ rate }) => rate)),
    also: Object.fromEntries(names.map((name) => [name, median(rounds.map(({ also }) => also[name]))])),
  };
}

function prefixed(prefix, object) {
  return Object.fromEntries(
    Object.entries(object).map(([name, value]) => [prefix + name[0].toUpperCase() + name.slice(1), value]),
  );
}
