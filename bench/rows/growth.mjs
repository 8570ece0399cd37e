import { connect, consume } from '../consumer.mjs';
import { atLeast, compared, inTurn, perSecond, until } from '../measure.mjs';
import { checkGrowth, filtersReady, prepared } from '../prepared.mjs';
import { QUEUE, startStack } from '../stack.mjs';
import { accept } from './batch-accept.mjs';
import { carry } from './end-to-end.mjs';

const LARGE = 10_000_000;
const SMALL = 100_000;
/** A process that has just started is slow until its code is compiled, a database until the pages it needs are in its memory. */
const WARM_UPS = 2;

/**
 * A database that has taken 10 million messages in five generations against one of 100 thousand, both running. First
 * accepting alone; then the owners start and read what was accepted back from the database; then end to end.
 */
export async function run({ scale, cache }) {
  const counts = { large: Math.ceil(LARGE * scale), small: Math.ceil(SMALL * scale) };
  const requests = Math.ceil(60 * scale);
  const large = await open(await prepared(counts.large, { cache }));
  const small = await open(await prepared(counts.small, { cache }));
  try {
    const accepting = await warmly(
      () => accept([large.stack], requests),
      () => accept([small.stack], requests),
    );
    const caughtUp = { large: await beginToOwn(large), small: await beginToOwn(small) };
    const carrying = await warmly(
      () => carry([large.waybill], large.consumer, requests),
      () => carry([small.waybill], small.consumer, requests),
    );
    const stored = await checkGrowth(large.dataDir, large.pool);
    const against = `${millions(await checkGrowth(small.dataDir, small.pool))} million messages`;
    return [
      row(`batch accept with ${millions(stored)} million messages stored`, against, accepting, {
        databaseGB: await databaseGB(large.pool),
        ratioOfTheFirst: accepting.firstRatio,
      }),
      row(`end to end with ${millions(stored)} million messages stored`, against, carrying, {
        readBackPerSecond: caughtUp.large,
        ofTheSmall: caughtUp.small,
        ratioOfTheFirst: carrying.firstRatio,
      }),
    ];
  } finally {
    await Promise.all([large, small].map(close));
  }
}

/** Figures of rounds that come after some to warm up, and what the very first pair came to. */
async function warmly(ofLarge, ofSmall) {
  const { a, b } = await inTurn(WARM_UPS, ofLarge, ofSmall);
  return { ...(await inTurn(5, ofLarge, ofSmall)), firstRatio: (a[0] / b[0]).toFixed(2) };
}

function row(name, limitIs, figures, also) {
  const found = compared(figures);
  return { row: name, unit: 'events/s', ...found, limitIs, goals: [atLeast('ratio', found.ratio, 0.9)], also };
}

function millions(count) {
  return (count / 1e6).toFixed(1);
}

/** Each with a broker of its own: two installations on one are refused. */
async function open(dataDir) {
  const stack = await startStack({ rabbitmq: true, roles: 'ingress,web', dataDir });
  await until(() => filtersReady(stack), 'the filters', 100);
  return { dataDir, stack, pool: stack.pool(), waybill: null, connection: null, consumer: null };
}

/** Starts the owner, and answers at what rate what was accepted without one was carried to the consumer. */
async function beginToOwn(one) {
  const waiting = await unplanned(one.pool);
  await one.stack.first.stop();
  const begun = performance.now();
  one.waybill = await one.stack.add(null);
  one.connection = await connect(one.stack.amqp);
  one.consumer = await consume(one.connection, QUEUE);
  await one.consumer.total(waiting);
  const rate = perSecond(waiting, performance.now() - begun);
  await until(() => filtersReady(one.waybill), 'the filters', 100);
  return Math.round(rate);
}

async function unplanned(pool) {
  const { rows } = await pool.query(
    'select sum(c.last_sequence - r.planned)::float8 as count from channel c join reader r using (tenant, channel)',
  );
  return rows[0].count;
}

async function databaseGB(pool) {
  const { rows } = await pool.query('select pg_database_size(current_database())::float8 / 1e9 as gb');
  return rows[0].gb.toFixed(1);
}

async function close({ stack, connection }) {
  await connection?.close();
  await stack.stop();
}
