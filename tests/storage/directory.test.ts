import fc from 'fast-check';
import type pg from 'pg';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type SourceDefinition, sourceDefinitionSchema } from '../../src/channel/source.js';
import { targetDefinitionSchema } from '../../src/delivery/target.js';
import type { CanonicalMessage } from '../../src/message/message.js';
import type { Tenant } from '../../src/message/tenant.js';
import { EMPTY_VIEW } from '../../src/message/view.js';
import {
  pauseTarget,
  putSource,
  putTarget,
  removeSource,
  removeTarget,
  resumeTarget,
} from '../../src/storage/definitions.js';
import { type Directory, type DirectorySettings, openDirectory } from '../../src/storage/directory.js';
import { createPool } from '../../src/storage/pool.js';
import { saveRuleSet } from '../../src/storage/rule-sets.js';
import { createTenant } from '../../src/storage/tenants.js';
import { silent } from '../support/log.js';
import { freshDatabase, type TestDatabase } from '../support/postgres.js';
import { until } from '../support/until.js';

let db: TestDatabase;
const opened: Directory[] = [];
beforeEach(async () => {
  db = await freshDatabase();
});
afterEach(async () => {
  await Promise.all(opened.splice(0).map((directory) => directory.close()));
  await db.drop();
});

const NEVER = 3_600_000;
const any = { expected: 'any', who: 'test' } as const;

async function open(settings: Partial<DirectorySettings> = {}, pool: pg.Pool = db.pool): Promise<Directory> {
  const directory = await openDirectory(pool, { postmaster: null, pollMs: NEVER, log: silent, ...settings });
  opened.push(directory);
  return directory;
}

async function tenant(name: string): Promise<Tenant> {
  const made = await createTenant(db.pool, name, 2, 'test');
  if (made.result !== 'ok') throw new Error(made.result);
  return made.tenant;
}

async function source(of: Tenant, name: string, definition: unknown): Promise<void> {
  const put = await putSource(db.pool, of, name, sourceDefinitionSchema.parse(definition) as SourceDefinition, any);
  if (put.result !== 'ok') throw new Error(put.result);
}

async function target(of: Tenant, name: string, definition: unknown = { kind: 'pull' }): Promise<number> {
  const put = await putTarget(db.pool, of, name, targetDefinitionSchema.parse(definition), any);
  if (put.result !== 'ok') throw new Error(put.result);
  return put.target.id;
}

const MESSAGE: CanonicalMessage = {
  id: '0-1',
  tenant: 'one',
  source: 's',
  kind: 'event',
  account: 'a',
  type: 'order.placed',
  value: null,
  externalId: null,
  time: null,
  received: '2026-01-01T00:00:00Z',
  peer: 'p',
  envelope: {},
  found: [],
  view: EMPTY_VIEW,
};

describe('mail', () => {
  test('goes to the source of the exact address before that of the domain, capitals or not', async () => {
    const [one, other] = [await tenant('one'), await tenant('other')];
    await source(one, 'domain', { kind: 'mail', addresses: ['@Example.com'] });
    await source(other, 'exact', { kind: 'mail', addresses: ['Orders@example.com'] });
    const snapshot = (await open()).current();
    expect(snapshot.mail('orders@EXAMPLE.com')).toMatchObject({ name: 'exact', tenant: other });
    expect(snapshot.mail('anybody@example.com')).toMatchObject({ name: 'domain', tenant: one });
    expect(snapshot.mail('a@b@example.com')?.name).toBe('domain');
    expect(snapshot.mail('orders@sub.example.com')).toBeUndefined();
    expect(snapshot.mail('example.com')).toBeUndefined();
    expect(snapshot.mail('')).toBeUndefined();
  });

  test('to the postmaster goes to a source of the domain, or to the one that is set', async () => {
    const [one, standard] = [await tenant('one'), await tenant('default')];
    await source(one, 'a', { kind: 'mail', addresses: ['info@one.example'] });
    await source(standard, 'b', { kind: 'mail', addresses: ['@two.example'] });
    await source(standard, 'c', { kind: 'mail', addresses: ['@three.example'] });
    const snapshot = (await open()).current();
    expect(snapshot.postmaster('ONE.example')?.name).toBe('a');
    expect(snapshot.postmaster('elsewhere.example')).toBeUndefined();
    expect(snapshot.postmaster(null)?.name).toBe('b');
    const chosen = await open({ postmaster: { tenant: 'one', source: 'a' } });
    expect(chosen.current().postmaster(null)?.name).toBe('a');
    const nobody = await open({ postmaster: { tenant: 'one', source: 'gone' } });
    expect(nobody.current().postmaster(null)).toBeUndefined();
  });
});

describe('webhooks and events', () => {
  test('belong to their tenant', async () => {
    const [one, other] = [await tenant('one'), await tenant('other')];
    await source(one, 'hook', { kind: 'webhook', verify: { scheme: 'token' } });
    await source(one, 'feed', { kind: 'events' });
    const snapshot = (await open()).current();
    expect(snapshot.webhook('one', 'hook')).toMatchObject({ name: 'hook', tenant: one });
    expect(snapshot.webhook('other', 'hook')).toBeUndefined();
    expect(snapshot.webhook('one', 'feed')).toBeUndefined();
    expect(snapshot.events('one', 'x')?.name).toBe('feed');
    expect(snapshot.events('other', 'x')).toBeUndefined();
    expect(snapshot.sources(one.id).map(({ name }) => name)).toEqual(['hook', 'feed']);
    expect(snapshot.sources(other.id)).toEqual([]);
  });

  test('find the feed that fits best: exact, then the longest beginning, then the rest', async () => {
    const one = await tenant('one');
    const feeds = { exact: ['/a/b'], long: ['/a/*'], short: ['/*', 'urn:x'], rest: null };
    for (const [name, accepts] of Object.entries(feeds))
      await source(one, name, { kind: 'events', ...(accepts && { accepts }) });
    const snapshot = (await open()).current();
    const found = ['/a/b', '/a/bc', '/a/', '/a', '/', 'urn:x', 'urn:xy', ''].map(
      (value) => snapshot.events('one', value)?.name,
    );
    expect(found).toEqual(['exact', 'long', 'long', 'short', 'short', 'short', 'rest', 'rest']);
  });

  test('find the same feed as a search through all of them would', async () => {
    const one = await tenant('one');
    const word = fc.stringMatching(/^[ab]{0,4}$/);
    const pattern = fc.oneof(
      word.filter((text) => text !== ''),
      word.map((text) => `${text}*`),
    );
    const accepted =
      fc.sample(fc.uniqueArray(pattern, { minLength: 8, maxLength: 8 }), { numRuns: 1, seed: 7 })[0] ?? [];
    for (const [n, value] of accepted.entries()) await source(one, `f${n}`, { kind: 'events', accepts: [value] });
    const snapshot = (await open()).current();
    const search = (value: string): string | undefined => {
      const beginnings = accepted.filter((each) => each.endsWith('*') && value.startsWith(each.slice(0, -1)));
      return accepted.includes(value) && !value.endsWith('*')
        ? value
        : beginnings.sort((a, b) => b.length - a.length)[0];
    };
    fc.assert(fc.property(word, (value) => snapshot.events('one', value)?.definition.accepts?.[0] === search(value)));
  });
});

describe('targets', () => {
  test('are found by id and by name, with who paused them', async () => {
    const [one, other] = [await tenant('one'), await tenant('other')];
    const id = await target(one, 'crm');
    await target(other, 'crm', { kind: 'queue' });
    await pauseTarget(db.pool, one.id, 'crm', 'anna', 'lunch');
    const snapshot = (await open()).current();
    expect(snapshot.target(one.id, id)).toEqual(snapshot.targetNamed(one.id, 'crm'));
    expect(snapshot.targetNamed(one.id, 'crm')?.paused).toEqual({ by: 'anna', code: 'by_person', reason: 'lunch' });
    expect(snapshot.targetNamed(other.id, 'crm')?.definition.kind).toBe('queue');
    expect(snapshot.target(other.id, id)).toBeUndefined();
    expect(snapshot.targetNamed(one.id, 'nobody')).toBeUndefined();
    expect(snapshot.targets()).toHaveLength(2);
  });

  test('and sources keep their names after they are removed', async () => {
    const one = await tenant('one');
    const id = await target(one, 'crm');
    await source(one, 'feed', { kind: 'events' });
    const directory = await open();
    const feed = directory.current().sources(one.id)[0]?.id ?? 0;
    await removeTarget(db.pool, one.id, 'crm', any);
    await removeSource(db.pool, one.id, 'feed', any);
    await directory.refresh();
    const snapshot = directory.current();
    expect(snapshot.target(one.id, id)).toBeUndefined();
    expect(snapshot.targets()).toEqual([]);
    expect(snapshot.events('one', 'x')).toBeUndefined();
    expect(snapshot.targetName(one.id, id)).toBe('crm');
    expect(snapshot.sourceName(one.id, feed)).toBe('feed');
    expect(snapshot.sourceName(one.id + 1, feed)).toBe('');
  });
});

describe('rules', () => {
  const text = 'rules:\n  - name: orders\n    when: { type: { prefix: order. } }\n    then: { targets: erp }\n';
  const rules = { text, mentions: [], who: 'test', why: null };

  test('of a tenant decide its messages; without any, all wait', async () => {
    const [one, other] = [await tenant('one'), await tenant('other')];
    await target(one, 'erp');
    await saveRuleSet(db.pool, one.id, rules, { activate: true, expected: null });
    const snapshot = (await open()).current();
    expect(snapshot.rules(one.id)).toMatchObject({ version: 1, text });
    expect(snapshot.rules(one.id).decide(MESSAGE)).toEqual({
      rules: ['orders'],
      outcome: { do: 'deliver', targets: ['erp'] },
    });
    expect(snapshot.rules(other.id)).toMatchObject({ version: 0, text: '' });
    expect(snapshot.rules(other.id).decide(MESSAGE)).toEqual({ rules: [], outcome: { do: 'wait' } });
  });

  test('are compiled once for each version', async () => {
    const one = await tenant('one');
    await saveRuleSet(db.pool, one.id, rules, { activate: true, expected: null });
    const directory = await open();
    const before = directory.current().rules(one.id);
    await target(one, 'another');
    expect(await directory.refresh()).toBe(true);
    expect(directory.current().rules(one.id)).toBe(before);
    await saveRuleSet(db.pool, one.id, { ...rules, text: 'rules: []' }, { activate: true, expected: 1 });
    await directory.refresh();
    expect(directory.current().rules(one.id)).toMatchObject({ version: 2, text: 'rules: []' });
  });

  test('that can not be read decide nothing, and that is logged', async () => {
    const one = await tenant('one');
    await saveRuleSet(db.pool, one.id, { ...rules, text: 'rules: {' }, { activate: true, expected: null });
    const lines: string[] = [];
    const directory = await open({ log: pino({ level: 'error' }, { write: (line) => void lines.push(line) }) });
    expect(directory.current().rules(one.id).decide(MESSAGE).outcome).toEqual({ do: 'wait' });
    expect(lines.join()).toMatch(/"tenant":\d+,"version":1/);
  });
});

test('a definition that can not be read is left out and logged without what it holds; the others go on', async () => {
  const one = await tenant('one');
  await source(one, 'good', { kind: 'mail', addresses: ['a@example.com'] });
  await target(one, 'good');
  await db.pool.query(
    `insert into source (tenant, name, kind, definition, managed_by) values ($1, 'bad', 'webhook', '{"kind":"later","key":"hunter2"}', 'api')`,
    [one.id],
  );
  await db.pool.query(
    `insert into target (tenant, name, kind, definition, managed_by) values ($1, 'bad', 'webhook', '{"kind":"webhook","url":"hunter2"}', 'api')`,
    [one.id],
  );
  const lines: string[] = [];
  const directory = await open({ log: pino({ level: 'error' }, { write: (line) => void lines.push(line) }) });
  expect(
    directory
      .current()
      .targets()
      .map(({ name }) => name),
  ).toEqual(['good']);
  expect(directory.current().mail('a@example.com')?.name).toBe('good');
  expect(lines).toHaveLength(2);
  expect(lines.join()).toMatch(/"source":"bad".*"target":"bad"/s);
  expect(lines.join()).not.toContain('hunter2');
});

describe('changes', () => {
  test('replace the snapshot whole; the old one stays as it was', async () => {
    const directory = await open();
    const before = directory.current();
    const seen: number[] = [];
    const stop = directory.onChange((snapshot) => seen.push(snapshot.tenants().length));
    expect(await directory.refresh()).toBe(false);
    expect(directory.current()).toBe(before);
    const one = await tenant('one');
    expect(await directory.refresh()).toBe(true);
    expect(before.tenants()).toEqual([]);
    expect(directory.current().tenants()).toEqual([one]);
    expect(directory.current().tenant(one.id)).toEqual(one);
    expect(directory.current().tenantNamed('one')).toEqual(one);
    stop();
    await tenant('two');
    await directory.refresh();
    expect(seen).toEqual([1]);
  });

  test('of every sort are seen, and what is no change of configuration is none', async () => {
    const one = await tenant('one');
    const directory = await open();
    const changed = async (change: () => Promise<unknown>) => {
      await change();
      return directory.refresh();
    };
    const text = { text: 'rules: []', mentions: [], who: 'x', why: null };
    expect(await changed(() => target(one, 'a'))).toBe(true);
    expect(await changed(() => target(one, 'a', { kind: 'queue' }))).toBe(true);
    expect(await changed(() => pauseTarget(db.pool, one.id, 'a', 'x', 'y'))).toBe(true);
    expect(await changed(() => resumeTarget(db.pool, one.id, 'a', 'x'))).toBe(true);
    expect(await changed(() => removeTarget(db.pool, one.id, 'a', any))).toBe(true);
    expect(await changed(() => source(one, 's', { kind: 'events' }))).toBe(true);
    expect(await changed(() => removeSource(db.pool, one.id, 's', any))).toBe(true);
    expect(await changed(() => saveRuleSet(db.pool, one.id, text, { activate: true, expected: 'any' }))).toBe(true);
    expect(await changed(() => tenant('two'))).toBe(true);

    expect(await changed(() => saveRuleSet(db.pool, one.id, text, { activate: true, expected: 'any' }))).toBe(false);
    expect(await changed(() => pauseTarget(db.pool, one.id, 'gone', 'x', 'y'))).toBe(false);
    expect(await changed(() => db.pool.query('update target set last_taken_at = now()'))).toBe(false);
    expect(await changed(() => db.pool.query('update tenant set quarantined = quarantined + 1'))).toBe(false);
  });

  test('made by the owner of channels itself, such as a pause, are seen', async () => {
    const one = await tenant('one');
    const id = await target(one, 'a');
    const directory = await open();
    await db.pool.query(
      `update target set paused_at = now(), paused_by = 'waybill', paused_code = 'gone' where id = $1`,
      [id],
    );
    expect(await directory.refresh()).toBe(true);
    expect(directory.current().target(one.id, id)?.paused).toMatchObject({ by: 'waybill', code: 'gone' });
  });

  test('of another process are noticed without being asked for', async () => {
    const directory = await open({ pollMs: 20 });
    const other = createPool({ url: db.url, max: 1, applicationName: 'other', log: silent });
    try {
      await createTenant(other, 'elsewhere', 1, 'test');
      await until(() => directory.current().tenantNamed('elsewhere'), 'the new tenant');
    } finally {
      await other.end();
    }
  });

  test('of two definitions in one transaction do not wait for each other with an owner that pauses them', async () => {
    const one = await tenant('one');
    const [a, b] = [await target(one, 'a'), await target(one, 'b')];
    const [editor, owner] = [await db.pool.connect(), await db.pool.connect()];
    const touch = 'update target set paused_at = now() where id = $1';
    try {
      await editor.query('begin; set local idle_in_transaction_session_timeout = 0');
      await owner.query('begin; set local idle_in_transaction_session_timeout = 0');
      await editor.query(touch, [a]);
      await owner.query(touch, [b]);
      // Had either locked the counter with its first change, the other's commit would wait for it.
      await owner.query('commit');
      await editor.query(touch, [b]);
      await editor.query('commit');
    } finally {
      editor.release();
      owner.release();
    }
    expect((await db.pool.query('select count(*) as n from target where paused_at is not null')).rows).toEqual([
      { n: 2 },
    ]);
  });

  test('can not be looked for while the database is away: the last known stays, and polling goes on', async () => {
    await tenant('one');
    const lines: string[] = [];
    const log = pino({ level: 'warn' }, { write: (line) => void lines.push(line) });
    const pool = createPool({ url: db.url, max: 1, applicationName: 'cut off', log: silent });
    try {
      const directory = await open({ pollMs: 20, log }, pool);
      // Stands for a database that can't answer: every poll fails.
      await pool.query(`alter table configuration rename to elsewhere`);
      await until(() => lines.length > 0, 'a failed poll to be logged');
      expect(directory.current().tenantNamed('one')).toBeDefined();
      await expect(directory.refresh()).rejects.toThrow();
      await pool.query(`alter table elsewhere rename to configuration`);
      await tenant('two');
      await until(() => directory.current().tenantNamed('two'), 'the new tenant');
      await directory.close();
    } finally {
      await pool.end();
    }
  });

  test('are not looked for once it is closed', async () => {
    const directory = await open();
    await directory.close();
    await tenant('late');
    expect(await directory.refresh()).toBe(false);
    expect(directory.current().tenants()).toEqual([]);
  });
});

test('each of a thousand sources is found', async () => {
  const one = await tenant('one');
  await db.pool.query(
    `insert into source (tenant, name, kind, definition, managed_by)
     select $1, 's-' || n, 'mail', json_build_object('kind', 'mail', 'addresses', json_build_array('a' || n || '@example.com')), 'api'
       from generate_series(1, 1000) n`,
    [one.id],
  );
  const snapshot = (await open()).current();
  for (const n of [1, 500, 1000]) expect(snapshot.mail(`A${n}@example.com`)?.name).toBe(`s-${n}`);
});
