import { afterAll, beforeAll, expect, test } from 'vitest';
import { targetDefinitionSchema } from '../../src/delivery/target.js';
import type { Tenant } from '../../src/message/tenant.js';
import { parseRuleSet } from '../../src/routing/parse.js';
import { putTarget, removeTarget } from '../../src/storage/definitions.js';
import {
  activateRuleSet,
  activeRuleSet,
  getRuleSet,
  listRuleSets,
  type NewRuleSet,
  saveRuleSet,
} from '../../src/storage/rule-sets.js';
import { createTenant } from '../../src/storage/tenants.js';
import { freshDatabase, type TestDatabase } from '../support/postgres.js';

let db: TestDatabase;
beforeAll(async () => {
  db = await freshDatabase();
});
afterAll(() => db.drop());

let made = 0;
async function tenant(...targets: string[]): Promise<Tenant> {
  made += 1;
  const created = await createTenant(db.pool, `tenant-${made}`, 1, 'test');
  if (created.result !== 'ok') throw new Error(created.result);
  const pull = targetDefinitionSchema.parse({ kind: 'pull' });
  for (const name of targets) await putTarget(db.pool, created.tenant, name, pull, { expected: 'any', who: 'test' });
  return created.tenant;
}

function rules(...targets: string[]): NewRuleSet {
  const lines = targets.map((target) => `  - name: to-${target}\n    when: {}\n    then: { targets: ${target} }\n`);
  const text = `rules:\n${lines.join('')}`;
  const parsed = parseRuleSet(text);
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.problems));
  return { text, mentions: parsed.mentions, who: 'anna', why: 'because' };
}

const now = { activate: true, expected: 'any' } as const;

test('versions rise, are kept, and one is in force', async () => {
  const { id } = await tenant('a', 'b');
  expect(await activeRuleSet(db.pool, id)).toBeUndefined();
  expect(await saveRuleSet(db.pool, id, rules('a'), { activate: true, expected: null })).toEqual({
    result: 'ok',
    version: 1,
    active: true,
  });
  expect(await saveRuleSet(db.pool, id, rules('b'), { activate: false, expected: 'any' })).toEqual({
    result: 'ok',
    version: 2,
    active: false,
  });
  expect(await activeRuleSet(db.pool, id)).toMatchObject({
    version: 1,
    text: rules('a').text,
    why: 'because',
    targets: ['a'],
  });
  expect(await activateRuleSet(db.pool, id, 2, { expected: 1, who: 'anna' })).toEqual({ result: 'ok' });
  expect(await activateRuleSet(db.pool, id, 2, { expected: 2, who: 'anna' })).toEqual({ result: 'ok' });
  expect(await activateRuleSet(db.pool, id, 3, { expected: 2, who: 'anna' })).toEqual({ result: 'not_found' });
  expect(
    (await listRuleSets(db.pool, id, { before: null, limit: 10 })).map(({ version, active }) => [version, active]),
  ).toEqual([
    [2, true],
    [1, false],
  ]);
  expect((await listRuleSets(db.pool, id, { before: 2, limit: 10 })).map(({ version }) => version)).toEqual([1]);
  expect(await getRuleSet(db.pool, id, 1)).toMatchObject({
    version: 1,
    active: false,
    hash: expect.stringMatching(/^[0-9a-f]{64}$/),
  });
});

test('the text in force makes no new version', async () => {
  const { id } = await tenant('a');
  await saveRuleSet(db.pool, id, rules('a'), now);
  expect(await saveRuleSet(db.pool, id, rules('a'), now)).toEqual({ result: 'ok', version: 1, active: true });
});

test('who has seen another version is told which is in force', async () => {
  const { id } = await tenant('a', 'b');
  await saveRuleSet(db.pool, id, rules('a'), now);
  const mismatch = { result: 'version_mismatch', version: 1 };
  expect(await saveRuleSet(db.pool, id, rules('b'), { activate: true, expected: null })).toEqual(mismatch);
  expect(await saveRuleSet(db.pool, id, rules('b'), { activate: true, expected: 2 })).toEqual(mismatch);
  expect(await activateRuleSet(db.pool, id, 1, { expected: 9, who: 'anna' })).toEqual(mismatch);
});

test('rules name targets that there are, and are told where they do not', async () => {
  const t = await tenant('a', 'archive');
  expect(await saveRuleSet(db.pool, t.id, rules('a', 'archiv'), now)).toMatchObject({
    result: 'unknown_targets',
    problems: [{ line: 7, didYouMean: 'archive' }],
  });
  expect(await activeRuleSet(db.pool, t.id)).toBeUndefined();
  await saveRuleSet(db.pool, t.id, rules('a'), now);
  await saveRuleSet(db.pool, t.id, rules('archive'), now);
  expect(await removeTarget(db.pool, t.id, 'a', { expected: 'any', who: 'anna' })).toEqual({ result: 'ok' });
  expect(await activateRuleSet(db.pool, t.id, 1, { expected: 'any', who: 'anna' })).toEqual({
    result: 'unknown_targets',
    targets: ['a'],
  });
});

test('those of the file are changed in the file', async () => {
  const { id } = await tenant('a', 'b');
  await saveRuleSet(db.pool, id, rules('a'), now);
  await db.pool.query(`update rule_set set managed_by = 'file' where tenant = $1`, [id]);
  expect(await saveRuleSet(db.pool, id, rules('b'), now)).toEqual({ result: 'managed_by_file' });
  expect(await activateRuleSet(db.pool, id, 1, { expected: 'any', who: 'anna' })).toEqual({
    result: 'managed_by_file',
  });
  expect(await saveRuleSet(db.pool, id, rules('b'), { activate: false, expected: 'any' })).toEqual({
    result: 'ok',
    version: 2,
    active: false,
  });
});

test('text that can not be kept is refused', async () => {
  const { id } = await tenant();
  expect(await saveRuleSet(db.pool, id, { text: 'a\0', mentions: [], who: 'anna', why: null }, now)).toEqual({
    result: 'unstorable',
  });
  expect(await saveRuleSet(db.pool, id, { text: 'a', mentions: [], who: 'anna', why: '\ud800' }, now)).toEqual({
    result: 'unstorable',
  });
});

test('another tenant has others', async () => {
  const [one, other] = [await tenant('a'), await tenant('a')];
  await saveRuleSet(db.pool, one.id, rules('a'), now);
  expect(await activeRuleSet(db.pool, other.id)).toBeUndefined();
  expect(await activateRuleSet(db.pool, other.id, 1, { expected: 'any', who: 'x' })).toEqual({ result: 'not_found' });
});
