import { lstat, mkdir, realpath, stat } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import type { Logger } from 'pino';
import type { Clock } from '../message/clock.js';
import { prepareCluster, WAYBILL } from './embedded/cluster.js';
import { DataDirectoryInUse, EmbeddedFailed, explainFileError } from './embedded/failure.js';
import { type DirectoryLock, lockDirectory } from './embedded/lock.js';
import { makeLogAheadSoon, reusedLogMbOf } from './embedded/log-ahead.js';
import { chooseRunner, type RootWay } from './embedded/runner.js';
import { type Server, startServer, stopServer } from './embedded/server.js';
import { findSockets, prepareSockets, removeSockets, socketUrl } from './embedded/sockets.js';

export { DataDirectoryInUse, EmbeddedFailed } from './embedded/failure.js';

export interface EmbeddedSettings {
  /** Made when it isn't there. Holds the database and the lock, and may hold other things. */
  readonly dataDir: string;
  readonly log: Logger;
  readonly clock: Clock;
  /** For root: how to run PostgreSQL, which refuses to be root. By default in a user namespace where the kernel lets us. */
  readonly asRoot?: RootWay;
  /** Where root puts what another user can't reach in its own place. */
  readonly systemDir?: string;
  /** Whether a new database's log is made ahead; it is by default. What lives for seconds gains nothing by it. */
  readonly logAhead?: boolean;
}

export interface Embedded {
  /** For `pg`; stays the same as long as it runs. */
  readonly url: string;
  /** Where its files really are: what a check of the free disk must look at. */
  readonly directory: string;
  /** The server's process; undefined while it is being started again. */
  readonly pid: number | undefined;
  /** Some seconds after the start, whether a new database has its log ahead of it: from then on it is as fast as later. */
  readonly logReady: Promise<boolean>;
  /** Stops the server, within about a minute at worst, and releases the data directory. */
  stop(): Promise<void>;
}

/** How long to wait before a server that ended by itself is started again; doubled up to the most while that fails. */
const RESTART_MS = 500;
const RESTART_MOST_MS = 30_000;

/**
 * Starts the database of a data directory and keeps it running until `stop`. Should the server end by itself,
 * it is started again, and connections fail in the meantime.
 * Throws DataDirectoryInUse, or EmbeddedFailed with a sentence of what to do.
 */
export async function startEmbedded(settings: EmbeddedSettings): Promise<Embedded> {
  const dataDir = resolve(settings.dataDir);
  try {
    await createDirectory(dataDir);
    const lock = lockDirectory(dataDir);
    try {
      return await startLocked({ ...settings, dataDir }, lock);
    } catch (error) {
      lock.release();
      throw error;
    }
  } catch (error) {
    throw explainFileError(error, dataDir);
  }
}

/** A Waybill that starts or stops holds the directory while its server does not answer: for so many looks, 2 s apart. */
const MOST_LOOKS = 15;

/**
 * The database of a data directory for the time of a command: that of the Waybill that runs on it, else started here, with
 * the directory locked until `stop`. Throws EmbeddedFailed where there is no database.
 */
export async function borrowEmbedded(settings: EmbeddedSettings): Promise<Pick<Embedded, 'url' | 'stop'>> {
  const dataDir = resolve(settings.dataDir);
  if (!(await lstat(join(dataDir, 'postgres')).catch(() => undefined))) {
    throw new EmbeddedFailed('broken', `There is no database in ${dataDir}. Set WAYBILL_DATA, or DATABASE_URL.`);
  }
  for (let looks = 1; ; looks++) {
    const url = await urlOfRunning(dataDir);
    if (url !== undefined) return { url, stop: async () => undefined };
    try {
      return await startEmbedded(settings);
    } catch (error) {
      if (!(error instanceof DataDirectoryInUse) || looks === MOST_LOOKS) throw error;
    }
  }
}

/** Of the server that another process keeps on the directory; undefined while it does not answer. */
async function urlOfRunning(dataDir: string): Promise<string | undefined> {
  const sockets = await findSockets(await realpath(join(dataDir, 'postgres')));
  if (sockets === undefined) return undefined;
  const url = socketUrl(sockets, WAYBILL);
  const client = new pg.Client({ connectionString: url });
  client.on('error', () => undefined);
  try {
    await client.connect();
    return url;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'EACCES') throw explainFileError(error, sockets);
    return undefined;
  } finally {
    await client.end().catch(() => undefined);
  }
}

/** With its parents. Node's own recursive way never ends where a directory exists that can't hold any, as in /proc. */
async function createDirectory(path: string): Promise<void> {
  const found = await stat(path).catch(() => undefined);
  if (found?.isDirectory()) return;
  if (!found && dirname(path) !== path) await createDirectory(dirname(path));
  await mkdir(path, { mode: 0o700 });
}

async function startLocked(settings: EmbeddedSettings, lock: DirectoryLock): Promise<Embedded> {
  const { dataDir, log, clock, asRoot, systemDir = '/var/lib/waybill', logAhead = true } = settings;
  const began = clock.monotonic();
  const runner = await chooseRunner({ log, systemDir, ...(asRoot && { asRoot }) });
  const cluster = await prepareCluster({ dataDir, runner, systemDir, log });
  const sockets = await prepareSockets(cluster, runner);
  const logMb = await reusedLogMbOf(cluster);
  const start = (signal: AbortSignal) => startServer({ cluster, sockets, runner, log, reusedLogMb: logMb, signal });
  const first = await start(new AbortController().signal);
  const took = Math.round(clock.monotonic() - began);
  log.info({ server: first.pid, version: runner.version, way: runner.way, took }, 'embedded database started');
  const release = async () => {
    await removeSockets(cluster);
    lock.release();
  };
  return new KeptServer(socketUrl(sockets, WAYBILL), cluster, first, logAhead ? logMb : 0, start, release, log);
}

/** A server that is started again when it ends before it is asked to. */
class KeptServer implements Embedded {
  readonly #stopping = new AbortController();
  readonly #kept: Promise<void>;
  readonly logReady: Promise<boolean>;
  #server: Server | undefined;
  #stopped: Promise<void> | undefined;

  constructor(
    readonly url: string,
    readonly directory: string,
    first: Server,
    logAheadMb: number,
    private readonly start: (signal: AbortSignal) => Promise<Server>,
    private readonly release: () => Promise<void>,
    private readonly log: Logger,
  ) {
    this.#server = first;
    this.#kept = this.#keep(first);
    this.logReady =
      logAheadMb === 0
        ? Promise.resolve(false)
        : makeLogAheadSoon(url, logAheadMb, this.#stopping.signal).catch((error: unknown) => {
            // Without it commits are slower for a while, nothing else.
            if (!this.#stopping.signal.aborted) this.log.warn({ err: error }, 'the log could not be made ahead');
            return false;
          });
  }

  get pid(): number | undefined {
    return this.#server?.pid;
  }

  stop(): Promise<void> {
    this.#stopped ??= this.#stop();
    return this.#stopped;
  }

  async #stop(): Promise<void> {
    this.#stopping.abort();
    try {
      if (this.#server) await stopServer(this.#server);
      await Promise.all([this.#kept, this.logReady]);
    } finally {
      await this.release();
    }
  }

  async #keep(first: Server): Promise<void> {
    for (let server: Server | undefined = first; server; server = await this.#startAgain()) {
      this.#server = server;
      const lastWords = await server.ended;
      this.#server = undefined;
      if (!this.#stopping.signal.aborted) {
        this.log.error({ lastWords }, 'the embedded database ended by itself; it is being started again');
      }
    }
  }

  /** Tries until a server is there; undefined when `stop` comes first. */
  async #startAgain(): Promise<Server | undefined> {
    const { signal } = this.#stopping;
    for (let wait = RESTART_MS; !signal.aborted; wait = Math.min(wait * 2, RESTART_MOST_MS)) {
      try {
        await sleep(wait, undefined, { signal });
        const server = await this.start(signal);
        if (!signal.aborted) return server;
        await stopServer(server);
      } catch (error) {
        if (!signal.aborted) this.log.error({ err: error }, 'the embedded database does not start again yet');
      }
    }
    return undefined;
  }
}
