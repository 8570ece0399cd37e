import { request } from 'node:http';
import type { AddressInfo } from 'node:net';
import { buffer } from 'node:stream/consumers';
import { pino } from 'pino';
import type { Authentication } from '../../routes/authentication.js';
import type { Route } from '../../routes/route.js';
import { createServer } from '../../routes/server.js';
import type { Principal } from '../../src/access/principal.js';
import type { EventsSource, Source, SourceDirectory, WebhookSource } from '../../src/channel/source.js';
import type { Arrival } from '../../src/message/arrival.js';
import type { Tenant } from '../../src/message/tenant.js';
import type { Accept, Verdict } from '../../src/message/verdict.js';

export const TENANT: Tenant = { id: 7, name: 'acme', channels: 16 };

/** Serves routes over real HTTP; `Authorization: Bearer <name>` is the principal of that name. */
export async function serveRoutes(routes: readonly Route[], principals: Readonly<Record<string, Principal>>) {
  const authentication = {
    principal: ({ authorization }: { authorization?: string }) => principals[authorization?.slice(7) ?? ''] ?? null,
  } as unknown as Authentication;
  const server = createServer({
    routes,
    authentication,
    refused: () => {},
    log: pino({ level: 'silent' }),
    settings: { trustedProxies: [], publicUrl: null, maxConnections: 100 },
  });
  const { port } = (await server.listen('127.0.0.1', 0)) as AddressInfo;
  return { port, close: () => server.close(0) };
}

export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly text: string;
  // biome-ignore lint/suspicious/noExplicitAny: tests look into answers of every shape
  readonly json: any;
}

/** One request with exactly these headers and bytes. */
export function ask(
  port: number,
  method: string,
  path: string,
  headers: Readonly<Record<string, string>>,
  body: string | Buffer = '',
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const outgoing = request({ port, host: '127.0.0.1', method, path, headers, agent: false }, (response) => {
      buffer(response).then((bytes) => {
        const text = bytes.toString();
        const isJson = (response.headers['content-type'] ?? '').includes('json');
        resolve({
          status: response.statusCode ?? 0,
          headers: response.headers,
          text,
          json: isJson ? JSON.parse(text) : null,
        });
      }, reject);
    });
    outgoing.on('error', reject);
    outgoing.end(body);
  });
}

export function principal(
  permission: Principal['permissions'] extends ReadonlySet<infer P> ? P : never,
  tenant = TENANT,
): Principal {
  return { kind: 'token', tenant, who: `token ${permission}`, permissions: new Set([permission]), csrf: null };
}

/** Remembers what it took and tells repeats by identity, as a channel would; `next` replaces what it says of the next call. */
export class MemoryChannel {
  readonly arrivals: Arrival[] = [];
  next: Accept | null = null;
  private readonly seen = new Map<string, { digest: string; sequence: number }>();

  readonly accept: Accept = async (arrivals) => {
    const { next } = this;
    if (next) {
      this.next = null;
      return next(arrivals);
    }
    return arrivals.map((arrival) => this.take(arrival));
  };

  private take(arrival: Arrival): Verdict {
    this.arrivals.push(arrival);
    const key = Buffer.from(arrival.identity).toString('hex');
    const { digest } = arrival;
    const known = this.seen.get(key);
    if (known === undefined) {
      this.seen.set(key, { digest, sequence: this.seen.size + 1 });
      return { verdict: 'sequenced', channel: 7, sequence: this.seen.size };
    }
    const of = { channel: 7, sequence: known.sequence };
    const differs = known.digest !== digest;
    if (differs && arrival.onOtherContent === 'conflict') return { verdict: 'conflict', of, quarantine: 3 };
    return { verdict: 'duplicate', of, basis: 'store', differs };
  }
}

/** A directory of one tenant's feeds and webhooks. */
export function directory(sources: {
  feeds?: readonly Source<EventsSource>[];
  webhooks?: readonly Source<WebhookSource>[];
}): SourceDirectory {
  return {
    mail: () => undefined,
    webhook: (tenant, name) => sources.webhooks?.find((one) => one.tenant.name === tenant && one.name === name),
    events: (tenant, cloudEventSource) =>
      sources.feeds?.find(
        ({ tenant: { name }, definition: { accepts } }) =>
          name === tenant && (accepts === undefined || accepts.includes(cloudEventSource)),
      ),
  };
}
