import { randomBytes } from 'node:crypto';
import pg from 'pg';
import { createPool } from '../../src/storage/pool.js';
import { askFor } from './ask.js';
import { silent } from './log.js';
import { TEMPLATE, withDatabase } from './template-server.js';
import { until } from './until.js';

export interface TestDatabase {
  /** For a program under test, as `DATABASE_URL`. */
  readonly url: string;
  /** For the test itself; of the product's own kind. */
  readonly pool: pg.Pool;
  /**
   * Ends the pool and removes the database. Fails when a client was not released, or when something that should have
   * been closed by then is still connected.
   */
  drop(): Promise<void>;
}

/** A database of one's own with the schema and no rows, made in about 0.1 s. Drop it in `afterEach` or `afterAll`. */
export async function freshDatabase(settings: { readonly max?: number } = {}): Promise<TestDatabase> {
  const { url: server } = await askFor<{ url: string }>('postgres');
  const name = `t_${randomBytes(8).toString('hex')}`;
  await onServer(server, `create database ${name} template ${TEMPLATE}`);
  const url = withDatabase(server, name);
  const pool = createPool({ url, max: settings.max ?? 8, applicationName: 'test', log: silent });
  return { url, pool, drop: () => drop(server, name, pool) };
}

/** An empty database without even the schema. */
export async function emptyDatabase(): Promise<Pick<TestDatabase, 'url' | 'drop'>> {
  const { url: server } = await askFor<{ url: string }>('postgres');
  const name = `t_${randomBytes(8).toString('hex')}`;
  await onServer(server, `create database ${name}`);
  return { url: withDatabase(server, name), drop: () => drop(server, name, undefined) };
}

async function drop(server: string, name: string, pool: pg.Pool | undefined): Promise<void> {
  const held = () => (pool ? pool.totalCount - pool.idleCount : 0);
  // A property that its time limit interrupts leaves its last case at work.
  await until(() => held() === 0, 'clients to be released').catch(() => undefined);
  if (held() === 0) await pool?.end();
  try {
    if (held() > 0) throw new Error(`${held()} database clients were taken from the test's pool and not released`);
    // The server looks once a second whether the client of a running statement is gone.
    await until(async () => (await sessions(server, name)).length === 0, 'all database connections to be closed');
  } catch (error) {
    throw new Error(`left connected: ${(await sessions(server, name)).join(', ')}`, { cause: error });
  } finally {
    await onServer(server, `drop database ${name} with (force)`);
  }
}

async function sessions(server: string, database: string): Promise<string[]> {
  const { rows } = await onServer(
    server,
    `select application_name || ': ' || left(query, 80) as session from pg_stat_activity
      where datname = '${database}' and backend_type = 'client backend'`,
  );
  return rows.map((row) => row.session);
}

async function onServer(server: string, sql: string): Promise<pg.QueryResult<{ session: string }>> {
  const client = new pg.Client({ connectionString: server });
  client.on('error', () => undefined);
  await client.connect();
  try {
    return await client.query(sql);
  } finally {
    await client.end();
  }
}
