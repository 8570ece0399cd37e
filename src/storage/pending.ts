import type { PoolClient } from 'pg';
import type { NewDelivery } from '../owner/ports.js';
import { arrayOf, textArray } from './array.js';

/** Deliveries of one plan that wait. */
export interface WaitingOfPlan {
  readonly tenant: number;
  readonly channel: number;
  readonly plan: number;
  readonly epoch: number;
  readonly deliveries: readonly NewDelivery[];
}

/** Gives what waits rows of its own, in one statement however many plans there are. Rows that are there already stay as they are. */
export async function insertDeliveries(client: PoolClient, plans: readonly WaitingOfPlan[]): Promise<void> {
  const rows = plans.flatMap((of) => of.deliveries.map((delivery) => ({ of, delivery })));
  if (rows.length === 0) return;
  await client.query(
    `insert into delivery (tenant, target, channel, epoch, number, sequence, plan, rung, decision, late, replay, portion,
       state)
     select i.tenant, i.target, i.channel, i.epoch, i.number, i.sequence, i.plan, i.rung, i.decision::json, i.late,
       i.replay, i.portion::json, 'pending'
     from unnest($1::int[], $2::smallint[], $3::bigint[], $4::bigint[], $5::int[], $6::bigint[], $7::bigint[],
       $8::smallint[], $9::text[], $10::boolean[], $11::boolean[], $12::text[])
       as i(tenant, channel, epoch, plan, target, number, sequence, rung, decision, late, replay, portion)
     on conflict do nothing`,
    [
      arrayOf(rows.map(({ of }) => of.tenant)),
      arrayOf(rows.map(({ of }) => of.channel)),
      arrayOf(rows.map(({ of }) => of.epoch)),
      arrayOf(rows.map(({ of }) => of.plan)),
      arrayOf(rows.map(({ delivery }) => delivery.target)),
      arrayOf(rows.map(({ delivery }) => delivery.number)),
      arrayOf(rows.map(({ delivery }) => delivery.sequence)),
      arrayOf(rows.map(({ delivery }) => delivery.rung)),
      textArray(rows.map(({ delivery }) => JSON.stringify(delivery.decision))),
      arrayOf(rows.map(({ delivery }) => delivery.late)),
      arrayOf(rows.map(({ delivery }) => delivery.replay)),
      textArray(rows.map(({ delivery }) => delivery.portion && JSON.stringify(delivery.portion))),
    ],
  );
}
