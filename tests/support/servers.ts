import { existsSync } from 'node:fs';
import { chmod, mkdtemp, readdir, rm, statfs } from 'node:fs/promises';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestProject } from 'vitest/node';
import { findChromium } from '../../bin/chromium.mjs';
import { build } from '../../bin/prepare.mjs';
import { startRabbitmq } from '../../bin/rabbitmq.mjs';
import { leftovers, MARK } from './leftovers.js';
import { startTemplateServer } from './template-server.js';
import { until } from './until.js';

/*
 * Vitest's global setup: the servers that all test files of a run share. Nothing is started before a test asks for it,
 * over a socket of this process, so that a run of plain unit tests pays for none of them; what was started is stopped
 * at the end, also of a run that failed. A run whose tests leave processes behind fails.
 */

declare module 'vitest' {
  interface ProvidedContext {
    /** Path of the socket on which test files ask for servers. */
    servers: string;
  }
}

/** A started server: what its users must know, and how to stop it. */
interface Started {
  readonly about: unknown;
  stop(): Promise<void>;
}

const SERVERS: Readonly<Record<string, (directory: string) => Promise<Started>>> = {
  postgres: startInMemory,
  rabbitmq: async (directory) => {
    if (process.env.AMQP_URL) return { about: givenBroker(process.env.AMQP_URL), stop: async () => undefined };
    const node = await startRabbitmq({ directory: join(directory, 'rabbitmq'), say: (line) => console.warn(line) });
    return { about: { url: node.url, management: node.management }, stop: () => node.kill() };
  },
  program: async () => {
    build();
    return { about: {}, stop: async () => undefined };
  },
  chromium: async () => ({
    about: { path: findChromium({ say: (line: string) => console.warn(line) }) },
    stop: async () => undefined,
  }),
};

/** Where Linux keeps files in memory. */
const MEMORY = '/dev/shm';
/** What a run's databases may come to at once, with their journal. */
const ROOM_BYTES = 6e9;

/**
 * PostgreSQL with its files in memory where there is room for them: hundreds of databases are made in a run, and a third of its time
 * went into flushing them. What a test kills are processes; to be proof against the loss of power is the server's own business.
 */
async function startInMemory(directory: string): Promise<Started> {
  await removeAbandoned();
  const { bavail, bsize } = await statfs(MEMORY).catch(() => ({ bavail: 0, bsize: 0 }));
  if (process.env.WAYBILL_TEST_ON_DISK || bavail * bsize < ROOM_BYTES) return startTemplateServer(directory);
  const inMemory = await mkdtemp(join(MEMORY, `${IN_MEMORY}${process.pid}-`));
  await chmod(inMemory, 0o711);
  const remove = () => rm(inMemory, { recursive: true, force: true });
  try {
    const { about, stop } = await startTemplateServer(inMemory);
    return {
      about,
      async stop() {
        try {
          await stop();
        } finally {
          await remove();
        }
      },
    };
  } catch (error) {
    await remove();
    throw error;
  }
}

const IN_MEMORY = 'waybill-test-';

/** What runs left behind that were killed: it would take memory until the machine is started anew. */
async function removeAbandoned(): Promise<void> {
  for (const name of await readdir(MEMORY).catch(() => [])) {
    const pid = name.startsWith(IN_MEMORY) ? /^\d+/.exec(name.slice(IN_MEMORY.length))?.[0] : undefined;
    if (pid && !existsSync(`/proc/${pid}`)) await rm(join(MEMORY, name), { recursive: true, force: true });
  }
}

/** A RabbitMQ that runs already, with its HTTP API where that usually is. Each test file still gets a vhost of its own. */
function givenBroker(url: string): { url: string; management: string } {
  const broker = new URL(url);
  broker.pathname = '';
  const login = broker.username ? `${broker.username}:${broker.password}` : 'guest:guest';
  return {
    url: broker.href.replace(/\/$/, ''),
    management: process.env.RABBITMQ_MANAGEMENT_URL ?? `http://${login}@${broker.hostname}:15672`,
  };
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const directory = await mkdtemp(join(tmpdir(), 'waybill-test-'));
  // Only to be passed through: what lies in it is closed.
  await chmod(directory, 0o711);
  process.env[MARK] = directory;
  const started = new Map<string, Promise<Started>>();

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const name = request.url?.slice(1) ?? '';
    const start = SERVERS[name];
    if (!start) throw new RangeError(`there is no server called ${name}`);
    if (!started.has(name)) started.set(name, start(directory));
    response.end(JSON.stringify((await started.get(name))?.about));
  }

  const socket = join(directory, 'ask.sock');
  const server = createServer((request, response) => {
    answer(request, response).catch((error: unknown) => {
      response.statusCode = 500;
      response.end(error instanceof Error ? (error.stack ?? error.message) : String(error));
    });
  });
  await new Promise<void>((resolve) => server.listen(socket, resolve));
  project.provide('servers', socket);

  return async () => {
    server.close();
    // One that did not start was reported to the test that asked for it.
    const running = (await Promise.allSettled(started.values())).filter((one) => one.status === 'fulfilled');
    const stops = await Promise.allSettled(running.map((one) => one.value.stop()));
    const failures = stops.flatMap((stop) => (stop.status === 'rejected' ? [stop.reason] : []));
    failures.push(...(await endLeftovers(directory)));
    await rm(directory, { recursive: true, force: true });
    if (failures.length === 0) return;
    process.exitCode = 1;
    throw new AggregateError(failures, failures.map(String).join('\n'));
  };
}

/** What a process has to end after the test that started it. */
const GRACE_MS = 2_000;

/** Ends what tests have left running, and says what it was. */
async function endLeftovers(run: string): Promise<Error[]> {
  const none = async () => (await leftovers(run)).length === 0;
  await until(none, 'the processes of the tests to end', GRACE_MS).catch(() => undefined);
  const left = await leftovers(run);
  for (const { pid } of left) process.kill(pid, 'SIGKILL');
  return left.map(({ pid, command }) => new Error(`a test left a process running: ${pid} ${command}`));
}
