import { fork } from 'node:child_process';
import { once } from 'node:events';
import { Agent } from 'node:http';
import { event, post } from '../events.mjs';
import { abreast, inTurn, median, percentile, perSecond } from '../measure.mjs';
import { startStack } from '../stack.mjs';

const CONNECTIONS = 64;

/** One event a request over 64 kept connections; against an express route that reads the body and answers. */
export async function run({ scale }) {
  const stack = await startStack({ rabbitmq: false });
  const bare = fork(new URL('../peers/express.mjs', import.meta.url));
  const [{ port }] = await once(bare, 'message');
  const waits = [];
  try {
    const count = Math.ceil(8000 * scale);
    const { a, b } = await inTurn(
      5,
      () => send(`${stack.http}/v1/events`, count, waits),
      () => send(`http://127.0.0.1:${port}/v1/events`, count, []),
    );
    return {
      row: 'single events over keep-alive HTTP, group commit, 64 connections',
      unit: 'events/s',
      figure: median(a),
      limit: median(b),
      limitIs: 'a bare express route that reads the body and answers',
      goal: 0.5,
      floor: 0.4,
      least: 4000,
      also: { p99Ms: Math.round(percentile(waits, 0.99) * 10) / 10, p99GoalMs: 25 },
    };
  } finally {
    bare.kill();
    await stack.stop();
  }
}

async function send(url, count, waits) {
  const agent = new Agent({ keepAlive: true, maxSockets: CONNECTIONS });
  const bodies = Array.from({ length: count }, () => Buffer.from(event()));
  const begun = performance.now();
  await abreast(
    CONNECTIONS,
    bodies.map((body) => async () => {
      const from = performance.now();
      await post(url, agent, body, 'application/cloudevents+json');
      waits.push(performance.now() - from);
    }),
  );
  const took = performance.now() - begun;
  agent.destroy();
  return perSecond(count, took);
}
