import { createHash } from 'node:crypto';
import { Agent } from 'node:http';
import { batch, post } from '../events.mjs';
import { abreast, atLeast, compared, inTurn, median, PAIRS, perSecond, tenths } from '../measure.mjs';
import { startStack } from '../stack.mjs';

const PER_REQUEST = 1000;
const ABREAST = 8;

/**
 * What accepting alone costs: the process has no owner, whose reading on is part of the end-to-end row.
 * Events over HTTP as NDJSON, until each is de-duplicated, sequenced and on disk; against the same rows put into the
 * same tables with the same indexes by the bare driver, a thousand a statement, over one connection.
 */
export async function run({ scale }) {
  const stack = await startStack({ rabbitmq: false, roles: 'ingress,web' });
  const pool = stack.pool();
  try {
    const requests = Math.ceil(100 * scale);
    const costs = [];
    // A process that has just started is slow until its code is compiled.
    await accept([stack], requests);
    const figures = await inTurn(
      PAIRS,
      async () => {
        const before = stack.cpuMs();
        const figure = await accept([stack], requests);
        costs.push((stack.cpuMs() - before) / requests);
        return figure;
      },
      () => insert(pool, requests),
    );
    const found = compared(figures);
    return {
      row: 'batch accept: HTTP NDJSON → de-duplicated, sequenced, fsynced',
      unit: 'events/s',
      ...found,
      limitIs: 'the same rows inserted by the bare driver',
      goals: [atLeast('ratio', found.ratio, 1.0)],
      also: { nodeMicrosPerEvent: tenths(median(costs)) },
    };
  } finally {
    await stack.stop();
  }
}

/** Events a second that are accepted of so many requests, which go to all `doors` in turn. */
export async function accept(doors, requests) {
  const agent = new Agent({ keepAlive: true, maxSockets: ABREAST });
  const bodies = Array.from({ length: requests }, () => batch(PER_REQUEST));
  const begun = performance.now();
  await abreast(
    ABREAST,
    bodies.map(
      (body, i) => () => post(`${doors[i % doors.length].http}/v1/events`, agent, body, 'application/x-ndjson'),
    ),
  );
  const took = performance.now() - begun;
  agent.destroy();
  return perSecond(requests * PER_REQUEST, took);
}

/** A tenant that is none of the product's: its rows lie in the same tables and indexes, and nobody reads them. */
const NOBODY = 2_000_000_000;

let sequence = 0;

/** Events a second that the bare driver inserts of so many thousands. */
export async function insert(pool, requests) {
  const bodies = Array.from({ length: requests }, () =>
    batch(PER_REQUEST)
      .toString()
      .split('\n')
      .map((line) => Buffer.from(line)),
  );
  const client = await pool.connect();
  const begun = performance.now();
  for (const lines of bodies) await insertOne(client, lines);
  const took = performance.now() - begun;
  client.release();
  return perSecond(requests * PER_REQUEST, took);
}

/** One transaction: two statements with an array a column, as the driver takes them. Bytes go as one Buffer. */
async function insertOne(client, lines) {
  const events = lines.map((line) => JSON.parse(line));
  const sha = lines.map((line) => createHash('sha256').update(line).digest());
  const sequences = lines.map(() => ++sequence);
  const channels = lines.map((_, i) => i % 16);
  const lengths = lines.map((line) => line.length);
  let end = 0;
  const offsets = lengths.map((length) => {
    end += length;
    return end - length;
  });
  await client.query('begin');
  await client.query({
    name: 'bench-key',
    text: `insert into key (generation, tenant, fingerprint, channel, sequence, digest)
      select 1, ${NOBODY}, substr($1::bytea, (i.n::int - 1) * 32 + 1, 16), i.channel, i.sequence,
        substr($1::bytea, (i.n::int - 1) * 32 + 1, 24)
      from unnest($2::smallint[], $3::bigint[]) with ordinality as i(channel, sequence, n)`,
    values: [Buffer.concat(sha), channels, sequences],
  });
  await client.query({
    name: 'bench-message',
    text: `insert into message (generation, tenant, channel, sequence, source, kind, account, type, external_id,
        value, event_time, arrived_at, peer, meta, sha256, batch, raw)
      select 1, ${NOBODY}, i.channel, i.sequence, 1, 'event', i.account, i.type, i.id, i.value, i.time, i.arrived, 'admin token',
        null, substr($1::bytea, (i.n::int - 1) * 32 + 1, 32), 1, substr($2::bytea, i.at + 1, i.length)
      from unnest($3::smallint[], $4::bigint[], $5::text[], $6::text[], $7::text[], $8::text[], $9::timestamptz[],
        $10::timestamptz[], $11::int[], $12::int[]) with ordinality
        as i(channel, sequence, account, type, id, value, time, arrived, at, length, n)`,
    values: [
      Buffer.concat(sha),
      Buffer.concat(lines),
      channels,
      sequences,
      events.map((event) => event.subject),
      events.map((event) => event.type),
      events.map((event) => event.id),
      events.map((event) => String(event.data.amount)),
      events.map((event) => event.time),
      events.map((event) => event.time),
      offsets,
      lengths,
    ],
  });
  await client.query('commit');
}
