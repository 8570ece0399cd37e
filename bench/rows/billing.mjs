import { connect } from '../consumer.mjs';
import { post } from '../events.mjs';
import { atLeast, compared, familyCpuMs, inTurn, median, PAIRS, tenths, until } from '../measure.mjs';
import { startStack } from '../stack.mjs';
import { carry, consumerOf } from './end-to-end.mjs';

const PER_REQUEST = 1000;
/** Those of events.mjs. */
const ACCOUNTS = 5_000;
const METERS = 10;
const AGGREGATIONS = ['sum', 'count', 'max', 'min', 'last', 'unique'];

/**
 * End to end while ten meters count, two of them each event, or all ten; against the same without meters. Each round ends
 * when the consumer has acknowledged all; how far the ledger is behind then is said, and it is waited for before the next.
 */
export async function run({ scale }) {
  const results = [];
  for (const onEach of [2, METERS]) results.push(await measured(onEach, Math.ceil(40 * scale)));
  return results;
}

async function measured(onEach, requests) {
  const stack = await startStack({ rabbitmq: true });
  const pool = stack.pool();
  const connection = await connect(stack.amqp);
  try {
    const consumer = await consumerOf(stack, connection);
    const events = requests * PER_REQUEST;
    const costs = { with: [], without: [] };
    const behind = [];
    const cpu = () => ({ node: stack.cpuMs(), postgres: familyCpuMs(stack.postgresPid()) });
    const round = async (which) => {
      const before = cpu();
      const figure = await carry([stack], consumer, requests);
      const at = performance.now();
      await caughtUp(pool);
      if (which === 'with') behind.push(performance.now() - at);
      const after = cpu();
      const micros = (part) => ((after[part] - before[part]) * 1_000) / events;
      costs[which].push({ node: micros('node'), postgres: micros('postgres') });
      return figure;
    };
    // A process that has just started is slow until its code is compiled.
    await putMeters(stack, onEach, 'warm');
    await carry([stack], consumer, requests);
    await caughtUp(pool);
    await removeMeters(stack, 'warm');
    const figures = await inTurn(
      PAIRS,
      async (number) => {
        await putMeters(stack, onEach, `r${number}`);
        // Every account is known to them already.
        await carry([stack], consumer, ACCOUNTS / PER_REQUEST);
        await caughtUp(pool);
        const figure = await round('with');
        await removeMeters(stack, `r${number}`);
        return figure;
      },
      () => round('without'),
    );
    const found = compared(figures);
    const cost = (which, part) => tenths(median(costs[which].map((each) => each[part])));
    return {
      row: `end to end with ten meters, ${onEach === METERS ? 'all' : onEach} of them on every event`,
      unit: 'events/s',
      ...found,
      limitIs: 'the same without meters',
      goals: [atLeast('ratio', found.ratio, 0.9)],
      also: {
        nodeMicrosWith: cost('with', 'node'),
        nodeMicrosWithout: cost('without', 'node'),
        postgresMicrosWith: cost('with', 'postgres'),
        postgresMicrosWithout: cost('without', 'postgres'),
        ledgerBehindMs: Math.round(median(behind)),
      },
    };
  } finally {
    await connection.close();
    await stack.stop();
  }
}

/** The first `onEach` are for what comes, the others for other types. */
async function putMeters(stack, onEach, prefix) {
  for (let n = 0; n < METERS; n++) {
    const aggregation = AGGREGATIONS[n % AGGREGATIONS.length];
    const value =
      aggregation === 'count' ? undefined : aggregation === 'unique' ? '/data/customer/name' : '/data/amount';
    const type = n < onEach ? 'usage.*' : `other${n}.*`;
    const body = Buffer.from(JSON.stringify({ type, aggregation, value, dimensions: { region: '/data/region' } }));
    await ask(stack, 'PUT', `/v1/meters/${prefix}-${n}`, body);
  }
}

async function removeMeters(stack, prefix) {
  for (let n = 0; n < METERS; n++) await ask(stack, 'DELETE', `/v1/meters/${prefix}-${n}`, Buffer.alloc(0));
}

async function ask({ http }, method, path, body) {
  const answer = await post(`${http}${path}`, undefined, body, 'application/json', method).catch((error) => error);
  if (answer instanceof Error && !/^20[14]/.test(answer.message)) throw answer;
}

function caughtUp(pool) {
  return until(async () => {
    const { rows } = await pool.query(
      `select from channel c join reader r using (tenant, channel) left join ledger_mark m using (tenant, channel)
       where r.planned < c.last_sequence or r.last_plan > coalesce(m.plan, 0) limit 1`,
    );
    return rows.length === 0;
  }, 'the ledger to have read everything');
}
