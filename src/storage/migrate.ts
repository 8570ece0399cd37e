import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import pg from 'pg';
import type { Logger } from 'pino';
import { type ConnectionSettings, connectionConfig, SCHEMA } from './connection.js';

export interface MigrationSettings extends ConnectionSettings {
  readonly log: Logger;
  /** Where the numbered `.sql` files are; by default beside this file. */
  readonly directory?: URL;
}

/** The database and this version of Waybill don't fit together; a person must choose the right version. */
export class MigrationRefused extends Error {
  override readonly name = 'MigrationRefused';
}

/** A migration's SQL failed; nothing was changed. */
export class MigrationFailed extends Error {
  override readonly name = 'MigrationFailed';
}

export interface Migration {
  readonly name: string;
  readonly sql: string;
  /** Hex. */
  readonly sha256: string;
}

/** Held by whoever changes the schema. Any number that nothing else on the same server locks; this one is "waybill" in ASCII. */
export const MIGRATION_LOCK = '33602696198581356';

/**
 * Brings the schema up to this version: every file not yet applied, in the order of names, all in one transaction,
 * so that it is done wholly or not at all. Any number of processes may call it at once. Resolves to how many it applied.
 */
export async function migrate(settings: MigrationSettings): Promise<number> {
  const migrations = await readMigrations(settings.directory);
  const client = new pg.Client(connectionConfig(settings));
  client.on('error', (error) => settings.log.warn({ err: error }, 'the connection of the migrations was lost'));
  await client.connect();
  try {
    await client.query('begin');
    // Whatever limits the role has: building an index, or waiting for another process that does, may take long.
    await client.query('set local statement_timeout = 0; set local lock_timeout = 0');
    await client.query(`select pg_advisory_xact_lock(${MIGRATION_LOCK})`);
    const applied = await appliedMigrations(client);
    refuseMisfits(migrations, applied);
    const due = migrations.filter((migration) => !applied.has(migration.name));
    await applyMigrations(client, due);
    await client.query('commit');
    settings.log.info({ applied: due.map(({ name }) => name) }, 'database schema is up to date');
    return due.length;
  } finally {
    // Closing without a commit undoes everything.
    await client.end();
  }
}

/** Every migration there is, in order; by default those of this program. */
export async function readMigrations(directory = new URL('./migrations/', import.meta.url)): Promise<Migration[]> {
  const names = (await readdir(directory)).filter((name) => /^\d{4}_\w+\.sql$/.test(name)).sort();
  return Promise.all(names.map((name) => readMigration(directory, name)));
}

async function readMigration(directory: URL, name: string): Promise<Migration> {
  // A checkout may have turned line ends into CRLF; that is not an edit.
  const sql = (await readFile(new URL(name, directory), 'utf8')).replaceAll('\r\n', '\n');
  return { name, sql, sha256: createHash('sha256').update(sql).digest('hex') };
}

async function appliedMigrations(client: pg.Client): Promise<Map<string, string>> {
  // Asked first: a role that may not create schemas can still work in one that is there.
  const schema = await client.query('select from pg_namespace where nspname = $1', [SCHEMA]);
  if (schema.rowCount === 0) await client.query(`create schema ${SCHEMA}`);
  await createMigrationTable(client);
  const { rows } = await client.query<{ name: string; sha256: string }>('select name, sha256 from migration');
  return new Map(rows.map((row) => [row.name, row.sha256]));
}

/** The table in which it is written down what was applied. */
export async function createMigrationTable(client: pg.Client): Promise<void> {
  await client.query(
    `create table if not exists migration (
       name text primary key, sha256 text not null, applied_at timestamptz not null default now())`,
  );
}

function refuseMisfits(migrations: readonly Migration[], applied: ReadonlyMap<string, string>): void {
  const known = new Map(migrations.map((migration) => [migration.name, migration.sha256]));
  for (const [name, sha256] of applied) {
    if (!known.has(name)) {
      throw new MigrationRefused(
        `The database has the migration ${name}, which this version of Waybill doesn't know: it was written by a newer one. Start that version or a later one.`,
      );
    }
    if (known.get(name) !== sha256) {
      throw new MigrationRefused(
        `The migration ${name} was changed after it had been applied to this database. Put the file back as it was, and write the change as a new migration.`,
      );
    }
  }
}

/** Applies them in the order given, within the caller's transaction, and writes them down. Throws MigrationFailed. */
export async function applyMigrations(client: pg.Client, migrations: readonly Migration[]): Promise<void> {
  for (const migration of migrations) await apply(client, migration);
}

async function apply(client: pg.Client, { name, sql, sha256 }: Migration): Promise<void> {
  try {
    await client.query(sql);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new MigrationFailed(`The migration ${name} failed, and nothing was changed: ${reason}`, { cause: error });
  }
  await client.query('insert into migration (name, sha256) values ($1, $2)', [name, sha256]);
}
