import { join } from 'node:path';
import { expect, test } from 'vitest';
import { check, compareReceipts, untilSettled } from '../support/checker.js';
import { consumeQueue, receiveHooks } from '../support/consumers.js';
import { inLanes, Ledger, type SentEvent, sendEvents } from '../support/sending.js';
import { until } from '../support/until.js';
import { install, type Waybill } from '../support/waybill.js';

/** A beat that stood still for 4 s, seen by looks 250 ms apart, and what is then read and sent; with room for a busy machine. */
const TAKEN_OVER_MS = 8_000;

const CONFIG = { sources: { feed: { kind: 'events' } }, targets: { erp: { kind: 'queue' } } };
const RULES = 'rules:\n  - { name: all, when: { kind: event }, then: { targets: erp } }\n';

test('a second process accepts and reads beside the first, and takes over its channels when it is killed', async () => {
  const site = await install({ config: CONFIG, rules: RULES, broker: true });
  const first = await site.start();
  const second = await site.start({ WAYBILL_DATA: join(site.directory, 'data-2') });
  const erp = await consumeQueue(site.vhost);
  const ledger = new Ledger();
  const events = numbered(1_200);

  // Both accept, also the same, at the same time, and each reads its share onward.
  const begun = performance.now();
  await Promise.all([send(first, events.slice(0, 400), ledger), send(second, events.slice(200, 600), ledger)]);
  expect(ledger.tally).toEqual({ sequenced: 600, duplicate: 200, conflict: 0 });
  await until(() => erp.once.length >= 600, 'what both accepted to be delivered');
  const usualMs = performance.now() - begun;
  await until(async () => (await owners(second)).length === 2, 'the channels to be shared out');

  // Killed while both are being sent to.
  const sending = Promise.allSettled([
    send(first, events.slice(600, 900), ledger),
    send(second, events.slice(900, 1_200), ledger),
  ]);
  await until(() => ledger.tally.sequenced >= 700, 'some more to be accepted');
  await first.kill();
  const killedAt = performance.now();
  await sending;
  const marker: SentEvent = { key: 'after', account: 'customer-1', type: 'usage' };
  ledger.note([marker], await sendEvents(second, [marker]));
  await until(() => erp.receipts.some(({ externalId }) => externalId === 'after'), 'the second to take over', 30_000);
  const tookMs = performance.now() - killedAt;
  // As many are sent and delivered meanwhile as before the kill.
  expect(tookMs).toBeLessThan(TAKEN_OVER_MS + usualMs);
  console.info(`taken over ${Math.round(tookMs)} ms after the kill`);

  // Whoever got no answer sends again, to the one that is left.
  await send(second, events, ledger);
  await untilSettled(site.databaseUrl);
  const books = await check(site.databaseUrl);
  expect(books.violations).toEqual([]);
  expect(ledger.violations).toEqual([]);
  expect(books.messages.size).toBe(events.length + 1);
  await until(
    () => new Set(erp.receipts.map(({ externalId }) => externalId)).size > events.length,
    'everything to be delivered',
  );
  expect(compareReceipts(books, { tenant: 'default', target: 'erp' }, erp.receipts)).toMatchObject({
    violations: [],
    distinct: events.length + 1,
  });

  // Started again, the first shares in its turn, and a stop hands over without waiting for a death: that would take ten minutes.
  await site.write({ ...CONFIG, lease: { lostAfterMs: 600_000 } }, RULES);
  const third = await site.start();
  expect(await second.stop()).toMatchObject({ code: 0 });
  const late: SentEvent = { key: 'late', account: 'customer-1', type: 'usage' };
  await sendEvents(third, [late]);
  await until(() => erp.receipts.some(({ externalId }) => externalId === 'late'), 'the third to go on');
  await untilSettled(site.databaseUrl);
  expect((await check(site.databaseUrl)).violations).toEqual([]);
}, 180_000);

test('an owner that was stopped in the middle and wakes up after it was replaced writes nothing over its successor', async () => {
  const hooks = await receiveHooks();
  const site = await install({
    config: {
      lease: { beatMs: 200, lostAfterMs: 1_000 },
      sources: { feed: { kind: 'events' } },
      targets: {
        erp: { kind: 'queue' },
        crm: { kind: 'webhook', url: hooks.url, allowPrivateAddresses: true, order: 'channel' },
      },
    },
    rules: 'rules:\n  - { name: all, when: { kind: event }, then: { targets: [erp, crm] } }\n',
    broker: true,
  });
  const processes = [await site.start(), await site.start({ WAYBILL_DATA: join(site.directory, 'data-2') })];
  const erp = await consumeQueue(site.vhost);
  const ledger = new Ledger();
  let sent: SentEvent[] = [];

  for (const [round, pair] of [processes, [...processes].reverse(), processes].entries()) {
    const [stopped, other] = pair as [Waybill, Waybill];
    const events = numbered(200, `r${round}`);
    sent = [...sent, ...events];
    const sending = Promise.all([
      send(stopped, events.slice(0, 120), ledger),
      send(other, events.slice(80, 200), ledger),
    ]);
    await until(() => ledger.messages.size >= 200 * round + 60, 'some to be accepted');
    process.kill(stopped.pid, 'SIGSTOP');
    const marker = { key: `marker-${round}`, account: 'customer-1', type: 'usage' };
    sent.push(marker);
    const marked = send(other, [marker], ledger);
    await until(() => erp.receipts.some(({ externalId }) => externalId === marker.key), 'the other to go on', 20_000);
    process.kill(stopped.pid, 'SIGCONT');
    await Promise.all([sending, marked]);
  }
  await untilSettled(site.databaseUrl);
  const books = await check(site.databaseUrl);
  expect(books.violations).toEqual([]);
  expect(ledger.violations).toEqual([]);
  expect(books.messages.size).toBe(sent.length);
  for (const [target, receipts] of [
    ['erp', erp.receipts],
    ['crm', hooks.taken],
  ] as const) {
    await until(
      () => new Set(receipts.map(({ externalId }) => externalId)).size === sent.length,
      'all to be delivered',
    );
    const compared = compareReceipts(books, { tenant: 'default', target }, receipts);
    expect(compared, target).toMatchObject({ violations: [], distinct: sent.length });
  }
  for (const each of processes) expect(await each.stop()).toMatchObject({ code: 0 });
}, 180_000);

function numbered(count: number, prefix = 'e'): SentEvent[] {
  return Array.from({ length: count }, (_, i) => ({
    key: `${prefix}-${i}`,
    account: `customer-${i % 60}`,
    type: 'usage',
  }));
}

async function send(waybill: Waybill, events: readonly SentEvent[], ledger: Ledger): Promise<void> {
  const tasks: (() => Promise<void>)[] = [];
  for (let at = 0; at < events.length; at += 20) {
    const batch = events.slice(at, at + 20);
    tasks.push(async () => ledger.note(batch, await sendEvents(waybill, batch)));
  }
  await inLanes(2, tasks);
}

/** Who holds channels, as one of the processes sees it. */
async function owners(waybill: Waybill): Promise<string[]> {
  const { items } = (await waybill.call('GET', '/v1/channels')).json as { items: { owner: string | null }[] };
  return [...new Set(items.flatMap(({ owner }) => owner ?? []))];
}
