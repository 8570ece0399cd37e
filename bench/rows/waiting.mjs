import { Agent } from 'node:http';
import { setTimeout as pause } from 'node:timers/promises';
import { connect } from '../consumer.mjs';
import { batch, post } from '../events.mjs';
import { abreast, median, perSecond, tenths } from '../measure.mjs';
import { startStack, TOKEN } from '../stack.mjs';
import { carry, consumerOf } from './end-to-end.mjs';

const PER_REQUEST = 1000;
const ROUNDS = 3;

/**
 * Deliveries that wait in rows, from when their target takes something again until its consumer has acknowledged all: an owner
 * that a slow answer of the broker has thrown back to rows sends everything so, until it has caught up. Beside it the same
 * number of events that go at once.
 */
export async function run({ scale }) {
  const stack = await startStack({ rabbitmq: true });
  const connection = await connect(stack.amqp);
  const pool = stack.pool();
  try {
    const consumer = await consumerOf(stack, connection);
    const requests = Math.ceil(40 * scale);
    const [waited, atOnce, costs] = [[], [], []];
    await carry([stack], consumer, requests);
    for (let round = 0; round < ROUNDS; round++) {
      const before = stack.cpuMs();
      waited.push(await drain(stack, pool, consumer, requests));
      costs.push((stack.cpuMs() - before) / requests);
      atOnce.push(await carry([stack], consumer, requests));
    }
    if (consumer.repeats() > 0) throw new Error(`${consumer.repeats()} deliveries came twice although nothing failed`);
    const figure = median(waited);
    return {
      row: 'deliveries that waited in rows, from when their target takes something again',
      unit: 'deliveries/s',
      figure,
      limit: median(atOnce),
      ratio: figure / median(atOnce),
      limitIs: 'events that go at once, accepting included',
      goals: [],
      also: { nodeMicrosPerDelivery: tenths(median(costs)) },
      rounds: { measured: waited, limit: atOnce },
    };
  } finally {
    await connection.close();
    await stack.stop();
  }
}

/** Accepts events for a target that is paused, and resumes it. */
async function drain(stack, pool, consumer, requests) {
  await target(stack, 'pause');
  const agent = new Agent({ keepAlive: true, maxSockets: 8 });
  const arrived = consumer.more(requests * PER_REQUEST);
  const bodies = Array.from({ length: requests }, () => batch(PER_REQUEST));
  const one = (body) => () => post(`${stack.http}/v1/events`, agent, body, 'application/x-ndjson');
  await abreast(8, bodies.map(one));
  agent.destroy();
  await planned(pool);
  const resumed = performance.now();
  await target(stack, 'resume');
  await arrived;
  return perSecond(requests * PER_REQUEST, performance.now() - resumed);
}

async function target(stack, what) {
  const json = { 'content-type': 'application/json' };
  const answer = await fetch(`${stack.http}/v1/targets/erp/${what}`, {
    method: 'POST',
    headers: { authorization: `Bearer ${TOKEN}`, ...(what === 'pause' && json) },
    ...(what === 'pause' && { body: JSON.stringify({ reason: 'a benchmark' }) }),
  });
  if (!answer.ok) throw new Error(`${what} answered ${answer.status}: ${await answer.text()}`);
}

/** Until everything that was accepted has its delivery. */
async function planned(pool) {
  for (;;) {
    const { rows } = await pool.query(
      'select sum(c.last_sequence - r.planned)::int as left from channel c join reader r using (tenant, channel)',
    );
    if (rows[0].left === 0) return;
    await pause(20);
  }
}
