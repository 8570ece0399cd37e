import { fork } from 'node:child_process';
import { once } from 'node:events';
import { Agent } from 'node:http';
import { event, post } from '../events.mjs';
import { abreast, inTurn, median, percentile, perSecond, tenths } from '../measure.mjs';
import { startStack } from '../stack.mjs';

const CONNECTIONS = 64;

/** One event a request over 64 kept connections; against an express route that reads the body and answers. */
export async function run({ scale }) {
  const stack = await startStack({ rabbitmq: false });
  const bare = fork(new URL('../peers/express.mjs', import.meta.url));
  const [{ port }] = await once(bare, 'message');
  const tails = { a: [], b: [] };
  try {
    const count = Math.ceil(8000 * scale);
    const { a, b } = await inTurn(
      5,
      () => send(`${stack.http}/v1/events`, count, tails.a),
      () => send(`http://127.0.0.1:${port}/v1/events`, count, tails.b),
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
      also: { p99Ms: tenths(median(tails.a)), p99GoalMs: 25, p99LimitMs: tenths(median(tails.b)) },
    };
  } finally {
    bare.kill();
    await stack.stop();
  }
}

/** Events a second once every connection is open; adds the wait of the slowest hundredth to `tails`. */
async function send(url, count, tails) {
  const agent = new Agent({ keepAlive: true, maxSockets: CONNECTIONS });
  const waits = [];
  const sending = Array.from({ length: count + CONNECTIONS }, () => {
    const body = Buffer.from(event());
    return async () => {
      const from = performance.now();
      await post(url, agent, body, 'application/cloudevents+json');
      waits.push(performance.now() - from);
    };
  });
  await abreast(CONNECTIONS, sending.splice(0, CONNECTIONS));
  waits.length = 0;
  const begun = performance.now();
  await abreast(CONNECTIONS, sending);
  const took = performance.now() - begun;
  agent.destroy();
  tails.push(percentile(waits, 0.99));
  return perSecond(count, took);
}
