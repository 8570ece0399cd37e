import fc from 'fast-check';
import type { Pool } from 'pg';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { DeliveryPlace, Leased, PulledTarget, PullStore } from '../../src/delivery/pull.js';
import type { Tenant } from '../../src/message/tenant.js';
import { createPullStore } from '../../src/storage/pull.js';
import { createTenant } from '../../src/storage/tenants.js';
import { freshDatabase, type TestDatabase } from '../support/postgres.js';

let db: TestDatabase;
let pool: Pool;
let store: PullStore;
let tenant: Tenant;
let other: Tenant;
let target: PulledTarget;

beforeAll(async () => {
  db = await freshDatabase();
  pool = db.pool;
  store = createPullStore(pool);
  tenant = await made('acme');
  other = await made('other');
});
afterAll(() => db.drop());
let names = 0;
beforeEach(async () => {
  target = await addTarget(tenant);
});

async function made(name: string): Promise<Tenant> {
  const created = await createTenant(pool, name, 4, 'test');
  if (created.result !== 'ok') throw new Error(created.result);
  return created.tenant;
}

async function addTarget(of: Tenant, changes: Partial<PulledTarget> = {}): Promise<PulledTarget> {
  const { rows } = await pool.query<{ id: number }>(
    `insert into target (tenant, name, kind, definition, managed_by) values ($1, $2, 'pull', '{"kind":"pull"}', 'api') returning id`,
    [of.id, `t${++names}`],
  );
  return {
    tenant: of.id,
    id: rows[0]?.id as number,
    channels: of.channels,
    inLine: true,
    leaseSeconds: 60,
    ...changes,
  };
}

/** Deliveries `first` to `last` of a channel, as a plan leaves them. */
async function pending(of: PulledTarget, channel: number, first: number, last: number): Promise<void> {
  await pool.query(
    `insert into delivery (tenant, target, channel, epoch, number, sequence, plan, rung, decision, state)
     select $1, $2, $3, 1, n, 1000 + n, 1, 0, '{"by":"rules","set":1,"rules":["all"]}', 'pending' from generate_series($4::int, $5::int) n`,
    [of.tenant, of.id, channel, first, last],
  );
}

/** As if the time of every lease of a target were over. */
const expire = (of: PulledTarget) =>
  pool.query(
    `update delivery set next_at = now() - interval '1 s', leased_until = now() - interval '1 s'
     where tenant = $1 and target = $2 and leased_until is not null`,
    [of.tenant, of.id],
  );

const failed = (of: PulledTarget, channel: number, number: number) =>
  pool.query(
    `update delivery set state = 'failed', void = 'due', next_at = now(), reason = 'broken' where tenant = $1 and target = $2 and channel = $3 and number = $4`,
    [of.tenant, of.id, channel, number],
  );

const lease = (max = 100, who = 'token a', id = '00000000000000aa', of = target) =>
  store.lease(of, { who, lease: id }, max);
const by = (who = 'token a', id: string | null = null) => ({ who, lease: id });
const place = (channel: number, number: number): DeliveryPlace => ({ channel, epoch: 1, number });
const ids = (leased: readonly Leased[]) => leased.map(({ channel, number }) => `${channel}-${number}`);

async function row(channel: number, number: number) {
  const { rows } = await pool.query(
    'select state, void, attempts, code, reason, leased_until, settled_at, next_at <= now() as due from delivery where tenant = $1 and target = $2 and channel = $3 and number = $4',
    [target.tenant, target.id, channel, number],
  );
  return rows[0];
}

async function attempts(channel: number, number: number) {
  const { rows } = await pool.query(
    `select attempt, what, result, code, reason from delivery_attempt
     where tenant = $1 and target = $2 and channel = $3 and number = $4 order by what, attempt`,
    [target.tenant, target.id, channel, number],
  );
  return rows;
}

describe('in line', () => {
  test('a lease holds several of one channel, in order, and nobody else gets that channel', async () => {
    await pending(target, 1, 1, 3);
    await pending(target, 2, 1, 2);
    const first = await lease(2);
    expect(ids(first)).toEqual(['1-1', '1-2']);
    expect(first[0]).toMatchObject({ sequence: 1001, what: 'message', attempts: 0, decision: { by: 'rules' } });
    expect(ids(await lease(10, 'token b'))).toEqual(['2-1', '2-2']);
    expect(await lease()).toEqual([]);
  });

  test('acks settle, and free the channel when the last is in', async () => {
    await pending(target, 1, 1, 3);
    await lease(2);
    expect(await store.ack(target, [place(1, 1)], by())).toEqual(['done']);
    expect(await lease()).toEqual([]);
    expect(await store.ack(target, [place(1, 2)], by())).toEqual(['done']);
    expect(ids(await lease())).toEqual(['1-3']);
    expect(await row(1, 1)).toMatchObject({ state: 'delivered', attempts: 1, leased_until: null, code: null });
    expect((await row(1, 1)).settled_at).toBeInstanceOf(Date);
    expect(await attempts(1, 1)).toEqual([
      { attempt: 1, what: 'message', result: 'delivered', code: null, reason: null },
    ]);
  });

  test('what is given back comes again in its place, with the rest of its lease still held', async () => {
    await pending(target, 1, 1, 3);
    await lease(2);
    const nack = { do: 'return', delaySeconds: 0, reason: 'not now' } as const;
    expect(await store.nack(target, [place(1, 1)], by(), nack)).toEqual(['done']);
    expect(await row(1, 1)).toMatchObject({ state: 'pending', code: 'returned', reason: 'not now', due: true });
    expect(await lease()).toEqual([]);
    await store.ack(target, [place(1, 2)], by());
    const again = await lease();
    expect(ids(again)).toEqual(['1-1', '1-3']);
    expect(again[0]?.attempts).toBe(1);
    expect(await attempts(1, 1)).toEqual([
      { attempt: 1, what: 'message', result: 'retry', code: 'returned', reason: 'not now' },
    ]);
  });

  test('one that is to come later holds up the line behind it, not other channels', async () => {
    await pending(target, 1, 1, 3);
    await pending(target, 2, 1, 1);
    await lease(1);
    await store.nack(target, [place(1, 1)], by(), { do: 'return', delaySeconds: 60, reason: null });
    expect(ids(await lease())).toEqual(['2-1']);
    const middle = await addTarget(tenant);
    await pending(middle, 1, 1, 3);
    await pool.query(`update delivery set next_at = now() + interval '1 min' where target = $1 and number = 2`, [
      middle.id,
    ]);
    expect(ids(await lease(10, 'token a', 'aa', middle))).toEqual(['1-1']);
  });

  test('one that is rejected is failed, and its number is void in its place', async () => {
    await pending(target, 1, 1, 2);
    await lease();
    const reject = { do: 'reject', code: 'rejected', reason: 'never' } as const;
    expect(await store.nack(target, [place(1, 1)], by(), reject)).toEqual(['done']);
    expect(await row(1, 1)).toMatchObject({ state: 'failed', void: 'due', code: 'rejected', reason: 'never' });
    await store.ack(target, [place(1, 2)], by());
    const [notice] = await lease();
    expect(notice).toMatchObject({ number: 1, what: 'void', reason: 'never' });
    expect(await store.ack(target, [place(1, 1)], by())).toEqual(['done']);
    expect(await row(1, 1)).toMatchObject({ state: 'failed', void: 'taken', code: 'rejected', reason: 'never' });
    expect(await lease()).toEqual([]);
    expect((await attempts(1, 1)).map(({ what, attempt, result }) => [what, attempt, result])).toEqual([
      ['message', 1, 'refused'],
      ['void', 2, 'delivered'],
    ]);
  });

  test('a notice that is rejected is over', async () => {
    await pending(target, 1, 1, 1);
    await failed(target, 1, 1);
    await lease();
    await store.nack(target, [place(1, 1)], by(), { do: 'reject', code: 'rejected', reason: null });
    expect(await row(1, 1)).toMatchObject({ state: 'failed', void: 'refused', reason: 'broken' });
    expect(await lease()).toEqual([]);
  });
});

describe('leases', () => {
  test('come back when their time is over, and the try is written down', async () => {
    await pending(target, 1, 1, 2);
    await lease();
    await expire(target);
    const again = await lease(1, 'token b', '00000000000000bb');
    expect(ids(again)).toEqual(['1-1']);
    expect(again[0]?.attempts).toBe(1);
    expect(await attempts(1, 1)).toEqual([
      {
        attempt: 1,
        what: 'message',
        result: 'retry',
        code: 'lease_expired',
        reason: 'the lease ended without an answer',
      },
    ]);
  });

  test('an ack counts after the time is over, unless somebody else has the delivery', async () => {
    await pending(target, 1, 1, 2);
    await lease();
    await expire(target);
    await lease(1, 'token b', '00000000000000bb');
    expect(await store.ack(target, [place(1, 1), place(1, 2), place(1, 9)], by())).toEqual([
      'lease_lost',
      'done',
      'unknown',
    ]);
    expect(await row(1, 1)).toMatchObject({ state: 'pending' });
    expect(await store.ack(target, [place(1, 1)], by('token b'))).toEqual(['done']);
  });

  test('of one token are told apart by their ids', async () => {
    await pending(target, 1, 1, 1);
    await lease(1, 'token a', '00000000000000aa');
    await expire(target);
    await lease(1, 'token a', '00000000000000bb');
    expect(await store.ack(target, [place(1, 1)], by('token a', '00000000000000aa'))).toEqual(['lease_lost']);
    expect(await store.ack(target, [place(1, 1)], by('token a', '00000000000000bb'))).toEqual(['done']);
  });

  test('an ack may be repeated by whom it was, and by nobody else', async () => {
    await pending(target, 1, 1, 1);
    await lease();
    await store.ack(target, [place(1, 1)], by());
    expect(await store.ack(target, [place(1, 1), place(1, 1)], by())).toEqual(['done', 'done']);
    expect(await store.ack(target, [place(1, 1)], by('token b'))).toEqual(['lease_lost']);
    expect(await store.ack(target, [place(1, 1)], by('token'))).toEqual(['lease_lost']);
    expect(await attempts(1, 1)).toHaveLength(1);
  });

  test('an ack of a message never settles the notice its number became meanwhile', async () => {
    await pending(target, 1, 1, 1);
    await lease();
    await expire(target);
    await failed(target, 1, 1);
    expect(await store.ack(target, [place(1, 1)], by())).toEqual(['lease_lost']);
    expect(await store.ack(target, [place(1, 1)], by('token a', '00000000000000aa'))).toEqual(['lease_lost']);
    expect(await row(1, 1)).toMatchObject({ state: 'failed', void: 'due' });
  });

  test('that were not handed out are as if they had never been', async () => {
    await pending(target, 1, 1, 3);
    await lease();
    await store.release(target, [place(1, 2), place(1, 3)], by('token a', '00000000000000aa'));
    expect(await row(1, 2)).toMatchObject({ attempts: 0, leased_until: null, due: true });
    expect(await attempts(1, 2)).toEqual([]);
    await store.ack(target, [place(1, 1)], by());
    expect(ids(await lease())).toEqual(['1-2', '1-3']);
  });

  test('an ack says that the target takes something', async () => {
    await pending(target, 1, 1, 1);
    await lease();
    const taken = async () =>
      (await pool.query('select last_taken_at from target where id = $1', [target.id])).rows[0].last_taken_at;
    expect(await taken()).toBeNull();
    await store.ack(target, [place(1, 1)], by());
    expect(await taken()).toBeInstanceOf(Date);
  });
});

test('without order anybody gets anything, each once', async () => {
  target = await addTarget(tenant, { inLine: false });
  await pending(target, 1, 1, 5);
  const [a, b] = await Promise.all([lease(3), lease(3, 'token b')]);
  expect([...ids(a), ...ids(b)].sort()).toEqual(['1-1', '1-2', '1-3', '1-4', '1-5']);
  expect(await lease()).toEqual([]);
});

test('what another tenant holds is out of reach', async () => {
  const theirs = await addTarget(other);
  await pending(theirs, 1, 1, 1);
  await store.lease(theirs, { who: 'token a', lease: '00000000000000aa' }, 10);
  const wrong = { ...theirs, tenant: tenant.id };
  await expire(theirs);
  expect(await store.lease(wrong, { who: 'token a', lease: '00000000000000aa' }, 10)).toEqual([]);
  expect(await store.ack(wrong, [place(1, 1)], by())).toEqual(['unknown']);
});

test('any number of consumers at once: every delivery settled once, each channel in order, never with two of them', async () => {
  const step = fc.record({
    max: fc.integer({ min: 1, max: 4 }),
    does: fc.constantFrom('ack', 'ack', 'return', 'expire', 'half'),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 3, maxLength: 12 }), async (steps) => {
      target = await addTarget(tenant);
      for (const channel of [0, 1, 2]) await pending(target, channel, 1, 4);
      const settled: string[] = [];
      let turn = 0;
      const consume = async (who: string, { max, does }: (typeof steps)[number]) => {
        const id = String(++turn).padStart(16, '0');
        const leased = await lease(max, who, id);
        for (const channel of [0, 1, 2]) {
          const numbers = leased.filter((one) => one.channel === channel).map((one) => one.number);
          expect(numbers).toEqual([...numbers].sort((x, y) => x - y));
          const done = settled.filter((one) => one.startsWith(`${channel}-`)).length;
          if (numbers.length > 0) expect(numbers[0]).toBe(done + 1);
        }
        if (does === 'expire') return;
        if (does === 'return') {
          await store.nack(target, leased, by(who, id), { do: 'return', delaySeconds: 0, reason: null });
          return;
        }
        for (const one of does === 'half' ? leased.slice(0, Math.ceil(leased.length / 2)) : leased) {
          // Counted before the answer is in: from then on the next one may be with somebody else.
          settled.push(`${one.channel}-${one.number}`);
          expect(await store.ack(target, [one], by(who, id))).toEqual(['done']);
        }
      };
      for (const one of steps)
        await Promise.all([consume('token a', one), consume('token b', one), consume('token c', one)]);
      while (settled.length < 12) {
        await expire(target);
        await consume('token a', { max: 12, does: 'ack' });
      }
      expect(new Set(settled).size).toBe(12);
    }),
    { numRuns: 15 },
  );
});
