import { join } from 'node:path';
import type { Pool } from 'pg';
import type { Logger } from 'pino';
import type { Settings } from '../config/schema.js';
import type { Clock } from '../message/clock.js';
import { startEmbedded } from '../storage/embedded.js';
import { migrate } from '../storage/migrate.js';
import { checkServer, createPool, DatabaseUnreachable, isUnreachable } from '../storage/pool.js';

/** The database this process works on: its own embedded one, or the one it was given. */
export interface Database {
  /** For pages, the API and chores. */
  readonly pool: Pool;
  /** For accepting, owning and beating alone: what somebody searches for in a page never keeps a message waiting. */
  readonly work: Pool;
  readonly url: string;
  /** Of the embedded server; null where the database is somebody else's. */
  readonly directory: string | null;
  close(): Promise<void>;
}

/** Two accept; the owner's rounds, dispatchers and beats share the others. */
const WORK_CONNECTIONS = 8;

/** Starts or finds the database, refuses an unsafe one, and brings its tables up to date. */
export async function openDatabase(settings: Settings, clock: Clock, log: Logger): Promise<Database> {
  const embedded = settings.database.url ? null : await startEmbedded({ dataDir: settings.data, log, clock });
  const url = embedded?.url ?? (settings.database.url as string);
  const pool = createPool({ url, max: settings.database.maxConnections, applicationName: 'waybill', log });
  const work = createPool({ url, max: WORK_CONNECTIONS, applicationName: 'waybill work', log });
  async function close(): Promise<void> {
    await Promise.all([pool.end(), work.end()]);
    await embedded?.stop();
  }
  try {
    await checkServer(pool);
    const applied = await migrate({ url, applicationName: 'waybill', log });
    if (applied > 0) log.info({ applied }, 'brought the tables up to date');
    return { pool, work, url, directory: embedded?.directory ?? null, close };
  } catch (error) {
    await close();
    throw isUnreachable(error) ? new DatabaseUnreachable(url, error) : error;
  }
}

/** Where sealed filters are cached. */
export function filterCache(settings: Settings): string {
  return join(settings.data, 'filters');
}
