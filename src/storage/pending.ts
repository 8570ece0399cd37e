import type { PoolClient } from 'pg';
import type { NewDelivery } from '../owner/ports.js';
import { arrayOf, textArray } from './array.js';

/** Deliveries of one plan that wait, as rows of their own. Those that are there already stay as they are. */
export async function insertDeliveries(
  client: PoolClient,
  held: { readonly tenant: number; readonly channel: number },
  plan: number,
  epoch: number,
  deliveries: readonly NewDelivery[],
): Promise<void> {
  if (deliveries.length === 0) return;
  await client.query(
    `insert into delivery (tenant, target, channel, epoch, number, sequence, plan, rung, decision, late, replay, state)
     select $1, i.target, $2, $3, i.number, i.sequence, $4, i.rung, i.decision::json, i.late, i.replay, 'pending'
     from unnest($5::int[], $6::bigint[], $7::bigint[], $8::smallint[], $9::text[], $10::boolean[], $11::boolean[])
       as i(target, number, sequence, rung, decision, late, replay)
     on conflict do nothing`,
    [
      held.tenant,
      held.channel,
      epoch,
      plan,
      arrayOf(deliveries.map((each) => each.target)),
      arrayOf(deliveries.map((each) => each.number)),
      arrayOf(deliveries.map((each) => each.sequence)),
      arrayOf(deliveries.map((each) => each.rung)),
      textArray(deliveries.map((each) => JSON.stringify(each.decision))),
      arrayOf(deliveries.map((each) => each.late)),
      arrayOf(deliveries.map((each) => each.replay)),
    ],
  );
}
