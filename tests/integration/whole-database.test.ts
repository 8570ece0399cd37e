import { expect, onTestFinished, test } from 'vitest';
import { Wire } from '../ingress/smtp-harness.js';
import { check, compareReceipts, untilSettled } from '../support/checker.js';
import { consumeQueue } from '../support/consumers.js';
import { proxied } from '../support/proxy.js';
import { Ledger, Refused, type SentEvent, sendEvents } from '../support/sending.js';
import { until } from '../support/until.js';
import { install, type Waybill } from '../support/waybill.js';

/* The database goes away and comes back: never a false success, and nobody has to start anything again. */

const CONFIG = {
  // Told soon, so that the test is shorter.
  channel: { patienceSeconds: 1 },
  lease: { beatMs: 200, lostAfterMs: 1_000 },
  sources: {
    feed: { kind: 'events' },
    shop: { kind: 'webhook', verify: { scheme: 'none' } },
    mail: { kind: 'mail', addresses: ['@whole.example'] },
  },
  targets: { erp: { kind: 'queue' } },
};
const RULES = 'rules:\n  - { name: all, when: { kind: [event, mail] }, then: { targets: erp } }\n';

test('with the database away everything is answered 503 or 451, and goes on when it is back', async () => {
  const site = await install({ config: CONFIG, rules: RULES, broker: true });
  const proxy = await proxied(site.databaseUrl);
  onTestFinished(() => proxy.close());
  const waybill = await site.start({ DATABASE_URL: proxy.url });
  const erp = await consumeQueue(site.vhost);
  const made = await waybill.call('POST', '/v1/tokens', { json: { name: 'sender', permissions: ['events.send'] } });
  const token = made.json.token as string;
  const ledger = new Ledger();
  const event = (key: string): SentEvent => ({ key, account: 'anna', type: 'usage' });
  ledger.note([event('before')], await sendEvents(waybill, [event('before')], { token }));
  const wire = await Wire.greeted(waybill.smtp.port);

  // Sent without a pause all the while, again whenever it was refused or the answer was lost.
  const steady = sendSteadily(waybill, ledger);
  await until(() => ledger.tally.sequenced >= 50, 'the sender to be under way');
  await proxy.cut();
  await until(async () => (await waybill.call('GET', '/readyz', { token: null })).status === 503, '/readyz to say so');
  expect((await waybill.call('GET', '/healthz', { token: null })).status).toBe(200);
  for (const answer of [
    await sendRaw(waybill, event('during'), token),
    await waybill.call('POST', '/v1/hooks/default/shop', { body: '{}', token: null }),
    await sendRaw(waybill, event('during')),
  ]) {
    expect(`${answer.status} ${answer.json.code}`).toBe('503 storage_unavailable');
    expect(Number(answer.headers.get('retry-after'))).toBeGreaterThan(0);
  }
  // Metrics are wanted most when something is wrong.
  expect(await waybill.metric('waybill_accepted_total', { verdict: 'sequenced' })).toBeGreaterThan(0);
  await wire.envelope('a@elsewhere.example', 'anna@whole.example');
  expect(await wire.body(Buffer.from('Subject: During\r\n\r\nnot now\r\n'))).toMatch(/^451 4\.\d\.\d /);

  await proxy.mend();
  await until(
    async () => (await waybill.call('GET', '/readyz', { token: null })).status === 200,
    '/readyz to say so',
    20_000,
  );
  const accepted = ledger.tally.sequenced;
  await until(() => ledger.tally.sequenced >= accepted + 50, 'accepting to go on', 20_000);
  await wire.envelope('a@elsewhere.example', 'anna@whole.example');
  expect(await wire.body(Buffer.from('Subject: During\r\n\r\nnow\r\n'))).toMatch(/^250 /);
  wire.socket.end();
  const sent = await steady.stop();
  ledger.note([event('during')], await sendEvents(waybill, [event('during')], { token }));

  await untilSettled(site.databaseUrl);
  const books = await check(site.databaseUrl);
  expect(books.violations).toEqual([]);
  expect(ledger.violations).toEqual([]);
  expect(books.messages.size).toBe(sent + 3);
  await until(
    () => new Set(erp.receipts.map(({ sequence, channel }) => `${channel}-${sequence}`)).size >= sent + 3,
    'all to arrive',
  );
  expect(compareReceipts(books, { tenant: 'default', target: 'erp' }, erp.receipts)).toMatchObject({
    violations: [],
    distinct: sent + 3,
  });
  expect(waybill.running).toBe(true);
}, 180_000);

test('SIGTERM ends it also while the database is away', async () => {
  const site = await install({ config: { ...CONFIG, drainSeconds: 2 }, rules: RULES });
  const proxy = await proxied(site.databaseUrl);
  onTestFinished(() => proxy.close());
  const waybill = await site.start({ DATABASE_URL: proxy.url });
  await sendEvents(waybill, [{ key: 'before', account: 'anna', type: 'usage' }]);
  await proxy.cut();
  await until(async () => (await waybill.call('GET', '/readyz', { token: null })).status === 503, '/readyz to say so');
  const begun = performance.now();
  expect(await waybill.stop()).toMatchObject({ code: 0 });
  expect(performance.now() - begun).toBeLessThan(15_000);
}, 180_000);

test('a start without its database says so and ends', async () => {
  const site = await install({ config: CONFIG, rules: RULES });
  const proxy = await proxied(site.databaseUrl);
  await proxy.cut();
  const { code, stderr, stdout } = await site.run(['start'], { DATABASE_URL: proxy.url });
  expect(code).toBe(1);
  expect(stdout).toBe('');
  expect(stderr).toMatch(/^waybill: The database 127\.0\.0\.1:\d+\/\w+ can't be reached \(.*ECONNREFUSED.*\)\. /m);
  expect(stderr).not.toMatch(/\n\s+at /);
}, 180_000);

async function sendRaw(waybill: Waybill, event: SentEvent, token?: string) {
  return waybill.call('POST', '/v1/events', {
    ...(token !== undefined && { token }),
    body: JSON.stringify({
      specversion: '1.0',
      id: event.key,
      source: '/whole',
      type: event.type,
      subject: event.account,
    }),
    headers: { 'content-type': 'application/cloudevents+json' },
  });
}

/** Two clients that send small batches until they are told to stop, each until it has an answer. */
function sendSteadily(waybill: Waybill, ledger: Ledger): { stop(): Promise<number> } {
  let stopping = false;
  let sent = 0;
  const client = async () => {
    while (!stopping) {
      const batch = Array.from({ length: 5 }, () => ({
        key: `s-${sent++}`,
        account: `customer-${sent % 20}`,
        type: 'usage',
      }));
      await sendUntilAnswered(waybill, batch, ledger);
    }
  };
  const clients = Promise.all([client(), client()]);
  // A test that fails first must not have this fail, too.
  clients.catch(() => undefined);
  return {
    async stop() {
      stopping = true;
      await clients;
      return sent;
    },
  };
}

async function sendUntilAnswered(waybill: Waybill, batch: readonly SentEvent[], ledger: Ledger): Promise<void> {
  for (;;) {
    try {
      ledger.note(batch, await sendEvents(waybill, batch));
      return;
    } catch (error) {
      if (!(error instanceof Refused) || error.status !== 503) throw error;
    }
  }
}
