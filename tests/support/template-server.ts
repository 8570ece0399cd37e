import { join } from 'node:path';
import pg from 'pg';
import { startEmbedded } from '../../src/storage/embedded.js';
import { migrate } from '../../src/storage/migrate.js';
import { realClock } from './clock.js';
import { silent } from './log.js';

/** A database with the schema and nothing in it, from which each test's own is copied. */
export const TEMPLATE = 'waybill_template';

/** The run's one PostgreSQL, started the way the product starts it. */
export async function startTemplateServer(
  directory: string,
): Promise<{ about: { url: string }; stop(): Promise<void> }> {
  const server = await startEmbedded({
    dataDir: join(directory, 'data'),
    log: silent,
    clock: realClock,
    logAhead: false,
  });
  try {
    await createTemplate(server.url);
  } catch (error) {
    await server.stop();
    throw error;
  }
  return { about: { url: server.url }, stop: () => server.stop() };
}

async function createTemplate(url: string): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    await client.query(`create database ${TEMPLATE}`);
  } finally {
    await client.end();
  }
  await migrate({ url: withDatabase(url, TEMPLATE), applicationName: 'tests', log: silent });
}

/** The same server, another database. */
export function withDatabase(url: string, name: string): string {
  const changed = new URL(url);
  changed.pathname = `/${name}`;
  return changed.href;
}
