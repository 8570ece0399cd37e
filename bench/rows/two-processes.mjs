import { connect } from '../consumer.mjs';
import { atLeast, compared, inTurn, median, PAIRS, tenths, until } from '../measure.mjs';
import { startStack } from '../stack.mjs';
import { accept } from './batch-accept.mjs';
import { carry, consumerOf } from './end-to-end.mjs';

/** How long the processes may take to share the channels out anew. */
const SHARED_MS = 30_000;

/** Two processes on one database and broker, each with half of the requests and half of the channels, against one. */
export async function run({ scale }) {
  return [await carried(scale), await accepted(scale)];
}

async function carried(scale) {
  const stack = await startStack({ rabbitmq: true });
  const pool = stack.pool();
  const connection = await connect(stack.amqp);
  try {
    const consumer = await consumerOf(stack, connection);
    const requests = Math.ceil(40 * scale);
    const warmUp = Math.ceil(requests / 2);
    const costs = { one: [], two: [] };
    const costing = async (name, processes) => {
      const used = () => processes.reduce((sum, each) => sum + each.cpuMs(), 0);
      const before = used();
      const rate = await carry(processes, consumer, requests);
      costs[name].push((used() - before) / requests);
      return rate;
    };
    const found = compared(
      await inTurn(
        PAIRS,
        () =>
          withSecond(stack, pool, async (second) => {
            // A process that has just started is slow at first.
            await carry([second], consumer, warmUp);
            return costing('two', [stack, second]);
          }),
        () => costing('one', [stack]),
      ),
    );
    return {
      row: 'two processes on one database and broker, end to end',
      unit: 'events/s',
      ...found,
      limitIs: 'one process',
      goals: [atLeast('ratio', found.ratio, 1.0)],
      also: {
        nodeMicrosPerEvent: tenths(median(costs.two)),
        ofOneProcess: tenths(median(costs.one)),
        cameTwice: consumer.repeats(),
      },
    };
  } finally {
    await connection.close();
    await stack.stop();
  }
}

async function accepted(scale) {
  const stack = await startStack({ rabbitmq: false, roles: 'ingress,web' });
  try {
    const requests = Math.ceil(100 * scale);
    const second = await stack.add();
    await accept([stack, second], requests);
    const found = compared(
      await inTurn(
        PAIRS,
        () => accept([stack, second], requests),
        () => accept([stack], requests),
      ),
    );
    return {
      row: 'two processes on one database, batch accept',
      unit: 'events/s',
      ...found,
      limitIs: 'one process',
      goals: [atLeast('ratio', found.ratio, 1.0)],
    };
  } finally {
    await stack.stop();
  }
}

/** Measures with a second process once each has half of the channels, and ends it. */
async function withSecond(stack, pool, measure) {
  const second = await stack.add();
  await until(async () => (await shares(pool)).join() === '8,8', 'the channels to be shared', 50, SHARED_MS);
  const rate = await measure(second);
  await second.stop();
  await until(async () => (await shares(pool)).join() === '16', 'the channels to come back', 50, SHARED_MS);
  return rate;
}

/** How many channels each process has. */
async function shares(pool) {
  const { rows } = await pool.query(
    'select count(*)::int as count from lease where holder is not null group by holder order by 1',
  );
  return rows.map(({ count }) => count);
}
