import { fork } from 'node:child_process';
import { once } from 'node:events';
import { event } from '../events.mjs';
import { connectHttp, postOf } from '../http.mjs';
import { atLeast, atMost, compared, inTurn, median, PAIRS, steadily, tenths } from '../measure.mjs';
import { startStack } from '../stack.mjs';

const CONNECTIONS = 64;
/** A process that has just started is slow until its code is compiled: so many rounds go before. */
const WARM_UPS = 3;

/** One event a request over 64 kept connections, sent by as little as can (see http.mjs); against an express route that reads the body and answers. */
export async function run({ scale }) {
  const stack = await startStack({ rabbitmq: false });
  const bare = fork(new URL('../peers/express.mjs', import.meta.url));
  const [{ port }] = await once(bare, 'message');
  const tails = { a: [], b: [] };
  try {
    // Rounds of some seconds: while the other had its turn, the kernel may have taken pages from whoever was idle.
    const count = Math.ceil(16_000 * scale);
    const ours = (into) => () => send(`${stack.http}/v1/events`, count, into);
    const theirs = (into) => () => send(`http://127.0.0.1:${port}/v1/events`, count, into);
    await inTurn(WARM_UPS, ours([]), theirs([]));
    const figures = await inTurn(PAIRS, ours(tails.a), theirs(tails.b));
    const found = compared(figures);
    return {
      row: 'single events over keep-alive HTTP, group commit, 64 connections',
      unit: 'events/s',
      ...found,
      limitIs: 'a bare express route that reads the body and answers',
      goals: [
        atLeast('ratio', found.ratio, 0.5),
        atLeast('events/s', found.figure, 4000),
        atMost('p99 ms', tenths(median(tails.a)), 25),
      ],
      also: { p99MsOfTheLimit: tenths(median(tails.b)) },
    };
  } finally {
    bare.kill();
    await stack.stop();
  }
}

/** Events a second, after a fifth of as many to run in; adds the wait of the slowest hundredth to `tails`. */
export async function send(url, count, tails) {
  const idle = await Promise.all(Array.from({ length: CONNECTIONS }, () => connectHttp(url)));
  const runIn = Math.ceil(count / 5);
  const requests = Array.from({ length: runIn + count }, () =>
    postOf(url, Buffer.from(event()), 'application/cloudevents+json'),
  );
  const { rate, p99Ms } = await steadily(
    CONNECTIONS,
    runIn,
    requests.map((request) => async () => {
      const connection = idle.pop();
      await connection.send(request);
      idle.push(connection);
    }),
  );
  for (const connection of idle) connection.close();
  tails.push(p99Ms);
  return rate;
}
