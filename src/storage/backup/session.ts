import pg from 'pg';
import { type ConnectionSettings, connectionConfig } from '../connection.js';
import { DatabaseUnreachable, isUnreachable } from '../pool.js';
import { interrupted } from './failure.js';

/** Held by a backup while it reads, shared; who drops a table takes it alone, or waits with the dropping. */
export const BACKUP_LOCK = `hashtext('waybill backup')`;

/** Nothing of these may end a transaction that reads or writes everything. Not every server knows all of them. */
const LIMITS = [
  'statement_timeout',
  'lock_timeout',
  'idle_in_transaction_session_timeout',
  'idle_session_timeout',
  'transaction_timeout',
];

/**
 * Runs `work` on a connection of its own, without limits of time, on which values are written and read the same by every
 * server. When `signal` fires the connection is cut, the server undoes what was not committed, and it rejects with
 * BackupFailed `interrupted`.
 */
export async function inSession<T>(
  settings: ConnectionSettings,
  signal: AbortSignal,
  work: (client: pg.Client) => Promise<T>,
): Promise<T> {
  const client = new pg.Client(connectionConfig(settings));
  // Whoever runs a statement sees a lost connection there.
  client.on('error', () => undefined);
  const cut = () => cutConnection(client);
  try {
    await connect(client, settings.url);
    signal.addEventListener('abort', cut);
    signal.throwIfAborted();
    await client.query(`select set_config(name, '0', false) from pg_settings where name = any ($1::text[])`, [LIMITS]);
    await client.query(
      `set timezone = 'UTC'; set datestyle = 'ISO'; set intervalstyle = 'postgres'; set bytea_output = 'hex';
       set extra_float_digits = 1; set row_security = off`,
    );
    return await work(client);
  } catch (error) {
    throw signal.aborted ? interrupted() : error;
  } finally {
    signal.removeEventListener('abort', cut);
    await client.end().catch(() => undefined);
  }
}

async function connect(client: pg.Client, url: string): Promise<void> {
  try {
    await client.connect();
  } catch (error) {
    throw isUnreachable(error) ? new DatabaseUnreachable(url, error) : error;
  }
}

/** `end` would wait for a COPY that goes on for minutes. */
function cutConnection(client: pg.Client): void {
  const { connection } = client as unknown as { readonly connection: { readonly stream: { destroy(): void } } };
  connection.stream.destroy();
}
