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
/** Of others, between two segments. */
const IDLE_BYTES = 1024 * 1024;

/** Megabytes of write-ahead log that are kept for reuse: a twentieth of what the disk has free, from 80 to 1,024. */
export async function reusedLogMb(cluster: string): Promise<number> {
  const { bavail, bsize } = await statfs(cluster);
  const share = (bavail * bsize * SHARE_OF_FREE_DISK) / 2 ** 20;
  return Math.floor(Math.min(Math.max(share, LEAST_MB), MOST_MB));
}

/**
 * Makes so many megabytes of a new database's write-ahead log ahead. Else commits would: PostgreSQL fills and syncs each
 * segment in the commit that first needs it (55 ms in which nobody else commits, every 2,700 mails), until a checkpoint,
 * 15 minutes or 4 GB later, has left some to use again. Does nothing where half of them are there, and leaves it as soon
 * as others write: each segment would hold them up, too. Rejects when the server goes, or the signal fires.
 */
export async function makeLogAhead(url: string, megabytes: number, signal: AbortSignal): Promise<void> {
  const client = new pg.Client({ connectionString: url, application_name: 'waybill log' });
  client.on('error', () => undefined);
  await client.connect();
  try {
    const segments = Math.floor(megabytes / SEGMENT_MB);
    const ready = await segmentsReady(client);
    if (2 * ready >= segments) return;
    let end = await position(client);
    for (let made = ready; made < segments && !signal.aborted; made++) {
      if ((await position(client)) - end > IDLE_BYTES) break;
      // A segment in which nothing was written is not left.
      await client.query("select pg_logical_emit_message(false, 'waybill', '')");
      await client.query('select pg_switch_wal()');
      end = await position(client);
    }
    // Gives those that were filled the names of the next ones.
    await client.query('checkpoint');
  } finally {
    await client.end().catch(() => undefined);
  }
}

/** The same, a while after a start. */
export async function makeLogAheadSoon(url: string, megabytes: number, signal: AbortSignal): Promise<void> {
  await sleep(AFTER_MS, undefined, { signal });
  await makeLogAhead(url, megabytes, signal);
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
