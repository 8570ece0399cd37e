import type { TestSite } from './harness.js';

/** Lets a process live that reads all channels onward. */
export async function addOwner({ pool, tenant }: TestSite): Promise<void> {
  await pool.query(
    `insert into process (id, name, roles, beat_at) values ('7f6e4a52-0000-4000-8000-00000000000a', 'host:1', '{owner}', 'infinity')
     on conflict do nothing`,
  );
  await pool.query(`update lease set holder = '7f6e4a52-0000-4000-8000-00000000000a', term = 3 where tenant = $1`, [
    tenant.id,
  ]);
}

/**
 * Figures of the last hour and day as they are written down, up to now: a flow that swells and ebbs, a quarter of an hour
 * of which nobody counted, and something that waits for erp.
 */
export async function addHistory({ pool, tenant, targets }: TestSite): Promise<void> {
  for (const [step, back] of [
    [10, '65 minutes'],
    [300, '25 hours'],
  ] as const) {
    await pool.query(
      `with slots as (
         select slot, extract(epoch from slot) as s from generate_series(
           to_timestamp(floor(extract(epoch from now() - $3::interval) / $2) * $2), now(), make_interval(secs => $2)) slot
         where slot not between now() - interval '40 minutes' and now() - interval '25 minutes'
       ), flows as (
         select slot, ((s::bigint % 10000000) * 20 + 3000 * sin(s / 900))::bigint as n from slots
       ), written as (
         insert into sample (tenant, step, slot, at, accepted, sequenced, routed, delivered, duplicates, conflicts, expired,
           lost, inbox)
         select $1, $2, slot, slot, n + n / 10, n, n, n - n / 50, n / 10, 2, 0, 0, 12 from flows returning slot)
       insert into sample_lag (tenant, step, slot, target, waiting, oldest)
         select $1, $2, slot, $4, 40 + (extract(epoch from slot)::bigint / 60) % 30, slot from written`,
      [tenant.id, step, back, targets.erp],
    );
  }
}
