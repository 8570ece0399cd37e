import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestProject } from 'vitest/node';
import { findChromium } from '../../bin/chromium.mjs';
import { build } from '../../bin/prepare.mjs';
import { startRabbitmq } from '../../bin/rabbitmq.mjs';
import { startTemplateServer } from './template-server.js';

/*
 * Vitest's global setup: the servers that all test files of a run share. Nothing is started before a test asks for it,
 * over a socket of this process, so that a run of plain unit tests pays for none of them; what was started is stopped
 * at the end, also of a run that failed.
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
  postgres: startTemplateServer,
  rabbitmq: async (directory) => {
    const node = await startRabbitmq({
      directory: join(directory, 'rabbitmq'),
      say: (line: string) => console.warn(line),
    });
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

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const directory = await mkdtemp(join(tmpdir(), 'waybill-test-'));
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
    await rm(directory, { recursive: true, force: true });
    const failures = stops.flatMap((stop) => (stop.status === 'rejected' ? [stop.reason] : []));
    if (failures.length > 0) throw new AggregateError(failures, 'a server of the tests did not stop');
  };
}
