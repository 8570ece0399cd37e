import type { ChildProcess } from 'node:child_process';
import { readdir, readFile, readlink, rm } from 'node:fs/promises';
import { totalmem } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import type { Logger } from 'pino';
import { explainOutput, WAYBILL } from './cluster.js';
import { EmbeddedFailed } from './failure.js';
import { type Runner, spawnAs } from './runner.js';
import { emptySockets, socketUrl } from './sockets.js';

export interface ServerSettings {
  /** Real path of the database's files. */
  readonly cluster: string;
  /** Directory of its socket. */
  readonly sockets: string;
  readonly runner: Runner;
  readonly log: Logger;
  /** Megabytes of write-ahead log that a checkpoint leaves for reuse. */
  readonly reusedLogMb: number;
  /** Stops a start that is under way. */
  readonly signal: AbortSignal;
}

export interface Server {
  readonly pid: number;
  /** Resolves when the server has ended, to its last words. */
  readonly ended: Promise<string>;
}

/** How long a server may take to finish its transactions and write everything out, before it is cut off. */
const FAST_STOP_MS = 60_000;
const IMMEDIATE_STOP_MS = 10_000;
const POLL_MS = 20;
/** Lines of the server's log kept to explain why it ended. */
const LAST_LINES = 20;

/** Starts PostgreSQL on the cluster and resolves when it answers. Whatever of an earlier one still runs is stopped before. */
export async function startServer(settings: ServerSettings): Promise<Server> {
  const { cluster, sockets, runner, log } = settings;
  await stopLeftBehind(cluster, log);
  await rm(join(cluster, 'postmaster.pid'), { force: true });
  await emptySockets(sockets);
  const command = [
    join(runner.binaries, 'postgres'),
    '-D',
    cluster,
    '-k',
    sockets,
    ...serverSettings(settings.reusedLogMb),
  ];
  // Detached, so that Ctrl-C in a terminal reaches Waybill alone, which drains first and then stops the server.
  const child = spawnAs(runner, command, { stdio: ['ignore', 'ignore', 'pipe'], detached: true, cwd: '/' });
  const ended = followOutput(child, log);
  const server = { pid: child.pid ?? 0, ended };
  try {
    await answers(socketUrl(sockets, 'postgres'), settings, ended);
    return server;
  } catch (error) {
    await stopServer(server);
    throw error;
  }
}

/** A fast shutdown: open transactions are rolled back, everything is written out. Cut off when that takes too long. */
export async function stopServer(server: Pick<Server, 'pid' | 'ended'>): Promise<void> {
  let over = false;
  const ended = server.ended.then(() => {
    over = true;
  });
  await endProcess(server.pid, () => over);
  await ended;
}

/**
 * The settings are part of the product, so they are given at each start and not written into the cluster.
 * Sizes are for one machine shared with Waybill and a broker.
 */
function serverSettings(reusedLogMb: number): string[] {
  const settings = {
    listen_addresses: '',
    unix_socket_permissions: '0700',
    cluster_name: 'waybill',
    // Five processes with the usual settings (19 each at most).
    max_connections: 100,
    // Partitions times their indexes, in one transaction.
    max_locks_per_transaction: 256,
    shared_buffers: `${sharedBuffersMb()}MB`,
    work_mem: '16MB',
    maintenance_work_mem: '128MB',
    // No statement is big enough to gain by it, and containers have little /dev/shm for it.
    max_parallel_workers_per_gather: 0,
    effective_io_concurrency: 64,
    maintenance_io_concurrency: 64,
    random_page_cost: 1.1,
    jit: 'off',
    // What was acknowledged is on disk.
    fsync: 'on',
    full_page_writes: 'on',
    synchronous_commit: 'on',
    // Checkpoints are rare, since each makes every page be logged whole again after it. What is logged whole is not
    // compressed: this build has pglz alone, which takes 130 µs a page, where one that is not compressed takes 20.
    wal_compression: 'off',
    wal_buffers: '16MB',
    min_wal_size: `${reusedLogMb}MB`,
    max_wal_size: '4GB',
    checkpoint_timeout: '15min',
    max_wal_senders: 0,
    // Big tables are only appended to, small hot ones are updated all the time.
    autovacuum_naptime: '10s',
    autovacuum_vacuum_scale_factor: 0.05,
    autovacuum_vacuum_insert_scale_factor: 0.1,
    autovacuum_analyze_scale_factor: 0.05,
    autovacuum_vacuum_cost_limit: 400,
    // A statement ends when the process that sent it is gone.
    client_connection_check_interval: '1s',
    timezone: 'UTC',
    log_timezone: 'UTC',
    log_line_prefix: '',
    // No content in logs: neither the values an error quotes nor the statement.
    log_error_verbosity: 'terse',
    log_min_error_statement: 'panic',
  };
  return Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
}

/** An eighth of the memory this process may use, within 128 MB and 1 GB. */
function sharedBuffersMb(): number {
  const limit = process.constrainedMemory() ?? 0;
  const memory = limit > 0 ? Math.min(limit, totalmem()) : totalmem();
  return Math.round(Math.min(Math.max(memory / 8 / 2 ** 20, 128), 1024));
}

/** Sends the server's log to ours, and resolves to its last lines when it has ended. */
function followOutput(child: ChildProcess, log: Logger): Promise<string> {
  const last: string[] = [];
  if (child.stderr) {
    createInterface({ input: child.stderr }).on('line', (line) => {
      last.push(line);
      if (last.length > LAST_LINES) last.shift();
      log[levelOf(line)]({ postgres: line }, 'embedded database says');
    });
  }
  return new Promise((resolve) => {
    child.once('error', (error) => resolve(error.message));
    child.once('close', () => resolve(last.join('\n')));
  });
}

/** Errors of statements are their callers' to report; FATAL is the end of one connection. */
function levelOf(line: string): 'debug' | 'warn' | 'error' {
  if (line.startsWith('PANIC:')) return 'error';
  return line.startsWith('WARNING:') ? 'warn' : 'debug';
}

/** Waits until the server takes connections, which after a crash is when it has replayed its log, and makes the database. */
async function answers(url: string, { cluster, signal }: ServerSettings, ended: Promise<string>): Promise<void> {
  let lastWords: string | undefined;
  void ended.then((words) => {
    lastWords = words;
  });
  while (!(await makeDatabase(url))) {
    if (lastWords !== undefined) throw explainOutput(lastWords, cluster);
    signal.throwIfAborted();
    await sleep(POLL_MS);
  }
}

async function makeDatabase(url: string): Promise<boolean> {
  const client = new pg.Client({ connectionString: url });
  client.on('error', () => undefined);
  try {
    await client.connect();
    const found = await client.query('select from pg_database where datname = $1', [WAYBILL]);
    if (found.rowCount === 0) await client.query(`create database ${WAYBILL}`);
    return true;
  } catch (error) {
    if (isNotYet(error)) return false;
    throw error;
  } finally {
    await client.end();
  }
}

/** No socket yet, or a server that says it is starting up (57P03). */
function isNotYet(error: unknown): boolean {
  return error instanceof Error && ('syscall' in error || ('code' in error && error.code === '57P03'));
}

/**
 * Stops what still runs on the cluster when the Waybill that started it was killed. Every process of a PostgreSQL server
 * is called postgres and works in the cluster's directory, so that is how they are known, whatever became of their
 * process ids. When none is left, a postmaster.pid that is still there says nothing any more.
 */
async function stopLeftBehind(cluster: string, log: Logger): Promise<void> {
  const found = await processesIn(cluster);
  if (found.length === 0) return;
  log.warn({ processes: found }, 'a database server left behind by an earlier Waybill is being stopped');
  let left = found;
  for (const pid of found) {
    await endProcess(pid, async () => {
      left = await processesIn(cluster);
      return !left.includes(pid);
    });
  }
  if (left.length > 0) await stopLeftBehind(cluster, log);
}

async function processesIn(cluster: string): Promise<number[]> {
  const ids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  const ours = await Promise.all(ids.map((id) => isServerOf(cluster, id)));
  return ids
    .filter((_, index) => ours[index])
    .map(Number)
    .sort((a, b) => a - b);
}

async function isServerOf(cluster: string, id: string): Promise<boolean> {
  try {
    if ((await readlink(`/proc/${id}/cwd`)) !== cluster) return false;
    return (await readFile(`/proc/${id}/comm`, 'utf8')).trim() === 'postgres';
  } catch {
    // It has ended, or is somebody else's.
    return false;
  }
}

/** Asks ever less politely: PostgreSQL's fast shutdown, its immediate one, the kernel's. */
async function endProcess(pid: number, isGone: () => boolean | Promise<boolean>): Promise<void> {
  for (const [signal, patience] of [
    ['SIGINT', FAST_STOP_MS],
    ['SIGQUIT', IMMEDIATE_STOP_MS],
    ['SIGKILL', IMMEDIATE_STOP_MS],
  ] as const) {
    if (!sendSignal(pid, signal)) return;
    for (let waited = 0; waited < patience; waited += POLL_MS) {
      if (await isGone()) return;
      await sleep(POLL_MS);
    }
  }
  throw new EmbeddedFailed(
    'failed',
    `The database server (process ${pid}) can't be stopped. End it, then start again.`,
  );
}

/** False when there is no such process any more. */
function sendSignal(pid: number, signal: NodeJS.Signals): boolean {
  try {
    return pid > 0 && process.kill(pid, signal);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ESRCH') return false;
    throw error;
  }
}
