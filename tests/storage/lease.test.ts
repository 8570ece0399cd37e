import { randomUUID } from 'node:crypto';
import { expect, onTestFinished, test } from 'vitest';
import { createLeaseStore } from '../../src/storage/lease.js';
import { insertTenant } from '../support/arrivals.js';
import { freshDatabase } from '../support/postgres.js';

test('the version of all leases moves with every one that is made, taken or given back, and with nothing else', async () => {
  const database = await freshDatabase();
  onTestFinished(() => database.drop());
  const [one, other] = [randomUUID(), randomUUID()].map((id) => createLeaseStore(database.pool, id, 1));
  if (!one || !other) throw new RangeError('two processes');
  await one.register('one', ['owner']);
  await other.register('other', ['owner']);
  const seen = new Set<string>();
  const moved = async () => {
    const version = await one.version();
    expect(await other.version()).toBe(version);
    const isNew = !seen.has(version);
    seen.add(version);
    return isNew;
  };

  expect(await moved()).toBe(true);
  await insertTenant(database.pool, 'first', 2);
  expect(await moved()).toBe(true);
  const free = await one.leases();
  const [first, second] = await one.take(free);
  if (!first || !second) throw new RangeError('two channels');
  expect(await moved()).toBe(true);
  // What another has taken meanwhile is not given, and moves nothing.
  expect(await other.take(free)).toEqual([]);
  await one.beat();
  expect(await moved()).toBe(false);
  await one.give([first]);
  expect(await moved()).toBe(true);
  await other.take([{ ...first }]);
  expect(await moved()).toBe(true);
  await one.leave();
  expect(await moved()).toBe(true);
  await one.register('one', ['owner']);
  expect(await moved()).toBe(false);
});
