import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type SourceDefinition, sourceDefinitionSchema } from '../../src/channel/source.js';
import { type TargetDefinition, targetDefinitionSchema } from '../../src/delivery/target.js';
import type { Tenant } from '../../src/message/tenant.js';
import {
  getSource,
  getTarget,
  listSources,
  listTargets,
  pauseTarget,
  putSource,
  putTarget,
  removeSource,
  removeTarget,
  resumeTarget,
} from '../../src/storage/definitions.js';
import { redact } from '../../src/storage/redact.js';
import { saveRuleSet } from '../../src/storage/rule-sets.js';
import { createTenant, findTenant, listTenants } from '../../src/storage/tenants.js';
import { freshDatabase, type TestDatabase } from '../support/postgres.js';

let db: TestDatabase;
beforeAll(async () => {
  db = await freshDatabase();
});
afterAll(() => db.drop());

let made = 0;
async function tenant(channels = 2): Promise<Tenant> {
  made += 1;
  const created = await createTenant(db.pool, `tenant-${made}`, channels, 'test');
  if (created.result !== 'ok') throw new Error(created.result);
  return created.tenant;
}

const source = (definition: unknown): SourceDefinition => sourceDefinitionSchema.parse(definition);
const target = (definition: unknown): TargetDefinition => targetDefinitionSchema.parse(definition);
const PULL = target({ kind: 'pull' });
const any = { expected: 'any', who: 'anna' } as const;

describe('tenants', () => {
  test('are made with a row for each of their channels in channel, lease and reader', async () => {
    const { id, channels } = await tenant(5);
    expect(channels).toBe(5);
    for (const table of ['channel', 'lease', 'reader']) {
      const { rows } = await db.pool.query(`select channel from ${table} where tenant = $1 order by channel`, [id]);
      expect(rows.map(({ channel }) => channel)).toEqual([0, 1, 2, 3, 4]);
    }
  });

  test('have names of their own', async () => {
    const one = await tenant();
    expect(await createTenant(db.pool, one.name, 3, 'test')).toEqual({ result: 'name_taken' });
    expect(await findTenant(db.pool, one.name)).toEqual(one);
    expect(await findTenant(db.pool, 'nobody')).toBeUndefined();
    expect(await listTenants(db.pool)).toContainEqual(one);
  });
});

describe('sources and targets over the API', () => {
  test('are made, found, changed by version, and removed', async () => {
    const t = await tenant();
    const first = await putTarget(db.pool, t, 'crm', PULL, { expected: 'absent', who: 'anna' });
    expect(first).toMatchObject({
      result: 'ok',
      created: true,
      target: { name: 'crm', version: 1, managedBy: 'api', paused: null },
    });
    expect(await getTarget(db.pool, t.id, 'crm')).toMatchObject({ definition: PULL, lastTakenAt: null });

    const slower = target({ kind: 'pull', leaseSeconds: 5 });
    expect(await putTarget(db.pool, t, 'crm', slower, { expected: 7, who: 'anna' })).toEqual({
      result: 'version_mismatch',
      version: 1,
    });
    expect(await putTarget(db.pool, t, 'crm', slower, { expected: 'absent', who: 'anna' })).toEqual({
      result: 'version_mismatch',
      version: 1,
    });
    const second = await putTarget(db.pool, t, 'crm', slower, { expected: 1, who: 'anna' });
    expect(second).toMatchObject({ result: 'ok', created: false, target: { version: 2, definition: slower } });

    expect(await removeTarget(db.pool, t.id, 'crm', { expected: 1, who: 'anna' })).toEqual({
      result: 'version_mismatch',
      version: 2,
    });
    expect(await removeTarget(db.pool, t.id, 'crm', { expected: 2, who: 'anna' })).toEqual({ result: 'ok' });
    expect(await removeTarget(db.pool, t.id, 'crm', any)).toEqual({ result: 'not_found' });
    expect(await listTargets(db.pool, t.id)).toEqual([]);
  });

  test('keep their version when nothing changes', async () => {
    const t = await tenant();
    await putTarget(db.pool, t, 'a', PULL, any);
    expect(await putTarget(db.pool, t, 'a', PULL, any)).toMatchObject({ created: false, target: { version: 1 } });
  });

  test('come back under their id, with a version not used before, and running', async () => {
    const t = await tenant();
    const before = await putTarget(db.pool, t, 'a', PULL, any);
    await pauseTarget(db.pool, t.id, 'a', 'anna', 'it is ill');
    await removeTarget(db.pool, t.id, 'a', any);
    const queue = target({ kind: 'queue' });
    expect(await putTarget(db.pool, t, 'a', queue, { expected: 1, who: 'anna' })).toEqual({
      result: 'version_mismatch',
      version: null,
    });
    const after = await putTarget(db.pool, t, 'a', queue, { expected: 'absent', who: 'anna' });
    if (before.result !== 'ok' || after.result !== 'ok') throw new Error('refused');
    expect(after).toMatchObject({ created: true, target: { id: before.target.id, definition: queue, paused: null } });
    expect(after.target.version).toBeGreaterThan(before.target.version);
  });

  test('of another tenant are not there', async () => {
    const [one, other] = [await tenant(), await tenant()];
    await putTarget(db.pool, one, 'a', PULL, any);
    await putSource(db.pool, one, 's', source({ kind: 'events' }), any);
    expect(await getTarget(db.pool, other.id, 'a')).toBeUndefined();
    expect(await getSource(db.pool, other.id, 's')).toBeUndefined();
    expect(await removeTarget(db.pool, other.id, 'a', any)).toEqual({ result: 'not_found' });
    expect(await removeSource(db.pool, other.id, 's', any)).toEqual({ result: 'not_found' });
    expect(await pauseTarget(db.pool, other.id, 'a', 'x', 'y')).toEqual({ result: 'not_found' });
    expect(await putTarget(db.pool, other, 'a', PULL, { expected: 'absent', who: 'x' })).toMatchObject({
      created: true,
    });
    expect(await listSources(db.pool, one.id)).toHaveLength(1);
  });

  test('are refused when the file manages them', async () => {
    const t = await tenant();
    await putTarget(db.pool, t, 'a', PULL, any);
    await putSource(db.pool, t, 's', source({ kind: 'events' }), any);
    await db.pool.query(`update target set managed_by = 'file' where tenant = $1`, [t.id]);
    await db.pool.query(`update source set managed_by = 'file' where tenant = $1`, [t.id]);
    expect(await putTarget(db.pool, t, 'a', target({ kind: 'queue' }), any)).toEqual({ result: 'managed_by_file' });
    expect(await removeTarget(db.pool, t.id, 'a', any)).toEqual({ result: 'managed_by_file' });
    expect(await putSource(db.pool, t, 's', source({ kind: 'events', value: '/x' }), any)).toEqual({
      result: 'managed_by_file',
    });
    expect(await removeSource(db.pool, t.id, 's', any)).toEqual({ result: 'managed_by_file' });
    expect(await pauseTarget(db.pool, t.id, 'a', 'anna', 'even so')).toEqual({ result: 'ok' });
  });

  test('with text that PostgreSQL can not hold are refused', async () => {
    const t = await tenant();
    for (const text of ['nul \0 nul nul', 'half \ud800 a pair', 'other \udc00 half']) {
      const definition = target({ kind: 'webhook', url: 'https://example.com', headers: { A: text } });
      expect(await putTarget(db.pool, t, 'a', definition, any)).toEqual({ result: 'unstorable' });
    }
    const whole = target({ kind: 'webhook', url: 'https://example.com', headers: { A: 'a whole pair 🎉' } });
    expect(await putTarget(db.pool, t, 'a', whole, any)).toMatchObject({ result: 'ok', target: { definition: whole } });
  });

  test('can not claim a mail address that another source of any tenant has', async () => {
    const [one, other] = [await tenant(), await tenant()];
    const orders = source({ kind: 'mail', addresses: ['orders@one.example', '@ONE.example'] });
    expect(await putSource(db.pool, one, 'm', orders, any)).toMatchObject({ result: 'ok' });
    expect(await putSource(db.pool, one, 'm', orders, any)).toMatchObject({ result: 'ok' });
    const taken = { result: 'address_taken', address: 'orders@one.example' };
    const wants = source({ kind: 'mail', addresses: ['free@two.example', 'Orders@ONE.example'] });
    expect(await putSource(db.pool, one, 'n', wants, any)).toEqual(taken);
    expect(await putSource(db.pool, other, 'm', wants, any)).toEqual(taken);
    expect(await getSource(db.pool, other.id, 'm')).toBeUndefined();
    await removeSource(db.pool, one.id, 'm', any);
    expect(await putSource(db.pool, other, 'm', wants, any)).toMatchObject({ result: 'ok' });
  });

  test('can not claim the events of another feed of the tenant', async () => {
    const [one, other] = [await tenant(), await tenant()];
    const rest = source({ kind: 'events' });
    const some = source({ kind: 'events', accepts: ['a', 'b*'] });
    expect(await putSource(db.pool, one, 'rest', rest, any)).toMatchObject({ result: 'ok' });
    expect(await putSource(db.pool, one, 'some', some, any)).toMatchObject({ result: 'ok' });
    expect(await putSource(db.pool, one, 'more', rest, any)).toEqual({
      result: 'feed_taken',
      accepts: null,
      by: 'rest',
    });
    expect(await putSource(db.pool, one, 'more', some, any)).toEqual({
      result: 'feed_taken',
      accepts: 'a',
      by: 'some',
    });
    expect(await putSource(db.pool, other, 'rest', rest, any)).toMatchObject({ result: 'ok' });
  });

  test('of which two claim one address at the same time: one gets it', async () => {
    const tenants = await Promise.all([tenant(), tenant(), tenant(), tenant()]);
    const wants = source({ kind: 'mail', addresses: ['race@example.org'] });
    const results = await Promise.all(tenants.map((t) => putSource(db.pool, t, 'm', wants, any)));
    expect(results.map(({ result }) => result).sort()).toEqual([
      'address_taken',
      'address_taken',
      'address_taken',
      'ok',
    ]);
  });

  test('have an upper number', async () => {
    const t = await tenant();
    await db.pool.query(
      `insert into target (tenant, name, kind, definition, managed_by)
       select $1, 't-' || n, 'pull', $2, 'api' from generate_series(1, 1000) n`,
      [t.id, JSON.stringify(PULL)],
    );
    expect(await putTarget(db.pool, t, 'one-more', PULL, any)).toEqual({ result: 'too_many', most: 1000 });
    expect(await putTarget(db.pool, t, 't-1', target({ kind: 'queue' }), any)).toMatchObject({ result: 'ok' });
  });

  test('that rules in force name are not removed', async () => {
    const t = await tenant();
    await putTarget(db.pool, t, 'a', PULL, any);
    const mentions = [{ target: 'a', line: 1, column: 1, path: '' }];
    const saved = await saveRuleSet(
      db.pool,
      t.id,
      { text: 'rules', mentions, who: 'anna', why: null },
      { activate: true, expected: null },
    );
    expect(saved).toEqual({ result: 'ok', version: 1, active: true });
    expect(await removeTarget(db.pool, t.id, 'a', any)).toEqual({ result: 'in_use', rules: 1 });
    expect(await getTarget(db.pool, t.id, 'a')).toBeDefined();
  });

  test('leave in the audit who changed what, without what they hold', async () => {
    const t = await tenant();
    await putSource(
      db.pool,
      t,
      's',
      source({ kind: 'webhook', verify: { scheme: 'github', secrets: ['hunter2-hunter2'] } }),
      any,
    );
    await putTarget(db.pool, t, 'a', PULL, any);
    await pauseTarget(db.pool, t.id, 'a', 'bert', 'lunch');
    await resumeTarget(db.pool, t.id, 'a', 'bert');
    await removeTarget(db.pool, t.id, 'a', any);
    const { rows } = await db.pool.query(
      'select who, action, object, detail from audit where tenant = $1 order by id',
      [t.id],
    );
    expect(rows.map(({ who, action, object }) => `${who} ${action} ${object}`)).toEqual([
      `test tenant.create ${t.name}`,
      'anna source.create s',
      'anna target.create a',
      'bert target.pause a',
      'bert target.resume a',
      'anna target.remove a',
    ]);
    expect(JSON.stringify(rows)).not.toContain('hunter2');
  });
});

describe('pausing', () => {
  test('keeps the first reason, and is no change of the definition', async () => {
    const t = await tenant();
    await putTarget(db.pool, t, 'a', PULL, any);
    expect(await resumeTarget(db.pool, t.id, 'a', 'anna')).toEqual({ result: 'already' });
    expect(await pauseTarget(db.pool, t.id, 'a', 'anna', 'moving house')).toEqual({ result: 'ok' });
    expect(await pauseTarget(db.pool, t.id, 'a', 'bert', 'another reason')).toEqual({ result: 'already' });
    expect(await getTarget(db.pool, t.id, 'a')).toMatchObject({
      version: 1,
      paused: { by: 'anna', code: 'by_person', reason: 'moving house', since: expect.any(Date) },
    });
    expect(await resumeTarget(db.pool, t.id, 'a', 'anna')).toEqual({ result: 'ok' });
    expect(await getTarget(db.pool, t.id, 'a')).toMatchObject({ version: 1, paused: null });
    const { rows } = await db.pool.query('select resumed_at from target where tenant = $1', [t.id]);
    expect(rows[0]?.resumed_at).toBeInstanceOf(Date);
    expect(await resumeTarget(db.pool, t.id, 'nobody', 'anna')).toEqual({ result: 'not_found' });
  });

  test('lasts over a change of the definition', async () => {
    const t = await tenant();
    await putTarget(db.pool, t, 'a', PULL, any);
    await pauseTarget(db.pool, t.id, 'a', 'anna', 'still');
    const put = await putTarget(db.pool, t, 'a', target({ kind: 'pull', leaseSeconds: 9 }), any);
    expect(put).toMatchObject({ target: { paused: { reason: 'still' } } });
  });
});

describe('what is shown of a definition', () => {
  test('says that secrets are set, and how many', () => {
    expect(
      redact(
        source({
          kind: 'webhook',
          verify: { scheme: 'standard', secrets: ['12345678', '87654321'] },
          handshakeToken: 'x',
        }),
      ),
    ).toMatchObject({
      verify: { scheme: 'standard', secrets: { set: 2 } },
      handshakeToken: { set: 1 },
    });
    expect(redact(source({ kind: 'webhook', verify: { scheme: 'token' } }))).toMatchObject({
      verify: { scheme: 'token' },
    });
    expect(
      redact(
        target({
          kind: 'webhook',
          url: 'https://u:p@example.com/x?token=t&token=s#h',
          headers: { Authorization: 'b' },
        }),
      ),
    ).toMatchObject({
      url: 'https://***@example.com/x?token=***#***',
      secrets: { set: 0 },
      headers: { Authorization: { set: 1 } },
    });
    const mail = { kind: 'email', to: ['a@b'], from: 'a@b' };
    expect(redact(target({ ...mail, server: 'smtp://u:p@mx:25' }))).toMatchObject({ server: 'smtp://***@mx:25' });
    expect(redact(target({ ...mail, server: 'smtps://mx' }))).toMatchObject({ server: 'smtps://mx' });
  });

  test('never holds a secret, whatever the definition', () => {
    const secret = fc.stringMatching(/^hunter2[A-Za-z0-9]{8,20}$/);
    const scheme = fc.constantFrom('standard', 'github', 'stripe', 'hmac');
    const definitions = fc.oneof(
      fc.record({ secret, scheme }).map(({ secret: s, scheme: name }) =>
        source({
          kind: 'webhook',
          verify: { scheme: name, secrets: [s, s], ...(name === 'hmac' && { header: 'X-Sign' }) },
          handshakeToken: s,
        }),
      ),
      secret.map((s) =>
        target({
          kind: 'webhook',
          url: `https://${s}:${s}@example.com/?k=${s}#${s}`,
          secrets: [s],
          headers: { 'X-Key': s },
        }),
      ),
      secret.map((s) =>
        target({ kind: 'email', to: ['a@b'], from: 'a@b', server: `smtp://${s}:${s}@mx.example.com:25` }),
      ),
    );
    fc.assert(fc.property(definitions, (definition) => !JSON.stringify(redact(definition)).includes('hunter2')));
  });
});
