import { simpleParser } from 'mailparser';
import { anyMail } from '../mails.mjs';
import { abreast, atLeast, compared, familyCpuMs, inTurn, median, PAIRS, perSecond, until } from '../measure.mjs';
import { connectSmtp, dataOf } from '../smtp.mjs';
import { startStack } from '../stack.mjs';

const CONNECTIONS = 20;
/** Processes that have just started are slow until their code is compiled: so many rounds go before. */
const WARM_UPS = 5;

/**
 * Mails of 30 kB of four kinds in turn (see mails.mjs) in over SMTP until each is stored, parsed in a child and routed; against
 * simpleParser, which only parses them, one after the other. Ours are sent by as little as can send mail (see smtp.mjs), which
 * takes its share of the same cores; the limit has nobody who sends. It begins when the search has what ours brought.
 */
export async function run({ scale }) {
  const stack = await startStack({ rabbitmq: false });
  const pool = stack.pool();
  const costs = { node: [], all: [] };
  try {
    const count = Math.ceil(1200 * scale);
    const ours = async () => {
      const before = { node: familyCpuMs(stack.pid), all: familyCpuMs(process.pid) };
      const rate = await route(stack, pool, count);
      costs.node.push(((familyCpuMs(stack.pid) - before.node) * 1000) / count);
      await until(async () => (await unsearched(pool)) === 0, 'all mails to be in the search');
      costs.all.push(((familyCpuMs(process.pid) - before.all) * 1000) / count);
      return rate;
    };
    const theirs = () => parse(count);
    await inTurn(WARM_UPS, ours, theirs);
    for (const each of Object.values(costs)) each.length = 0;
    const figures = await inTurn(PAIRS, ours, theirs);
    const found = compared(figures);
    return {
      row: 'mail: SMTP → stored → parsed → routed, 30 kB',
      unit: 'mails/s',
      ...found,
      limitIs: 'simpleParser alone on one core',
      goals: [atLeast('ratio', found.ratio, 1.0)],
      also: {
        nodeMicrosPerMail: Math.round(median(costs.node)),
        allMicrosPerMail: Math.round(median(costs.all)),
        parked: await parked(pool),
      },
    };
  } finally {
    await stack.stop();
  }
}

async function route(stack, pool, count) {
  const port = Number(stack.smtp.split(':').at(-1));
  const idle = await Promise.all(Array.from({ length: CONNECTIONS }, () => connectSmtp(port)));
  const mails = Array.from({ length: count }, () => dataOf(anyMail()));
  const begun = performance.now();
  await abreast(
    CONNECTIONS,
    mails.map((data, i) => async () => {
      const connection = idle.pop();
      await connection.send({ from: 'a@example.org', to: `user${i % 500}@example.com`, data });
      idle.push(connection);
    }),
  );
  await until(async () => (await unplanned(pool)) === 0, 'all mails to be routed');
  const took = performance.now() - begun;
  await Promise.all(idle.map((connection) => connection.close()));
  return perSecond(count, took);
}

/** Mails that no plan names yet, and those that were set aside to be parsed later. */
async function unplanned(pool) {
  const { rows } = await pool.query(
    `select (select coalesce(sum(c.last_sequence - r.planned), 0) from channel c join reader r using (tenant, channel))::float8
       + (select count(*) from standing where state = 'parked')::float8 as count`,
  );
  return rows[0].count;
}

/** Mails that are planned, and not in the search yet. */
async function unsearched(pool) {
  const { rows } = await pool.query(
    `select coalesce(sum(r.planned - coalesce(c.filled, 0)), 0)::float8 as count
       from reader r left join search_cursor c using (tenant, channel)`,
  );
  return rows[0].count;
}

/** How many were set aside for a time, since a try took too long. */
async function parked(pool) {
  const { rows } = await pool.query(`select count(*)::float8 as count from plan where kind = 'extra'`);
  return rows[0].count;
}

async function parse(count) {
  const mails = Array.from({ length: count }, anyMail);
  const begun = performance.now();
  for (const raw of mails) await simpleParser(raw);
  return perSecond(count, performance.now() - begun);
}
