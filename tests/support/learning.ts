import { randomBytes } from 'node:crypto';
import type { Pool } from 'pg';
import { learnFromDecisions } from '../../src/app/learning.js';
import { eventView } from '../../src/content/event.js';
import type { Place } from '../../src/message/id.js';
import type { Tenant } from '../../src/message/tenant.js';
import { realClock } from './clock.js';
import { silent } from './log.js';

const DAY = 86_400_000;

/** Has what people decided learnt at once, as a process with the role `ledger` does. */
export function learnNow(pool: Pool, stopping = new AbortController().signal): Promise<void> {
  return learnFromDecisions({
    pool,
    viewInPlace: (message) => eventView(message, undefined, 0),
    extractorsOf: () => [],
    random: randomBytes,
    monotonic: realClock.monotonic,
    log: silent,
    contentMs: 90 * DAY,
    stopping,
  });
}

/** A decision as it stands in its row, so many seconds ago, carried out. */
export async function addDecision(
  pool: Pool,
  tenant: Tenant,
  { channel, sequence }: Place,
  decision: {
    readonly action: string;
    readonly targets?: readonly number[];
    readonly ago?: number;
    readonly hold?: number;
  },
): Promise<void> {
  await pool.query('update standing set version = version + 1 where tenant = $1 and channel = $2 and sequence = $3', [
    tenant.id,
    channel,
    sequence,
  ]);
  await pool.query(
    `insert into decision (tenant, channel, sequence, version, who, action, targets, decided_at, hold_until, plan)
     select $1, $2, $3, coalesce(max(version), 1) + 1, 'anna', $4, $5, now() - make_interval(secs => $6),
       now() - make_interval(secs => $6) + make_interval(secs => $7), 0
     from decision where tenant = $1 and channel = $2 and sequence = $3`,
    [tenant.id, channel, sequence, decision.action, decision.targets ?? [], decision.ago ?? 0, decision.hold ?? 0],
  );
}
