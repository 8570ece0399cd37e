import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { backfillPages } from '../../../routes/pages/billing-backfills.js';
import { billingGapPages } from '../../../routes/pages/billing-gaps.js';
import type { PageDeps } from '../../../routes/pages/deps.js';
import { openSite } from '../../../routes/pages/show.js';
import { asProblem } from '../../../routes/problem.js';
import type { Permission } from '../../../src/access/permission.js';
import { createCorrect } from '../../../src/app/corrections.js';
import { createDecideHeld } from '../../../src/app/held.js';
import type { Backfills } from '../../../src/billing/backfill.js';
import { accountHash, channelOf } from '../../../src/channel/partition.js';
import { messageId } from '../../../src/message/id.js';
import type { Tenant } from '../../../src/message/tenant.js';
import { openBackfill } from '../../../src/storage/backfills.js';
import { Ledger } from '../../../src/storage/ledger.js';
import { type Api, startApi } from '../harness.js';
import { metered } from '../sections/backfills.js';
import { saying } from '../seed.js';

const ROOT = fileURLToPath(new URL('../../..', import.meta.url));
const FROM = Date.parse('2026-01-01T00:00:00Z');
const RANGE = { from: FROM, to: Date.parse('2026-03-01T12:30:00Z'), account: null };

let api: Api;

beforeAll(async () => {
  api = await startApi();
});
afterAll(() => api.close());

interface Shown {
  readonly status: number;
  readonly location: string | undefined;
  readonly html: string;
  /** What stands on the page, without its marks. */
  readonly text: string;
}

/** Asks pages as the server would, for somebody with these permissions. */
function pages(
  tenant: Tenant,
  permissions: readonly Permission[] = ['billing.read', 'billing.correct'],
  backfills: Backfills = api.backfills,
) {
  const { pool } = api;
  const say = saying(pool);
  const correct = createCorrect({ pool, say });
  const deps = {
    ...{ pool, correct, backfills, decideHeld: createDecideHeld({ pool, say, correct }) },
    ...{ now: api.clock.now, templates: `${ROOT}templates`, assets: `${ROOT}public` },
  } as Partial<PageDeps> as PageDeps;
  const site = openSite(deps);
  const routes = [...billingGapPages(deps, site), ...backfillPages(deps, site)];
  const principal = { kind: 'person', tenant, who: 'anna', permissions: new Set(permissions), csrf: 'c' } as const;
  return async (method: 'get' | 'post', path: string, body: object = {}): Promise<Shown> => {
    const { pathname, searchParams } = new URL(path, 'http://x');
    const of = (pattern: string) => new RegExp(`^${pattern.replace(/:(\w+)/g, '(?<$1>[^/]+)')}$`);
    const route = routes.find((one) => one.method === method && of(one.path).test(pathname));
    if (!route) throw new Error(`no page ${method} ${path}`);
    expect(route.permission).toBe(method === 'get' ? 'billing.read' : 'billing.correct');
    const params = route.params?.parse({ ...of(route.path).exec(pathname)?.groups }) ?? {};
    const query = route.query?.parse(Object.fromEntries(searchParams)) ?? {};
    const request = { principal, params, query, body, headers: {}, peer: 'test' } as never;
    const reply = await Promise.resolve(route.handler(request)).catch(asProblem);
    if (!('status' in reply)) throw new Error('it is a stream');
    const html = 'body' in reply && typeof reply.body === 'string' ? reply.body : '';
    const text = html.replace(/<[^>]*>/g, ' ').replace(/\s+/g, ' ');
    return { status: reply.status, location: reply.headers?.location, html, text };
  };
}

/** January of the account is final. */
async function makeFinal(call: (method: string, path: string, body?: unknown) => Promise<{ status: number }>) {
  const price = { model: 'per_unit', meter: 'gb', price: '0.10' };
  const card = { currency: 'EUR', versions: [{ from: '2026-01-01', prices: [price] }] };
  await call('PUT', '/v1/rate-cards/basic', card);
  await call('PUT', '/v1/subscriptions/acme', {
    ...{ account: 'acme', rateCard: 'basic', currency: 'EUR', from: '2026-01-01' },
  });
  expect((await call('POST', '/v1/accounts/acme/statements/2026-01/close', {})).status).toBe(200);
}

const rowsOf = ({ html }: Shown) => html.match(/<th scope="row"[^>]*>.*?<\/th>/g) ?? [];
const buttons = ({ html }: Shown) => html.match(/<button[^>]*>[^<]*(Accept|Close it|Revert it|Adjust)[^<]*/g) ?? [];

test('what is held is accepted with a reason, and the page says so until the ledger has come to it', async () => {
  const { tenant, call, use, take, sum } = await metered(api, 'page-held', 'quarantine');
  const ask = pages(tenant);
  const list = '/billing/gaps?list=held';
  const empty = await ask('get', list);
  expect(empty.text).toContain('Nothing is held.');
  expect(empty.text).toContain('Nothing of gb waits for that.');
  await makeFinal(call);
  const [late, other] = [await use('b', '2', '2026-01-30'), await use('c', '4', '2026-01-31')];
  await take();
  const held = await ask('get', list);
  expect(rowsOf(held)).toHaveLength(2);
  expect(held.text).toContain(`${late} acme gb 2026-01 2026-01-30 12:00:00 UTC`);
  expect(held.html).toContain('href="/billing/accounts/acme/statements/2026-01"');
  expect(buttons(held)).toHaveLength(2);

  const post = (body: object) => ask('post', '/billing/gaps/held', body);
  const unsaid = await post({ message: late, why: '' });
  expect([unsaid.status, unsaid.text.includes('Say why')]).toEqual([422, true]);
  const unknown = await post({ message: '3-999', why: 'x' });
  expect([unknown.status, unknown.text.includes('No meter holds the message 3-999.')]).toEqual([404, true]);
  expect((await post({ message: 'nothing', why: 'x' })).status).toBe(422);
  expect(await sum()).toBe('1');

  const accepted = await post({ message: late, why: 'looked into' });
  expect([accepted.status, accepted.location]).toEqual([303, `/billing/gaps?list=held&done=accept&of=${late}`]);
  const told = await ask('get', accepted.location ?? '');
  expect(told.text).toContain(`Accepted: ${late}`);
  expect(buttons(told)).toHaveLength(1);
  await take();
  expect(await sum()).toBe('3');
  expect(rowsOf(await ask('get', accepted.location ?? ''))).toEqual([expect.stringContaining(other)]);
  const { rows } = await api.pool.query('select who, object, detail from audit where tenant = $1 and action = $2', [
    ...[tenant.id, 'held.accept'],
  ]);
  expect(rows).toEqual([{ who: 'anna', object: late, detail: { why: 'looked into' } }]);

  const reader = await pages(tenant, ['billing.read'])('get', list);
  expect(buttons(reader)).toEqual([]);
  expect(reader.text).toContain('Whoever may billing.correct accepts or discards them.');
  expect((await ask('get', '/billing/gaps/held')).location).toBe(list);
});

test('what is held is listed page by page; without a meter that holds anything the list says so', async () => {
  const { tenant, call, use, take } = await metered(api, 'page-held-many', 'quarantine');
  await makeFinal(call);
  const messages: string[] = [];
  for (let n = 0; n < 51; n += 1) messages.push(await use(`late-${n}`, '1', '2026-01-30'));
  await take();
  const ask = pages(tenant);
  const first = await ask('get', '/billing/gaps?list=held');
  expect(rowsOf(first)).toHaveLength(50);
  const next = /href="([^"]*)">More/.exec(first.html)?.[1]?.replaceAll('&amp;', '&').replaceAll('&#x3D;', '=');
  const second = await ask('get', next ?? '');
  expect(rowsOf(second)).toEqual([expect.stringContaining(messages.at(-1) as string)]);
  const cursor = new URL(next ?? '', 'http://x').searchParams.get('cursor');
  const accepted = await ask('post', '/billing/gaps/held', { message: messages.at(-1), why: 'x', cursor });
  expect(accepted.location).toContain(`cursor=${cursor}`);
  const { tenant: none } = await metered(api, 'page-held-none');
  expect((await pages(none)('get', '/billing/gaps?list=held')).text).toContain('There is no such meter');
});

test('a backfill is closed by who confirms what will count, and reverted with a reason', async () => {
  const { tenant, call, take, arrival, sum, first } = await metered(api, 'page-fills');
  const ask = pages(tenant);
  const empty = await ask('get', '/billing/backfills');
  expect(empty.text).toContain('There is no backfill yet.');
  expect(empty.text).toContain('waybill backfill open');
  await openBackfill(api.pool, tenant, RANGE, { who: 'bea', why: 'the exporter was down' });
  const send = (id: string) => api.backfills.send(tenant, 1, [arrival(id, '2.50', '2026-01-10T12:00:00Z')]);
  await send('a');
  await take();
  const path = '/billing/backfills/1';
  const open = await ask('get', path);
  expect(open.text).toContain('this will count: gb 1 event');
  expect(open.text).toContain('2026-01-01 to 2026-03-01 12:30, UTC');
  expect(open.text).toContain('waybill backfill send 1 events.ndjson');
  const close = { action: 'close', confirm: '1', sent: '1', read: '1' };

  const unticked = await ask('post', path, { ...close, confirm: '' });
  expect([unticked.status, unticked.text.includes('Tick the box')]).toEqual([422, true]);
  await send('b');
  await take();
  const grown = await ask('post', path, close);
  expect([grown.status, grown.text.includes('More of its events have come since')]).toEqual([409, true]);
  expect(grown.text).toContain('this will count: gb 2 events');
  expect((await call('GET', '/v1/backfills/1')).body.state).toBe('open');

  const closed = await ask('post', path, { ...close, sent: '2', read: '2' });
  expect([closed.status, closed.location]).toEqual([303, `${path}?done=close`]);
  await take();
  expect(await sum()).toBe('3.5');
  const after = await ask('get', closed.location ?? '');
  expect(after.text).toContain('Closed. Its events count as soon as the ledger has come to it.');
  expect(after.text).toContain('Sent 2 events');
  expect(after.text).toContain('Counted 1 by at least one meter Known 1');
  expect(after.html).toContain(`<a href="/messages/${first}">${first}</a>`);
  expect(buttons(after)).toEqual([expect.stringContaining('Revert it')]);
  const listed = await ask('get', '/billing/backfills');
  expect(listed.text).toMatch(
    /1 closed 2026-01-01 to 2026-03-01 12:30 any by bea, .* “the exporter was down” 2 2 1 1 /,
  );

  expect((await ask('post', path, { action: 'revert', why: '' })).text).toContain('Say why');
  const reverted = await ask('post', path, { action: 'revert', why: 'the wrong file' });
  expect(reverted.location).toBe(`${path}?done=revert`);
  await take();
  expect(await sum()).toBe('1');
  const gone = await ask('get', path);
  expect(gone.text).toContain('“the wrong file”');
  expect(buttons(gone)).toEqual([]);
  expect((await ask('post', path, close)).text).toContain('The backfill 1 was reverted: open another one.');
  expect((await ask('get', '/billing/backfills/2')).status).toBe(404);
  expect((await ask('post', '/billing/backfills/2', close)).status).toBe(404);
});

test('what comes to a backfill after somebody looked, even as it is being closed, is shown before it counts', async () => {
  const { tenant, call, take, arrival, sum } = await metered(api, 'page-fills-raced');
  await openBackfill(api.pool, tenant, RANGE, { who: 'bea', why: 'x' });
  const send = (id: string) => api.backfills.send(tenant, 1, [arrival(id, '2', '2026-01-10T12:00:00Z')]);
  await send('b');
  await take();
  const meanwhile = (work: () => Promise<unknown>): Backfills => ({
    ...api.backfills,
    async end(...wish) {
      await work();
      return api.backfills.end(...wish);
    },
  });
  const close = (figures: { sent: string; read: string }, work: () => Promise<unknown>) =>
    pages(tenant, undefined, meanwhile(work))('post', '/billing/backfills/1', {
      ...{ action: 'close', confirm: '1', ...figures },
    });

  const sentMore = await close({ sent: '1', read: '1' }, async () => {
    await send('c');
    await take();
  });
  expect([sentMore.status, sentMore.text.includes('this will count: gb 2 events')]).toEqual([409, true]);
  await send('d');
  const readMore = await close({ sent: '3', read: '2' }, take);
  expect([readMore.status, readMore.text.includes('this will count: gb 3 events')]).toEqual([409, true]);
  expect((await call('GET', '/v1/backfills/1')).body.state).toBe('open');
  expect((await close({ sent: '3', read: '3' }, async () => undefined)).status).toBe(303);
  await take();
  expect(await sum()).toBe('7');
});

test('a final period is answered with the next statement, and who may not change anything is told what it takes', async () => {
  const { tenant, call, take, arrival } = await metered(api, 'page-fills-final');
  await makeFinal(call);
  await openBackfill(api.pool, tenant, { ...RANGE, account: 'acme' }, { who: 'bea', why: 'x' });
  await api.backfills.send(tenant, 1, [arrival('b', '20', '2026-01-05T00:00:00Z')]);
  await take();
  const path = '/billing/backfills/1';
  const reader = pages(tenant, ['billing.read']);
  const shown = await reader('get', path);
  expect(buttons(shown)).toEqual([]);
  expect(shown.text).toContain('Sending, closing and reverting take the permission billing.correct .');
  expect((await reader('get', '/billing/backfills')).text).toContain('Whoever may billing.correct opens one');

  const ask = pages(tenant);
  const close = { action: 'close', confirm: '1', sent: '1', read: '1' };
  const refused = await ask('post', path, close);
  expect(refused.status).toBe(409);
  expect(refused.text).toContain('The statement of acme for 2026-01 is final and stays as it is.');
  expect(buttons(refused)).toHaveLength(3);
  expect((await ask('post', path, { ...close, adjust: '1' })).status).toBe(303);
  await take();
  const [line] = (await call('GET', '/v1/accounts/acme/statements/2026-02')).body.statement.lines;
  expect(line).toMatchObject({ kind: 'adjustment', period: '2026-01', quantity: '20' });
  expect((await ask('post', path, { action: 'revert', why: 'x' })).text).toContain('Adjust in the next statement');
  expect((await ask('post', path, { action: 'revert', why: 'x', adjust: '1' })).status).toBe(303);
});

test('backfills are listed the newest first, page by page, and what has been open for long is marked', async () => {
  const { tenant } = await metered(api, 'page-fills-many');
  await api.pool.query(
    `insert into backfill (tenant, id, state, first, until, account, opened_by, why, opened_at, sent)
     select $1, n, case n when 25 then 'open' else 'reverted' end, '2026-01-01', '2026-02-01', 'acme', 'bea', '<b>x</b>',
       now() - interval '8 days', case n when 24 then 10001 else 0 end from generate_series(1, 25) n`,
    [tenant.id],
  );
  const ask = pages(tenant);
  const first = await ask('get', '/billing/backfills');
  expect(rowsOf(first)).toHaveLength(20);
  expect(first.text).toContain('25 open for over a week');
  expect(first.text).toContain('“&lt;b&gt;x&lt;/b&gt;” 10,001 – – –');
  expect(first.text).toContain('Where more than 10,000 events were sent');
  const next = /href="([^"]*)">Earlier/.exec(first.html)?.[1]?.replaceAll('&#x3D;', '=');
  const second = await ask('get', next ?? '');
  expect(rowsOf(second)).toHaveLength(5);
  expect(second.text).not.toContain('for over a week');
  expect((await ask('get', '/billing/backfills/25')).text).toContain('It has been open for more than a week.');
  expect((await ask('get', '/billing/backfills/24')).text).not.toContain('for over a week');
  expect((await pages(api.other)('get', '/billing/backfills/25')).status).toBe(404);
});

test('what is another account’s is named where closing is refused', async () => {
  const { tenant, arrival, first } = await metered(api, 'page-fills-clash');
  const [channel] = first.split('-');
  const other = Array.from({ length: 50 }, (_, n) => `other-${n}`).find(
    (name) => channelOf(accountHash(name), tenant.channels) !== Number(channel),
  ) as string;
  await openBackfill(api.pool, tenant, RANGE, { who: 'bea', why: 'x' });
  const sent = await api.backfills.send(tenant, 1, [arrival('a', '1', '2026-01-05T00:00:00Z', other)]);
  const [clash] = sent.result === 'ok' ? sent.verdicts : [];
  if (clash?.verdict !== 'sequenced') throw new Error('it was not sequenced');
  await new Ledger({ pool: api.pool }).take({ tenant: tenant.id, book: 1, channel: clash.channel });
  const close = { action: 'close', confirm: '1', sent: '1', read: '1' };
  const refused = await pages(tenant)('post', '/billing/backfills/1', close);
  expect(refused.status).toBe(409);
  expect(refused.text).toContain(
    'Events of it have the source and id of events that were counted for another account.',
  );
  expect(refused.text).toContain(`${messageId(clash)} as ${first}`);
});
