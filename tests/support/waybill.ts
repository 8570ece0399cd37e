import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { text } from 'node:stream/consumers';
import { onTestFinished } from 'vitest';
import { temporaryDirectory } from './directory.js';
import { emptyDatabase } from './postgres.js';
import { builtProgram } from './program.js';
import { type Broker, freshVhost, type Vhost } from './rabbitmq.js';
import { until } from './until.js';

/*
 * Waybill as its users run it: the built program in a process of its own, with a configuration file, a database and a
 * virtual host that are this test's alone.
 */

export interface InstallOptions {
  /** What stands in waybill.yaml, without `rulesFile`. */
  readonly config: Readonly<Record<string, unknown>>;
  /** What stands in rules.yaml; without it the file is empty of rules. */
  readonly rules?: string;
  /** `own`: an empty database of the run's server. `embedded`: the one that Waybill starts itself. Or one that is there. */
  readonly database?: 'own' | 'embedded' | { readonly url: string };
  /** A virtual host on the run's broker, or on another one. */
  readonly broker?: boolean | Broker;
}

export interface Installation {
  readonly directory: string;
  readonly adminToken: string;
  /** Of the database, for a checker; throws for an embedded one. */
  readonly databaseUrl: string;
  /** Throws without a broker. */
  readonly vhost: Vhost;
  /** Overwrites the files; a running process sees them when it is told to. */
  write(config: Readonly<Record<string, unknown>>, rules?: string): Promise<void>;
  /** Starts a process and waits until it is ready. `env` adds to its environment, or takes away by undefined. */
  start(env?: Env): Promise<Waybill>;
  /** Starts one that is to end by itself, like a command or a start that is refused. */
  run(command: readonly string[], env?: Env): Promise<Ended>;
}

export type Env = Readonly<Record<string, string | undefined>>;

export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Waybill {
  readonly http: string;
  readonly smtp: { readonly host: string; readonly port: number };
  readonly pid: number;
  /** Its log so far, and whatever else it wrote to stderr as `{ text }`. */
  readonly log: readonly LogLine[];
  readonly running: boolean;
  /** One call of the API, by default with the admin token. */
  call(method: string, path: string, options?: CallOptions): Promise<Answer>;
  metric(name: string, labels?: Readonly<Record<string, string>>): Promise<number>;
  /** SIGTERM; resolves when it has ended. */
  stop(): Promise<Ended>;
  /** SIGKILL. */
  kill(): Promise<void>;
  /** Resolves when it has ended, for whatever reason. */
  readonly ended: Promise<Ended>;
}

export interface LogLine {
  readonly msg?: string;
  readonly level?: number;
  readonly text?: string;
  readonly [field: string]: unknown;
}

export interface CallOptions {
  readonly token?: string | null;
  readonly json?: unknown;
  readonly body?: string | Uint8Array<ArrayBuffer>;
  readonly headers?: Readonly<Record<string, string>>;
  /** How long it may take; for ever by default. */
  readonly withinMs?: number;
}

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly bytes: Buffer;
  // biome-ignore lint/suspicious/noExplicitAny: answers are looked into by many tests, which say what they expect
  readonly json: any;
}

/** How long a start or a stop may take on a machine that does much else. */
const PATIENCE_MS = 60_000;

/** Everything is stopped and removed when the test has ended. */
export async function install(options: InstallOptions): Promise<Installation> {
  const program = await builtProgram();
  const directory = await temporaryDirectory();
  const adminToken = `admin-${randomBytes(12).toString('hex')}`;
  const processes: ChildProcess[] = [];
  const database = await databaseOf(options.database ?? 'own');
  const vhost = options.broker ? await freshVhost(options.broker === true ? undefined : options.broker) : null;
  onTestFinished(async () => {
    await Promise.all(processes.map(endProcess));
    await vhost?.drop();
    await database?.drop();
  });

  async function write(config: Readonly<Record<string, unknown>>, rules = 'rules: []\n'): Promise<void> {
    // One child to read mail is started sooner than two, and most tests need none.
    const content = { children: 1, ...(config.content as object | undefined) };
    // JSON is YAML, too.
    await writeFile(
      join(directory, 'waybill.yaml'),
      JSON.stringify({ ...config, content, rulesFile: 'rules.yaml' }, null, 2),
    );
    await writeFile(join(directory, 'rules.yaml'), rules);
  }
  await write(options.config, options.rules);

  function spawnProgram(command: readonly string[], env: Env): ChildProcess {
    const child = spawn(process.execPath, [program, ...command], {
      cwd: directory,
      env: environment({
        WAYBILL_CONFIG: join(directory, 'waybill.yaml'),
        WAYBILL_DATA: join(directory, 'data'),
        WAYBILL_HTTP: '127.0.0.1:0',
        WAYBILL_SMTP: '127.0.0.1:0',
        WAYBILL_ADMIN_TOKEN: adminToken,
        DATABASE_URL: database?.url,
        AMQP_URL: vhost?.url,
        ...env,
      }),
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    processes.push(child);
    return child;
  }

  return {
    directory,
    adminToken,
    get databaseUrl() {
      if (!database) throw new Error('the database is embedded');
      return database.url;
    },
    get vhost() {
      if (!vhost) throw new Error('this installation has no broker');
      return vhost;
    },
    write,
    start: (env = {}) => started(spawnProgram(['start'], env), adminToken),
    run: (command, env = {}) => outcome(spawnProgram(command, env)),
  };
}

async function databaseOf(database: NonNullable<InstallOptions['database']>): Promise<Database | null> {
  if (database === 'own') return emptyDatabase();
  return database === 'embedded' ? null : { url: database.url, drop: async () => undefined };
}

type Database = Awaited<ReturnType<typeof emptyDatabase>>;

/** What a shell would have, and the mark by which processes left behind are found; nothing of Vitest's own. */
function environment(own: Env): NodeJS.ProcessEnv {
  const kept = ['PATH', 'HOME', 'LANG', 'TMPDIR', 'WAYBILL_TEST_RUN'];
  const entries = Object.entries({ ...Object.fromEntries(kept.map((name) => [name, process.env[name]])), ...own });
  return Object.fromEntries(entries.filter(([, value]) => value !== undefined));
}

async function outcome(child: ChildProcess): Promise<Ended> {
  const stdout = child.stdout ? text(child.stdout) : '';
  const stderr = child.stderr ? text(child.stderr) : '';
  const [code, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null];
  return { code, signal, stdout: await stdout, stderr: await stderr };
}

async function started(child: ChildProcess, adminToken: string): Promise<Waybill> {
  const log: LogLine[] = [];
  const stdout: string[] = [];
  const stderr: string[] = [];
  let ready: { http: string; smtp: string | null } | null = null;
  if (child.stdout) {
    createInterface({ input: child.stdout }).on('line', (line) => {
      stdout.push(line);
      ready ??= JSON.parse(line) as { http: string; smtp: string };
    });
  }
  if (child.stderr) {
    createInterface({ input: child.stderr }).on('line', (line) => {
      stderr.push(line);
      log.push(line.startsWith('{') ? (JSON.parse(line) as LogLine) : { text: line });
    });
  }
  const ended = new Promise<Ended>((resolve) => {
    child.once('close', (code, signal) => {
      resolve({ code, signal, stdout: stdout.join('\n'), stderr: stderr.join('\n') });
    });
  });
  let running = true;
  void ended.then(() => {
    running = false;
  });
  const { http, smtp } = await until(
    () => {
      if (!running) throw new Error(`Waybill ended instead of being ready:\n${stderr.join('\n')}`);
      return ready;
    },
    'Waybill to be ready',
    PATIENCE_MS,
  ).catch((error: unknown) => {
    throw new Error(`it was not ready; what it said: ${stderr.join('\n')}`, { cause: error });
  });
  return {
    http,
    smtp: addressOf(smtp),
    pid: child.pid as number,
    log,
    get running() {
      return running;
    },
    ended,
    call: (method, path, options = {}) => call(`${http}${path}`, method, { token: adminToken, ...options }),
    async metric(name, labels = {}) {
      const { status, bytes } = await call(`${http}/metrics`, 'GET', { token: adminToken });
      if (status !== 200) throw new Error(`/metrics answered ${status}: ${bytes}`);
      return readMetric(bytes.toString(), name, labels);
    },
    async stop() {
      child.kill('SIGTERM');
      return await within(ended, 'Waybill to end after SIGTERM');
    },
    async kill() {
      child.kill('SIGKILL');
      await within(ended, 'Waybill to end after SIGKILL');
    },
  };
}

function addressOf(smtp: string | null): Waybill['smtp'] {
  if (smtp === null) return { host: '', port: 0 };
  const colon = smtp.lastIndexOf(':');
  return { host: smtp.slice(0, colon), port: Number(smtp.slice(colon + 1)) };
}

async function within<T>(promise: Promise<T>, what: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited ${PATIENCE_MS} ms in vain for ${what}`)), PATIENCE_MS);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

async function endProcess(child: ChildProcess): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, 'exit');
  // Asked first, so that an embedded database is stopped as well.
  child.kill('SIGTERM');
  const timer = setTimeout(() => child.kill('SIGKILL'), 15_000);
  await gone;
  clearTimeout(timer);
}

async function call(url: string, method: string, options: CallOptions): Promise<Answer> {
  const { token, json, body, headers, withinMs } = options;
  const sent = json === undefined ? body : JSON.stringify(json);
  const answer = await fetch(url, {
    method,
    redirect: 'manual',
    headers: {
      ...(token && { authorization: `Bearer ${token}` }),
      ...(json !== undefined && { 'content-type': 'application/json' }),
      ...headers,
    },
    ...(sent !== undefined && { body: sent }),
    ...(withinMs !== undefined && { signal: AbortSignal.timeout(withinMs) }),
  });
  const bytes = Buffer.from(await answer.arrayBuffer());
  return {
    status: answer.status,
    headers: answer.headers,
    bytes,
    get json() {
      return JSON.parse(bytes.toString());
    },
  };
}

/** The sum of all samples of a metric that carry these labels. */
function readMetric(exposition: string, name: string, labels: Readonly<Record<string, string>>): number {
  const wanted = Object.entries(labels).map(([label, value]) => `${label}="${value}"`);
  const samples = exposition
    .split('\n')
    .filter((line) => line.startsWith(`${name}{`) || line.startsWith(`${name} `))
    .filter((line) => wanted.every((label) => line.includes(label)));
  return samples.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' ') + 1)), 0);
}
