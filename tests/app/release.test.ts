import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createRelease } from '../../src/app/release.js';
import type { Arrival } from '../../src/message/arrival.js';
import type { Tenant } from '../../src/message/tenant.js';
import { type Accept, Unavailable, type Verdict } from '../../src/message/verdict.js';
import { decideQuarantined } from '../../src/storage/quarantine.js';
import { quarantined } from '../routes/seed.js';
import { insertTenant } from '../support/arrivals.js';
import { freshDatabase, type TestDatabase } from '../support/postgres.js';

let database: TestDatabase;
let tenant: Tenant;
let number: number;
let accepted: Arrival[];

beforeEach(async () => {
  database = await freshDatabase();
  tenant = await insertTenant(database.pool, 'one');
  const { rows } = await database.pool.query<{ id: number }>(
    `insert into source (tenant, name, kind, definition, managed_by) values ($1, 'feed', 'events', '{}', 'api') returning id`,
    [tenant.id],
  );
  number = await quarantined(database.pool, tenant, rows[0]?.id ?? 0, 'conflict', { channel: 0, sequence: 1 });
  accepted = [];
});
afterEach(() => database.drop());

const sequenced: Verdict = { verdict: 'sequenced', channel: 0, sequence: 7 };

function release(accept: (arrival: Arrival) => Promise<Verdict>) {
  const all: Accept = (arrivals) => {
    accepted.push(...arrivals);
    return Promise.all(arrivals.map(accept));
  };
  return createRelease({ pool: database.pool, accept: all, now: () => 0 })(tenant, number, 'anna');
}

const discarded = () => decideQuarantined(database.pool, tenant.id, number, 'ben', { action: 'discard', reason: null });

describe('the release of an entry', () => {
  it('makes a message of it, and then it is nobody’s to discard', async () => {
    expect(await release(async () => sequenced)).toEqual({ channel: 0, sequence: 7 });
    expect(await discarded()).toEqual({ result: 'changed', state: 'released' });
    expect(await release(async () => sequenced)).toBe('not_held');
  });

  it('is not crossed by a discard once it has begun', async () => {
    await release(async () => {
      expect(await discarded()).toEqual({ result: 'being_released' });
      return sequenced;
    });
  });

  it('that was cut off is done again under the same identity, and only so', async () => {
    await expect(release(() => Promise.reject(new Unavailable('gone')))).rejects.toBeInstanceOf(Unavailable);
    expect(await discarded()).toEqual({ result: 'being_released' });
    const again = await release(async () => ({
      verdict: 'duplicate',
      of: { channel: 0, sequence: 7 },
      basis: 'store',
      differs: false,
    }));
    expect(again).toEqual({ channel: 0, sequence: 7 });
    expect(accepted.map(({ identity }) => Buffer.from(identity).toString())).toEqual([
      `released\0q-${number}`,
      `released\0q-${number}`,
    ]);
  });

  it('finds nothing where it was discarded before', async () => {
    expect(await discarded()).toEqual({ result: 'done', channel: null });
    expect(await release(async () => sequenced)).toBe('not_held');
    expect(accepted).toEqual([]);
  });
});
