import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Tenant } from '../../src/message/tenant.js';
import { noteDead } from '../../src/storage/dead.js';
import { insertTenant } from '../support/arrivals.js';
import { freshDatabase, type TestDatabase } from '../support/postgres.js';

let database: TestDatabase;
let tenant: Tenant;
let target: number;

beforeEach(async () => {
  database = await freshDatabase();
  tenant = await insertTenant(database.pool, 'one');
  const { rows } = await database.pool.query<{ id: number }>(
    `insert into target (tenant, name, kind, definition, managed_by) values ($1, 'erp', 'queue', '{}', 'api') returning id`,
    [tenant.id],
  );
  target = rows[0]?.id as number;
});
afterEach(() => database.drop());

/** Plans of ten messages each; the target gets all of every second one. Numbers start anew with epoch 2, at plan 101. */
async function insertPlans(): Promise<void> {
  await database.pool.query(
    `insert into plan (tenant, channel, number, epoch, kind, first_sequence, last_sequence, runs, targets, chain, open)
     select $1, 0, i, case when i <= 100 then 1 else 2 end, 'stream', i * 10, i * 10 + 9,
       -- What is long past is not read at all.
       case when i = 2 then '"not a list"'::json else
       json_build_array(json_build_object('s', i * 10, 'n', 10, 'r', 2, 'd', json_build_object('rule', 1), 't',
         case when i % 2 = 0 then json_build_array(json_build_array($2::int, ((i - 1) % 100) / 2 * 10 + 1))
              else '[]'::json end)) end,
       case when i % 2 = 0 then array[$2::int] else '{}'::int[] end, '', false
     from generate_series(1, 140) i`,
    [tenant.id, target],
  );
  await database.pool.query('update reader set last_plan = 140 where tenant = $1 and channel = 0', [tenant.id]);
}

const dead = (epoch: number, number: number) =>
  noteDead(database.pool, {
    tenant: 'one',
    target: 'erp',
    epoch,
    channel: 0,
    number,
    what: 'message',
    cause: 'rejected',
  });

describe('a dead letter', () => {
  it('is found in the plan that gave its number, among many and in its epoch', async () => {
    await insertPlans();
    expect(await dead(1, 473)).toMatchObject({ noted: 'voided' });
    expect(await dead(2, 33)).toMatchObject({ noted: 'voided' });
    const { rows } = await database.pool.query(
      'select epoch, number, plan, sequence, rung, state, void from delivery order by 1',
    );
    expect(rows).toEqual([
      { epoch: 1, number: 473, plan: 96, sequence: 962, rung: 2, state: 'failed', void: 'due' },
      { epoch: 2, number: 33, plan: 108, sequence: 1082, rung: 2, state: 'failed', void: 'due' },
    ]);
  });

  it('of a number that was never given is unknown', async () => {
    await insertPlans();
    expect(await dead(2, 201)).toEqual({ noted: 'unknown' });
    expect(await dead(3, 1)).toEqual({ noted: 'unknown' });
  });
});
