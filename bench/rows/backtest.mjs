import { request } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { post } from '../events.mjs';
import { atLeast, atMost, compared, inTurn, percentile, perSecond, tenths, until } from '../measure.mjs';
import { filtersReady, prepared } from '../prepared.mjs';
import { startStack, TOKEN } from '../stack.mjs';

const MESSAGES = 1_000_000;

/** Rules that read what is in the events, and rules that read their envelopes alone. */
const RULE_SETS = {
  data: `
rules:
  - { name: advertising, when: { subject: [{ prefix: "BUY" }] }, then: { close: advertising } }
  - { name: large, when: { data.amount: [{ numeric: [">", 90] }] }, then: { targets: [archive] } }
  - { name: refunds, when: { type: [refund.issued] }, then: { targets: [archive] } }
  - { name: east, when: { data.region: [{ wildcard: "*-east-*" }] }, then: { targets: [archive] } }
  - { name: broken, when: { defects: [json_malformed] }, then: { close: broken } }
  - { name: usage, when: { kind: [event] }, then: { targets: [erp] } }
`,
  envelope: `
rules:
  - { name: one, when: { account: [account-77, account-78] }, then: { targets: [archive] } }
  - { name: usage, when: { type: [usage.recorded] }, then: { targets: [erp] } }
`,
};

/** What other rules would have made of a million stored events, while the process answers others; against a bare driver. */
export async function run({ scale, cache }) {
  const count = Math.ceil(MESSAGES * scale);
  const stack = await startStack({ rabbitmq: false, dataDir: await prepared(count, { cache }) });
  const pool = stack.pool();
  try {
    await until(() => filtersReady(stack), 'the filters', 100);
    const rows = [];
    for (const [name, text] of Object.entries(RULE_SETS)) rows.push(await row(stack, pool, name, text));
    return rows;
  } finally {
    await stack.stop();
  }
}

async function row(stack, pool, name, text) {
  const memory = [];
  const waits = [];
  const idle = [];
  const found = compared(
    await inTurn(
      3,
      async () => {
        const watch = watched(stack, memory, waits);
        const from = performance.now();
        const answer = await post(`${stack.http}/v1/rules/backtest`, undefined, body(text), 'application/json');
        const ms = performance.now() - from;
        await watch();
        const result = JSON.parse(answer.trimEnd().split('\n').at(-1));
        if (result.event !== 'result') throw new Error(`the backtest was cut off: ${answer.slice(-500)}`);
        return perSecond(result.messages, ms);
      },
      async () => {
        // What others wait while the process has nothing to do, for comparison.
        const watch = watched(stack, memory, idle);
        const rate = await bareDriver(pool, name);
        await watch();
        return rate;
      },
    ),
  );
  return {
    row: `backtest of stored events, rules on their ${name}`,
    unit: 'messages/s',
    ...found,
    limitIs: name === 'data' ? 'the bare driver and JSON.parse' : 'the bare driver',
    goals: [
      atLeast('messages/s', found.figure, 50_000),
      atMost('99 % of others wait, ms', percentile(waits, 0.99), 50),
    ],
    also: {
      longestWaitMs: tenths(Math.max(...waits)),
      withoutMs: { p99: tenths(percentile(idle, 0.99)), longest: tenths(Math.max(...idle)) },
      rssMB: memory.map(Math.round),
    },
  };
}

function body(text) {
  return Buffer.from(JSON.stringify({ text }));
}

/** Asks something that needs nothing but a turn of the event loop, every few milliseconds, until it is told to stop. */
function watched(stack, memory, waits) {
  let going = true;
  const watching = (async () => {
    for (let n = 0; going; n++) {
      const from = performance.now();
      await ping(`${stack.http}/healthz`);
      waits.push(performance.now() - from);
      if (n % 400 === 0) memory.push(stack.rssMB());
      await sleep(5);
    }
  })();
  return async () => {
    going = false;
    await watching;
  };
}

function ping(url) {
  return new Promise((resolve, reject) => {
    const outgoing = request(url, { headers: { authorization: `Bearer ${TOKEN}` } }, (response) => {
      response.resume().on('end', resolve);
    });
    outgoing.on('error', reject).end();
  });
}

/** The same messages, all columns that are needed, channel by channel. */
async function bareDriver(pool, name) {
  const { rows: spans } = await pool.query(
    `select s.tenant, s.channel, s.generation, s.first_sequence::float8 as first,
       coalesce(lead(s.first_sequence) over (partition by s.tenant, s.channel order by s.first_sequence) - 1,
         c.last_sequence)::float8 as last
     from span s join channel c using (tenant, channel)`,
  );
  const columns = name === 'data' ? 'sequence, type, raw' : 'sequence, account, type';
  const from = performance.now();
  let read = 0;
  for (const { tenant, channel, generation, first, last } of spans) {
    for (let at = first; at <= last; at += 2000) {
      const { rows } = await pool.query(
        `select ${columns} from message where generation = $1 and tenant = $2 and channel = $3
          and sequence between $4 and $5 order by sequence limit 2000`,
        [generation, tenant, channel, at, Math.min(at + 1999, last)],
      );
      if (name === 'data') for (const { raw } of rows) JSON.parse(raw);
      read += rows.length;
    }
  }
  return perSecond(read, performance.now() - from);
}
