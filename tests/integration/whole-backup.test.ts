import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import pg from 'pg';
import { expect, onTestFinished, test } from 'vitest';
import { type Books, check, compareReceipts, type Receipt, untilSettled } from '../support/checker.js';
import { pullAll, receiveHooks } from '../support/consumers.js';
import { documentedConsumer } from '../support/documented-consumer.js';
import { builtProgram } from '../support/program.js';
import { proxied } from '../support/proxy.js';
import { inLanes, Ledger, type SentEvent, sendEvents } from '../support/sending.js';
import { until } from '../support/until.js';
import { type Installation, install, type Waybill } from '../support/waybill.js';

/*
 * Backup and restore as an administrator does them. WAYBILL_LONG=1 backs up under a load of 5,000 events a second and
 * more.
 */

const long = process.env.WAYBILL_LONG === '1';
const CONFIG = {
  lease: { beatMs: 200, lostAfterMs: 1_000 },
  sources: { feed: { kind: 'events' } },
};

/** A consumer as docs/consumer.md asks for one. */
class Marks {
  readonly #lines = new Map<string, { mark: number; gaps: Set<number> }>();
  /** Those that were new, by epoch. */
  readonly taken = new Map<number, string[]>();
  #read = 0;

  /** What of `receipts` was not looked at before. */
  read(receipts: readonly Receipt[]): this {
    for (const receipt of receipts.slice(this.#read)) this.#take(receipt);
    this.#read = receipts.length;
    return this;
  }

  #take({ epoch, channel, number, externalId }: Receipt): void {
    const key = `${epoch}/${channel}`;
    const line = this.#lines.get(key) ?? { mark: 0, gaps: new Set() };
    this.#lines.set(key, line);
    if (number <= line.mark && !line.gaps.delete(number)) return;
    for (; line.mark + 1 < number; line.mark++) line.gaps.add(line.mark + 1);
    line.mark = Math.max(line.mark, number);
    this.taken.set(epoch, [...(this.taken.get(epoch) ?? []), String(externalId)]);
  }

  /** Numbers of an epoch that are missing. */
  gaps(epoch: number): string[] {
    return [...this.#lines].flatMap(([key, { gaps }]) =>
      key.startsWith(`${epoch}/`) ? [...gaps].map((gap) => `${key}-${gap}`) : [],
    );
  }
}

test("after restoring yesterday's backup every consumer takes what is new, also the second time", async () => {
  const [crm, later] = [await receiveHooks(), await receiveHooks()];
  const hook = { kind: 'webhook', allowPrivateAddresses: true };
  const site = await install({
    config: {
      ...CONFIG,
      targets: {
        erp: { kind: 'queue' },
        archive: { kind: 'pull' },
        crm: { ...hook, url: crm.url },
        later: { ...hook, url: later.url },
      },
    },
    rules: 'rules:\n  - { name: all, when: { kind: event }, then: { targets: [erp, archive, crm, later] } }\n',
    broker: true,
  });
  const file = join(site.directory, 'yesterday.backup');
  let waybill = await site.start();
  const erp = await runConsumer(site);
  const archived: Receipt[] = [];
  const consumers = { archive: new Marks(), crm: new Marks(), later: new Marks() };
  const send = async (events: readonly SentEvent[]) => {
    const ledger = new Ledger();
    await sendAll(waybill, events, ledger);
    expect(ledger.violations).toEqual([]);
    return ledger.tally;
  };
  /** Everybody has got what there was; `later` only once it is allowed to. */
  const consumed = async (mayWait: readonly string[] = []) => {
    await untilSettled(site.databaseUrl, { mayWait: ['default/archive', ...mayWait] });
    archived.push(...(await pullAll(waybill, 'archive')));
    await untilSettled(site.databaseUrl, { mayWait });
    consumers.archive.read(archived);
    consumers.crm.read(crm.taken);
    consumers.later.read(later.taken);
  };

  // Yesterday. One target is paused, and so has old numbers waiting in the backup; some wait to be fetched.
  await waybill.call('POST', '/v1/targets/later/pause', { json: {} });
  const [monday, unfetched] = [numbered(200, 'monday'), numbered(40, 'unfetched')];
  await send(monday);
  await consumed(['default/later']);
  await send(unfetched);
  await untilSettled(site.databaseUrl, { mayWait: ['default/later', 'default/archive'] });
  const backup = await site.run(['backup', '--json', file]);
  expect(backup).toMatchObject({ code: 0 });
  expect(JSON.parse(backup.stdout)).toMatchObject({ messages: 240, epoch: 1 });

  // Today, and then it is lost.
  const tuesday = numbered(100, 'tuesday');
  await send(tuesday);
  await consumed(['default/later']);
  await erp.reached(340);
  await waybill.stop();
  const refused = await site.run(['restore', '--json', file]);
  expect(refused).toMatchObject({ code: 1, stdout: '' });
  expect(JSON.parse(refused.stderr)).toMatchObject({ error: { code: 'installation_exists' } });

  const yesterday = [...monday, ...unfetched].map(({ key }) => key).sort();
  let erpTotal = 340;
  let epoch = 1;
  let fresh: SentEvent[] = [];
  for (const round of ['first', 'second']) {
    const restored = await site.run(['restore', '--replace', '--json', file]);
    expect(restored, restored.stderr).toMatchObject({ code: 0 });
    const before = epoch;
    ({ epoch } = JSON.parse(restored.stdout) as { epoch: number });
    expect(epoch).toBeGreaterThan(before);
    waybill = await site.start();

    // Sources send again what came after the backup, as far as they can, and what is new; and something old besides.
    fresh = [...tuesday.slice(0, 50), ...fresh.slice(-30), ...numbered(100, round)];
    expect(await send([...fresh, ...monday.slice(0, 20)])).toEqual({
      sequenced: fresh.length,
      duplicate: 20,
      conflict: 0,
    });
    await waybill.call('POST', '/v1/targets/later/resume', { json: {} });
    await consumed();
    erpTotal += fresh.length;
    await erp.reached(erpTotal);

    const wanted = fresh.map(({ key }) => key).sort();
    for (const [name, marks] of Object.entries(consumers)) {
      expect([...(marks.taken.get(epoch) ?? [])].sort(), name).toEqual(wanted);
      expect(marks.gaps(epoch), name).toEqual([]);
    }
    expect(await erp.linesOf(epoch)).toMatchObject({ marks: fresh.length, gaps: 0 });
    // What had waited in the backup went out under the numbers it had been given.
    expect([...(consumers.later.taken.get(1) ?? [])].sort()).toEqual(yesterday);
    expect(consumers.later.gaps(1)).toEqual([]);

    const books = await check(site.databaseUrl);
    expect(books.violations).toEqual([]);
    for (const [target, receipts] of [
      ['archive', archived],
      ['crm', crm.taken],
      ['later', later.taken],
    ] as const) {
      const compared = compareReceipts(books, { tenant: 'default', target }, stillBooked(books, receipts, epoch));
      expect(compared.violations, target).toEqual([]);
    }
    const verified = await site.run(['verify', '--json'], {
      WAYBILL_URL: waybill.http,
      WAYBILL_TOKEN: site.adminToken,
    });
    expect(verified, verified.stdout).toMatchObject({ code: 0 });
    await waybill.stop();
  }
}, 180_000);

/** What was got since the restore, and before it as far as the books go back. */
function stillBooked(books: Books, receipts: readonly Receipt[], epoch: number): Receipt[] {
  return receipts.filter(
    (receipt) =>
      receipt.epoch === epoch ||
      books.deliveries.has(`default/${receipt.target}/${receipt.epoch}/${receipt.channel}-${receipt.number}`),
  );
}

interface ConsumerState {
  readonly totals: Readonly<Record<string, number>>;
  readonly seen: Readonly<Record<string, { readonly mark: number; readonly gaps: readonly number[] }>>;
}

/** The consumer of docs/consumer.md, on the queue of target `erp`, until the test ends. */
async function runConsumer(site: Installation) {
  const { file, directory } = await documentedConsumer();
  const state = join(directory, 'state.json');
  const env = { ...process.env, AMQP_URL: site.vhost.url, QUEUE: 'waybill.default.erp', STATE: state };
  const child = spawn(process.execPath, [file], { env, stdio: 'inherit' });
  onTestFinished(async () => {
    child.kill('SIGKILL');
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
  });
  const read = async (): Promise<ConsumerState> =>
    JSON.parse(await readFile(state, 'utf8').catch(() => '{"totals":{},"seen":{}}'));
  /** Every event is worth 12.5. */
  const counted = async () => Object.values((await read()).totals).reduce((sum, one) => sum + one, 0) / 12.5;
  return {
    async reached(events: number): Promise<void> {
      await until(async () => (await counted()) >= events, `the consumer to count ${events} events`);
      expect(await counted()).toBe(events);
    },
    async linesOf(epoch: number) {
      const lines = Object.entries((await read()).seen).filter(([key]) => key.startsWith(`${epoch}/`));
      return {
        marks: lines.reduce((sum, [, { mark }]) => sum + mark, 0),
        gaps: lines.reduce((sum, [, { gaps }]) => sum + gaps.length, 0),
      };
    },
  };
}

test('a backup under load is of one moment: nothing acknowledged before is missing, and the books are right', async () => {
  const given = {
    config: { ...CONFIG, targets: { erp: { kind: 'queue' }, archive: { kind: 'pull' } } },
    rules: 'rules:\n  - { name: all, when: { kind: event }, then: { targets: [erp, archive] } }\n',
    broker: true,
  };
  const [site, other] = [await install(given), await install(given)];
  const file = join(site.directory, 'loaded.backup');
  const waybill = await site.start();
  const ledger = new Ledger();
  const sent: SentEvent[] = [];
  let ended = false;
  const load = inLanes(
    4,
    Array.from({ length: 4 }, (_, lane) => async () => {
      for (let batch = 0; !ended; batch++) {
        const events = numbered(500, `${lane}-${batch}`);
        sent.push(...events);
        ledger.note(events, await sendEvents(waybill, events));
      }
    }),
  );
  await until(() => ledger.tally.sequenced >= (long ? 100_000 : 5_000), 'the load to be on', 60_000);
  const acknowledged = new Map(ledger.messages);
  const begun = performance.now();
  const backup = await site.run(['backup', '--json', file]);
  const seconds = (performance.now() - begun) / 1000;
  const during = ledger.messages.size - acknowledged.size;
  ended = true;
  await load;
  expect(backup, backup.stderr).toMatchObject({ code: 0 });
  const { messages } = JSON.parse(backup.stdout) as { messages: number };
  const rate = Math.round(during / seconds);
  console.info(`backup of ${messages} messages in ${seconds.toFixed(1)} s, while ${rate} events/s were accepted`);
  if (long) expect(rate).toBeGreaterThanOrEqual(5_000);
  expect(messages).toBeGreaterThanOrEqual(acknowledged.size);
  expect(ledger.violations).toEqual([]);
  await waybill.kill();

  // Killed in the middle, a restore has left nothing.
  await killRestore(other, file);
  expect(await schemasOf(other.databaseUrl)).toEqual([]);
  const restored = await other.run(['restore', '--json', file]);
  expect(restored, restored.stderr).toMatchObject({ code: 0 });
  const copy = await other.start();
  const again = new Ledger();
  await sendAll(copy, sent, again);
  expect(again.violations).toEqual([]);
  expect(again.tally).toEqual({ sequenced: sent.length - messages, duplicate: messages, conflict: 0 });
  for (const [key, message] of acknowledged) {
    if (again.messages.get(key) !== message) expect.fail(`${key} is ${again.messages.get(key)}, and was ${message}`);
  }
  const mayWait = ['default/archive'];
  await untilSettled(other.databaseUrl, { mayWait });
  const books = await check(other.databaseUrl, { mayWait });
  expect(books.violations).toEqual([]);
  expect(books.messages.size).toBe(sent.length);
}, 300_000);

async function killRestore(site: Installation, file: string): Promise<void> {
  // A part of the messages, and no more.
  const proxy = await proxied(site.databaseUrl, { freezesAfter: 500_000 });
  const env = { ...process.env, WAYBILL_CONFIG: join(site.directory, 'waybill.yaml'), DATABASE_URL: proxy.url };
  const child = spawn(process.execPath, [await builtProgram(), 'restore', file], { env, stdio: 'ignore' });
  const gone = once(child, 'exit');
  const copying = `select from pg_stat_activity where application_name = 'waybill restore' and query like 'copy %'
    and datname = current_database()`;
  await until(async () => (await query(site.databaseUrl, copying)).length > 0, 'the restore to load');
  child.kill('SIGKILL');
  expect(await gone).toEqual([null, 'SIGKILL']);
  await proxy.close();
  const there = `select from pg_stat_activity where application_name = 'waybill restore' and datname = current_database()`;
  await until(async () => (await query(site.databaseUrl, there)).length === 0, 'the server to undo it');
}

async function schemasOf(url: string): Promise<unknown[]> {
  return query(url, `select nspname from pg_namespace where nspname = 'waybill'`);
}

async function query(url: string, sql: string): Promise<unknown[]> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return (await client.query(sql)).rows;
  } finally {
    await client.end();
  }
}

test('the embedded database is backed up while Waybill runs and while it does not, and restored elsewhere', async () => {
  const config = { ...CONFIG, targets: { archive: { kind: 'pull' } } };
  const rules = 'rules:\n  - { name: all, when: { kind: event }, then: { targets: archive } }\n';
  const site = await install({ config, rules, database: 'embedded' });
  const [running, stopped] = [join(site.directory, 'running'), join(site.directory, 'stopped')];
  const none = await site.run(['backup', running]);
  expect(none).toMatchObject({ code: 1, stdout: '' });
  expect(none.stderr).toContain('There is no database');

  const waybill = await site.start();
  await sendEvents(waybill, numbered(30, 'a'));
  expect(await site.run(['backup', running])).toMatchObject({ code: 0 });
  expect((await stat(running)).mode & 0o777).toBe(0o600);
  await sendEvents(waybill, numbered(30, 'b'));
  const inUse = await site.run(['restore', '--replace', running]);
  expect(inUse).toMatchObject({ code: 1, stdout: '' });
  expect(inUse.stderr).toMatch(/in use by another Waybill \(process \d+\)/);
  expect(await waybill.stop()).toMatchObject({ code: 0 });
  const taken = await site.run(['backup', '--json', stopped]);
  expect(JSON.parse(taken.stdout)).toMatchObject({ messages: 60, file: stopped });

  expect(await site.run(['restore', '--check', stopped])).toMatchObject({ code: 0 });
  const elsewhere = { WAYBILL_DATA: join(site.directory, 'elsewhere') };
  const restored = await site.run(['restore', running], elsewhere);
  expect(restored, restored.stderr).toMatchObject({ code: 0 });
  expect(restored.stdout).toContain('restored 30 messages');
  expect(restored.stderr).toMatch(/Epoch \d+ begins.*tokens.*revoke.*again/s);
  const copy = await site.start(elsewhere);
  const answers = await sendEvents(copy, [...numbered(30, 'a'), ...numbered(30, 'b')]);
  expect(answers.map(({ verdict }) => verdict)).toEqual([
    ...Array(30).fill('duplicate'),
    ...Array(30).fill('sequenced'),
  ]);
  const pulled: unknown[] = [];
  // What has just been accepted is planned a moment later.
  await until(async () => pulled.push(...(await pullAll(copy, 'archive'))) >= 60, 'everything to be pulled');
  expect(pulled).toHaveLength(60);
  expect(await copy.stop()).toMatchObject({ code: 0 });
}, 180_000);

test('a backup goes through a pipe, and nothing but the backup', async () => {
  const site = await install({ config: { ...CONFIG, targets: {} } });
  await (await site.start()).stop();
  const program = await builtProgram();
  const file = join(site.directory, 'piped');
  const env = { ...process.env, WAYBILL_CONFIG: join(site.directory, 'waybill.yaml'), DATABASE_URL: site.databaseUrl };
  const piped = spawn('sh', ['-c', '"$0" "$1" backup - --json | cat > "$2"', process.execPath, program, file], {
    env,
    stdio: ['ignore', 'inherit', 'pipe'],
  });
  await once(piped, 'exit');
  expect(await site.run(['restore', '--check', file])).toMatchObject({ code: 0 });
  // Whoever reads it goes away.
  const cut = spawn('sh', ['-c', '"$0" "$1" backup - | head -c 10 > /dev/null', process.execPath, program], {
    env,
    stdio: ['ignore', 'inherit', 'pipe'],
  });
  await once(cut, 'exit');
}, 180_000);

test('a process that was away while a backup was restored gives no old number to anything, and ends', async () => {
  const site = await install({
    config: { ...CONFIG, targets: { archive: { kind: 'pull' } } },
    rules: 'rules:\n  - { name: all, when: { kind: event }, then: { targets: archive } }\n',
  });
  const file = join(site.directory, 'backup');
  const proxy = await proxied(site.databaseUrl);
  onTestFinished(() => proxy.close());
  const waybill = await site.start({ DATABASE_URL: proxy.url });
  await sendEvents(waybill, numbered(20, 'a'));
  await untilSettled(site.databaseUrl, { mayWait: ['default/archive'] });
  expect(await site.run(['backup', file])).toMatchObject({ code: 0 });
  const busy = await site.run(['restore', '--replace', '--json', file]);
  expect(JSON.parse(busy.stderr)).toMatchObject({ error: { code: 'waybill_running' } });

  await proxy.cut();
  const restored = await site.run(['restore', '--replace', '--json', file]);
  expect(restored, restored.stderr).toMatchObject({ code: 0 });
  await proxy.mend();
  expect(await waybill.ended).toMatchObject({ code: 1 });
  expect(waybill.log.some(({ msg }) => msg?.includes('a backup was restored'))).toBe(true);

  const next = await site.start();
  await sendEvents(next, numbered(20, 'b'));
  await untilSettled(site.databaseUrl, { mayWait: ['default/archive'] });
  const books = await check(site.databaseUrl, { mayWait: ['default/archive'] });
  expect(books.violations).toEqual([]);
  const { epoch } = JSON.parse(restored.stdout) as { epoch: number };
  const epochs = [...books.deliveries.values()].map((one) => one.epoch);
  expect(epochs.filter((one) => one === epoch)).toHaveLength(20);
  expect(epochs.filter((one) => one === 1)).toHaveLength(20);
}, 180_000);

function numbered(count: number, prefix: string): SentEvent[] {
  return Array.from({ length: count }, (_, i) => ({
    key: `${prefix}-${i}`,
    account: `customer-${i % 60}`,
    type: 'usage',
  }));
}

async function sendAll(waybill: Waybill, events: readonly SentEvent[], ledger: Ledger): Promise<void> {
  const tasks: (() => Promise<void>)[] = [];
  for (let at = 0; at < events.length; at += 500) {
    const batch = events.slice(at, at + 500);
    tasks.push(async () => ledger.note(batch, await sendEvents(waybill, batch)));
  }
  await inLanes(2, tasks);
}
