import { join } from 'node:path';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startRabbitmq } from '../../bin/rabbitmq.mjs';
import { Wire } from '../ingress/smtp-harness.js';
import { check, compareReceipts, untilSettled } from '../support/checker.js';
import { consumeQueue, receiveHooks } from '../support/consumers.js';
import { temporaryDirectory } from '../support/directory.js';
import { median } from '../support/median.js';
import { Ledger, Refused, type SentEvent, sendEvents } from '../support/sending.js';
import { addTenant } from '../support/tenants.js';
import { until } from '../support/until.js';
import { type Installation, install, type Waybill } from '../support/waybill.js';

/* More comes in than can be stored or sent on: who is told to come back, who is not, and that nothing is lost by it. */

const RULES = 'rules:\n  - { name: all, when: { kind: [event, mail] }, then: { targets: erp } }\n';
const namesOf = (domain: string) => ({
  sources: { feed: { kind: 'events' }, mail: { kind: 'mail', addresses: [`@${domain}`] } },
  targets: { erp: { kind: 'queue' } },
});
const PERMISSIONS = ['events.send', 'messages.read'];

/** A second tenant with sources and a queue of its own; answers a token of it. */
async function withAcme(site: Installation, waybill: Waybill, config: object, rules: string): Promise<string> {
  const token = await addTenant(waybill, 'acme', PERMISSIONS);
  await site.write({ ...config, tenants: { acme: { ...namesOf('acme.example'), rulesFile: 'rules.yaml' } } }, rules);
  expect((await waybill.call('POST', '/v1/apply')).status).toBe(200);
  return token;
}

const readyz = async (waybill: Waybill) => {
  const { status, json } = await waybill.call('GET', '/readyz', { token: null });
  return { status, degraded: (json.degraded as string[]).join('\n') };
};

describe('a broker in alarm', () => {
  // An alarm stops everybody's publishing, so it is raised on a node of our own.
  let node: Awaited<ReturnType<typeof startRabbitmq>>;
  let remove: () => Promise<void>;
  beforeAll(async () => {
    const directory = await temporaryDirectory();
    node = await startRabbitmq({ directory: join(directory, 'rabbitmq'), say: () => undefined });
    remove = () => node.kill();
  }, 180_000);
  afterAll(() => remove());

  test('stops sending, not accepting, until a backlog is there; then each tenant that has its share is told to come back', async () => {
    const config = { ...namesOf('whole.example'), delivery: { maxBacklog: 200 } };
    const site = await install({ config, rules: RULES, broker: node });
    const waybill = await site.start();
    const tokens = { default: site.adminToken, acme: await withAcme(site, waybill, config, RULES) };
    const queues = {
      default: await consumeQueue(site.vhost, { tenant: 'default' }),
      acme: await consumeQueue(site.vhost, { tenant: 'acme' }),
    };
    const ledgers = { default: new Ledger(), acme: new Ledger() };
    let key = 0;
    /** Sends ten; answers the status when they were refused. */
    const send = async (tenant: keyof typeof tokens): Promise<number> => {
      const events: SentEvent[] = Array.from({ length: 10 }, () => ({
        key: `e-${key++}`,
        account: `customer-${key % 7}`,
        type: 'usage',
      }));
      try {
        ledgers[tenant].note(events, await sendEvents(waybill, events, { token: tokens[tenant] }));
        return 202;
      } catch (error) {
        if (error instanceof Refused) return error.status;
        throw error;
      }
    };
    const acceptedOf = (tenant: keyof typeof tokens) => ledgers[tenant].tally.sequenced;

    expect([await send('default'), await send('acme')]).toEqual([202, 202]);
    await until(() => queues.default.once.length >= 10 && queues.acme.once.length >= 10, 'both to be served');
    await node.control('set_vm_memory_high_watermark', '0');
    try {
      // RabbitMQ tells who publishes.
      expect(await send('default')).toBe(202);
      await until(async () => (await readyz(waybill)).degraded.includes('blocked'), '/readyz to tell of the alarm');
      expect((await readyz(waybill)).status).toBe(200);
      await until(async () => (await send('default')) === 503, 'so much to wait that no more is taken', 30_000);
      expect(acceptedOf('default')).toBeGreaterThanOrEqual(200);
      const refused = await waybill.call('POST', '/v1/events', {
        body: '{"specversion":"1.0","id":"x","source":"/s","type":"t"}',
        headers: { 'content-type': 'application/cloudevents+json' },
      });
      expect([refused.status, refused.json.code, refused.headers.get('retry-after')]).toEqual([
        503,
        'delivery_backlog',
        '30',
      ]);
      // The other has less than its share: it is taken, until it has that.
      expect(await send('acme')).toBe(202);
      expect(await readyz(waybill)).toMatchObject({ status: 200, degraded: expect.stringMatching(/1 of 2 tenants/) });
      const wire = await Wire.greeted(waybill.smtp.port);
      await wire.envelope('a@elsewhere.example', 'anna@whole.example');
      expect(await wire.body(Buffer.from('Subject: Late\r\n\r\nnot now\r\n'))).toMatch(/^451 4\.3\.0 /);
      await wire.envelope('a@elsewhere.example', 'anna@acme.example');
      expect(await wire.body(Buffer.from('Subject: Late\r\n\r\nall right\r\n'))).toMatch(/^250 /);
      wire.socket.end();
      await until(async () => (await send('acme')) === 503, 'the other to have its share', 30_000);
      expect(await readyz(waybill)).toMatchObject({ status: 503, degraded: expect.stringMatching(/2 of 2 tenants/) });
      expect(await waybill.metric('waybill_broker_backlog_messages', { tenant: 'default' })).toBeGreaterThanOrEqual(
        200,
      );
      expect(await waybill.metric('waybill_broker_backlog_full')).toBe(2);
      expect(await waybill.metric('waybill_pushed_back_total', { tenant: 'default', why: 'backlog' })).toBeGreaterThan(
        0,
      );
    } finally {
      await node.control('set_vm_memory_high_watermark', '0.4');
    }
    await until(async () => (await readyz(waybill)).degraded === '', '/readyz to be well again', 30_000);
    expect([await send('default'), await send('acme')]).toEqual([202, 202]);
    await untilSettled(site.databaseUrl);
    const books = await check(site.databaseUrl);
    expect(books.violations).toEqual([]);
    for (const tenant of ['default', 'acme'] as const) {
      const mails = tenant === 'acme' ? 1 : 0;
      await until(() => queues[tenant].once.length >= acceptedOf(tenant) + mails, `${tenant} to have everything`);
      const compared = compareReceipts(books, { tenant, target: 'erp' }, queues[tenant].receipts);
      expect(compared).toMatchObject({ violations: [], distinct: acceptedOf(tenant) + mails });
      expect(ledgers[tenant].violations).toEqual([]);
    }
  }, 180_000);
});

test('a tenant that sends all it can delays and refuses nobody else', async () => {
  // Twenty batches fit into the line of one tenant.
  const config = { ...namesOf('whole.example'), channel: { maxWaitingMessages: 10_000, maxBatchMessages: 250 } };
  const rules = 'rules:\n  - { name: all, when: { kind: event }, then: { close: seen } }\n';
  const site = await install({ config, rules });
  const waybill = await site.start();
  const token = await withAcme(site, waybill, config, rules);
  await slowCommits(site.databaseUrl);
  const statuses = new Map<number, number>();
  const waited: number[] = [];
  let flooding = true;
  let key = 0;
  const flood = Promise.all(
    Array.from({ length: 16 }, async () => {
      while (flooding) {
        const events = Array.from({ length: 500 }, () => ({
          key: `f-${key++}`,
          account: `customer-${key % 50}`,
          type: 'usage',
        }));
        const begun = performance.now();
        const status = await sendEvents(waybill, events).then(
          () => 202,
          (error: unknown) => (error instanceof Refused ? error.status : Promise.reject(error)),
        );
        if (status === 202) waited.push(performance.now() - begun);
        statuses.set(status, (statuses.get(status) ?? 0) + 1);
      }
    }),
  );
  const took: number[] = [];
  try {
    await until(() => (statuses.get(429) ?? 0) > 0, 'the flood to be told to come back', 30_000);
    for (let i = 0; i < 25; i++) {
      const begun = performance.now();
      const event = { key: `one-${i}`, account: 'anna', type: 'usage' };
      // Rejects when it is refused.
      expect(await sendEvents(waybill, [event], { form: 'single', token })).toMatchObject([{ verdict: 'sequenced' }]);
      took.push(performance.now() - begun);
    }
  } finally {
    flooding = false;
    await flood;
  }
  // It waits for its turn, and not for the line.
  expect(median(took)).toBeLessThan(median(waited) / 2);
  expect([...statuses.keys()].sort()).toEqual([202, 429]);
  expect(await waybill.metric('waybill_pushed_back_total', { tenant: 'default', why: 'busy' })).toBeGreaterThan(0);
  expect(await waybill.metric('waybill_pushed_back_total', { tenant: 'acme' })).toBe(0);
}, 180_000);

/** However little of the machine is left to whoever sends: what they wait for is the database. */
async function slowCommits(databaseUrl: string): Promise<void> {
  const client = new pg.Client({ connectionString: databaseUrl, options: '-c search_path=waybill' });
  await client.connect();
  await client.query(
    `create function slowly() returns trigger language plpgsql as $$ begin perform pg_sleep(0.05); return null; end $$;
     create trigger slowly after insert on message for each statement execute function slowly()`,
  );
  await client.end();
}

test('a full queue and a webhook that hangs hold up nobody beside them', async () => {
  const silent = await receiveHooks(() => null);
  const config = {
    sources: { feed: { kind: 'events' } },
    targets: {
      erp: { kind: 'queue' },
      full: { kind: 'queue' },
      hook: { kind: 'webhook', url: silent.url, allowPrivateAddresses: true, timeoutSeconds: 60 },
    },
  };
  const site = await install({
    config,
    rules: [
      'mode: all-match',
      'rules:',
      '  - { name: fast, when: { kind: event }, then: { targets: erp } }',
      '  - { name: slow, when: { type: slow }, then: { targets: [full, hook] } }',
      '',
    ].join('\n'),
    broker: true,
  });
  await site.vhost.api('PUT', `/policies/${site.vhost.vhost}/small`, {
    pattern: '^waybill\\.default\\.full$',
    definition: { 'max-length': 5 },
    'apply-to': 'queues',
  });
  const waybill = await site.start();
  const sentAt = new Map<string, number>();
  const took = new Map<string, number>();
  const erp = await consumeQueue(site.vhost, {
    answer: ({ externalId }) => {
      const key = externalId ?? '';
      took.set(key, performance.now() - (sentAt.get(key) ?? 0));
      return 'ack';
    },
  });
  /** Fifty times ten events, one request after another; answers how long they took to their consumer. */
  const round = async (name: string, type = name) => {
    for (let i = 0; i < 50; i++) {
      const events = Array.from({ length: 10 }, (_, n) => ({ key: `${name}-${i}-${n}`, account: `c-${n}`, type }));
      for (const { key } of events) sentAt.set(key, performance.now());
      await sendEvents(waybill, events);
    }
    await until(() => took.size === sentAt.size, `every event of the round ${name} to be consumed`);
    return median([...took].filter(([key]) => key.startsWith(`${name}-`)).map(([, ms]) => ms));
  };
  await round('warm');
  const alone = await round('alone');
  await round('slow');
  await until(
    async () => (await waybill.metric('waybill_deliveries_total', { target: 'full', result: 'retry' })) > 0,
    'the full queue to refuse',
  );
  await until(() => silent.asked.length > 0, 'the webhook to hang');
  // A second and more is what waiting for either of them would take.
  expect((await round('after')) - alone).toBeLessThan(1_000);
  expect((await round('again', 'slow')) - alone).toBeLessThan(1_000);
  expect(erp.receipts.length).toBeGreaterThanOrEqual(2500);
  await untilSettled(site.databaseUrl, { mayWait: ['default/full', 'default/hook'] });
  const books = await check(site.databaseUrl, { mayWait: ['default/full', 'default/hook'] });
  expect(books.violations).toEqual([]);
  // Lets the hanging requests go, so that the program need not wait for them.
  await silent.close();
}, 180_000);
