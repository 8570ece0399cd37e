import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { BillingKind } from '../../src/billing/definitions.js';
import { sourceDefinitionSchema } from '../../src/channel/source.js';
import { targetDefinitionSchema } from '../../src/delivery/target.js';
import type { TenantDefinitions } from '../../src/routing/definitions.js';
import { parseRuleSet } from '../../src/routing/parse.js';
import { type Applied, applyDefinitions, formatApplyProblem } from '../../src/storage/apply.js';
import { BILLING_SCHEMAS, getBilling, putBilling } from '../../src/storage/billing.js';
import {
  getTarget,
  listSources,
  listTargets,
  putSource,
  putTarget,
  removeTarget,
} from '../../src/storage/definitions.js';
import { activeRuleSet, saveRuleSet } from '../../src/storage/rule-sets.js';
import { createTenant, findTenant, listTenants } from '../../src/storage/tenants.js';
import { freshDatabase, type TestDatabase } from '../support/postgres.js';

let db: TestDatabase;
beforeEach(async () => {
  db = await freshDatabase();
});
afterEach(() => db.drop());

const by = { who: 'apply', channels: 3 };
const any = { expected: 'any', who: 'anna' } as const;

interface File {
  readonly sources?: Readonly<Record<string, unknown>>;
  readonly targets?: Readonly<Record<string, unknown>>;
  readonly rules?: string;
  readonly meters?: Readonly<Record<string, unknown>>;
  readonly rateCards?: Readonly<Record<string, unknown>>;
  readonly subscriptions?: Readonly<Record<string, unknown>>;
  readonly channels?: number;
}

/** What a file with this in it comes to. Each definition stands on a line of its own. */
function tenant(name: string, file: File): TenantDefinitions {
  const { sources = {}, targets = {}, rules, channels, meters = {}, rateCards = {}, subscriptions = {} } = file;
  const billing = (kind: BillingKind, named: Readonly<Record<string, unknown>>, line: number) =>
    Object.entries(named).map(([key, value], n) => ({
      kind,
      name: key,
      definition: BILLING_SCHEMAS[kind].parse(value),
      at: at(line + n),
    }));
  const at = (line: number) => ({ file: 'w.yaml', line, column: 3 });
  const parsed = rules === undefined ? null : parseRuleSet(rules);
  if (parsed && !parsed.ok) throw new Error(JSON.stringify(parsed.problems));
  return {
    tenant: name,
    channels: channels === undefined ? null : { count: channels, at: at(99) },
    sources: Object.entries(sources).map(([key, value], n) => ({
      name: key,
      definition: sourceDefinitionSchema.parse(value),
      at: at(10 + n),
    })),
    targets: Object.entries(targets).map(([key, value], n) => ({
      name: key,
      definition: targetDefinitionSchema.parse(value),
      at: at(20 + n),
    })),
    billing: [
      ...billing('meter', meters, 30),
      ...billing('rate-card', rateCards, 40),
      ...billing('subscription', subscriptions, 50),
    ],
    rules: parsed && { text: rules ?? '', mentions: parsed.mentions, file: 'r.yaml' },
  };
}

function apply(...tenants: TenantDefinitions[]): Promise<Applied> {
  return applyDefinitions(db.pool, tenants, by);
}

function changes(applied: Applied): string[] {
  if (!applied.ok) throw new Error(applied.problems.map(formatApplyProblem).join('\n'));
  return applied.tenants.flatMap((one) =>
    one.changes.map(({ kind, name, what }) => `${one.tenant} ${kind} ${name} ${what}`),
  );
}

function problems(applied: Applied): string[] {
  if (applied.ok) throw new Error('it was applied');
  return applied.problems.map((problem) => `${problem.code} ${formatApplyProblem(problem)}`);
}

async function idOf(name: string): Promise<number> {
  return (await findTenant(db.pool, name))?.id ?? 0;
}

const PULL = { kind: 'pull' };
const to = (...targets: string[]) =>
  `rules:\n${targets.map((target) => `  - name: to-${target}\n    when: {}\n    then: { targets: ${target} }\n`).join('')}`;

describe('what the file names', () => {
  test('is only tried in a dry run, and what is wrong is said', async () => {
    const file = tenant('default', { targets: { a: PULL }, rules: to('a') });
    const tried = () => applyDefinitions(db.pool, [file], { ...by, dryRun: true });
    const would = ['default tenant default added', 'default target a added', 'default rules 1 added'];
    expect(changes(await tried())).toEqual(would);
    expect(await findTenant(db.pool, 'default')).toBeUndefined();
    expect(changes(await apply(file))).toEqual(would);
    expect(changes(await tried())).toEqual(['default target a unchanged', 'default rules 1 unchanged']);
    const wrong = await applyDefinitions(db.pool, [tenant('default', { rules: to('b') })], { ...by, dryRun: true });
    expect(problems(wrong)[0]).toContain('target_unknown');
    expect(await activeRuleSet(db.pool, await idOf('default'))).toMatchObject({ version: 1 });
  });

  test('is added, then left alone, changed, and removed', async () => {
    const first = { sources: { feed: { kind: 'events' } }, targets: { a: PULL, b: PULL }, rules: to('a') };
    expect(changes(await apply(tenant('default', first)))).toEqual([
      'default tenant default added',
      'default source feed added',
      'default target a added',
      'default target b added',
      'default rules 1 added',
    ]);
    const id = await idOf('default');
    expect((await findTenant(db.pool, 'default'))?.channels).toBe(3);
    const before = await getTarget(db.pool, id, 'a');

    expect(changes(await apply(tenant('default', first)))).toEqual([
      'default source feed unchanged',
      'default target a unchanged',
      'default target b unchanged',
      'default rules 1 unchanged',
    ]);
    expect(await getTarget(db.pool, id, 'a')).toEqual(before);

    const second = { targets: { a: { kind: 'queue' }, c: PULL }, rules: to('a', 'c') };
    expect(changes(await apply(tenant('default', second)))).toEqual([
      'default source feed removed',
      'default target a changed',
      'default target c added',
      'default target b removed',
      'default rules 2 changed',
    ]);
    expect(await getTarget(db.pool, id, 'a')).toMatchObject({
      id: before?.id,
      version: 2,
      managedBy: 'file',
      definition: { kind: 'queue' },
    });
    expect((await listTargets(db.pool, id)).map(({ name }) => name)).toEqual(['a', 'c']);
    expect(await listSources(db.pool, id)).toEqual([]);
    expect(await activeRuleSet(db.pool, id)).toMatchObject({ version: 2, managedBy: 'file', who: 'apply' });
  });

  test('comes back under its id', async () => {
    await apply(tenant('default', { targets: { a: PULL } }));
    const id = await idOf('default');
    const before = await getTarget(db.pool, id, 'a');
    await apply(tenant('default', {}));
    expect(await getTarget(db.pool, id, 'a')).toBeUndefined();
    expect(changes(await apply(tenant('default', { targets: { a: PULL } })))).toEqual(['default target a added']);
    expect((await getTarget(db.pool, id, 'a'))?.id).toBe(before?.id);
  });

  test('may move from one tenant to another in one go', async () => {
    const mail = { m: { kind: 'mail', addresses: ['a@example.com'] } };
    await apply(tenant('default', { sources: mail }), tenant('acme', {}));
    expect(changes(await apply(tenant('default', {}), tenant('acme', { sources: mail })))).toEqual([
      'default source m removed',
      'acme source m added',
    ]);
  });

  test('is taken away when the file drops the whole tenant, whose people and messages stay', async () => {
    await apply(tenant('default', {}), tenant('acme', { channels: 7, targets: { a: PULL } }));
    expect((await findTenant(db.pool, 'acme'))?.channels).toBe(7);
    expect(changes(await apply(tenant('default', {})))).toEqual(['acme target a removed']);
    expect((await listTenants(db.pool)).map(({ name }) => name)).toEqual(['acme', 'default']);
    expect(changes(await apply(tenant('default', {})))).toEqual([]);
  });

  test('is the same for any number of processes that start together', async () => {
    const file = tenant('default', { targets: { a: PULL }, rules: to('a') });
    const results = await Promise.all([apply(file), apply(file), apply(file)]);
    expect(results.flatMap(changes).filter((change) => change.endsWith('added'))).toEqual([
      'default tenant default added',
      'default target a added',
      'default rules 1 added',
    ]);
  });
});

describe('rules', () => {
  test('that the file names no more stay in force, for the API to change', async () => {
    await apply(tenant('default', { targets: { a: PULL }, rules: to('a') }));
    const without = tenant('default', { targets: { a: PULL } });
    expect(changes(await apply(without))).toEqual(['default target a unchanged', 'default rules 1 released']);
    expect(changes(await apply(without))).toEqual(['default target a unchanged']);
    const id = await idOf('default');
    expect(await activeRuleSet(db.pool, id)).toMatchObject({ version: 1, managedBy: 'api' });
    const saved = await saveRuleSet(
      db.pool,
      id,
      { text: 'rules: []', mentions: [], who: 'anna', why: null },
      { activate: true, expected: 1 },
    );
    expect(saved).toMatchObject({ result: 'ok' });
  });

  test('of the file take the place of those set over the API', async () => {
    await apply(tenant('default', { targets: { a: PULL } }));
    const id = await idOf('default');
    await saveRuleSet(
      db.pool,
      id,
      { text: 'rules: []', mentions: [], who: 'anna', why: null },
      { activate: true, expected: null },
    );
    expect(changes(await apply(tenant('default', { targets: { a: PULL }, rules: to('a') })))).toContain(
      'default rules 2 changed',
    );
    expect(await activeRuleSet(db.pool, id)).toMatchObject({ version: 2, managedBy: 'file' });
  });

  test('may name a target that was made over the API', async () => {
    await apply(tenant('default', {}));
    const t = await findTenant(db.pool, 'default');
    if (!t) throw new Error('no tenant');
    await putTarget(db.pool, t, 'mine', targetDefinitionSchema.parse(PULL), any);
    expect(changes(await apply(tenant('default', { rules: to('mine') })))).toEqual(['default rules 1 added']);
    expect(await removeTarget(db.pool, t.id, 'mine', any)).toEqual({ result: 'in_use', rules: 1 });
  });
});

describe('when something does not hold, nothing changes', () => {
  async function stays(attempt: TenantDefinitions[], expected: string[]): Promise<void> {
    const before = await db.pool.query('select * from configuration');
    expect(problems(await apply(...attempt))).toEqual(expected);
    expect((await db.pool.query('select * from configuration')).rows).toEqual(before.rows);
  }

  test('a name that was made over the API', async () => {
    await apply(tenant('default', {}));
    const t = await findTenant(db.pool, 'default');
    if (!t) throw new Error('no tenant');
    await putTarget(db.pool, t, 'a', targetDefinitionSchema.parse(PULL), any);
    await putSource(db.pool, t, 's', sourceDefinitionSchema.parse({ kind: 'events' }), any);
    await stays(
      [
        tenant('default', {
          targets: { b: PULL, a: { kind: 'queue' } },
          sources: { s: { kind: 'events', accepts: ['x'] } },
        }),
      ],
      [
        'managed_by_api w.yaml:10:3: the source "s" was made over the API; remove it there first, or choose another name',
        'managed_by_api w.yaml:21:3: the target "a" was made over the API; remove it there first, or choose another name',
      ],
    );
    expect((await listTargets(db.pool, t.id)).map(({ name, definition }) => [name, definition.kind])).toEqual([
      ['a', 'pull'],
    ]);
  });

  test('a target that the rules name and nobody has', async () => {
    await apply(tenant('default', { targets: { archive: PULL }, rules: to('archive') }));
    await stays(
      [tenant('default', { targets: { archive: PULL }, rules: to('archive', 'archiv') })],
      [
        'target_unknown r.yaml:7:22: there is no target "archiv"; define it first, or name another; did you mean "archive"?',
      ],
    );
  });

  test('a target that is dropped, and that rules of the API name', async () => {
    await apply(tenant('default', { targets: { a: PULL } }));
    const id = await idOf('default');
    const mentions = [{ target: 'a', line: 1, column: 1, path: '' }];
    await saveRuleSet(
      db.pool,
      id,
      { text: to('a'), mentions, who: 'anna', why: null },
      { activate: true, expected: null },
    );
    await stays(
      [tenant('default', {})],
      ['target_unknown tenant "default": the target "a" is gone, but the rules in force (version 1) name it'],
    );
  });

  test('an address or events that a source of the API has', async () => {
    await apply(tenant('default', {}));
    const made = await createTenant(db.pool, 'acme', 1, 'test');
    if (made.result !== 'ok') throw new Error(made.result);
    await putSource(
      db.pool,
      made.tenant,
      'm',
      sourceDefinitionSchema.parse({ kind: 'mail', addresses: ['a@example.com'] }),
      any,
    );
    await putSource(db.pool, made.tenant, 'rest', sourceDefinitionSchema.parse({ kind: 'events' }), any);
    await stays(
      [
        tenant('default', { sources: { n: { kind: 'mail', addresses: ['b@example.com', 'A@example.com'] } } }),
        tenant('acme', { sources: { all: { kind: 'events' } } }),
      ],
      [
        'address_taken w.yaml:10:3: the mail address a@example.com belongs to the source "m" of tenant "acme", which was made over the API',
        'feed_taken w.yaml:10:3: all events no other feed names belongs to the source "rest" of tenant "acme", which was made over the API',
      ],
    );
  });

  test('another number of channels', async () => {
    await apply(tenant('default', {}), tenant('acme', { channels: 4 }));
    await stays(
      [tenant('default', { targets: { a: PULL } }), tenant('acme', { channels: 5 })],
      ['channels_fixed w.yaml:99:3: tenant "acme" was made with 4 channels and keeps them'],
    );
  });

  test('more targets than a tenant may have', async () => {
    await apply(tenant('default', {}));
    const targets = Object.fromEntries(Array.from({ length: 1001 }, (_, n) => [`t-${n}`, PULL]));
    await stays(
      [tenant('default', { targets })],
      ['too_many w.yaml:1020:3: 1001 targets are more than the 1000 a tenant may have'],
    );
  });

  test('all of it is told at once', async () => {
    await apply(tenant('default', {}), tenant('acme', { channels: 4 }));
    expect(
      problems(
        await apply(tenant('default', { rules: to('x', 'y') }), tenant('acme', { channels: 5, rules: to('z') })),
      ),
    ).toHaveLength(4);
  });
});

describe('meters, rate cards and subscriptions of the file', () => {
  const METERS = { calls: { type: 'call', aggregation: 'count' } };
  const card = (currency: string, price = '0.10') => ({
    currency,
    versions: [{ from: '2026-01-01', prices: [{ model: 'per_unit', meter: 'calls', price }] }],
  });
  const sub = (from: string, until?: string, currency = 'EUR') => ({
    account: 'acme',
    rateCard: 'basic',
    currency,
    from,
    ...(until !== undefined && { until }),
  });
  const all = { meters: METERS, rateCards: { basic: card('EUR') }, subscriptions: { acme: sub('2026-01-01') } };
  const whats = (applied: Applied) =>
    applied.ok
      ? applied.tenants.flatMap(({ changes }) => changes.map(({ kind, name, what }) => `${kind} ${name} ${what}`))
      : applied.problems.map(formatApplyProblem);

  test('are made, kept, changed and removed, whatever the order of what depends on what', async () => {
    expect(whats(await apply(tenant('default', all)))).toEqual([
      'tenant default added',
      'meter calls added',
      'rate-card basic added',
      'subscription acme added',
    ]);
    expect(whats(await apply(tenant('default', all)))).toEqual([
      'meter calls unchanged',
      'rate-card basic unchanged',
      'subscription acme unchanged',
    ]);
    // Card and subscription change their currency together; two subscriptions share out the time of one.
    const changed = {
      meters: METERS,
      rateCards: { basic: card('USD') },
      subscriptions: { next: sub('2026-06-01', undefined, 'USD'), acme: sub('2026-01-01', '2026-06-01', 'USD') },
    };
    const dry = await applyDefinitions(db.pool, [tenant('default', changed)], { ...by, dryRun: true });
    expect(whats(dry)).toEqual([
      'meter calls unchanged',
      'rate-card basic changed',
      'subscription next added',
      'subscription acme changed',
    ]);
    const found = await findTenant(db.pool, 'default');
    expect((await getBilling(db.pool, found?.id ?? 0, 'rate-card', 'basic'))?.version).toBe(1);
    expect(whats(await apply(tenant('default', changed)))).toEqual(whats(dry));
    expect(whats(await apply(tenant('default', {})))).toEqual([
      'subscription acme removed',
      'subscription next removed',
      'rate-card basic removed',
      'meter calls removed',
    ]);
    const { rows } = await db.pool.query(
      "select action, object from audit where action like 'subscription%' order by id",
    );
    expect(rows).toHaveLength(5);
  });

  test('are refused where they do not fit, each at its place, and nothing changes', async () => {
    await apply(tenant('default', all));
    const found = await findTenant(db.pool, 'default');
    if (!found) throw new Error('there is no tenant');
    const wrong = {
      meters: { calls: { type: 'other', aggregation: 'count' } },
      rateCards: {
        basic: card('EUR'),
        other: {
          ...card('EUR'),
          versions: [{ from: '2026-01-01', prices: [{ model: 'per_unit', meter: 'nothing', price: '1' }] }],
        },
      },
      subscriptions: {
        acme: sub('2026-01-01'),
        again: sub('2026-02-01'),
        lost: { ...sub('2026-02-01'), account: 'b', rateCard: 'none' },
        usd: { ...sub('2026-02-01', undefined, 'USD'), account: 'c' },
        sent: { ...sub('2026-02-01'), account: 'd', target: 'none' },
      },
    };
    expect(whats(await apply(tenant('default', wrong)))).toEqual([
      'w.yaml:30:3: a meter is not changed: remove "calls", or make another one beside it',
      'w.yaml:41:3: there is no meter "nothing"',
      'w.yaml:51:3: the account has the subscription "acme" from 2026-01-01 on',
      'w.yaml:52:3: there is no rate card "none"',
      'w.yaml:53:3: the rate card "basic" is in EUR',
      'w.yaml:54:3: there is no target "none"',
    ]);
    expect((await getBilling(db.pool, found.id, 'meter', 'calls'))?.definition).toMatchObject({ type: 'call' });
    const own = subscriptionOf({ ...sub('2026-01-01'), account: 'own' });
    const any = { expected: 'any', who: 'anna' } as const;
    expect(await putBilling(db.pool, found, 'subscription', 'mine', own, any)).toMatchObject({ result: 'ok' });
    expect(await putBilling(db.pool, found, 'subscription', 'acme', own, any)).toEqual({ result: 'managed_by_file' });
    expect(whats(await apply(tenant('default', { ...all, subscriptions: { mine: sub('2026-01-01') } })))).toEqual([
      'w.yaml:50:3: the subscription "mine" was made over the API; remove it there first, or choose another name',
    ]);
    expect(whats(await apply(tenant('default', {})))).toEqual([
      'tenant "default": the rate card "basic" is gone, but the subscription "mine" names it',
    ]);
  });

  const subscriptionOf = (value: unknown) => BILLING_SCHEMAS.subscription.parse(value);
});
