import type pg from 'pg';
import { to as copyTo } from 'pg-copy-streams';
import type { ConnectionSettings } from '../connection.js';
import { BackupFailed } from './failure.js';
import type { Header, TableHead } from './format.js';
import { BACKUP_LOCK, inSession } from './session.js';
import type { Sink } from './sink.js';
import { columnsOf, partitionsNow, qualified, quoted, sequencesNow, tablesToKeep } from './tables.js';
import { BackupWriter } from './writer.js';

export interface TakeSettings extends ConnectionSettings {
  /** Version of the program, for the header. */
  readonly product: string;
  readonly signal: AbortSignal;
  readonly progress: (so: BackupProgress) => void;
}

/** How far a backup or a restore has come. */
export interface BackupProgress {
  readonly table: string;
  /** Counted from 1. */
  readonly place: number;
  readonly tables: number;
  readonly rows: number;
  /** Of the file. */
  readonly bytes: number;
}

export interface Taken {
  readonly header: Header;
  readonly tables: number;
  readonly rows: number;
  readonly bytes: number;
}

/**
 * Writes everything that one moment shows, while others go on writing. Rejects with BackupFailed when there is no Waybill
 * in the database or `signal` fired; the sink is left to the caller.
 */
export function takeBackup(settings: TakeSettings, sink: Sink): Promise<Taken> {
  return inSession(settings, settings.signal, async (client) => {
    // For the whole session: an ordinary SELECT would take the snapshot before the tables are locked.
    await client.query(`select pg_advisory_lock_shared(${BACKUP_LOCK})`);
    const tables = await beginOnTables(client);
    const header = await headerOf(client, settings.product, tables);
    const writer = new BackupWriter(sink);
    await writer.begin(header);
    for (const [i, table] of tables.entries()) {
      const told = () =>
        settings.progress({ table, place: i + 1, tables: tables.length, rows: writer.rows, bytes: writer.written });
      told();
      const head = await columnsOf(client, table);
      await writer.table(head, copied(client, head), told);
    }
    const trailer = await writer.end(await sequencesNow(client));
    await client.query('commit');
    return { header, tables: trailer.tables, rows: trailer.rows, bytes: writer.written };
  });
}

/**
 * Begins the transaction, whose moment comes once all tables are locked against being dropped: a partition can't be
 * while its table is locked. Answers the tables.
 */
async function beginOnTables(client: pg.Client): Promise<string[]> {
  const tables = await tablesToKeep(client);
  if (!tables.includes('installation')) {
    throw new BackupFailed('nothing_to_back_up', 'There is no Waybill in this database: nothing to back up.');
  }
  await client.query('begin isolation level repeatable read read only');
  await client.query(`lock table ${tables.map(qualified).join(', ')} in access share mode`);
  const seen = await tablesToKeep(client);
  if (seen.join() === tables.join()) return tables;
  // An update of Waybill changed the tables in between.
  await client.query('rollback');
  return beginOnTables(client);
}

async function headerOf(client: pg.Client, product: string, tables: readonly string[]): Promise<Header> {
  const { rows } = await client.query<{
    taken_at: string;
    id: string;
    epoch: string;
    postgres: string;
    messages: string;
  }>(
    `select to_char(now() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') as taken_at, id, epoch::text as epoch,
       current_setting('server_version') as postgres, (select coalesce(sum(last_sequence), 0)::text from channel) as messages
     from installation`,
  );
  const [installation] = rows;
  if (!installation) {
    throw new BackupFailed('nothing_to_back_up', 'No Waybill was ever started on this database: nothing to back up.');
  }
  const migrations = await client.query<{ name: string; sha256: string }>(
    'select name, sha256 from migration order by name',
  );
  return {
    product,
    takenAt: installation.taken_at,
    installation: installation.id,
    epoch: Number(installation.epoch),
    postgres: installation.postgres,
    migrations: migrations.rows,
    tables: [...tables],
    partitions: (await partitionsNow(client)).map(({ name, generation }) => ({ name, generation })),
    messages: Number(installation.messages),
  };
}

/** The select, and not the table, because a partitioned one can't be copied as such. */
function copied(client: pg.Client, { table, columns }: TableHead): AsyncIterable<Buffer> {
  const list = columns.map(quoted).join(', ');
  const stream = client.query(copyTo(`copy (select ${list} from ${qualified(table)}) to stdout`));
  // Whoever reads it is told of what ends it; what comes of a connection that is closed after that has nobody else.
  stream.on('error', () => undefined);
  return stream;
}
