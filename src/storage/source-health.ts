import type { Pool } from 'pg';
import type { Logger } from 'pino';

/** How a process is getting on with a queue: it has it, another consumer has it, or something is in the way. */
export type ConsumerState =
  | { readonly state: 'consuming' }
  | { readonly state: 'standing_by' | 'down'; readonly reason: string };

/** One process's word about its sources, written behind. */
export interface HealthLog {
  note(tenant: number, source: number, state: ConsumerState): void;
  /** Writes what was noted; keeps it for the next time when that fails. */
  flush(): Promise<void>;
}

/** `process` has a row by the time something is noted. */
export function createHealthLog(pool: Pool, process: string, log: Logger): HealthLog {
  const noted = new Map<string, { tenant: number; source: number; state: ConsumerState }>();

  async function write(tenant: number, source: number, state: ConsumerState): Promise<void> {
    const reason = state.state === 'consuming' ? null : state.reason;
    await pool.query(
      `insert into source_health as h (tenant, source, process, state, reason) values ($1, $2, $3, $4, $5)
       on conflict (tenant, source, process) do update set state = $4, reason = $5,
         since = case when h.state = $4 then h.since else now() end`,
      [tenant, source, process, state.state, reason],
    );
  }

  return {
    note(tenant, source, state) {
      noted.set(`${tenant}/${source}`, { tenant, source, state });
    },
    async flush() {
      for (const [key, last] of noted) {
        try {
          await write(last.tenant, last.source, last.state);
        } catch (error) {
          log.warn({ err: error }, 'how sources are doing could not be written; it is kept for the next time');
          return;
        }
        if (noted.get(key) === last) noted.delete(key);
      }
    },
  };
}

/** How a source that is consumed is doing, over all processes. */
export interface SourceHealth {
  /** `waiting`: every process stands by, because somebody else consumes the queue. */
  readonly state: 'ok' | 'waiting' | 'failing';
  readonly reason: string | null;
  /** Null where no process has said anything. */
  readonly since: Date | null;
}

/** A process that has not shown itself for so long does not count. */
const LIVING_SECONDS = 10;

/** By source id, of those that some living process has said something of: the best of what they said. */
export async function sourceHealth(
  pool: Pool,
  tenant: number,
  sources: readonly number[],
): Promise<Map<number, SourceHealth>> {
  const { rows } = await pool.query<{ source: number; state: ConsumerState['state']; reason: string; since: Date }>(
    `select distinct on (h.source) h.source, h.state, h.reason, h.since
       from source_health h join process p on p.id = h.process
      where h.tenant = $1 and h.source = any ($2::int[])
        and p.beat_at > clock_timestamp() - make_interval(secs => ${LIVING_SECONDS})
      order by h.source, array_position(array['consuming', 'down', 'standing_by'], h.state), h.since desc`,
    [tenant, `{${sources.join(',')}}`],
  );
  return new Map(rows.map(({ source, state, reason, since }) => [source, { state: STATES[state], reason, since }]));
}

const STATES = { consuming: 'ok', standing_by: 'waiting', down: 'failing' } as const;
