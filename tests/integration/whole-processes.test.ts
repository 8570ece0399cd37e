import { join } from 'node:path';
import { expect, test } from 'vitest';
import { check, compareReceipts, type Receipt, untilSettled } from '../support/checker.js';
import { consumeQueue } from '../support/consumers.js';
import { median } from '../support/median.js';
import { Ledger, type SentEvent, sendEvents } from '../support/sending.js';
import { addTenant } from '../support/tenants.js';
import { until } from '../support/until.js';
import { type Env, type Installation, install, type Waybill } from '../support/waybill.js';

/* Several processes on one database and one broker, their roles split, coming and going. */

const ALL = 'rules:\n  - { name: all, when: { kind: event }, then: { targets: erp } }\n';
const NAMES = { sources: { feed: { kind: 'events' } }, targets: { erp: { kind: 'queue' } } };

async function startAll(site: Installation, roles: readonly string[], env: Env = {}): Promise<Waybill[]> {
  const started: Waybill[] = [];
  for (const [i, each] of roles.entries()) {
    const data = join(site.directory, `data-${i}-${each}`);
    started.push(await site.start({ ...env, WAYBILL_ROLES: each, WAYBILL_DATA: data }));
  }
  return started;
}

/** Every account's events one after another, each by whichever ingress comes next. */
async function sendInTurn(
  ingresses: readonly Waybill[],
  round: string,
  ledger: Ledger,
  { accounts, each }: { readonly accounts: number; readonly each: number },
): Promise<SentEvent[]> {
  const sent: SentEvent[] = [];
  await Promise.all(
    Array.from({ length: accounts }, async (_, account) => {
      for (let i = 0; i < each; i++) {
        const event = { key: `${round}-${account}-${i}`, account: `customer-${account}`, type: 'usage' };
        const ingress = ingresses[(account + i) % ingresses.length] as Waybill;
        ledger.note([event], await sendEvents(ingress, [event], { form: 'single' }));
        sent.push(event);
      }
    }),
  );
  return sent;
}

/** Numbers of each channel in the order in which they were first got. */
function firstSeen(receipts: readonly Receipt[]): Map<number, number[]> {
  const channels = new Map<number, number[]>();
  for (const { channel, number } of receipts) {
    const seen = channels.get(channel) ?? [];
    if (!seen.includes(number)) channels.set(channel, [...seen, number]);
  }
  return channels;
}

async function heldBy(waybill: Waybill): Promise<number[]> {
  const { items } = (await waybill.call('GET', '/v1/channels')).json as { items: { owner: string | null }[] };
  const counts = new Map<string | null, number>();
  for (const { owner } of items) counts.set(owner, (counts.get(owner) ?? 0) + 1);
  return [...counts.values()].sort((a, b) => a - b);
}

test('channels are shared out among four processes that come and go, and every account stays in order', async () => {
  const site = await install({ config: NAMES, rules: ALL, broker: true });
  const [front, back, first, second] = (await startAll(site, ['ingress,web', 'ingress', 'owner', 'owner'])) as [
    Waybill,
    Waybill,
    Waybill,
    Waybill,
  ];
  const erp = await consumeQueue(site.vhost);
  const ledger = new Ledger();
  await until(async () => (await heldBy(front)).join() === '8,8', 'two owners to have half each');
  const sent = await sendInTurn([front, back], 'a', ledger, { accounts: 40, each: 5 });

  // A third comes, and the channels move while they are sent to.
  const moving = sendInTurn([front, back], 'b', ledger, { accounts: 40, each: 10 });
  const [third] = (await startAll(site, ['ingress,owner'])) as [Waybill];
  sent.push(...(await moving));
  await until(async () => (await heldBy(front)).join() === '5,5,6', 'three owners to have a third each');

  // One leaves, and one dies.
  const leaving = sendInTurn([front, back, third], 'c', ledger, { accounts: 40, each: 10 });
  expect(await first.stop()).toMatchObject({ code: 0 });
  sent.push(...(await leaving));
  await second.kill();
  const killedAt = performance.now();
  sent.push(...(await sendInTurn([front, back], 'd', ledger, { accounts: 40, each: 2 })));
  await until(async () => (await heldBy(front)).join() === '16', 'the last owner to take over', 20_000);
  await until(() => new Set(erp.receipts.map(({ externalId }) => externalId)).size === sent.length, 'all to be got');
  console.info(`all channels were taken over and read ${Math.round(performance.now() - killedAt)} ms after the kill`);

  await untilSettled(site.databaseUrl);
  const books = await check(site.databaseUrl);
  expect(books.violations).toEqual([]);
  expect(ledger.violations).toEqual([]);
  expect(ledger.tally).toEqual({ sequenced: sent.length, duplicate: 0, conflict: 0 });
  expect(compareReceipts(books, { tenant: 'default', target: 'erp' }, erp.receipts)).toMatchObject({
    violations: [],
    distinct: sent.length,
  });
  for (const [channel, numbers] of firstSeen(erp.receipts)) {
    expect(numbers, `channel ${channel}`).toEqual(numbers.map((_, i) => i + 1));
  }
  for (let account = 0; account < 40; account++) {
    const own = sent.filter((event) => event.account === `customer-${account}`).map(({ key }) => key);
    const got = [...new Set(erp.receipts.flatMap(({ externalId }) => externalId ?? []))].filter((key) =>
      own.includes(key),
    );
    expect(got, `customer-${account}`).toEqual(own);
  }
}, 180_000);

test("one tenant's backlog does not delay another's one message", async () => {
  const config = { ...NAMES, http: { maxEventsPerRequest: 5_000 } };
  const site = await install({ config, rules: ALL, broker: true });
  const [front] = (await startAll(site, ['ingress,web'])) as [Waybill];
  const token = await addTenant(front, 'small', ['events.send']);
  await site.write({ ...config, tenants: { small: { ...NAMES, rulesFile: 'rules.yaml' } } }, ALL);
  expect((await front.call('POST', '/v1/apply')).status).toBe(200);

  // Nobody reads onward yet.
  const big = Array.from({ length: 60_000 }, (_, i) => ({ key: `big-${i}`, account: `customer-${i}`, type: 'usage' }));
  for (let at = 0; at < big.length; at += 5_000) await sendEvents(front, big.slice(at, at + 5_000));
  const [owner] = (await startAll(site, ['owner'])) as [Waybill];
  const bulk = await consumeQueue(site.vhost);
  const bulkBegan = performance.now();
  const small = await consumeQueue(site.vhost, { tenant: 'small' });
  await until(() => bulk.receipts.length > 0, 'the backlog to be under way');

  let sent = 0;
  /** Milliseconds from the answer until the target has it. */
  async function sendSmall(): Promise<number> {
    const event = { key: `small-${sent}`, account: 'anna', type: 'usage' };
    await sendEvents(front, [event], { form: 'single', token });
    const accepted = performance.now();
    sent++;
    await until(() => small.once.length >= sent, 'the one message to be got');
    return performance.now() - accepted;
  }
  const beside: number[] = [];
  while (beside.length < 10 && bulk.receipts.length < big.length) beside.push(await sendSmall());
  await until(() => bulk.receipts.length >= big.length, 'the backlog to be got', 60_000);
  const bulkTook = performance.now() - bulkBegan;
  const alone: number[] = [];
  while (alone.length < 5) alone.push(await sendSmall());
  console.info(
    `got after ${beside.map(Math.round)} ms beside a backlog of ${big.length}, ${alone.map(Math.round)} alone`,
  );
  expect(beside.length).toBeGreaterThan(3);
  // A second is what is promised. The middle ones: a machine that does much else may hold up any one of them, and all of it is
  // slower then, this as the backlog; with ten others for each processor it was 1.5 to 1.9 s.
  expect(median(beside) - median(alone)).toBeLessThan(Math.min(3_000, Math.max(1_000, bulkTook / 10)));
  expect(owner.running).toBe(true);
}, 180_000);
