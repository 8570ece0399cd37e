import type { StatsFs } from 'node:fs';
import { statfs } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';

/** What initdb makes. */
const SEGMENT_MB = 16;
/** The least is PostgreSQL's own default. */
const LEAST_MB = 80;
const MOST_MB = 1024;
const SHARE_OF_FREE_DISK = 1 / 20;

/** A start has better things to do at first, and many a process is stopped soon. */
const AFTER_MS = 5_000;
/** Between two segments it is looked whether others wrote more than this. */
const LOOK_MS = 50;
const IDLE_BYTES = 64 * 1024;

/**
 * Megabytes of write-ahead log that are kept for reuse, from 80 to 1,024: a twentieth of what the disk has free above a
 * fifth of its size, so that the disk is not called full because of them.
 */
export function reusedLogMb({ bavail, blocks, bsize }: Pick<StatsFs, 'bavail' | 'blocks' | 'bsize'>): number {
  const share = ((bavail - blocks / 5) * bsize * SHARE_OF_FREE_DISK) / 2 ** 20;
  return Math.floor(Math.min(Math.max(share, LEAST_MB), MOST_MB));
}

/** The same for the disk a cluster lies on; the least where the file system does not say. */
export async function reusedLogMbOf(cluster: string): Promise<number> {
  const disk = await statfs(cluster).catch(() => null);
  return disk === null ? LEAST_MB : reusedLogMb(disk);
}

/**
 * Makes so many megabytes of a new database's write-ahead log ahead, and answers whether they are there. Else commits
 * would: PostgreSQL fills and syncs each segment in the commit that first needs it (55 ms in which nobody else commits,
 * every 2,700 mails), until a checkpoint, 15 minutes or some 2 GB later, has left some to use again. Does nothing where
 * half of them are there, and leaves it as soon as others write: each segment would hold them up, too. Rejects when
 * the server goes, or the signal fires.
 */
export async function makeLogAhead(url: string, megabytes: number, signal: AbortSignal): Promise<boolean> {
  const client = new pg.Client({ connectionString: url, application_name: 'waybill log' });
  client.on('error', () => undefined);
  await client.connect();
  try {
    const segments = Math.floor(megabytes / SEGMENT_MB);
    const ready = await segmentsReady(client);
    if (2 * ready >= segments) return true;
    let end = await position(client);
    for (let made = ready; made < segments; made++) {
      await sleep(LOOK_MS, undefined, { signal });
      if ((await position(client)) - end > IDLE_BYTES) return false;
      end = await switchSegment(client);
    }
    // Gives those that were filled the names of the next ones. Where it was left it would be in the way of those who write.
    await client.query('checkpoint');
    return true;
  } finally {
    await client.end().catch(() => undefined);
  }
}

/** The same, a while after a start. */
export async function makeLogAheadSoon(url: string, megabytes: number, signal: AbortSignal): Promise<boolean> {
  await sleep(AFTER_MS, undefined, { signal });
  return makeLogAhead(url, megabytes, signal);
}

/** Answers where the next segment begins. */
async function switchSegment(client: pg.Client): Promise<number> {
  // A segment in which nothing was written is not left.
  await client.query("select pg_logical_emit_message(false, 'waybill', '')");
  const { rows } = await client.query<{ bytes: string }>(
    "select pg_wal_lsn_diff(pg_switch_wal(), '0/0')::text as bytes",
  );
  const segment = SEGMENT_MB * 2 ** 20;
  return Math.ceil(Number(rows[0]?.bytes) / segment) * segment;
}

async function segmentsReady(client: pg.Client): Promise<number> {
  const { rows } = await client.query<{ ready: number }>(
    `select count(*)::int as ready from pg_ls_waldir()
     where name ~ '^[0-9A-F]{24}$' and name > pg_walfile_name(pg_current_wal_lsn())`,
  );
  return rows[0]?.ready ?? 0;
}

/** Bytes of the log there ever were. */
async function position(client: pg.Client): Promise<number> {
  const { rows } = await client.query<{ bytes: string }>(
    "select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::text as bytes",
  );
  return Number(rows[0]?.bytes);
}
