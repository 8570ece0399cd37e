import { request } from 'node:http';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { type PullDeps, pullRoutes } from '../../routes/pull.js';
import type { PullStore } from '../../src/delivery/pull.js';
import type { PullTarget, Target, TargetDefinition } from '../../src/delivery/target.js';
import type { Outgoing } from '../../src/message/delivery.js';
import type { Tenant } from '../../src/message/tenant.js';
import { createPullStore } from '../../src/storage/pull.js';
import { outgoing } from '../delivery/sample.js';
import { realClock } from '../support/clock.js';
import { until } from '../support/until.js';
import { type Api, startApi } from './harness.js';

let api: Api;
let targets: Target[];
/** What deliveries carry, by number; null: content that is gone. */
let bodies: Map<number, Partial<Outgoing> | null | Error>;
let rendered: number[];
/** Nothing is rendered before it is there. */
let gate: Promise<void>;
const listeners = new Set<() => void>();
let stopping: AbortController;
let token: string;
let rings: number;

beforeAll(async () => {
  // The store needs the harness's pool, which needs the routes: it is looked up at each call.
  const store = (): PullStore => createPullStore(api.pool);
  const deps: PullDeps = {
    store: {
      lease: (...all) => store().lease(...all),
      ack: (...all) => store().ack(...all),
      nack: (...all) => store().nack(...all),
      release: (...all) => store().release(...all),
    },
    targetNamed: (tenant, name) => targets.find((target) => target.tenant.id === tenant && target.name === name),
    isPulled: ({ definition }) => definition.kind === 'pull',
    async *render(target, leased) {
      await gate;
      for (const { channel, epoch, number, what, attempts, reason } of leased) {
        rendered.push(number);
        const body = bodies.get(number);
        if (body instanceof Error) throw body;
        const place = { tenant: target.tenant.name, target: target.name, channel, epoch, what, attempts, reason };
        yield body === null ? null : outgoing(number, { ...place, ...body });
      }
    },
    onPending: (_target, listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    clock: realClock,
    random: (bytes) => Buffer.alloc(bytes, ++rings),
    get stopping() {
      return stopping.signal;
    },
  };
  api = await startApi(pullRoutes(deps));
  token = await api.token(['targets.pull']);
});
afterAll(() => api.close());
beforeEach(async () => {
  await api.pool.query('truncate delivery, delivery_attempt');
  targets = [await target('crm'), await target('crm', {}, api.other)];
  bodies = new Map();
  rendered = [];
  gate = Promise.resolve();
  rings = 0;
  stopping = new AbortController();
});

async function target(name: string, changes: Partial<Target> = {}, tenant: Tenant = api.tenant): Promise<Target> {
  const { rows } = await api.pool.query<{ id: number }>(
    `insert into target (tenant, name, kind, definition, managed_by) values ($1, $2, 'pull', '{"kind":"pull"}', 'api')
     on conflict (tenant, name) do update set version = target.version + 1 returning id`,
    [tenant.id, name],
  );
  const definition: PullTarget = {
    kind: 'pull',
    body: 'message',
    inlineParts: false,
    order: 'channel',
    leaseSeconds: 60,
  };
  return { id: rows[0]?.id as number, name, tenant, definition, paused: null, ...changes };
}

async function pending(of: Target, channel: number, first: number, last: number): Promise<void> {
  await api.pool.query(
    `insert into delivery (tenant, target, channel, epoch, number, sequence, plan, rung, decision, state)
     select $1, $2, $3, 1767225600, n, 10000 + n, 1, 0, '{"by":"rules","set":1,"rules":["all"]}', 'pending' from generate_series($4::int, $5::int) n`,
    [of.tenant.id, of.id, channel, first, last],
  );
}

const first = () => targets[0] as Target;
const pull = (body: object = {}, as = token) => api.call('POST', '/v1/targets/crm/pull', { body, token: as });
const ack = (body: object) => api.call('POST', '/v1/targets/crm/ack', { body, token });
const nack = (body: object) => api.call('POST', '/v1/targets/crm/nack', { body, token });
const numbers = (answer: { body: { deliveries: { headers: Record<string, unknown> }[] } }) =>
  answer.body.deliveries.map((one) => one.headers['waybill-delivery']);

test('hands out deliveries as they go on the wire, then takes the acks', async () => {
  await pending(first(), 1, 1, 2);
  const answer = await pull({ max: 10 });
  expect(answer.status).toBe(200);
  expect(answer.body.lease).toMatch(/^[0-9a-f]{16}$/);
  expect(answer.body.deliveries[0]).toEqual({
    id: '1767225600.crm.1-1',
    messageId: 'default:1767225600:1-10001',
    type: 'com.example.invoice.created',
    headers: expect.objectContaining({ 'waybill-delivery': 1, 'waybill-channel': 1, 'waybill-late': false }),
    contentType: 'application/vnd.waybill.message+json',
    body: { id: '7-10001', data: { amount: 1 } },
    attempt: 1,
    leasedUntil: expect.stringMatching(/^\d{4}-.*Z$/),
  });
  const ids = answer.body.deliveries.map(({ id }: { id: string }) => id);
  expect(
    (await ack({ ids: [...ids, '1767225600.crm.1-9', '1767225600.other.1-1', 'nonsense'], lease: answer.body.lease }))
      .body,
  ).toEqual({
    results: [
      { id: ids[0], result: 'acked' },
      { id: ids[1], result: 'acked' },
      { id: '1767225600.crm.1-9', result: 'unknown' },
      { id: '1767225600.other.1-1', result: 'unknown' },
      { id: 'nonsense', result: 'unknown' },
    ],
  });
  expect((await pull()).body).toEqual({ lease: null, deliveries: [] });
});

test('JSON goes as it is, digits and all; everything else, also broken JSON, as base64', async () => {
  await pending(first(), 1, 1, 3);
  bodies.set(1, { contentType: 'application/json', body: Buffer.from('{"amount":1.10}') });
  bodies.set(2, { contentType: 'application/json', body: Buffer.from('{"amount":') });
  bodies.set(3, { contentType: 'message/rfc822', body: Buffer.from([0xff, 0x00]) });
  const { text, body } = await pull();
  expect(text).toContain('"body":{"amount":1.10}');
  expect(body.deliveries[0]).not.toHaveProperty('encoding');
  expect(body.deliveries.slice(1)).toMatchObject([
    { encoding: 'base64', body: Buffer.from('{"amount":').toString('base64') },
    { encoding: 'base64', body: '/wA=' },
  ]);
});

test('gives back what it is told to, later or never', async () => {
  await pending(first(), 1, 1, 2);
  await pull();
  expect((await nack({ ids: ['1767225600.crm.1-1'] })).body.results[0].result).toBe('returned');
  expect((await nack({ ids: ['1767225600.crm.1-2'], reject: true, reason: 'broken' })).body.results[0].result).toBe(
    'rejected',
  );
  const again = await pull();
  expect(again.body.deliveries.map(({ id, type, attempt }: Record<string, unknown>) => [id, type, attempt])).toEqual([
    ['1767225600.crm.1-1', 'com.example.invoice.created', 2],
    ['1767225600.crm.1-2', 'waybill.delivery.void', 2],
  ]);
  await nack({ ids: ['1767225600.crm.1-1'], delay: 3600 });
  await ack({ ids: ['1767225600.crm.1-2'] });
  expect(numbers(await pull())).toEqual([]);
});

test('waits for the first, and answers as soon as it is there', async () => {
  const asked = pull({ wait: 30 });
  await until(() => listeners.size === 1, 'the consumer to wait');
  await pending(first(), 2, 1, 1);
  for (const listener of listeners) listener();
  expect(numbers(await asked)).toEqual([1]);
  expect(listeners.size).toBe(0);
});

test('finds without notice, within a second, what another process made due', async () => {
  const asked = pull({ wait: 30 });
  await until(() => listeners.size === 1, 'the consumer to wait');
  await pending(first(), 2, 1, 1);
  expect(numbers(await asked)).toEqual([1]);
});

test('answers with nothing when the wait is over', async () => {
  expect((await pull({ wait: 0.05 })).body).toEqual({ lease: null, deliveries: [] });
});

test('a consumer that hangs up while it waits is given nothing', async () => {
  const hanging = request(`${api.origin}/v1/targets/crm/pull`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
  });
  hanging.on('error', () => undefined);
  hanging.end('{"wait":30}');
  await until(() => listeners.size === 1, 'the consumer to wait');
  hanging.destroy();
  await until(() => listeners.size === 0, 'the wait to end');
  await pending(first(), 2, 1, 1);
  expect(numbers(await pull())).toEqual([1]);
});

test('a full reply leaves the rest as it was; what is too large for any goes alone', async () => {
  await pending(first(), 1, 1, 4);
  const large = (megabytes: number) => ({ contentType: 'text/plain', body: Buffer.alloc(megabytes * 1024 * 1024) });
  bodies.set(1, large(17));
  bodies.set(2, large(9));
  bodies.set(3, large(6));
  bodies.set(4, large(9));
  for (const expected of [[1], [2, 3], [4]]) {
    const answer = await pull();
    expect(numbers(answer)).toEqual(expected);
    for (const one of answer.body.deliveries) expect(one.attempt).toBe(1);
    await ack({ ids: answer.body.deliveries.map(({ id }: { id: string }) => id) });
  }
});

test('replies that are being written are bounded together: who finds no room is told to come back, and loses nothing', async () => {
  // Counts with half as much again, and at most two replies' worth: four times that is half of the room.
  await api.pool.query(
    `with m as (insert into message (generation, tenant, channel, sequence, source, kind, account, arrived_at, peer, sha256, batch, raw)
       values (1, $1, 3, 1, 1, 'mail', 'a', now(), 'p', '', 1, convert_to(repeat('x', 24000000), 'UTF8')))
     insert into span (tenant, channel, first_sequence, generation) values ($1, 3, 1, 1)`,
    [api.tenant.id],
  );
  targets = [{ ...first(), definition: { ...first().definition, order: 'none' } as PullTarget }, ...targets.slice(1)];
  await pending(first(), 3, 1, 6);
  await api.pool.query('update delivery set sequence = 1');
  let open = () => {};
  gate = new Promise((resolve) => {
    open = resolve;
  });
  const four = Array.from({ length: 4 }, () => pull({ max: 1 }));
  await until(async () => {
    const { rows } = await api.pool.query('select from delivery where leased_until is not null');
    return rows.length === 4;
  }, 'four to be leased');
  const fifth = await pull({ max: 1 });
  expect([fifth.status, fifth.body.code, fifth.headers.get('retry-after')]).toEqual([429, 'too_many_replies', '1']);
  open();
  expect((await Promise.all(four)).flatMap(numbers).sort()).toEqual([1, 2, 3, 4]);
  const again = await pull({ max: 2 });
  expect(numbers(again).sort()).toEqual([5, 6]);
  expect(again.body.deliveries.map(({ attempt }: { attempt: number }) => attempt)).toEqual([1, 1]);
});

test('a delivery whose content is gone fails, and its number comes as void', async () => {
  await pending(first(), 1, 1, 2);
  bodies.set(1, null);
  const answer = await pull();
  expect(numbers(answer)).toEqual([2]);
  await ack({ ids: ['1767225600.crm.1-2'] });
  bodies.delete(1);
  expect((await pull()).body.deliveries).toMatchObject([{ id: '1767225600.crm.1-1', type: 'waybill.delivery.void' }]);
});

test('what could not be written out is free again at once', async () => {
  await pending(first(), 1, 1, 2);
  bodies.set(2, new Error('the database is away'));
  expect((await pull()).status).toBe(500);
  bodies.clear();
  const answer = await pull();
  expect(answer.body.deliveries.map(({ attempt }: { attempt: number }) => attempt)).toEqual([1, 1]);
});

test('a paused target gives nothing; acks still count', async () => {
  await pending(first(), 1, 1, 2);
  await pull({ max: 1 });
  targets = [{ ...first(), paused: { by: 'anna', code: 'by_hand', reason: 'maintenance' } }];
  expect((await ack({ ids: ['1767225600.crm.1-1'] })).body.results[0].result).toBe('acked');
  expect(numbers(await pull())).toEqual([]);
});

test('a target that is sent to is not pulled', async () => {
  targets = [{ ...first(), definition: { kind: 'queue' } as TargetDefinition }];
  const answer = await pull();
  expect([answer.status, answer.body.code]).toEqual([409, 'target_not_pulled']);
});

test("another tenant's target of the same name is another one", async () => {
  await pending(first(), 1, 1, 1);
  const stranger = await api.token(['targets.pull'], api.other);
  expect(numbers(await pull({}, stranger))).toEqual([]);
  targets = [first()];
  expect((await pull({}, stranger)).status).toBe(404);
});

test('takes the permission, and well-formed bodies only', async () => {
  expect((await pull({}, await api.token(['targets.read']))).status).toBe(403);
  for (const body of [{ max: 0 }, { max: 1001 }, { wait: 31 }, { wait: -1 }, { most: 1 }]) {
    expect((await pull(body)).status).toBe(422);
  }
  for (const body of [{}, { ids: [] }, { ids: [1] }, { ids: ['x'], lease: 'y' }, { ids: ['x'], delay: -1 }]) {
    expect((await nack(body)).status).toBe(422);
  }
});

test('stopping keeps nobody waiting', async () => {
  const asked = pull({ wait: 30 });
  await until(() => listeners.size === 1, 'the consumer to wait');
  stopping.abort();
  expect((await asked).body).toEqual({ lease: null, deliveries: [] });
});
