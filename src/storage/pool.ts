import pg from 'pg';
import type { Logger } from 'pino';
import { type ConnectionSettings, connectionConfig } from './connection.js';

export interface PoolSettings extends ConnectionSettings {
  /** Most connections at a time. */
  readonly max: number;
  readonly log: Logger;
  /** Most a statement may take, lock waits included; the server cancels it then. Default 30 s. */
  readonly statementTimeoutMs?: number;
}

/** An owner that stops in the middle of a transaction is thrown out after this long (DESIGN 2, Fencing). */
const IDLE_IN_TRANSACTION_MS = 2_000;

/** How much longer than the server's own limit a client waits before it takes the server for gone. */
const ANSWER_GRACE_MS = 5_000;

/**
 * A pool of connections with the schema `waybill` in front. What rows hold:
 * int2, int4, int8 → number (int8 beyond 2^53 is an error, never a wrong number); int8[] → number[];
 * numeric → string, every digit; timestamptz → Date (milliseconds: select `to_char` where microseconds matter);
 * json, jsonb → parsed; bytea → Buffer; uuid, text → string; float8 → number.
 */
export function createPool(settings: PoolSettings): pg.Pool {
  const statementTimeout = settings.statementTimeoutMs ?? 30_000;
  const pool = new pg.Pool({
    ...connectionConfig(settings),
    max: settings.max,
    idle_in_transaction_session_timeout: IDLE_IN_TRANSACTION_MS,
    statement_timeout: statementTimeout,
    query_timeout: statementTimeout + ANSWER_GRACE_MS,
    types: { getTypeParser },
  });
  // A connection may break at any time, in use or not: whoever uses it sees that at the next query, the pool drops it,
  // and without these listeners the process would end.
  pool.on('connect', (client) => {
    client.on('error', (error) => {
      // A pool that is told to end lets go of its connections before they are closed.
      if (!pool.ending) settings.log.warn({ err: error }, 'a database connection was lost');
    });
  });
  pool.on('error', () => undefined);
  return pool;
}

const INT8 = 20;
const INT8_ARRAY = 1016;

function getTypeParser(oid: number, format?: 'text' | 'binary'): (value: string) => unknown {
  if (oid === INT8) return safeInteger;
  if (oid === INT8_ARRAY) return safeIntegers;
  return format === 'binary' ? pg.types.getTypeParser(oid, 'binary') : pg.types.getTypeParser(oid, 'text');
}

function safeInteger(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value)) throw new RangeError(`${text} is more than a number can hold exactly`);
  return value;
}

/** One-dimensional `{1,NULL,3}`; the schema has no others. */
function safeIntegers(text: string): (number | null)[] {
  const inner = text.slice(1, -1);
  return inner === '' ? [] : inner.split(',').map((item) => (item === 'NULL' ? null : safeInteger(item)));
}

/** Most a statement may take that works on all of a tenant's data; the server cancels it then. */
const UNHURRIED_MS = 12 * 3_600_000;

/** Asks within a transaction, without hurry. */
export type Unhurried = <Row extends pg.QueryResultRow>(
  text: string,
  values: readonly unknown[],
) => Promise<pg.QueryResult<Row>>;

export async function unhurried(client: pg.PoolClient): Promise<Unhurried> {
  await client.query(`set local statement_timeout = ${UNHURRIED_MS}`);
  // The client's limit as well; the types know none of a single statement.
  return (text, values) => {
    const statement = { text, values: [...values], query_timeout: UNHURRIED_MS + ANSWER_GRACE_MS };
    return client.query(statement);
  };
}

/**
 * Runs `fn` between BEGIN and COMMIT on one connection. When `fn` or the commit fails, nothing of it stays, unless the
 * answer to the commit itself was lost: that is `unavailable`, and only the caller can tell what became of it.
 * The connection goes back to the pool only where the server has confirmed the end of the transaction.
 */
export async function inTransaction<T>(pool: pg.Pool, fn: (client: pg.PoolClient) => Promise<T>): Promise<T> {
  const client = await pool.connect();
  let broken = true;
  try {
    await client.query('begin');
    const result = await fn(client);
    // A transaction that failed under `fn` unseen answers ROLLBACK to this.
    const end = await client.query('commit');
    if (end.command !== 'COMMIT') throw new TransactionAborted();
    broken = false;
    return result;
  } catch (error) {
    broken = !(await rolledBack(client, error));
    throw error;
  } finally {
    client.release(broken);
  }
}

/** `fn` went on after one of its statements had failed: nothing was written. A fault of the program. */
export class TransactionAborted extends Error {
  override readonly name = 'TransactionAborted';
  constructor() {
    super('the transaction had failed before its commit; nothing of it was written');
  }
}

/** After a failure of the connection itself a ROLLBACK would only queue behind the statement that hangs. */
async function rolledBack(client: pg.PoolClient, cause: unknown): Promise<boolean> {
  if (classify(cause) === 'unavailable') return false;
  try {
    await client.query('rollback');
    return true;
  } catch {
    return false;
  }
}

/**
 * What the caller must do about an error of the database:
 * `unavailable`: answer "not now", nothing is known to be written, try later on another connection;
 * `repeat`: the transaction lost against another one, run it again as it was;
 * `data`: a value or constraint refused it, the same again fails the same;
 * `fault`: anything else, a bug or a broken installation.
 */
export type Failure = 'unavailable' | 'repeat' | 'data' | 'fault';

export function classify(error: unknown): Failure {
  if (error instanceof pg.DatabaseError) return classifyState(error.code ?? '');
  if (!(error instanceof Error)) return 'fault';
  if ('syscall' in error) return 'unavailable';
  if (error.constructor === AggregateError) return 'unavailable';
  return CONNECTION_LOST.has(error.message) ? 'unavailable' : 'fault';
}

/** pg throws these as plain Errors without a code; a test holds each against the installed version. */
const CONNECTION_LOST: ReadonlySet<string> = new Set([
  'Connection terminated',
  'Connection terminated unexpectedly',
  'Connection terminated due to connection timeout',
  'timeout expired',
  'timeout exceeded when trying to connect',
  'Query read timeout',
  'Client has encountered a connection error and is not queryable',
  'Client was closed and is not queryable',
]);

// https://www.postgresql.org/docs/current/errcodes-appendix.html
const UNAVAILABLE_STATES: ReadonlySet<string> = new Set([
  '25006', // read-only: a standby after a fail-over
  '25P03', // idle in transaction for too long
  '25P04', // transaction_timeout
  '40003', // statement completion unknown
  '57014', // cancelled, by statement_timeout
  '57P01', // terminated by an administrator, server going down
  '57P02', // a server process crashed
  '57P03', // starting up
  '57P05', // idle for too long
]);
const UNAVAILABLE_CLASSES: ReadonlySet<string> = new Set(['08', '53', '58']);
const REPEAT_STATES: ReadonlySet<string> = new Set(['40001', '40P01', '55P03']);
/** 54: a value too large for an index or a row. */
const DATA_CLASSES: ReadonlySet<string> = new Set(['22', '23', '54']);

function classifyState(state: string): Failure {
  const group = state.slice(0, 2);
  if (UNAVAILABLE_STATES.has(state) || UNAVAILABLE_CLASSES.has(group)) return 'unavailable';
  if (REPEAT_STATES.has(state)) return 'repeat';
  return DATA_CLASSES.has(group) ? 'data' : 'fault';
}

/** A database that could lose what was acknowledged, or can't hold it. Starting must be refused. */
export class UnsafeDatabase extends Error {
  override readonly name = 'UnsafeDatabase';
  constructor(
    /** The server's setting that stands in the way. */
    readonly setting: string,
    sentence: string,
  ) {
    super(sentence);
  }
}

/** The database does not answer, or lets us not in. Says which one, by host and name, and never its password. */
export class DatabaseUnreachable extends Error {
  override readonly name = 'DatabaseUnreachable';
  constructor(url: string, cause: unknown) {
    const { host, pathname } = URL.canParse(url) ? new URL(url) : { host: '', pathname: '' };
    super(
      `The database ${host}${pathname} can't be reached (${reasonOf(cause)}). Start it, or correct DATABASE_URL; ` +
        'without DATABASE_URL Waybill starts one of its own.',
      { cause },
    );
  }
}

function reasonOf(error: unknown): string {
  if (error instanceof AggregateError) return error.errors.map(reasonOf).join('; ');
  return error instanceof Error ? error.message : String(error);
}

/** Whether a first connection failed for want of a server, a database of that name (3D) or the right to it (28). */
export function isUnreachable(error: unknown): boolean {
  const refused = error instanceof pg.DatabaseError && /^(?:28|3D)/.test(error.code ?? '');
  return refused || classify(error) === 'unavailable';
}

/** 14.0, as `server_version_num` writes it. */
const OLDEST_SERVER = 140_000;

/** Refuses, by UnsafeDatabase, a server that is too old or that answers commits before they are safe. */
export async function checkServer(database: pg.Pool | pg.Client): Promise<void> {
  const { rows } = await database.query<{ name: string; value: string }>(
    `select name, current_setting(name) as value
       from unnest(array['server_version_num', 'server_version', 'server_encoding',
                         'fsync', 'full_page_writes', 'synchronous_commit']) as name`,
  );
  refuseUnsafe(new Map(rows.map((row) => [row.name, row.value])));
}

/** Throws UnsafeDatabase when one of a server's settings, by name, rules it out. */
export function refuseUnsafe(settings: ReadonlyMap<string, string>): void {
  if (Number(settings.get('server_version_num')) < OLDEST_SERVER) {
    const version = settings.get('server_version');
    throw new UnsafeDatabase('server_version', `PostgreSQL ${version} is too old: Waybill needs 14 or later.`);
  }
  if (settings.get('server_encoding') !== 'UTF8') {
    const encoding = settings.get('server_encoding');
    throw new UnsafeDatabase(
      'server_encoding',
      `The database's encoding is ${encoding}, which can't hold every message: create one with encoding UTF8.`,
    );
  }
  for (const name of ['fsync', 'full_page_writes', 'synchronous_commit']) {
    if (settings.get(name) === 'off') {
      throw new UnsafeDatabase(
        name,
        `PostgreSQL runs with ${name} = off, so a crash could lose messages that were acknowledged: set ${name} = on.`,
      );
    }
  }
}
