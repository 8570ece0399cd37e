import type { Pool } from 'pg';
import { planOf } from './deliveries-read.js';
import { inTransaction } from './pool.js';

/** A delivery that the broker gave up. */
export interface GivenUp {
  readonly tenant: string;
  readonly target: string;
  readonly epoch: number;
  readonly channel: number;
  readonly number: number;
  readonly what: 'message' | 'void';
  readonly cause: string;
}

/** What became of a dead letter: `voided` when a notice of its number is due now, in this line. */
export type Noted =
  | {
      readonly noted: 'voided';
      readonly line: { readonly tenant: number; readonly target: number; readonly channel: number };
    }
  | { readonly noted: 'refused' }
  | { readonly noted: 'unknown' };

/**
 * Writes down that a target's consumer refused a delivery for good: it is `failed` with the reason, and its number's
 * void is due. One that was sent at once lives in its plan alone and gets its row now.
 */
export function noteDead(pool: Pool, dead: GivenUp): Promise<Noted> {
  return inTransaction(pool, async (client) => {
    const { rows } = await client.query<{ tenant: number; target: number }>(
      'select n.id as tenant, t.id as target from tenant n join target t on t.tenant = n.id where n.name = $1 and t.name = $2',
      [dead.tenant, dead.target],
    );
    const [owner] = rows;
    if (!owner) return UNKNOWN;
    const voided: Noted = { noted: 'voided', line: { ...owner, channel: dead.channel } };
    const key = [owner.tenant, owner.target, dead.channel, dead.epoch, dead.number];
    if (dead.what === 'void') {
      const refused = await client.query(
        `update delivery set void = 'refused' where tenant = $1 and target = $2 and channel = $3 and epoch = $4
         and number = $5 and void is not null`,
        key,
      );
      return refused.rowCount === 1 ? { noted: 'refused' } : UNKNOWN;
    }
    const reason = `the consumer gave it up (${dead.cause})`;
    const known = await client.query(
      `update delivery set state = 'failed', void = 'due', next_at = now(), first_attempt_at = null, settled_at = now(), code = $6, reason = $7
       where tenant = $1 and target = $2 and channel = $3 and epoch = $4 and number = $5 and state <> 'failed'`,
      [...key, dead.cause, reason],
    );
    if (known.rowCount === 1) return voided;
    const plan = await planOf(client, owner.tenant, owner.target, dead);
    if (!plan) return UNKNOWN;
    const made = await client.query(
      `insert into delivery (tenant, target, channel, epoch, number, sequence, plan, rung, decision, late, replay, portion,
         state, void, attempts, first_attempt_at, settled_at, code, reason)
       select p.tenant, $2::int, p.channel, p.epoch, $5::bigint, (r->>'s')::bigint + $5::bigint - (t->>1)::bigint,
         p.number, (r->>'r')::smallint, r->'d', coalesce((r->>'late')::boolean, false),
         coalesce((r->>'replay')::boolean, false),
         case when r->'u'->(t->>0) is null then r->'p' else ('{"fields":' || (r->'u'->(t->>0))::text || '}')::json end,
         'failed', 'due', 1, p.planned_at, now(), $6, $7
       from plan p, json_array_elements(p.runs) r, json_array_elements(r->'t') t
       where p.tenant = $1 and p.channel = $3 and p.epoch = $4 and p.number = $8
         and (t->>0)::int = $2 and $5::bigint between (t->>1)::bigint and (t->>1)::bigint + (r->>'n')::bigint - 1
       on conflict do nothing`,
      [...key, dead.cause, reason, plan.number],
    );
    return made.rowCount === 1 ? voided : UNKNOWN;
  });
}

const UNKNOWN: Noted = { noted: 'unknown' };
