import { describe, expect, test } from 'vitest';
import { messageId, type Place } from '../../../src/message/id.js';
import { EMPTY_VIEW } from '../../../src/message/view.js';
import { until } from '../../support/until.js';
import type { Api } from '../harness.js';
import { addMessage, addSource, addTarget, plan, stand } from '../seed.js';

interface Told {
  readonly status: number;
  // biome-ignore lint/suspicious/noExplicitAny: each test states what it expects of it
  readonly lines: any[];
  // biome-ignore lint/suspicious/noExplicitAny: likewise
  readonly result: any;
}

async function ask(api: Api, token: string, body: unknown): Promise<Told> {
  const { status, text } = await api.call('POST', '/v1/rules/backtest', { token, body });
  const lines = text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));
  return { status, lines, result: lines.at(-1) };
}

const toRules = (...rules: [name: string, when: string, then: string][]) =>
  `rules:\n${rules.map(([name, when, then]) => `  - { name: ${name}, when: ${when}, then: ${then} }\n`).join('')}`;

/** A tenant with orders of two amounts, a usage, a mail, and rules in force that send orders to crm. */
async function filled(api: Api, name: string) {
  const { tenant, token } = await api.newTenant(name);
  await addTarget(api.pool, tenant, 'crm');
  await addTarget(api.pool, tenant, 'erp');
  const source = await addSource(api.pool, tenant, 'feed');
  const mails = await addSource(api.pool, tenant, 'box', 'mail');
  const text = toRules(['orders', '{ type: order.placed }', '{ targets: crm }']);
  await api.call('PUT', '/v1/rules', { token, body: { text } });
  const add = async (channel: number, fields: object): Promise<Place> => {
    const place = await addMessage(api.pool, tenant, { source, channel, ...fields });
    await plan(api.pool, tenant, place);
    return place;
  };
  const at = (hour: number) => new Date(Date.UTC(2026, 0, 1, hour));
  const small = await add(0, { arrivedAt: at(1) });
  const large = await add(1, { raw: '{"data":{"amount":5000}}', arrivedAt: at(2) });
  const usage = await add(0, { type: 'usage', arrivedAt: at(3) });
  const view = { ...EMPTY_VIEW, subject: 'Invoice 7', defects: [] };
  const mail = await add(2, { kind: 'mail', source: mails, type: 'letter', view, arrivedAt: at(4) });
  return { tenant, token, source, mails, add, small, large, usage, mail, at };
}

const NONE = { added: 0, removed: 0, examples: { added: [], removed: [] } };

export function backtests(get: () => Api): void {
  describe('POST /v1/rules/backtest', () => {
    test('compares rules with those in force over what is kept, by what the rules look at', async () => {
      const api = get();
      const { token, small, large, usage, mail } = await filled(api, 'backtested');
      const text = toRules(
        ['large', '{ type: order.placed, data.amount: { numeric: [">", 1000] } }', '{ targets: [crm, erp] }'],
        ['invoices', '{ subject: { prefix: Invoice } }', '{ targets: erp }'],
        ['usage', '{ type: usage }', '{ close: usage }'],
        ['never', '{ defects: nul }', '{ targets: erp }'],
      );
      const { status, lines, result } = await ask(api, token, { text });
      expect([status, lines[0]]).toEqual([200, { event: 'progress', done: 0, total: 4 }]);
      const [one, two, three, four] = [small, large, usage, mail].map(messageId);
      expect(result).toEqual({
        event: 'result',
        messages: 4,
        changed: 4,
        gone: 0,
        targets: [
          { target: 'crm', added: 0, removed: 1, examples: { added: [], removed: [one] } },
          { target: 'erp', added: 2, removed: 0, examples: { added: [two, four], removed: [] } },
        ],
        waiting: { added: 1, removed: 2, examples: { added: [one], removed: [three, four] } },
        closed: { added: 1, removed: 0, examples: { added: [three], removed: [] } },
        rules: [
          { rule: 'large', hits: 1 },
          { rule: 'invoices', hits: 1 },
          { rule: 'usage', hits: 1 },
          { rule: 'never', hits: 0 },
        ],
      });
    });

    test('compares versions with each other, or with no rules at all', async () => {
      const api = get();
      const { token } = await filled(api, 'versions');
      await api.call('PUT', '/v1/rules', { token, body: { text: 'rules: []\n' } });
      expect((await ask(api, token, { version: 1 })).result).toMatchObject({
        changed: 2,
        targets: [{ target: 'crm', added: 2, removed: 0 }],
        waiting: { added: 0, removed: 2 },
      });
      expect((await ask(api, token, { version: 1, against: 1 })).result).toMatchObject({ changed: 0, targets: [] });
      expect((await ask(api, token, { version: 2, against: 1 })).result).toMatchObject({ waiting: { added: 2 } });
      expect((await api.call('POST', '/v1/rules/backtest', { token, body: { version: 9 } })).status).toBe(404);
      const { token: fresh } = await api.newTenant('nothing-yet');
      const text = toRules(['a', '{}', '{ close: x }']);
      expect((await ask(api, fresh, { text })).result).toEqual({
        event: 'result',
        messages: 0,
        changed: 0,
        gone: 0,
        targets: [],
        waiting: NONE,
        closed: NONE,
        rules: [{ rule: 'a', hits: 0 }],
      });
    });

    test('looks at a time, at what waits, or at the newest alone, and says what is gone', async () => {
      const api = get();
      const { tenant, token, source, mails, add, small, large, at } = await filled(api, 'narrowed');
      const text = toRules(['all', '{ source: [feed, box] }', '{ close: x }']);
      const narrowed = async (body: object) => (await ask(api, token, { text, ...body })).result;
      expect((await narrowed({ after: at(2) })).messages).toBe(3);
      expect((await narrowed({ after: at(2), before: at(3) })).closed.examples.added).toEqual([messageId(large)]);
      expect((await narrowed({ limit: 2 })).messages).toBe(2);
      for (const place of [small, large]) await stand(api.pool, tenant, place, 'closed');
      expect(await narrowed({ state: 'waiting' })).toMatchObject({ messages: 2, closed: { added: 2 } });
      expect((await narrowed({ state: 'waiting', limit: 1 })).messages).toBe(1);
      await add(3, { dropped: true });
      await api.pool.query('update message set erased_at = now(), raw = $3 where tenant = $1 and channel = $2', [
        tenant.id,
        1,
        Buffer.alloc(0),
      ]);
      // Mail that was not read is not asked about, nor what is not planned yet.
      await add(2, { kind: 'mail', source: mails });
      await addMessage(api.pool, tenant, { source });
      expect(await narrowed({})).toMatchObject({ messages: 3, gone: 2 });
    });

    test('reads contents of any size, and what is in no spelling of a message', async () => {
      const api = get();
      const { token, add } = await filled(api, 'large');
      const data = { amount: 5, padding: 'x'.repeat(200_000) };
      const large = await add(0, { raw: JSON.stringify({ data }) });
      const mail = await add(1, { kind: 'mail', view: { ...EMPTY_VIEW, text: `${'y '.repeat(300_000)}wanted` } });
      const text = toRules(
        ['five', '{ data.amount: 5 }', '{ targets: erp }'],
        ['wanted', '{ text: { suffix: wanted } }', '{ targets: erp }'],
      );
      const { result } = await ask(api, token, { text });
      expect(
        result.targets.find(({ target }: { target: string }) => target === 'erp').examples.added.toSorted(),
      ).toEqual([messageId(large), messageId(mail)].toSorted());
    });

    test.each([
      [{}, 'invalid_body'],
      [{ text: 'rules: []', version: 1 }, 'invalid_body'],
      [{ text: 'rules: 5' }, 'rules_invalid'],
      [{ text: 'rules: []', against: 'last' }, 'invalid_body'],
      [{ text: 'rules: []', state: 'closed' }, 'invalid_body'],
      [{ text: 'rules: []', limit: 0 }, 'invalid_body'],
    ])('refuses %j', async (body, code) => {
      const { status, body: answered } = await get().call('POST', '/v1/rules/backtest', { body });
      expect([status, answered.code]).toEqual([422, code]);
    });

    test('goes on once at a time for a tenant, and stops when its caller hangs up', async () => {
      const api = get();
      const { token } = await filled(api, 'backtesting');
      const text = toRules(['a', '{}', '{ close: x }']);
      const held = await api.pool.connect();
      await held.query('begin; set local idle_in_transaction_session_timeout = 0; lock table span');
      const hanging = new AbortController();
      const first = fetch(`${api.origin}/v1/rules/backtest`, {
        method: 'POST',
        headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
        body: JSON.stringify({ text }),
        signal: hanging.signal,
      });
      const waits =
        "select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock' and query like '%from span%'";
      await until(async () => (await api.pool.query(waits)).rows.length > 0, 'the first one to read');
      const second = await api.call('POST', '/v1/rules/backtest', { token, body: { text } });
      expect([second.status, second.body.code, second.headers.get('retry-after')]).toEqual([
        429,
        'backtest_running',
        '5',
      ]);
      hanging.abort();
      await expect(first).rejects.toThrow();
      await held.query('commit');
      held.release();
      const again = async () => (await api.call('POST', '/v1/rules/backtest', { token, body: { text } })).status;
      await until(async () => (await again()) === 200, 'its end');
    });
  });
}
