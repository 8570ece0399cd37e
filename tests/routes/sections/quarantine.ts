import { describe, expect, onTestFinished, test } from 'vitest';
import type { ParseResult } from '../../../src/content/content.js';
import { messageId, type Place } from '../../../src/message/id.js';
import type { Tenant } from '../../../src/message/tenant.js';
import { EMPTY_VIEW } from '../../../src/message/view.js';
import type { Api } from '../harness.js';
import { addMessage, addSource, plan, quarantined, stand } from '../seed.js';

export function quarantine(get: () => Api): void {
  let made = 0;
  const source = () => addSource(get().pool, get().tenant, `held-${++made}`);
  const act = (number: number, action: string, body?: unknown) =>
    get().call('POST', `/v1/quarantine/q-${number}/${action}`, { body });

  /** A message that nothing could read, and which its owner has blamed some parts for. */
  async function poison(seed: Parameters<typeof quarantined>[5] = {}, of: Tenant = get().tenant) {
    const api = get();
    const from = await addSource(api.pool, of, `held-${++made}`);
    const place = await addMessage(api.pool, of, { source: from, channel: 1 });
    await plan(api.pool, of, place, { mode: 'quarantine' });
    await stand(api.pool, of, place, 'quarantined');
    await api.pool.query(
      `update standing set rung = 11, blamed = '{2,3}', deaths = 6 where tenant = $1 and channel = $2 and sequence = $3`,
      [of.id, place.channel, place.sequence],
    );
    return { api, place, number: await quarantined(api.pool, of, from, 'poison', place, seed) };
  }

  async function standing({ channel, sequence }: Place, of: Tenant = get().tenant) {
    const { rows } = await get().pool.query(
      `select state, rung, blamed, deaths, by_hand, ready_at <= now() as ready, reason from standing
        where tenant = $1 and channel = $2 and sequence = $3`,
      [of.id, channel, sequence],
    );
    return rows[0];
  }

  async function audit(object: string, of: Tenant = get().tenant) {
    const { rows } = await get().pool.query(
      'select who, action, detail from audit where tenant = $1 and object = $2 order by id',
      [of.id, object],
    );
    return rows;
  }

  const view = (number: number, rung: string | number, token?: string) =>
    get().call('GET', `/v1/quarantine/q-${number}/views/${rung}`, token === undefined ? {} : { token });

  /** What mails come to on a rung, until the test is over. */
  function parsing(parsed: Api['parsed']): void {
    const api = get();
    const before = api.parsed;
    api.parsed = parsed;
    onTestFinished(() => {
      api.parsed = before;
    });
  }

  const hash = (n: number) => n.toString(16).padStart(64, '0');

  describe('the quarantine', () => {
    test('is listed newest first, by state and cause', async () => {
      const api = get();
      const { tenant, token } = await api.newTenant('quarantine-list');
      const from = await addSource(api.pool, tenant, 'feed');
      const of = await addMessage(api.pool, tenant, { source: from });
      await quarantined(api.pool, tenant, from, 'conflict', of);
      await quarantined(api.pool, tenant, from, 'expired');
      await quarantined(api.pool, tenant, from, 'conflict', of);
      await api.pool.query(`update quarantine set state = 'discarded' where tenant = $1 and number = 1`, [tenant.id]);
      const list = async (query: string) => (await api.call('GET', `/v1/quarantine?${query}`, { token })).body;
      expect((await list('')).items.map((one: { id: string }) => one.id)).toEqual(['q-3', 'q-2']);
      expect((await list('cause=expired')).items.map((one: { id: string }) => one.id)).toEqual(['q-2']);
      expect((await list('state=discarded')).items).toMatchObject([
        { id: 'q-1', cause: 'conflict', of: messageId(of), account: 'acme', count: 1 },
      ]);
      const first = await list('limit=1');
      expect([first.items[0].id, (await list(`limit=1&cursor=${first.next}`)).items[0].id]).toEqual(['q-3', 'q-2']);
      expect((await api.call('GET', '/v1/quarantine/q-2', { token })).body).toMatchObject({
        id: 'q-2',
        cause: 'expired',
        of: null,
      });
      expect((await api.call('GET', '/v1/quarantine/q-2/raw', { token })).text).toMatch(/^\{"n":/);
    });

    test.each(['q-999999', 'q-0', '12', 'q-x'])('%s is 404', async (id) => {
      const api = get();
      expect((await api.call('GET', `/v1/quarantine/${id}`)).status).toBe(404);
      expect((await api.call('GET', `/v1/quarantine/${id}/raw`)).status).toBe(404);
    });

    test('lets a conflict in as a message of its own', async () => {
      const api = get();
      const number = await quarantined(api.pool, api.tenant, await source(), 'conflict');
      api.released = { channel: 2, sequence: 77 };
      expect((await act(number, 'release')).body).toEqual({ id: `q-${number}`, state: 'released', message: '2-77' });
      api.released = 'not_held';
      expect((await act(number, 'release')).body).toMatchObject({ status: 409, code: 'decision_changed' });
    });

    test('has a poison message tried again, at once or later', async () => {
      for (const [action, body] of [
        ['requeue', undefined],
        ['delay', { until: new Date(Date.now() + 3_600_000).toISOString() }],
      ] as const) {
        const { api, place, number } = await poison();
        api.woken.length = 0;
        const { status } = await act(number, action, body);
        expect(status).toBe(202);
        expect(await standing(place)).toEqual({
          ...{ state: 'parked', rung: 0, blamed: [], deaths: 0, by_hand: true, ready: action === 'requeue' },
          reason: action === 'requeue' ? 'requeued' : 'requeued for later',
        });
        expect(api.woken).toEqual([`${api.tenant.id}/1`]);
        expect((await act(number, 'requeue')).body).toMatchObject({
          status: 409,
          code: 'decision_changed',
          state: 'released',
        });
      }
    });

    test('a delay ends in the future, and within a month', async () => {
      const { number } = await poison();
      for (const until of ['2020-01-01T00:00:00Z', '2200-01-01T00:00:00Z']) {
        expect((await act(number, 'delay', { until })).body).toMatchObject({ status: 422, code: 'until_invalid' });
      }
    });

    test('what is discarded is closed, by whom and why', async () => {
      const { api, place, number } = await poison();
      expect((await act(number, 'discard', { reason: 'junk' })).body).toEqual({
        id: `q-${number}`,
        state: 'discarded',
      });
      const { body } = await api.call('GET', `/v1/messages/${messageId(place)}`);
      expect(body).toMatchObject({
        state: 'closed',
        version: 2,
        reason: 'junk',
        decisions: [{ action: 'close', who: 'admin token' }],
      });
      expect((await act(number, 'discard')).body).toMatchObject({
        status: 409,
        code: 'decision_changed',
        state: 'discarded',
      });
    });

    test('what can’t be done with a cause says what can', async () => {
      const api = get();
      const conflict = await quarantined(api.pool, api.tenant, await source(), 'conflict');
      expect((await act(conflict, 'requeue')).body).toMatchObject({
        status: 409,
        code: 'wrong_cause',
        cause: 'conflict',
      });
      expect((await act(conflict, 'delay', { until: new Date(Date.now() + 1e6).toISOString() })).body.code).toBe(
        'wrong_cause',
      );
    });

    test.each([
      ['mail', 'files', 6, 'files'],
      ['mail', 6, 6, 'files'],
      ['event', 'opaque', 3, 'opaque'],
      ['event', 1, 1, 'schema'],
    ] as const)('a %s is read again on rung %s', async (kind, rung, number, name) => {
      const one = await poison({ kind });
      expect((await act(one.number, 'requeue', { rung, reason: 'the parser is mended' })).status).toBe(202);
      expect(await standing(one.place)).toMatchObject({
        state: 'parked',
        rung: number,
        reason: 'the parser is mended',
      });
      expect(await audit(`q-${one.number}`)).toEqual([
        { who: 'admin token', action: 'quarantine.requeue', detail: { rung: name, reason: 'the parser is mended' } },
      ]);
    });

    test.each([
      ['mail', 'poison', undefined],
      ['mail', 11, undefined],
      ['mail', 'header', 'Did you mean "headers"?'],
      ['event', 'files', undefined],
      ['event', 4, undefined],
    ] as const)('nothing of a %s is read on rung %s', async (kind, rung, hint) => {
      const { number, place } = await poison({ kind });
      const until = new Date(Date.now() + 3_600_000).toISOString();
      for (const [action, body] of [
        ['requeue', { rung }],
        ['delay', { rung, until }],
      ] as const) {
        const answer = await act(number, action, body);
        expect(answer.body).toMatchObject({ status: 422, code: 'unknown_rung', rung });
        expect(answer.body.detail).toContain(hint ?? 'full');
      }
      expect(await standing(place)).toMatchObject({ state: 'quarantined' });
    });

    test('a poison message is released as it is: with its envelope alone', async () => {
      for (const [kind, rung] of [
        ['mail', 10],
        ['event', 2],
      ] as const) {
        const { api, number, place } = await poison({ kind });
        api.woken.length = 0;
        const { status, body } = await act(number, 'release');
        expect([status, body]).toEqual([202, { id: `q-${number}`, state: 'released', message: messageId(place) }]);
        expect(await standing(place)).toMatchObject({ state: 'parked', rung, by_hand: true, ready: true });
        expect(api.woken).toEqual([`${api.tenant.id}/1`]);
        expect(await audit(`q-${number}`)).toMatchObject([
          { action: 'quarantine.release', detail: { rung: 'envelope' } },
        ]);
      }
    });

    test('shows the tries of a poison message, and that there are none of another', async () => {
      const { api, number, place } = await poison({ kind: 'mail' });
      const process = '7f6e4a52-0000-4000-8000-000000000002';
      for (const [rung, outcome, reason] of [
        [0, 'failed', 'file of part 3: crashed: <script>alert(1)</script>'],
        [1, null, null],
      ] as const) {
        await api.pool.query(
          `insert into attempt (tenant, channel, first_sequence, last_sequence, rung, stage, try, process, blamed,
             ended_at, outcome, reason)
           values ($1, $2, $3, $3, $4, 'begun', 1, $5, '{3}', case when $6::text is null then null else now() end, $6, $7)`,
          [api.tenant.id, place.channel, place.sequence, rung, process, outcome, reason],
        );
      }
      const { body } = await api.call('GET', `/v1/quarantine/q-${number}/attempts`);
      const same = { stage: 'begun', try: 1, blamed: [3], process, child: null };
      expect(body.items).toMatchObject([
        { ...same, rung: 0, name: 'full', outcome: 'failed', reason: expect.stringContaining('<script>') },
        { ...same, rung: 1, name: 'blamed', outcome: null, reason: null, ended: null },
      ]);
      const conflict = await quarantined(api.pool, api.tenant, await source(), 'conflict', place);
      expect((await api.call('GET', `/v1/quarantine/q-${conflict}/attempts`)).body).toEqual({ items: [] });
      expect((await api.call('GET', '/v1/quarantine/q-999999/attempts')).status).toBe(404);
    });

    test('an entry has the rungs of its kind', async () => {
      const [mail, event] = [await poison({ kind: 'mail' }), await poison()];
      const rungs = async (number: number) =>
        (await get().call('GET', `/v1/quarantine/q-${number}`)).body.rungs.map(
          (one: { rung: number; name: string; means: string }) => `${one.rung} ${one.name}`,
        );
      expect((await rungs(mail.number)).slice(-2)).toEqual(['9 headers', '10 envelope']);
      expect(await rungs(event.number)).toEqual(['0 full', '1 schema', '2 envelope', '3 opaque']);
    });

    test('shows what a rung makes of it, or why it makes nothing', async () => {
      const { number } = await poison({ kind: 'mail' });
      const failure = {
        failure: 'killed_time',
        stage: 'file',
        leaf: 3,
        reason: 'not done after 3000 ms',
      } as const;
      parsing(
        async (rung): Promise<ParseResult> =>
          rung === 0
            ? { ok: false, ...failure, child: 7 }
            : { ok: true, view: { ...EMPTY_VIEW, rung, subject: 'Hi' }, tookMs: 1, child: 7 },
      );
      expect((await view(number, 'text')).body).toMatchObject({
        ...{ rung: 8, name: 'text', means: expect.any(String) },
        view: { subject: 'Hi', rung: 8 },
      });
      expect((await view(number, 8)).body.name).toBe('text');
      expect((await view(number, 'full')).body).toMatchObject({ rung: 0, name: 'full', failed: failure });
      for (const none of ['poison', 11, 'nonsense', 'A']) expect((await view(number, none)).status).toBe(404);
      const event = await poison({ raw: '{"specversion":"1.0","data":{"big":12345678901234567890.1}}' });
      expect((await view(event.number, 0)).text).toContain('12345678901234567890.1');
    });

    test('makes one view at a time of a tenant', async () => {
      const { api, number } = await poison({ kind: 'mail' });
      const { tenant, token } = await api.newTenant('views');
      const theirs = await poison({ kind: 'mail' }, tenant);
      let [begun, end] = [() => {}, () => {}];
      const hasBegun = new Promise<void>((resolve) => {
        begun = resolve;
      });
      const ended = new Promise<void>((resolve) => {
        end = resolve;
      });
      parsing(async (rung) => {
        if (rung === 1) {
          begun();
          await ended;
        }
        return { ok: true, view: EMPTY_VIEW, tookMs: 0, child: 7 };
      });
      const first = view(number, 1);
      await hasBegun;
      const second = await view(number, 2);
      expect([second.status, second.body.code, second.headers.get('retry-after')]).toEqual([429, 'view_running', '1']);
      expect((await view(theirs.number, 2, token)).status).toBe(200);
      end();
      expect((await first).status).toBe(200);
      expect((await view(number, 2)).status).toBe(200);
    });

    test('a view of what was erased is 410, and one that nobody can make now is 503', async () => {
      const { api, number } = await poison({ kind: 'mail' });
      parsing(async () => ({
        ok: false,
        failure: 'unavailable',
        stage: 'queued',
        leaf: null,
        child: null,
        reason: 'no child starts',
      }));
      expect((await view(number, 0)).body).toMatchObject({ status: 503, code: 'content_unavailable' });
      await api.pool.query('update quarantine set erased_at = now() where tenant = $1 and number = $2', [
        api.tenant.id,
        number,
      ]);
      expect((await view(number, 0)).body).toMatchObject({ status: 410, code: 'content_erased' });
    });

    test('is listed by crash hash', async () => {
      const { number } = await poison({ kind: 'mail', crash: hash(1) });
      await poison({ kind: 'mail', crash: hash(2) });
      const { body } = await get().call('GET', `/v1/quarantine?crash=${hash(1)}`);
      expect(body.items).toMatchObject([{ id: `q-${number}`, crash: hash(1) }]);
      expect((await get().call('GET', '/v1/quarantine?crash=xyz')).status).toBe(400);
    });

    test('is decided about by crash hash, of one tenant, and audited once', async () => {
      const crash = hash(3);
      const api = get();
      const { tenant } = await api.newTenant('likes');
      const theirs = await poison({ kind: 'mail', crash }, tenant);
      const likes = [await poison({ kind: 'mail', crash }), await poison({ kind: 'mail', crash })];
      const other = await poison({ kind: 'mail', crash: hash(4) });
      const bulk = (body: object) => api.call('POST', '/v1/quarantine/bulk', { body });
      api.woken.length = 0;
      const wish = { action: 'requeue', crash, rung: 'plain', reason: 'mended' };
      expect((await bulk(wish)).body).toEqual({ done: 2, skipped: 0 });
      expect((await bulk(wish)).body).toEqual({ done: 0, skipped: 0 });
      for (const { place } of likes)
        expect(await standing(place)).toMatchObject({ state: 'parked', rung: 2, by_hand: true });
      expect(await standing(other.place)).toMatchObject({ state: 'quarantined' });
      expect(await standing(theirs.place, tenant)).toMatchObject({ state: 'quarantined' });
      expect(api.woken).toEqual([`${api.tenant.id}/1`]);
      expect(await audit(`crash ${crash}`)).toEqual([
        {
          ...{ who: 'admin token', action: 'quarantine.requeue' },
          detail: { rung: 'plain', reason: 'mended', done: 2, skipped: 0 },
        },
      ]);
      expect(await audit(`crash ${crash}`, tenant)).toEqual([]);
      expect((await bulk({ action: 'discard', crash: hash(4) })).body).toEqual({ done: 1, skipped: 0 });
      expect(await standing(other.place)).toMatchObject({ state: 'closed' });
    });

    test('of all of a crash hash, later or as they are', async () => {
      const one = await poison({ kind: 'mail', crash: hash(5) });
      const until = new Date(Date.now() + 3_600_000).toISOString();
      const bulk = (body: object) => get().call('POST', '/v1/quarantine/bulk', { body: { crash: hash(5), ...body } });
      expect((await bulk({ action: 'delay', until: '2020-01-01T00:00:00Z' })).body.code).toBe('until_invalid');
      expect((await bulk({ action: 'requeue', rung: 'nowhere' })).body.code).toBe('unknown_rung');
      expect((await bulk({ action: 'burn' })).body.code).toBe('invalid_body');
      expect((await bulk({ action: 'delay', until })).body.done).toBe(1);
      expect(await standing(one.place)).toMatchObject({ state: 'parked', rung: 0, ready: false });
      const two = await poison({ kind: 'mail', crash: hash(5) });
      expect((await bulk({ action: 'release' })).body.done).toBe(1);
      expect(await standing(two.place)).toMatchObject({ state: 'parked', rung: 10, ready: true });
    });

    test('each decision is audited once', async () => {
      const { number } = await poison();
      await act(number, 'discard', { reason: 'junk' });
      await act(number, 'discard', { reason: 'junk' });
      expect(await audit(`q-${number}`)).toEqual([
        { who: 'admin token', action: 'quarantine.discard', detail: { reason: 'junk' } },
      ]);
    });

    test('of two who decide at once one wins', async () => {
      const { number } = await poison();
      const statuses = (
        await Promise.all([act(number, 'discard'), act(number, 'requeue'), act(number, 'discard')])
      ).map(({ status }) => status);
      expect(statuses.filter((status) => status === 409)).toHaveLength(2);
    });
  });

  describe('GET /v1/refusals', () => {
    test('shows a tenant its own, and who runs the installation what was nobody’s', async () => {
      const api = get();
      const { tenant, token } = await api.newTenant('refusals');
      for (const [of, code, minutes] of [
        [tenant.id, 'bad_signature', 1],
        [tenant.id, 'unknown_source', 2],
        [null, 'nobodys', 3],
        [api.tenant.id, 'ours', 4],
      ] as const) {
        await api.pool.query(
          `insert into refusal (tenant, ingress, peer, envelope, code, why, count, first_at, last_at)
           values ($1, 'hooks', '192.0.2.1', '{"source":"x"}', $2, 'Because.', 2, now(), now() - $3 * interval '1 min')`,
          [of, code, minutes],
        );
      }
      const first = await api.call('GET', '/v1/refusals?limit=1', { token });
      const second = await api.call('GET', `/v1/refusals?limit=1&cursor=${first.body.next}`, { token });
      expect([...first.body.items, ...second.body.items].map((one: { code: string }) => one.code)).toEqual([
        'bad_signature',
        'unknown_source',
      ]);
      expect(second.body.next).toBeNull();
      expect((await api.call('GET', '/v1/refusals')).body.items.map((one: { code: string }) => one.code)).toEqual([
        'nobodys',
        'ours',
      ]);
    });
  });

  describe('GET /v1/channels', () => {
    test('says how far each is read and by whom', async () => {
      const api = get();
      const { tenant, token } = await api.newTenant('channels');
      const from = await addSource(api.pool, tenant, 'feed');
      const place = await addMessage(api.pool, tenant, { source: from, channel: 2 });
      await plan(api.pool, tenant, place);
      const parked = await addMessage(api.pool, tenant, { source: from, channel: 2 });
      await stand(api.pool, tenant, parked, 'parked');
      const process = '7f6e4a52-0000-4000-8000-000000000001';
      await api.pool.query(`insert into process (id, name, roles) values ($1, 'node-1', '{owner}')`, [process]);
      await api.pool.query('update lease set holder = $1, term = 3 where tenant = $2 and channel = 2', [
        process,
        tenant.id,
      ]);
      const { status, body } = await api.call('GET', '/v1/channels', { token });
      expect([status, body.items.length, body.filters, body.maybe]).toEqual([200, 4, [], []]);
      expect(body.items[2]).toEqual({
        channel: 2,
        lastSequence: 2,
        readUpTo: 1,
        owner: 'node-1',
        term: 3,
        duplicates: 0,
        conflicts: 0,
        expired: 0,
        parked: 1,
      });
      expect(body.items[1]).toMatchObject({ channel: 1, lastSequence: 0, owner: null });
    });
  });
}
