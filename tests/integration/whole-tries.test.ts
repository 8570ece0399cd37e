import { readFile } from 'node:fs/promises';
import pg from 'pg';
import { expect, test } from 'vitest';
import { Wire } from '../ingress/smtp-harness.js';
import { check, compareReceipts, untilSettled } from '../support/checker.js';
import { pullAll } from '../support/consumers.js';
import { until } from '../support/until.js';
import { install, type Waybill } from '../support/waybill.js';

/*
 * The whole program dies while mails are tried. Its children are stopped first, so that the tries stay open for as long as
 * it takes to see them and to kill.
 */

const ACCOUNTS = ['anna', 'bert', 'carla'];
const CHILDREN = 2;
const KILLS = 3;

const CONFIG = {
  // A killed process is missed sooner than usual, so that the test is shorter.
  lease: { beatMs: 200, lostAfterMs: 1_000 },
  content: { children: CHILDREN },
  sources: { mail: { kind: 'mail', addresses: ['@tries.example'] } },
  targets: { archive: { kind: 'pull' } },
};
const RULES = 'rules:\n  - { name: all, when: { kind: mail }, then: { targets: archive } }\n';

interface Try {
  readonly id: number;
  readonly account: string;
  readonly rung: number;
  readonly outcome: string | null;
}

/** The processes that it has started. */
async function childrenOf({ pid }: Waybill): Promise<number[]> {
  const text = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8');
  return text.split(' ').filter(Boolean).map(Number);
}

async function send(waybill: Waybill): Promise<void> {
  const wire = await Wire.greeted(waybill.smtp.port);
  for (const account of ACCOUNTS) {
    await wire.envelope('sender@elsewhere.example', `${account}@tries.example`);
    const mail = `From: sender@elsewhere.example\r\nSubject: to ${account}\r\nDate: Tue, 1 Jul 2025 10:00:00 +0000\r\n\r\nHello ${account}.\r\n`;
    expect(await wire.body(Buffer.from(mail))).toMatch(/^250 2\.0\.0 Ok: queued as /);
  }
  wire.socket.end();
}

async function triesOf(client: pg.Client): Promise<Try[]> {
  const { rows } = await client.query<Try>(
    `select a.id::int as id, split_part(m.account, '@', 1) as account, a.rung, a.outcome from attempt a
     join message m on m.tenant = a.tenant and m.channel = a.channel
       and m.sequence between a.first_sequence and a.last_sequence order by a.id`,
  );
  return rows;
}

test('mails that are tried when the program dies are tried again alone, and the third time lower', async () => {
  const site = await install({ config: CONFIG, rules: RULES });
  const client = new pg.Client({ connectionString: site.databaseUrl, options: '-c search_path=waybill' });
  let sent = false;
  let newest = 0;
  let waybill = await site.start();
  await client.connect();
  try {
    for (let kill = 0; kill < KILLS; kill++) {
      const stopped = new Set<number>();
      const tries = await until(async () => {
        for (const pid of await childrenOf(waybill)) {
          if (stopped.size === stopped.add(pid).size) continue;
          process.kill(pid, 'SIGSTOP');
        }
        if (kill === 0 && stopped.size >= CHILDREN && !sent) {
          sent = true;
          await send(waybill);
        }
        const begun = (await triesOf(client)).filter(({ id }) => id > newest);
        // The others may not have had their turn yet.
        const all =
          kill === 0 ? begun.length === ACCOUNTS.length : begun.some(({ account }) => account === ACCOUNTS[0]);
        return all && begun;
      }, 'tries to be open');
      expect(tries.every(({ rung, outcome }) => rung === 0 && outcome === null)).toBe(true);
      newest = Math.max(...tries.map(({ id }) => id));
      const killed = waybill.kill();
      // One that was stopped before it had become another program still holds what Waybill writes to.
      for (const pid of stopped) process.kill(pid, 'SIGKILL');
      await killed;
      waybill = await site.start();
    }
    await untilSettled(site.databaseUrl, { mayWait: ['default/archive'] });
    const receipts = await pullAll(waybill, 'archive');
    await untilSettled(site.databaseUrl);
    const books = await check(site.databaseUrl);
    expect(books.violations).toEqual([]);
    const compared = compareReceipts(books, { tenant: 'default', target: 'archive' }, receipts);
    expect(compared).toMatchObject({ violations: [], distinct: ACCOUNTS.length });
    expect(receipts).toHaveLength(ACCOUNTS.length);
    const tried = await triesOf(client);
    const interruptions = ACCOUNTS.map((account) => {
      const own = tried.filter((one) => one.account === account);
      const [last, ...before] = own.reverse();
      expect(before.every(({ outcome, rung }) => outcome === 'interrupted' && rung === 0)).toBe(true);
      expect(last).toMatchObject({ outcome: 'processed' });
      // Chance has it that a process dies twice.
      expect((last as Try).rung > 0).toBe(before.length >= 3);
      return before.length;
    });
    expect(Math.max(...interruptions)).toBe(KILLS);
  } finally {
    await client.end();
  }
}, 180_000);
