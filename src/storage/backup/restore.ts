import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { setTimeout as pause } from 'node:timers/promises';
import pg from 'pg';
import { from as copyFrom } from 'pg-copy-streams';
import { writeAudit } from '../audit.js';
import { type ConnectionSettings, SCHEMA } from '../connection.js';
import { applyMigrations, createMigrationTable, MIGRATION_LOCK, type Migration, readMigrations } from '../migrate.js';
import { checkServer, classify } from '../pool.js';
import { BackupFailed, reasonOf } from './failure.js';
import { type Header, rowsIn } from './format.js';
import type { CheckedBackup, TableSection } from './reader.js';
import { inSession } from './session.js';
import { partitionsNow, qualified, quoted, tablesToKeep } from './tables.js';
import type { BackupProgress } from './take.js';

export interface RestoreSettings extends ConnectionSettings {
  readonly signal: AbortSignal;
  /** Puts the backup in the place of an installation that is there. */
  readonly replace: boolean;
  /** How long a process may be silent before it counts as dead. */
  readonly lostAfterMs: number;
  /** Milliseconds since 1970. */
  readonly now: () => number;
  readonly progress: (so: Omit<BackupProgress, 'bytes'>) => void;
  /** Where the migrations are; by default the program's own. */
  readonly migrations?: URL;
}

export interface Restored {
  readonly epoch: number;
  /** What was replaced; null where nothing was. */
  readonly replaced: Standing | null;
  /** Migrations that the backup did not have. */
  readonly migrated: number;
  /** Whom the restored state lets in. */
  readonly tokens: number;
  readonly people: number;
}

/** An installation that is in the database. */
export interface Standing {
  readonly installation: string;
  readonly epoch: number;
  readonly messages: number;
}

/** Another start or restore, or somebody who reads the tables, is waited for so long. */
const LOCK_WAIT = '10s';

/** Refuses, by BackupFailed, what this program could not restore. Asks no database. */
export async function refuseUnknownMigrations(header: Header, directory?: URL): Promise<void> {
  const own = new Map((await readMigrations(directory)).map(({ name, sha256 }) => [name, sha256]));
  for (const { name, sha256 } of header.migrations) {
    const known = own.get(name);
    if (known === undefined) {
      throw new BackupFailed(
        'backup_newer',
        `The backup was taken by Waybill ${header.product}, whose tables have the migration ${name}, which this version doesn't know. Restore it with that version or a later one. Nothing was changed.`,
      );
    }
    if (known !== sha256) {
      throw new BackupFailed(
        'backup_differs',
        `The backup's tables were made by another migration ${name} than this program has. Restore it with the version that took it (${header.product}). Nothing was changed.`,
      );
    }
  }
}

/**
 * Puts the backup in the place of whatever the database holds, under a new epoch, in one transaction: it takes place
 * wholly or not at all. Rejects with BackupFailed or UnsafeDatabase.
 */
export async function restoreBackup(settings: RestoreSettings, backup: CheckedBackup): Promise<Restored> {
  const { header } = backup;
  await refuseUnknownMigrations(header, settings.migrations);
  let committing = false;
  try {
    return await inSession(settings, settings.signal, async (client) => {
      await checkServer(client);
      await client.query('begin');
      await client.query(`set local lock_timeout = '${LOCK_WAIT}'`);
      // A start waits here until it is over, and then finds the restored state.
      await client.query(`select pg_advisory_xact_lock(${MIGRATION_LOCK})`);
      await refuseRunning(client, settings.lostAfterMs, settings.signal);
      const replaced = await standing(client);
      if (replaced && !settings.replace) throw alreadyThere(replaced);
      const migrations = await readMigrations(settings.migrations);
      await rebuild(client, migrations, header);
      await loadAll(client, backup, settings);
      const migrated = await migrateOn(client, migrations, header);
      const epoch = Math.max(header.epoch + 1, (replaced?.epoch ?? 0) + 1, Math.floor(settings.now() / 1000));
      await settle(client, header, epoch);
      const access = await whoGetsIn(client);
      await client.query(`analyze ${(await tablesToKeep(client)).map(qualified).join(', ')}`);
      settings.signal.throwIfAborted();
      committing = true;
      await client.query('commit');
      return { epoch, replaced, migrated, ...access };
    });
  } catch (error) {
    throw explained(error, committing);
  }
}

function explained(error: unknown, committing: boolean): unknown {
  const state = error instanceof pg.DatabaseError ? error.code : undefined;
  if (committing && (state === undefined || classify(error) === 'unavailable')) {
    return new BackupFailed(
      'outcome_unknown',
      'The connection was lost while the last step was taken: whether the backup was restored is not known. Restore it once more.',
      { cause: error },
    );
  }
  if (state === '55P03') {
    return new BackupFailed(
      'database_busy',
      `Somebody else held the tables for more than ${LOCK_WAIT}: a start, a backup, another restore or somebody reading. Wait for that to end, then restore again. Nothing was changed.`,
      { cause: error },
    );
  }
  if (state === '53100') {
    return new BackupFailed(
      'database_failed',
      "The disk of the database is full: until it is done, a restore takes the room of the old state, the new one and the server's log. Nothing was changed.",
      { cause: error },
    );
  }
  if (state !== undefined || classify(error) === 'unavailable') {
    return new BackupFailed('database_failed', `The database failed (${reasonOf(error)}). Nothing was changed.`, {
      cause: error,
    });
  }
  return error;
}

/**
 * Refuses while a Waybill process is connected, or beats. One that was killed leaves its row behind, so it is given the
 * time after which others, too, take it for dead.
 */
async function refuseRunning(client: pg.Client, lostAfterMs: number, signal: AbortSignal): Promise<void> {
  const before = await signsOfLife(client);
  if (before.connected.length === 0 && before.beats.size === 0) return;
  await pause(lostAfterMs, undefined, { signal });
  const after = await signsOfLife(client);
  const beating = [...after.beats].filter(([process, { beat }]) => before.beats.get(process)?.beat !== beat);
  const alive = [...new Set([...beating.map(([, { name }]) => name), ...after.connected])];
  if (alive.length === 0) return;
  throw new BackupFailed(
    'waybill_running',
    `The database is in use by Waybill (${alive.join(', ')}). Stop every process that works on it, then restore again. Nothing was changed.`,
  );
}

interface SignsOfLife {
  readonly beats: ReadonlyMap<string, { readonly name: string; readonly beat: string }>;
  /** Names of connections, as processes give them: `waybill`, `waybill work`, `waybill backup` … */
  readonly connected: readonly string[];
}

async function signsOfLife(client: pg.Client): Promise<SignsOfLife> {
  const there = await exists(client, 'process');
  const processes = there
    ? await client.query<{ id: string; name: string; beat: string }>('select id, name, beat::text as beat from process')
    : { rows: [] };
  const sessions = await client.query<{ name: string }>(
    `select application_name as name from pg_stat_activity
     where datname = current_database() and pid <> pg_backend_pid() and application_name like 'waybill%'`,
  );
  return {
    beats: new Map(processes.rows.map(({ id, name, beat }) => [id, { name, beat }])),
    connected: sessions.rows.map(({ name }) => `connection "${name}"`),
  };
}

async function exists(client: pg.Client, table: string): Promise<boolean> {
  const { rows } = await client.query<{ there: boolean }>('select to_regclass($1) is not null as there', [
    qualified(table),
  ]);
  return rows[0]?.there === true;
}

async function standing(client: pg.Client): Promise<Standing | null> {
  if (!(await exists(client, 'installation'))) return null;
  const { rows } = await client.query<{ id: string; epoch: string; messages: string }>(
    `select id, epoch::text as epoch, (select coalesce(sum(last_sequence), 0)::text from channel) as messages
     from installation`,
  );
  const [row] = rows;
  return row ? { installation: row.id, epoch: Number(row.epoch), messages: Number(row.messages) } : null;
}

function alreadyThere({ installation, epoch, messages }: Standing): BackupFailed {
  return new BackupFailed(
    'installation_exists',
    `The database holds an installation already: ${installation}, epoch ${epoch}, ${messages.toLocaleString('en-US')} messages. Back that up if it is wanted, and say --replace to have the backup in its place. Nothing was changed.`,
  );
}

/** Empty tables as they were when the backup was taken, with the partitions there were. */
async function rebuild(client: pg.Client, migrations: readonly Migration[], header: Header): Promise<void> {
  await client.query(`drop schema if exists ${SCHEMA} cascade`);
  await client.query(`create schema ${SCHEMA}`);
  await createMigrationTable(client);
  const names = new Set(header.migrations.map(({ name }) => name));
  await applyMigrations(
    client,
    migrations.filter(({ name }) => names.has(name)),
  );
  await makePartitions(client, header);
  // What the migrations put in is in the backup, too: a row here and there, which is no work for a truncate.
  const tables = await tablesToKeep(client);
  const referringFirst = tables.toReversed();
  await client.query(referringFirst.map((table) => `delete from ${qualified(table)}`).join('; '));
}

/** Made by the function that makes them while Waybill runs; then those go that were dropped before the backup. */
async function makePartitions(client: pg.Client, { partitions }: Header): Promise<void> {
  const have = new Set((await partitionsNow(client)).map(({ generation }) => generation));
  const wanted = new Set(partitions.map(({ generation }) => generation));
  for (const generation of wanted) {
    if (have.has(generation)) continue;
    // Each is made as the current one, of which there is but one.
    await client.query('delete from generation');
    await client.query('select create_generation($1)', [generation]);
  }
  const kept = new Set(partitions.map(({ name }) => name));
  for (const { name } of await partitionsNow(client)) {
    if (!kept.delete(name)) await client.query(`drop table ${qualified(name)}`);
  }
  if (kept.size > 0) throw notWhole(`there is no way to make ${[...kept].join(', ')}`);
}

async function loadAll(client: pg.Client, backup: CheckedBackup, { signal, progress }: RestoreSettings): Promise<void> {
  const expected = new Set(await tablesToKeep(client));
  const tables = expected.size;
  let rows = 0;
  for await (const section of backup.tables()) {
    const { table } = section;
    if (!expected.delete(table)) throw notWhole(`table ${table} is there twice, or unknown`);
    const place = tables - expected.size;
    rows += await load(client, section, signal, (loaded) => progress({ table, place, tables, rows: rows + loaded }));
  }
  if (expected.size > 0) throw notWhole(`it lacks the tables ${[...expected].join(', ')}`);
  for (const { name, last, called } of backup.trailer.sequences) {
    await client.query('select setval(to_regclass($1), $2, $3)', [qualified(name), last, called]);
  }
}

function notWhole(what: string): BackupFailed {
  return new BackupFailed('backup_altered', `The backup does not fit its own tables: ${what}. Nothing was changed.`);
}

/** Answers how many rows. */
async function load(
  client: pg.Client,
  { table, columns, pieces }: TableSection,
  signal: AbortSignal,
  told: (rows: number) => void,
): Promise<number> {
  const into = client.query(copyFrom(`copy ${qualified(table)} (${columns.map(quoted).join(', ')}) from stdin`));
  // The pipeline tells of what ends it; what comes of a connection that is closed after that has nobody else.
  into.on('error', () => undefined);
  told(0);
  let rows = 0;
  async function* counted(): AsyncGenerator<Buffer> {
    for await (const piece of pieces) {
      yield piece;
      rows += rowsIn(piece);
      told(rows);
    }
  }
  await pipeline(Readable.from(counted()), into, { signal });
  if (into.rowCount !== rows) throw notWhole(`${rows} rows of ${table} became ${into.rowCount}`);
  return rows;
}

/** What this version's tables have beyond the backup's. */
async function migrateOn(client: pg.Client, migrations: readonly Migration[], header: Header): Promise<number> {
  // Triggers that wait for the commit would keep the tables from being changed.
  await client.query('set constraints all immediate');
  const names = new Set(header.migrations.map(({ name }) => name));
  const due = migrations.filter(({ name }) => !names.has(name));
  await applyMigrations(client, due);
  return due.length;
}

/**
 * What a restored state differs in from the one backed up: a new epoch; channels without an owner; no reading under way,
 * as after a clean end; and generations named anew, so that no filter that anybody has cached speaks of them.
 */
async function settle(client: pg.Client, header: Header, epoch: number): Promise<void> {
  await client.query('update installation set epoch = $1', [epoch]);
  await client.query('update lease set holder = null');
  await client.query('delete from attempt where ended_at is null');
  await client.query('update generation set uid = gen_random_uuid()');
  const { rows } = await client.query<{ id: number }>('select id from tenant order by id');
  for (const { id } of rows) {
    await writeAudit(client, {
      tenant: id,
      who: 'waybill restore',
      action: 'installation.restore',
      object: header.installation,
      detail: { takenAt: header.takenAt, epoch },
    });
  }
}

async function whoGetsIn(client: pg.Client): Promise<Pick<Restored, 'tokens' | 'people'>> {
  const { rows } = await client.query<{ tokens: number; people: number }>(
    `select (select count(*)::int from token where revoked_at is null and (expires_at is null or expires_at > now())) as tokens,
       (select count(*)::int from person where disabled_at is null) as people`,
  );
  const [row] = rows;
  if (!row) throw new Error('a count without a row');
  return row;
}
