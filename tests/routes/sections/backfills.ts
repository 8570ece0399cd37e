import { describe, expect, test } from 'vitest';
import { accountHash, channelOf } from '../../../src/channel/partition.js';
import type { Arrival } from '../../../src/message/arrival.js';
import { alarmBackfills, beginEnd, unfinishedBackfills } from '../../../src/storage/backfills.js';
import { Ledger } from '../../../src/storage/ledger.js';
import type { Api } from '../harness.js';
import { addMessage, addSource, plan } from '../seed.js';

const RANGE = { from: '2026-01-01T00:00:00Z', to: '2026-03-01T00:00:00Z', why: 'the exporter was down' };
const OF = '/v1/accounts/acme';
const SPAN = 'from=2026-01-01T00:00:00Z&to=2026-03-01T00:00:00Z';

/** A tenant with a meter and an account that has used 1 in January. */
export async function metered(api: Api, name: string, late: 'adjust' | 'quarantine' = 'adjust') {
  const { tenant, token } = await api.newTenant(name);
  const call = (method: string, path: string, body?: unknown) =>
    api.call(method, path, { token, ...(body !== undefined && { body }) });
  const meter = { type: 'used', aggregation: 'sum', value: '/data/n', late };
  expect((await call('PUT', '/v1/meters/gb', meter)).status).toBe(201);
  const source = await addSource(api.pool, tenant, 'feed');
  const channel = channelOf(accountHash('acme'), tenant.channels);
  const ledger = new Ledger({ pool: api.pool });
  const take = () => ledger.take({ tenant: tenant.id, book: 1, channel });
  const rawOf = (id: string, n: string) =>
    `{"specversion":"1.0","id":"${id}","source":"/s","type":"used","subject":"acme","data":{"n":${n}}}`;
  const use = async (id: string, n: string, day: string) => {
    const at = { source, channel, account: 'acme', type: 'used', raw: rawOf(id, n), meta: null };
    const place = await addMessage(api.pool, tenant, { ...at, arrivedAt: new Date(`${day}T12:00:00Z`) });
    await plan(api.pool, tenant, place);
    return `${place.channel}-${place.sequence}`;
  };
  const arrival = (id: string, n: string, time: string | null, account = 'acme'): Arrival => ({
    ...{ tenant, source: { id: source, name: 'feed' }, kind: 'event', account, type: 'used', externalId: id },
    ...{ value: null, eventTime: time, arrivedAt: 0, peer: 'test', meta: null, identity: Buffer.from(id) },
    ...{
      digest: '\0'.repeat(16),
      onOtherContent: 'conflict',
      raw: Buffer.from(rawOf(id, n).replace('acme', account)),
    },
  });
  const sum = async () => (await call('GET', `${OF}/usage?${SPAN}`)).body.items[0]?.quantity;
  const first = await use('a', '1', '2026-01-10');
  await take();
  return { tenant, call, use, take, arrival, sum, first };
}

export function backfills(get: () => Api): void {
  describe('/v1/backfills', () => {
    test('are opened, sent to, closed and reverted; what counts follows', async () => {
      const { tenant, call, take, arrival, sum, first } = await metered(get(), 'fills');
      const opened = await call('POST', '/v1/backfills', RANGE);
      expect([opened.status, opened.body]).toMatchObject([201, { id: 1, state: 'open', why: RANGE.why, sent: 0 }]);
      const sent = await get().backfills.send(tenant, 1, [
        arrival('b', '2.50', '2026-01-05T00:00:00Z'),
        arrival('b', '2.50', '2026-01-05T00:00:00Z'),
        arrival('a', '1', '2026-01-10T12:00:00Z'),
        arrival('c', '9', '2026-03-01T00:00:00Z'),
        arrival('d', '9', null),
        { ...arrival('e', '9', '2026-01-05T00:00:00Z'), account: 'feed', raw: Buffer.from('{"id":"e","source":"/s"}') },
      ]);
      expect(sent).toMatchObject({
        verdicts: [
          { verdict: 'sequenced' },
          { verdict: 'duplicate' },
          { verdict: 'sequenced' },
          { verdict: 'rejected', code: 'outside_range', pointer: '/time' },
          { verdict: 'rejected', code: 'time_missing' },
          { verdict: 'rejected', code: 'account_missing', pointer: '/subject' },
        ],
      });
      await take();
      expect(await sum()).toBe('1');
      const closed = await call('POST', '/v1/backfills/1/close', {});
      expect([closed.status, closed.body.state, closed.body.read]).toEqual([200, 'closed', 2]);
      await take();
      expect(await sum()).toBe('3.5');
      expect((await call('GET', '/v1/backfills/1')).body).toMatchObject({ counted: 1, known: 1, accounts: 1, sent: 3 });
      const known = await call('GET', '/v1/backfills/1/known?limit=1');
      expect(known.body.items).toMatchObject([{ of: first }]);
      expect((await call('GET', `/v1/backfills/1/known?cursor=${known.body.next}`)).body.items).toEqual([]);
      expect((await call('POST', '/v1/backfills/1/close', {})).status).toBe(200);
      expect(await get().backfills.send(tenant, 1, [])).toEqual({ result: 'not_open' });
      const reverted = await call('POST', '/v1/backfills/1/revert', { why: 'the wrong file' });
      expect([reverted.status, reverted.body]).toMatchObject([
        200,
        { state: 'reverted', revertedWhy: 'the wrong file' },
      ]);
      await take();
      expect(await sum()).toBe('1');
      expect((await call('POST', '/v1/backfills/1/close', {})).body.code).toBe('backfill_reverted');
      const { rows } = await get().pool.query(
        "select action from audit where tenant = $1 and action like 'backfill%' order by id",
        [tenant.id],
      );
      expect(rows.map(({ action }) => action)).toEqual(['backfill.open', 'backfill.close', 'backfill.revert']);
    });

    test('are bounded in number and time, and an old one is told', async () => {
      const { tenant, call, arrival } = await metered(get(), 'bounds');
      const open = (body: object) => call('POST', '/v1/backfills', { ...RANGE, ...body });
      expect((await open({ to: RANGE.from })).body.code).toBe('invalid_body');
      expect((await open({ to: '2199-01-01T00:00:00Z' })).body.code).toBe('invalid_body');
      expect((await open({ account: 'acme' })).status).toBe(201);
      const [other] = await sentTo(arrival('x', '1', '2026-01-05T00:00:00Z', 'beta'));
      expect(other).toMatchObject({ verdict: 'rejected', code: 'account_differs' });
      for (let i = 1; i < 10; i++) expect((await open({})).status).toBe(201);
      expect((await open({})).body).toMatchObject({ status: 409, code: 'too_many' });
      const page = await call('GET', '/v1/backfills?limit=4');
      expect(page.body.items.map(({ id }: { id: number }) => id)).toEqual([10, 9, 8, 7]);
      const rest = await call('GET', `/v1/backfills?limit=200&cursor=${page.body.next}`);
      expect(rest.body.items).toHaveLength(6);
      expect((await call('GET', '/v1/backfills?account=acme')).body.items).toMatchObject([{ id: 1, account: 'acme' }]);
      expect((await call('GET', '/v1/backfills/99')).status).toBe(404);
      expect((await call('GET', '/v1/backfills/99/known')).status).toBe(404);
      expect((await call('POST', '/v1/backfills/99/revert', { why: 'x' })).status).toBe(404);
      await get().pool.query("update backfill set opened_at = now() - interval '8 days' where tenant = $1 and id = 2", [
        tenant.id,
      ]);
      expect((await call('GET', '/v1/backfills/2')).body.overdue).toBe(true);
      expect(await alarmBackfills(get().pool)).toEqual([{ tenant: 'bounds', backfill: 2 }]);
      expect(await alarmBackfills(get().pool)).toEqual([]);
      await get().pool.query('update backfill set sent = 1000000 where tenant = $1 and id = 3', [tenant.id]);
      const full = await get().backfills.send(tenant, 3, [arrival('y', '1', '2026-01-05T00:00:00Z')]);
      expect(full).toEqual({ result: 'too_many_events' });

      async function sentTo(...arrivals: Arrival[]) {
        const sent = await get().backfills.send(tenant, 1, arrivals);
        return sent.result === 'ok' ? sent.verdicts : [];
      }
    });

    test('whose telling was cut off are told on', async () => {
      const { tenant, call, take, arrival, sum } = await metered(get(), 'cuts');
      await call('POST', '/v1/backfills', RANGE);
      await get().backfills.send(tenant, 1, [arrival('b', '2', '2026-01-05T00:00:00Z')]);
      await get().pool.query(
        "update backfill set state = 'closing', closed_by = 'anna', closed_at = now() - interval '1 minute' where tenant = $1",
        [tenant.id],
      );
      expect(await unfinishedBackfills(get().pool, 10)).toMatchObject([{ id: 1, action: 'close', who: 'anna' }]);
      await get().backfills.finish();
      expect((await call('GET', '/v1/backfills/1')).body.state).toBe('closed');
      await take();
      expect(await sum()).toBe('3');
    });

    test('are not closed with the ids of another account’s events', async () => {
      const { tenant, call, arrival, sum, first } = await metered(get(), 'clashes');
      const other = Array.from({ length: 20 }, (_, n) => `other-${n}`).find(
        (name) => channelOf(accountHash(name), tenant.channels) !== Number(first.split('-')[0]),
      ) as string;
      await call('POST', '/v1/backfills', RANGE);
      const [time, ledger] = ['2026-01-05T00:00:00Z', new Ledger({ pool: get().pool })];
      const sent = await get().backfills.send(tenant, 1, [
        arrival('a', '1', time, other),
        arrival('b', '2', time, other),
      ]);
      const [clash] = sent.result === 'ok' ? sent.verdicts : [];
      if (clash?.verdict !== 'sequenced') throw new Error('it was not sequenced');
      const take = () => ledger.take({ tenant: tenant.id, book: 1, channel: clash.channel });
      const ending = { action: 'close', who: 'anna', why: '', adjust: false } as const;
      expect(await beginEnd(get().pool, tenant, 1, ending)).toEqual({ result: 'behind' });
      await take();
      const message = `${clash.channel}-${clash.sequence}`;
      const refused = await call('POST', '/v1/backfills/1/close', {});
      expect(refused.body).toMatchObject({ code: 'identity_conflict', conflicts: [{ message, of: first }] });
      await call('POST', `/v1/accounts/${other}/corrections`, { void: message, why: 'its id is another one’s' });
      await take();
      expect((await call('POST', '/v1/backfills/1/close', {})).status).toBe(200);
      await take();
      expect(await sum()).toBe('1');
      expect((await call('GET', `/v1/accounts/${other}/usage?${SPAN}`)).body.items).toMatchObject([{ quantity: '2' }]);
    });

    test('never change a final statement: the next one says the difference', async () => {
      const { tenant, call, take, arrival } = await metered(get(), 'finals');
      const price = { model: 'per_unit', meter: 'gb', price: '0.10' };
      const card = { currency: 'EUR', versions: [{ from: '2026-01-01', prices: [price] }] };
      await call('PUT', '/v1/rate-cards/basic', card);
      const subscription = { account: 'acme', rateCard: 'basic', currency: 'EUR', from: '2026-01-01' };
      await call('PUT', '/v1/subscriptions/acme', subscription);
      const final = await call('POST', `${OF}/statements/2026-01/close`, {});
      expect(final.body.statement.total).toBe('0.10');
      await call('POST', '/v1/backfills', RANGE);
      await get().backfills.send(tenant, 1, [arrival('b', '20', '2026-01-05T00:00:00Z')]);
      await take();
      const refused = await call('POST', '/v1/backfills/1/close', {});
      expect(refused.body).toMatchObject({ status: 409, code: 'period_final', account: 'acme', period: '2026-01' });
      expect((await call('POST', '/v1/backfills/1/close', { adjust: true })).status).toBe(200);
      await take();
      expect((await call('GET', `${OF}/statements/2026-01`)).body).toEqual(final.body);
      const next = async () => (await call('GET', `${OF}/statements/2026-02`)).body.statement.lines;
      expect(await next()).toMatchObject([
        { kind: 'adjustment', period: '2026-01', quantity: '20', events: 1, amount: '2.00' },
      ]);
      expect((await call('POST', '/v1/backfills/1/revert', { why: 'x' })).body.code).toBe('period_final');
      expect((await call('POST', '/v1/backfills/1/revert', { why: 'x', adjust: true })).status).toBe(200);
      await take();
      expect(await next()).toEqual([]);
    });
  });

  describe('/v1/ledger/held', () => {
    test('lists what meters hold of final periods, to be charged in the next statement or not at all', async () => {
      const { tenant, call, take, use, sum } = await metered(get(), 'holds', 'quarantine');
      const price = { model: 'per_unit', meter: 'gb', price: '0.10' };
      const card = { currency: 'EUR', versions: [{ from: '2026-01-01', prices: [price] }] };
      await call('PUT', '/v1/rate-cards/basic', card);
      const subscription = { account: 'acme', rateCard: 'basic', currency: 'EUR', from: '2026-01-01' };
      await call('PUT', '/v1/subscriptions/acme', subscription);
      const final = await call('POST', `${OF}/statements/2026-01/close`, {});
      const [late, wrong] = [await use('b', '2', '2026-01-30'), await use('c', '4', '2026-01-31')];
      await take();
      expect(await sum()).toBe('1');
      const held = await call('GET', '/v1/ledger/held?limit=1');
      expect(held.body.items).toMatchObject([{ message: late, account: 'acme', meters: ['gb'], period: '2026-01' }]);
      const rest = await call('GET', `/v1/ledger/held?account=acme&cursor=${held.body.next}`);
      expect(rest.body.items).toMatchObject([{ message: wrong }]);

      const decide = (id: string, what: string) =>
        call('POST', `/v1/ledger/held/${id}/${what}`, { why: 'looked into' });
      expect((await decide('3-999', 'accept')).body.code).toBe('not_held');
      expect((await decide(late, 'accept')).status).toBe(202);
      expect((await decide(wrong, 'discard')).status).toBe(202);
      // Said again before the ledger has come to it.
      expect((await decide(late, 'accept')).body.again).toBe(true);
      expect((await decide(wrong, 'discard')).status).toBe(200);
      await take();
      expect((await decide(late, 'accept')).status).toBe(200);
      expect((await decide(wrong, 'discard')).body.code).toBe('not_held');
      expect((await call('GET', '/v1/ledger/held')).body.items).toEqual([]);
      expect(await sum()).toBe('3');
      expect((await call('GET', `${OF}/statements/2026-01`)).body).toEqual(final.body);
      expect((await call('GET', `${OF}/statements/2026-02`)).body.statement.lines).toMatchObject([
        { kind: 'adjustment', period: '2026-01', quantity: '2', events: 1, amount: '0.20' },
      ]);
      const { rows } = await get().pool.query(
        "select action, object from audit where tenant = $1 and action like 'held%' order by id",
        [tenant.id],
      );
      expect(rows).toEqual([
        { action: 'held.accept', object: late },
        { action: 'held.discard', object: wrong },
      ]);
    });

    test('is left as it is where the account was erased', async () => {
      const { tenant, call, take, use } = await metered(get(), 'holds-erased', 'quarantine');
      await get().pool.query(
        `insert into statement (tenant, account, period_from, period_to, channel, through, body, hash, made_by)
         values ($1, 'acme', '2026-01-01', '2026-02-01', 0, 1, '{"period":{"name":"2026-01"}}', '', 'test')`,
        [tenant.id],
      );
      const held = await use('b', '2', '2026-01-30');
      await take();
      for (let n = 0; ; n++) {
        const name = `erased-${n}`;
        if (channelOf(accountHash(name), tenant.channels) === Number(held.split('-')[0])) continue;
        await get().pool.query('update usage_series set account = $2 where tenant = $1', [tenant.id, name]);
        break;
      }
      expect((await call('POST', `/v1/ledger/held/${held}/accept`, { why: 'x' })).status).toBe(410);
      expect((await call('POST', `/v1/ledger/held/${held}/discard`, { why: 'x' })).status).toBe(410);
    });
  });
}
