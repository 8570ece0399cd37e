import type { Pool } from 'pg';
import type { Logger } from 'pino';
import type { Clock } from '../message/clock.js';
import type { Refusal, Refuse } from '../message/refusal.js';
import { arrayOf, textArray } from './array.js';

export interface RefusalLog {
  readonly refuse: Refuse;
  /** Writes what was noted; keeps it for the next time when that fails. */
  flush(): Promise<void>;
  /** Removes what is older than so many days. */
  sweep(days: number): Promise<void>;
}

interface Noted {
  readonly refusal: Refusal;
  count: number;
  readonly firstAt: number;
  lastAt: number;
}

/** Distinct refusals kept between two writes. A flood beyond that is counted under one entry for each code. */
const MOST_NOTED = 1_000;

/** Refusals, gathered in memory and written behind: refusing must stay cheaper than being refused. */
export function createRefusalLog(pool: Pool, clock: Clock, log: Logger): RefusalLog {
  let noted = new Map<string, Noted>();

  function note(refusal: Refusal, key: string): void {
    const now = clock.now();
    const known = noted.get(key);
    if (known) {
      known.count++;
      known.lastAt = now;
    } else {
      noted.set(key, { refusal, count: 1, firstAt: now, lastAt: now });
    }
  }

  return {
    refuse(refusal) {
      const key = JSON.stringify([refusal.tenant, refusal.ingress, refusal.peer, refusal.code, refusal.envelope]);
      if (noted.has(key) || noted.size < MOST_NOTED) {
        note(refusal, key);
      } else {
        const many: Refusal = { ...refusal, peer: 'many', envelope: {} };
        note(many, JSON.stringify([many.tenant, many.ingress, many.code]));
      }
    },
    async flush() {
      if (noted.size === 0) return;
      const writing = noted;
      noted = new Map();
      const rows = [...writing.values()];
      try {
        await pool.query(
          `insert into refusal (tenant, ingress, peer, envelope, code, why, count, first_at, last_at)
           select i.tenant, i.ingress, i.peer, i.envelope::json, i.code, i.why, i.count,
             to_timestamp(i.first_at / 1000.0), to_timestamp(i.last_at / 1000.0)
           from unnest($1::int[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::int[], $8::float8[],
             $9::float8[]) as i(tenant, ingress, peer, envelope, code, why, count, first_at, last_at)`,
          [
            textArray(rows.map(({ refusal }) => (refusal.tenant === null ? null : String(refusal.tenant)))),
            textArray(rows.map(({ refusal }) => refusal.ingress)),
            textArray(rows.map(({ refusal }) => refusal.peer)),
            textArray(rows.map(({ refusal }) => JSON.stringify(refusal.envelope))),
            textArray(rows.map(({ refusal }) => refusal.code)),
            textArray(rows.map(({ refusal }) => refusal.why)),
            arrayOf(rows.map(({ count }) => count)),
            arrayOf(rows.map(({ firstAt }) => firstAt)),
            arrayOf(rows.map(({ lastAt }) => lastAt)),
          ],
        );
      } catch (error) {
        log.warn(
          { err: error, refusals: rows.length },
          'refusals could not be written; they are kept for the next time',
        );
        for (const [key, each] of writing) {
          const since = noted.get(key);
          if (since) since.count += each.count;
          else if (noted.size < MOST_NOTED) noted.set(key, each);
        }
      }
    },
    async sweep(days) {
      await pool.query('delete from refusal where last_at < $1', [new Date(clock.now() - days * 86_400_000)]);
    },
  };
}
