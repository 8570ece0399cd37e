import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  chmod,
  chown,
  lstat,
  mkdir,
  readdir,
  readFile,
  readlink,
  realpath,
  rename,
  rm,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';
import pg from 'pg';
import { type Logger, pino } from 'pino';
import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { explainOutput } from '../../src/storage/embedded/cluster.js';
import { makeLogAhead, reusedLogMb } from '../../src/storage/embedded/log-ahead.js';
import { DataDirectoryInUse, type Embedded, EmbeddedFailed, startEmbedded } from '../../src/storage/embedded.js';
import { realClock } from '../support/clock.js';
import { temporaryDirectory } from '../support/directory.js';
import { builtProgram } from '../support/program.js';
import { until } from '../support/until.js';

const isRoot = process.getuid?.() === 0;
const NOBODY = 65534;
/** Whether a test may mount a small disk of its own. */
const canMount = spawnSync('unshare', ['--user', '--map-root-user', '--mount', 'true']).status === 0;

/** A whole, stopped data directory, from which most tests take a copy: making one takes seconds. */
let pristine: string;
/** How many milliseconds it took. */
let making: number;
let directory: string;
let dataDir: string;
let lines: Record<string, unknown>[];
let log: Logger;
const running: Embedded[] = [];

beforeAll(async () => {
  pristine = await temporaryDirectory();
  const began = performance.now();
  const first = await startEmbedded({
    dataDir: join(pristine, 'data'),
    log: pino({ level: 'silent' }),
    clock: realClock,
    logAhead: false,
  });
  making = performance.now() - began;
  await query(first.url, 'create table kept (n int); insert into kept values (1)');
  await first.stop();
});

beforeEach(async () => {
  directory = await temporaryDirectory();
  dataDir = join(directory, 'data');
  expect(spawnSync('cp', ['-a', join(pristine, 'data'), dataDir]).status).toBe(0);
  lines = [];
  log = pino({ level: 'debug' }, { write: (line: string) => lines.push(JSON.parse(line)) });
});
afterEach(async () => {
  await Promise.all(running.splice(0).map((one) => one.stop()));
  await until(async () => (await processesIn(directory)).length === 0, 'every process to have ended');
});

async function start(settings: Partial<Parameters<typeof startEmbedded>[0]> = {}): Promise<Embedded> {
  const embedded = await startEmbedded({ dataDir, log, clock: realClock, logAhead: false, ...settings });
  running.push(embedded);
  return embedded;
}

async function query(url: string, sql: string): Promise<Record<string, unknown>[]> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return (await client.query(sql)).rows;
  } finally {
    await client.end();
  }
}

const kept = (url: string) => query(url, 'select n from kept');

const failureOf = (work: Promise<unknown>): Promise<Error> =>
  work.then(
    () => expect.fail('it did not fail'),
    (error: Error) => error,
  );

async function processesIn(path: string): Promise<number[]> {
  const ids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  const places = await Promise.all(ids.map((id) => readlink(`/proc/${id}/cwd`).catch(() => '')));
  return ids.filter((_, index) => places[index]?.startsWith(`${path}/`)).map(Number);
}

/** Another process that starts the data directory's database, says so, and waits to be killed. */
async function startElsewhere(
  prefix: readonly string[] = [],
): Promise<{ process: ChildProcess; said: Record<string, unknown> }> {
  const built = pathToFileURL(join(await builtProgram(), '../../dist/src/storage/embedded.js'));
  const script = `
    const { startEmbedded } = await import(${JSON.stringify(built.href)});
    const nothing = () => undefined;
    const log = { debug: nothing, info: nothing, warn: nothing, error: nothing };
    const clock = { now: () => Date.now(), monotonic: () => performance.now() };
    process.on('SIGINT', nothing);
    try {
      const { pid, url } = await startEmbedded({ dataDir: ${JSON.stringify(dataDir)}, log, clock });
      console.log(JSON.stringify({ pid, url }));
    } catch ({ name, code, message }) {
      console.log(JSON.stringify({ name, code, message }));
    }`;
  const [program = '', ...args] = [...prefix, process.execPath, '--input-type=module', '-e', script];
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'inherit'], detached: true });
  const [line] = await once(createInterface({ input: child.stdout }), 'line');
  return { process: child, said: JSON.parse(line) };
}

describe('starting', () => {
  test('a new directory is made and ready within the time that somebody at a terminal waits', () => {
    // 3 to 5 s; so much more is for a machine that does much else.
    expect(making).toBeLessThan(20_000);
  });

  test('a directory that was used before is ready in less than 3 s, with what was in it', async () => {
    const began = performance.now();
    const { url } = await start();
    // On a machine that does much else, in less than half of what making it takes: a tenth is usual.
    expect(performance.now() - began).toBeLessThan(Math.max(3_000, making / 2));
    expect(await kept(url)).toEqual([{ n: 1 }]);
  });

  test('gives a database that keeps what it acknowledges, with the settings of the product', async () => {
    const { url } = await start();
    const [settings] = await query(
      url,
      `select json_object_agg(name, setting) as all from pg_settings where name in ('fsync', 'full_page_writes',
        'synchronous_commit', 'wal_compression', 'max_wal_size', 'checkpoint_timeout', 'max_connections', 'jit', 'server_encoding',
        'data_checksums')`,
    );
    expect(settings?.all).toEqual({
      fsync: 'on',
      full_page_writes: 'on',
      synchronous_commit: 'on',
      wal_compression: 'off',
      max_wal_size: '4096',
      checkpoint_timeout: '900',
      max_connections: '100',
      jit: 'off',
      server_encoding: 'UTF8',
      data_checksums: 'on',
    });
  });

  test('opens no port, and a socket where only its owner can go', async () => {
    const { url } = await start();
    const sockets = new URL(url).searchParams.get('host') ?? '';
    expect((await stat(sockets)).mode & 0o777).toBe(0o700);
    expect(await query(url, 'show listen_addresses')).toEqual([{ listen_addresses: '' }]);
  });

  test('works where the path is longer than a socket may have', async () => {
    const deep = join(directory, 'd'.repeat(60), 'e'.repeat(60));
    await mkdir(deep, { recursive: true });
    await rename(dataDir, join(deep, 'data'));
    const embedded = await start({ dataDir: join(deep, 'data') });
    const sockets = new URL(embedded.url).searchParams.get('host') ?? '';
    expect(await kept(embedded.url)).toEqual([{ n: 1 }]);
    await embedded.stop();
    await expect(stat(sockets)).rejects.toMatchObject({ code: 'ENOENT' });
  });

  test('makes a new database where a creation was cut short', async () => {
    await rename(join(dataDir, 'postgres'), join(dataDir, 'postgres.new'));
    await rm(join(dataDir, 'postgres.new', 'PG_VERSION'));
    const { url } = await start();
    expect(await query(url, 'select current_database() as name')).toEqual([{ name: 'waybill' }]);
  });

  test('the server has a session of its own, so that Ctrl-C does not reach it', async () => {
    const { pid } = await start();
    const stats = (await readFile(`/proc/${pid}/stat`, 'utf8')).split(') ')[1]?.split(' ');
    expect(Number(stats?.[3])).toBe(pid);
  });
});

describe('the log of a new database', () => {
  const never = new AbortController().signal;
  const segments = async (url: string) => {
    const [row] = await query(
      url,
      `select count(*) filter (where name > pg_walfile_name(pg_current_wal_lsn()))::int as ready, count(*)::int as "there"
       from pg_ls_waldir() where name ~ '^[0-9A-F]{24}$'`,
    );
    return row as { ready: number; there: number };
  };

  test('is made ahead, once', async () => {
    const { url } = await start();
    expect((await segments(url)).ready).toBeLessThan(4);
    expect(await makeLogAhead(url, 160, never)).toBe(true);
    const made = await segments(url);
    expect(made.ready).toBeGreaterThanOrEqual(8);
    expect(await makeLogAhead(url, 160, never)).toBe(true);
    expect(await segments(url)).toEqual(made);
  });

  test('is left alone while others write', async () => {
    const { url } = await start();
    const writing = new AbortController();
    const writer = (async () => {
      while (!writing.signal.aborted)
        await query(url, "select pg_logical_emit_message(false, 'test', repeat('x', 200000))");
    })();
    expect(await makeLogAhead(url, 4096, never)).toBe(false);
    writing.abort();
    await writer;
    expect((await segments(url)).there).toBeLessThan(8);
  });

  test('is made ahead after a start, unless it is stopped before', async () => {
    const embedded = await start({ logAhead: true });
    await embedded.stop();
    expect(await embedded.logReady).toBe(false);
    expect(lines.filter(({ level }) => Number(level) >= 40)).toEqual([]);
  });

  test('takes a twentieth of what is free above a fifth of the disk, within 80 MB and a gigabyte', async () => {
    const ofGigabytes = (size: number, free: number) =>
      reusedLogMb({ blocks: size * 1024, bavail: free * 1024, bsize: 2 ** 20 });
    expect([ofGigabytes(1000, 900), ofGigabytes(100, 30), ofGigabytes(100, 20), ofGigabytes(1, 0)]).toEqual([
      1024, 512, 80, 80,
    ]);
    const { url } = await start();
    const [setting] = await query(url, "select setting::int as mb from pg_settings where name = 'min_wal_size'");
    expect(setting?.mb).toBeGreaterThanOrEqual(80);
  });
});

describe('one Waybill a directory', () => {
  test('a second one is refused, by the id of the first', async () => {
    await start();
    const refusal = await failureOf(start());
    expect(refusal).toBeInstanceOf(DataDirectoryInUse);
    expect(refusal).toMatchObject({ pid: process.pid, message: expect.stringContaining(`process ${process.pid}`) });
  });

  test('so is one of another process', async () => {
    const other = await startElsewhere();
    const refusal = await failureOf(start());
    other.process.kill('SIGKILL');
    expect(refusal).toMatchObject({ name: 'DataDirectoryInUse', pid: other.process.pid });
  });

  test('when stopped it can be started again, also by the same process', async () => {
    await (await start()).stop();
    expect(await kept((await start()).url)).toEqual([{ n: 1 }]);
  });

  test('stopping twice is stopping once', async () => {
    const embedded = await start();
    await Promise.all([embedded.stop(), embedded.stop()]);
    await embedded.stop();
    expect(await processesIn(directory)).toEqual([]);
  });
});

describe('after kill -9 of Waybill', () => {
  test('its server ends, its lock is free, and what was committed is there', async () => {
    const other = await startElsewhere();
    await query(String(other.said.url), 'insert into kept values (2)');
    other.process.kill('SIGKILL');
    const { url } = await start();
    expect(await processesIn(directory)).not.toContain(other.said.pid);
    expect(await kept(url)).toEqual([{ n: 1 }, { n: 2 }]);
  });

  test('a server that still runs is stopped, and another one started', async () => {
    const other = await startElsewhere();
    const left = Number(other.said.pid);
    // Held up, it can't follow the signal that the death of its parent sends.
    process.kill(left, 'SIGSTOP');
    other.process.kill('SIGKILL');
    const starting = start();
    await until(
      () => lines.some(({ processes }) => Array.isArray(processes) && processes.includes(left)),
      'it to be found',
    );
    process.kill(left, 'SIGCONT');
    const { url, pid } = await starting;
    expect(pid).not.toBe(left);
    expect(await kept(url)).toEqual([{ n: 1 }]);
  });

  test('a shell that somebody left in its directory is not taken for the server', async () => {
    const shell = spawn('sleep', ['60'], { cwd: join(dataDir, 'postgres'), stdio: 'ignore' });
    const ended = once(shell, 'exit');
    await start();
    shell.kill('SIGTERM');
    expect(await ended).toEqual([null, 'SIGTERM']);
  });

  test('a postmaster.pid that names somebody else by now stands in nobody’s way', async () => {
    const embedded = await start();
    const left = await readFile(join(dataDir, 'postgres', 'postmaster.pid'), 'utf8');
    await embedded.stop();
    await writeFile(join(dataDir, 'postgres', 'postmaster.pid'), left.replace(/^\d+/, String(process.pid)));
    expect(await kept((await start()).url)).toEqual([{ n: 1 }]);
  });
});

describe('when the server ends by itself', () => {
  test('it is started again, at the same address, with what was committed', async () => {
    const embedded = await start();
    await query(embedded.url, 'insert into kept values (2)');
    const first = embedded.pid;
    process.kill(Number(first), 'SIGKILL');
    await until(() => embedded.pid !== undefined && embedded.pid !== first, 'another server', 20_000);
    expect(await kept(embedded.url)).toEqual([{ n: 1 }, { n: 2 }]);
    expect(lines.some(({ level, lastWords }) => level === 50 && lastWords !== undefined)).toBe(true);
  });

  test('stopping in the middle of that leaves nothing', async () => {
    const embedded = await start();
    const first = embedded.pid;
    process.kill(Number(first), 'SIGKILL');
    await until(() => embedded.pid !== first, 'its end to be noticed');
    await embedded.stop();
    expect(await processesIn(directory)).toEqual([]);
    expect(await kept((await start()).url)).toEqual([{ n: 1 }]);
  });
});

describe('a directory that cannot be used', () => {
  const explained = (code: string, about: string) => ({ code, message: expect.stringContaining(about) });

  test('is one whose files are not a database', async () => {
    await rm(join(dataDir, 'postgres', 'PG_VERSION'));
    expect(await failureOf(start())).toMatchObject(explained('broken', 'PG_VERSION'));
  });

  test('is one that another major version wrote', async () => {
    await writeFile(join(dataDir, 'postgres', 'PG_VERSION'), '17\n');
    expect(await failureOf(start())).toMatchObject(explained('other_version', 'PostgreSQL 17'));
  });

  test('is one with parts missing', async () => {
    await rm(join(dataDir, 'postgres', 'global'), { recursive: true });
    expect(await failureOf(start())).toMatchObject(explained('failed', join(dataDir, 'postgres')));
  });

  test('is a link to nowhere', async () => {
    await rm(join(dataDir, 'postgres'), { recursive: true });
    await symlink(join(directory, 'gone'), join(dataDir, 'postgres'));
    expect(await failureOf(start())).toMatchObject(explained('broken', 'gone'));
  });

  test('is a file, or below one', async () => {
    const file = join(directory, 'file');
    await writeFile(file, '');
    expect(await failureOf(start({ dataDir: file }))).toMatchObject(explained('unwritable', file));
    expect(await failureOf(start({ dataDir: join(file, 'data') }))).toMatchObject(explained('unwritable', file));
  });

  test('is one where nobody may write', async () => {
    const failure = await failureOf(start({ dataDir: '/sys/kernel/waybill' }));
    expect(failure).toBeInstanceOf(EmbeddedFailed);
    expect(failure).toMatchObject(explained('unwritable', '/sys/kernel/waybill'));
    // Where nothing says that it may not be written, and yet nothing can be created.
    expect(await failureOf(start({ dataDir: '/proc/waybill/data' }))).toMatchObject(
      explained('unwritable', '/proc/waybill'),
    );
  });

  test.runIf(canMount)('is one on a full disk', async () => {
    await rm(dataDir, { recursive: true });
    await mkdir(dataDir);
    const mount = `mount -t tmpfs -o size=20m none '${dataDir}' && exec "$@"`;
    const other = await startElsewhere(['unshare', '--user', '--map-root-user', '--mount', 'sh', '-c', mount, 'sh']);
    expect(other.said).toMatchObject(explained('disk_full', dataDir));
  });

  test.each([
    'LOG:  starting\nFATAL:  could not write to file "pg_wal/xlogtemp.42": No space left on device',
    'FATAL:  could not extend file "base/1/2691": wrote only 4096 of 8192 bytes at block 10',
    'PANIC:  could not write to file "pg_wal/xlogtemp.42": Disk quota exceeded',
  ])('is one on a full disk, in PostgreSQL’s words: %s', (words) => {
    expect(explainOutput(words, '/data')).toMatchObject(explained('disk_full', '/data'));
  });

  test('is free for the next try when what was wrong is put right', async () => {
    await rename(join(dataDir, 'postgres', 'PG_VERSION'), join(directory, 'PG_VERSION'));
    await failureOf(start());
    await rename(join(directory, 'PG_VERSION'), join(dataDir, 'postgres', 'PG_VERSION'));
    expect(await kept((await start()).url)).toEqual([{ n: 1 }]);
  });
});

describe.runIf(isRoot)('for root', () => {
  const ownerOf = async (path: string) => (await stat(path)).uid;

  test('another user runs it where there are no user namespaces, and the data lie where that user can go', async () => {
    const systemDir = join(directory, 'system');
    await chmod(directory, 0o711);
    await mkdir(join(directory, 'closed'), { mode: 0o700 });
    await rename(dataDir, join(directory, 'closed', 'data'));
    dataDir = join(directory, 'closed', 'data');

    const asUser = await start({ asRoot: 'user', systemDir });
    const place = await realpath(join(dataDir, 'postgres'));
    expect(place.startsWith(`${systemDir}/`)).toBe(true);
    expect(asUser.directory).toBe(place);
    expect(await ownerOf(place)).toBe(NOBODY);
    expect(await ownerOf(`/proc/${asUser.pid}`)).toBe(NOBODY);
    await query(asUser.url, 'insert into kept values (2)');
    await asUser.stop();

    const inNamespace = await start({ asRoot: 'namespace', systemDir });
    expect(await ownerOf(place)).toBe(0);
    await query(inNamespace.url, 'insert into kept values (3)');
    await inNamespace.stop();

    const again = await start({ asRoot: 'user', systemDir });
    expect(await kept(again.url)).toEqual([{ n: 1 }, { n: 2 }, { n: 3 }]);
    expect(await realpath(join(dataDir, 'postgres'))).toBe(place);
  });

  test('a new database is made in such a place from the start', async () => {
    const systemDir = join(directory, 'system');
    await chmod(directory, 0o711);
    dataDir = join(directory, 'closed', 'new');
    await mkdir(join(directory, 'closed'), { mode: 0o700 });
    const { url } = await start({ asRoot: 'user', systemDir });
    expect(await query(url, 'select current_database() as name')).toEqual([{ name: 'waybill' }]);
    expect((await lstat(join(dataDir, 'postgres'))).isSymbolicLink()).toBe(true);
  });

  test('a move that was cut short is begun again', async () => {
    const systemDir = join(directory, 'system');
    await chmod(directory, 0o711);
    await mkdir(join(directory, 'closed'), { mode: 0o700 });
    await rename(dataDir, join(directory, 'closed', 'data'));
    dataDir = join(directory, 'closed', 'data');
    await rename(join(dataDir, 'postgres'), join(dataDir, 'postgres.old'));
    expect(await kept((await start({ asRoot: 'user', systemDir })).url)).toEqual([{ n: 1 }]);
    await expect(lstat(join(dataDir, 'postgres.old'))).rejects.toMatchObject({ code: 'ENOENT' });
  });

  test('the data stay where they are when the other user can go there', async () => {
    await chmod(directory, 0o711);
    const { url } = await start({ asRoot: 'user', systemDir: join(directory, 'system') });
    expect((await lstat(join(dataDir, 'postgres'))).isDirectory()).toBe(true);
    expect(await kept(url)).toEqual([{ n: 1 }]);
  });

  test('what an ordinary user made before is taken over', async () => {
    await chown(join(dataDir, 'postgres'), 1234, 1234);
    await chown(join(dataDir, 'postgres', 'PG_VERSION'), 1234, 1234);
    expect(await kept((await start()).url)).toEqual([{ n: 1 }]);
    expect(await ownerOf(join(dataDir, 'postgres', 'PG_VERSION'))).toBe(0);
  });
});
