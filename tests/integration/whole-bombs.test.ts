import { createTransport } from 'nodemailer';
import pg from 'pg';
import { expect, test } from 'vitest';
import { BOMBS } from '../fixtures/bombs/index.js';
import { check } from '../support/checker.js';
import { median } from '../support/median.js';
import { type Seeded, seeded } from '../support/seeded.js';
import { until } from '../support/until.js';
import { install, type Waybill } from '../support/waybill.js';

/*
 * One mail in a hundred is made to stop parsers, and all others go on as if it were not there. Here a few hundred; with
 * WAYBILL_LONG=1 thousands, in turns with as many of which none is, and what that costs is held to its bounds.
 */

const LONG = process.env.WAYBILL_LONG === '1';
const SEED = Number(process.env.WAYBILL_SEED ?? Date.now() % 1_000_000);
const MAILS = LONG ? 4_000 : 300;
const ROUNDS = LONG ? 3 : 1;
const CONNECTIONS = 20;

const CONFIG = {
  smtp: { maxConnectionsPerPeer: 100, maxMessage: '30 MB' },
  content: { children: 2 },
  sources: { mail: { kind: 'mail', addresses: ['@bombs.example'] } },
  targets: { archive: { kind: 'pull' } },
};
const RULES = 'rules:\n  - { name: all, when: { kind: mail }, then: { targets: archive } }\n';

interface Load {
  /** Normal mails a second, from the first one sent to the last one decided. */
  readonly rate: number;
  /** Of normal mails, from arrival to decision, in ms. */
  readonly p99: number;
}

/** About 30 kB: a text, HTML and a file. */
function normalMail(n: number): Buffer {
  const line = 'A line of text that is seventy characters long, near enough to be so.\r\n';
  const file = Buffer.alloc(16_000, `${n} `).toString('base64').replace(/.{76}/g, '$&\r\n');
  return Buffer.from(
    `From: anna@example.com\r\nSubject: mail ${n}\r\nDate: Tue, 1 Jul 2025 10:00:00 +0000\r\nMIME-Version: 1.0\r\n` +
      'Content-Type: multipart/mixed; boundary=x\r\n\r\n' +
      `--x\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n${line.repeat(30)}\r\n` +
      `--x\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<p>${line.repeat(60)}</p>\r\n` +
      `--x\r\nContent-Type: application/pdf; name=a.pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n${file}\r\n--x--\r\n`,
  );
}

/** So many normal mails to accounts of `name`, and bombs among them, each once. */
async function send(waybill: Waybill, name: string, share: number, random: Seeded): Promise<void> {
  const transport = createTransport({
    ...waybill.smtp,
    pool: true,
    maxConnections: CONNECTIONS,
    maxMessages: Infinity,
  });
  const mails = Array.from({ length: MAILS }, (_, n) => n);
  async function lane(): Promise<void> {
    for (let n = mails.shift(); n !== undefined; n = mails.shift()) {
      if (random.below(10_000) < share * 10_000) await sendOne(bombOf(random), `bomb-${name}@bombs.example`);
      await sendOne(normalMail(n), `${name}-${n % 500}@bombs.example`);
    }
  }
  const sendOne = (raw: Buffer, to: string) => transport.sendMail({ envelope: { from: 'a@example.com', to }, raw });
  await Promise.all(Array.from({ length: CONNECTIONS }, lane));
  transport.close();
}

function bombOf(random: Seeded): Buffer {
  const size = random.pick(LONG ? [1e3, 1e4, 1e5, 1e6] : [1e3, 1e5, 5e5]);
  return random.pick(BOMBS).make(size, random);
}

async function loadOf(client: pg.Client, name: string): Promise<Load> {
  const { rows } = await client.query<{ seconds: number; p99: number; count: number }>(
    `select extract(epoch from max(read_at) - min(arrived_at))::float8 as seconds, count(*)::int as count,
       1000 * percentile_cont(0.99) within group (order by extract(epoch from read_at - arrived_at))::float8 as p99
     from (select m.arrived_at, max(p.planned_at) as read_at
       from message m join plan p on p.tenant = m.tenant and p.channel = m.channel
         and m.sequence between p.first_sequence and p.last_sequence
       where m.account like $1 group by m.channel, m.sequence, m.arrived_at) m`,
    [`${name}-%`],
  );
  const [{ seconds, p99, count } = { seconds: 0, p99: 0, count: 0 }] = rows;
  expect(count).toBe(MAILS);
  return { rate: count / seconds, p99 };
}

/** Until every message has been decided, those that were set aside, too. */
async function untilRead(client: pg.Client): Promise<void> {
  const open = `select (select count(*) from channel c join reader r using (tenant, channel)
      where c.last_sequence > r.planned)::int as unplanned,
    (select count(*) from standing where state = 'parked')::int as parked`;
  await until(
    async () => {
      const { rows } = await client.query<{ unplanned: number; parked: number }>(open);
      return rows[0]?.unplanned === 0 && rows[0].parked === 0;
    },
    'everything to be read',
    LONG ? 300_000 : 60_000,
  );
}

/** Mails that were not read whole, by account. */
async function lowered(client: pg.Client, name: string): Promise<number> {
  const { rows } = await client.query<{ n: number }>(
    `select count(*)::int as n from message m left join view v on v.generation = m.generation and v.tenant = m.tenant
       and v.channel = m.channel and v.sequence = m.sequence
     where m.account like $1 and v.rung is distinct from 0`,
    [`${name}-%`],
  );
  return rows[0]?.n ?? 0;
}

test(
  `one bomb in a hundred mails stops none of the others (seed ${SEED})`,
  async () => {
    const random = seeded(SEED);
    const site = await install({ config: CONFIG, rules: RULES });
    const waybill = await site.start();
    const client = new pg.Client({ connectionString: site.databaseUrl, options: '-c search_path=waybill' });
    await client.connect();
    const without: Load[] = [];
    const beside: Load[] = [];
    try {
      if (LONG) for (const name of ['warm', 'warmer']) await send(waybill, name, 0, random);
      await untilRead(client);
      for (let round = 0; round < ROUNDS; round++) {
        for (const share of round % 2 === 0 ? [0, 0.01] : [0.01, 0]) {
          const name = `${share > 0 ? 'with' : 'none'}${round}`;
          await send(waybill, name, share, random);
          await untilRead(client);
          (share > 0 ? beside : without).push(await loadOf(client, name));
          expect(await lowered(client, name)).toBe(0);
        }
      }
    } finally {
      await client.end();
    }
    const books = await check(site.databaseUrl);
    // Nobody fetches them.
    expect(books.violations.filter((violation) => !violation.includes('still waits'))).toEqual([]);
    expect(waybill.running).toBe(true);
    const states = await waybill.call('GET', '/v1/quarantine');
    expect(states.json.items, 'each bomb has a view').toEqual([]);
    expect(await waybill.stop()).toMatchObject({ code: 0 });
    if (!LONG) return;
    const rates = beside.map(({ rate }, i) => rate / (without[i] as Load).rate);
    const tails = beside.map(({ p99 }, i) => p99 / (without[i] as Load).p99);
    console.info({ without, beside, rates, tails });
    expect(median(rates)).toBeGreaterThanOrEqual(0.8);
    expect(median(tails)).toBeLessThanOrEqual(2);
  },
  LONG ? 600_000 : 120_000,
);
