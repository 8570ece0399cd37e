import { expect, test } from 'vitest';
import { Wire } from '../ingress/smtp-harness.js';
import { check, compareReceipts, untilSettled } from '../support/checker.js';
import { consumeQueue, pullAll } from '../support/consumers.js';
import { Ledger, type SentEvent, sendEvents } from '../support/sending.js';
import { addTenant } from '../support/tenants.js';
import { until } from '../support/until.js';
import { type Installation, install, type Waybill } from '../support/waybill.js';

/* Two tenants that call everything by the same names: neither sees, counts or blocks the other. */

const RULES = 'rules:\n  - { name: all, when: { kind: [event, webhook, mail] }, then: { targets: [erp, archive] } }\n';
const EVENTS = 200;

const namesOf = (domain: string) => ({
  sources: {
    feed: { kind: 'events' },
    shop: {
      kind: 'webhook',
      verify: { scheme: 'none' },
      identity: { from: 'pointer', pointer: '/id' },
      account: '/customer',
    },
    mail: { kind: 'mail', addresses: [`@${domain}`] },
  },
  targets: { erp: { kind: 'queue' }, archive: { kind: 'pull' } },
});

test('two tenants with equal names and ids neither see, count nor block each other', async () => {
  const site = await install({ config: namesOf('default.example'), rules: RULES, broker: true });
  const waybill = await site.start();
  const acme = await addAcme(site, waybill);
  const tokens = { default: site.adminToken, acme } as const;
  const queues = {
    default: await consumeQueue(site.vhost, { tenant: 'default' }),
    acme: await consumeQueue(site.vhost, { tenant: 'acme' }),
  };
  const ledgers = { default: new Ledger(), acme: new Ledger() };
  const send = async (tenant: keyof typeof tokens, events: readonly SentEvent[]) =>
    ledgers[tenant].note(events, await sendEvents(waybill, events, { token: tokens[tenant] }));

  // The same events at once, by both.
  const events = numbered(0, EVENTS);
  await Promise.all([send('default', events), send('acme', events)]);
  expect(ledgers.default.tally).toEqual({ sequenced: EVENTS, duplicate: 0, conflict: 0 });
  expect(ledgers.acme.tally).toEqual({ sequenced: EVENTS, duplicate: 0, conflict: 0 });
  // A duplicate and a conflict of one are the one's alone.
  await send('acme', events.slice(0, 10));
  await send(
    'acme',
    events.slice(0, 5).map((event) => ({ ...event, variant: 1 })),
  );
  // The same webhook and the same mail, the mail in one transaction.
  for (const tenant of ['default', 'acme']) {
    const body = JSON.stringify({ id: 'order-1', customer: 'customer-1', total: 3 });
    const hook = await waybill.call('POST', `/v1/hooks/${tenant}/shop`, { token: null, body });
    expect(hook.status).toBe(202);
  }
  const wire = await Wire.greeted(waybill.smtp.port);
  await wire.envelope('a@elsewhere.example', 'office@default.example', 'office@acme.example');
  expect(await wire.body(Buffer.from('Subject: Both\r\n\r\nTo both.\r\n'))).toMatch(/queued as \d+-\d+, \d+-\d+/);
  wire.socket.end();

  // One whose target is paused and whose consumer has given up blocks nobody else.
  await until(() => queues.acme.once.length >= EVENTS + 2, 'what came before the pause');
  expect((await waybill.call('POST', '/v1/targets/erp/pause', { token: acme, json: {} })).status).toBe(200);
  const more = numbered(EVENTS, EVENTS + 50);
  await Promise.all([send('acme', more), send('default', more)]);
  await until(() => queues.default.once.length >= EVENTS + 52, "the other's target to go on");
  expect((await waybill.call('GET', '/v1/targets/erp')).json.paused).toBeNull();
  const paused = ['acme/erp', 'acme/archive', 'default/archive'];
  await untilSettled(site.databaseUrl, { mayWait: paused });
  expect(queues.acme.once.length).toBe(EVENTS + 2);
  expect((await waybill.call('POST', '/v1/targets/erp/resume', { token: acme })).status).toBe(200);

  const archives = {
    default: await pullAll(waybill, 'archive', { token: tokens.default }),
    acme: await pullAll(waybill, 'archive', { token: tokens.acme, tenant: 'acme' }),
  };
  await untilSettled(site.databaseUrl);
  const books = await check(site.databaseUrl);
  expect(books.violations).toEqual([]);
  expect(books.counted.get('default')).toEqual({ sequenced: EVENTS + 52, duplicates: 0, conflicts: 0, expired: 0 });
  expect(books.counted.get('acme')).toEqual({ sequenced: EVENTS + 52, duplicates: 10, conflicts: 5, expired: 0 });
  for (const [tenant, duplicate, conflict] of [
    ['default', 0, 0],
    ['acme', 10, 5],
  ] as const) {
    expect(await waybill.metric('waybill_accepted_total', { tenant, verdict: 'sequenced' })).toBe(EVENTS + 52);
    expect(await waybill.metric('waybill_accepted_total', { tenant, verdict: 'duplicate' })).toBe(duplicate);
    expect(await waybill.metric('waybill_accepted_total', { tenant, verdict: 'conflict' })).toBe(conflict);
  }
  for (const tenant of ['default', 'acme'] as const) {
    await until(() => queues[tenant].once.length >= EVENTS + 52, `${tenant} to have everything`);
    for (const [target, receipts] of [
      ['erp', queues[tenant].receipts],
      ['archive', archives[tenant]],
    ] as const) {
      const compared = compareReceipts(books, { tenant, target }, receipts);
      expect(compared, `${tenant}/${target}`).toMatchObject({ violations: [], distinct: EVENTS + 52 });
    }
    expect(ledgers[tenant].violations).toEqual([]);
  }

  // What each is shown is its own.
  const shown = async (tenant: keyof typeof tokens, path: string) =>
    (await waybill.call('GET', path, { token: tokens[tenant] })).json;
  expect((await shown('default', '/v1/quarantine')).items).toEqual([]);
  expect((await shown('acme', '/v1/quarantine')).items).toHaveLength(5);
  const channels = (await shown('default', '/v1/channels')) as { items: { duplicates: number; conflicts: number }[] };
  expect(channels.items.map(({ duplicates, conflicts }) => duplicates + conflicts)).toEqual(Array(16).fill(0));
  // The same id names another message with each; one that only the other has is not there.
  const own = [...books.messages.values()].find((one) => one.tenant === 'acme' && one.kind === 'event');
  expect(await shown('acme', `/v1/messages/${own?.id}`)).toMatchObject({
    externalId: own?.externalId,
    peer: 'token sender',
  });
  const last = `${own?.channel}-${EVENTS * 2}`;
  expect((await waybill.call('GET', `/v1/messages/${last}`, { token: acme })).status).toBe(404);
  // Tenants are the installation's affair.
  expect((await waybill.call('GET', '/v1/tenants', { token: acme })).status).toBe(403);
  expect((await waybill.call('POST', '/v1/apply', { token: acme })).status).toBe(403);
}, 180_000);

function numbered(from: number, to: number): SentEvent[] {
  return Array.from({ length: to - from }, (_, i) => ({
    key: `e-${from + i}`,
    account: `customer-${(from + i) % 40}`,
    type: 'usage',
  }));
}

/** Makes a second tenant over the API, as its first owner would begin, and answers a token of it. */
async function addAcme(site: Installation, waybill: Waybill): Promise<string> {
  const token = await addTenant(waybill, 'acme', [
    'events.send',
    'messages.read',
    'quarantine.read',
    'channels.read',
    'targets.pull',
    'targets.operate',
  ]);
  const names = namesOf('acme.example');
  await site.write({ ...namesOf('default.example'), tenants: { acme: { ...names, rulesFile: 'rules.yaml' } } }, RULES);
  const applied = await waybill.call('POST', '/v1/apply');
  expect(applied.json).toMatchObject({
    tenants: expect.arrayContaining([expect.objectContaining({ tenant: 'acme' })]),
  });
  return token;
}
