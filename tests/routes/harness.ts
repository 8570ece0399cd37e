import { randomBytes } from 'node:crypto';
import { parse } from 'lossless-json';
import type { Pool } from 'pg';
import { Registry } from 'prom-client';
import { Authentication } from '../../routes/authentication.js';
import type { Health } from '../../routes/health.js';
import { Notices } from '../../routes/notices.js';
import type { Route } from '../../routes/route.js';
import { createServer, type WaybillServer } from '../../routes/server.js';
import { type ApiDeps, allRoutes, auditRefusals } from '../../routes/table.js';
import type { Permission } from '../../src/access/permission.js';
import { PERMISSIONS } from '../../src/access/permission.js';
import { type BackfillChores, createBackfills } from '../../src/app/backfills.js';
import { createCorrect } from '../../src/app/corrections.js';
import { createDecideHeld } from '../../src/app/held.js';
import { createRulesApart, type RulesApart } from '../../src/app/rules-apart.js';
import { createRungViews } from '../../src/app/rung-views.js';
import type { ParseResult } from '../../src/content/content.js';
import type { Extractor } from '../../src/content/extract/extract.js';
import { DEFAULT_LADDER } from '../../src/content/index.js';
import type { Place } from '../../src/message/id.js';
import type { Tenant } from '../../src/message/tenant.js';
import { EMPTY_VIEW } from '../../src/message/view.js';
import { loadInstallation } from '../../src/storage/installation.js';
import { createTenant } from '../../src/storage/tenants.js';
import { type SettableClock, settableClock } from '../support/clock.js';
import { silent } from '../support/log.js';
import { freshDatabase, type TestDatabase } from '../support/postgres.js';
import { filling, saying } from './seed.js';

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  // biome-ignore lint/suspicious/noExplicitAny: each test states what it expects of it
  readonly body: any;
}

export interface Ask {
  readonly token?: string | null;
  readonly body?: unknown;
  readonly headers?: Record<string, string>;
}

/** The API over a database of its own, with two tenants of equal shape, spoken to over HTTP. */
export interface Api {
  readonly db: TestDatabase;
  readonly pool: Pool;
  readonly rules: RulesApart;
  readonly clock: SettableClock;
  readonly server: WaybillServer;
  readonly routes: readonly Route[];
  readonly origin: string;
  readonly tenant: Tenant;
  readonly other: Tenant;
  /** Owner of `default`, and of the other tenant. */
  readonly admin: string;
  readonly stranger: string;
  readonly woken: string[];
  readonly notices: Notices;
  readonly metrics: Registry;
  readonly backfills: BackfillChores;
  readonly stopping: AbortController;
  health: Health;
  /** What the release port is to answer. */
  released: Place | 'not_held';
  /** What reading a mail on a rung is to come to. */
  parsed: (rung: number) => Promise<ParseResult>;
  /** What sources look for in their messages, by their ids. */
  readonly extractors: Map<number, readonly Extractor[]>;
  /** `METHOD path-of-the-table` and status of everything that was answered. */
  readonly seen: Set<string>;
  call(method: string, path: string, ask?: Ask): Promise<Answer>;
  token(permissions: readonly Permission[], tenant?: Tenant): Promise<string>;
  /** Another tenant with 4 channels, and a token of its owner. */
  newTenant(name: string): Promise<{ tenant: Tenant; token: string }>;
  close(): Promise<void>;
}

export async function startApi(extra: readonly Route[] = [], settings: Partial<ApiDeps> = {}): Promise<Api> {
  const db = await freshDatabase();
  const { pool } = db;
  await loadInstallation(pool);
  const clock = settableClock(Date.now());
  const tenant = await made(pool, 'default', 4);
  const other = await made(pool, 'other', 4);
  const admin = randomBytes(24).toString('base64url');
  const authentication = new Authentication({ pool, clock, random: randomBytes, admin: { token: admin, tenant } });
  const state = {
    health: { accepting: true, degraded: [] } as Health,
    released: 'not_held' as Place | 'not_held',
    parsed: async (rung: number): Promise<ParseResult> => ({
      ok: true,
      view: { ...EMPTY_VIEW, rung },
      tookMs: 0,
      child: 7,
    }),
  };
  const woken: string[] = [];
  const extractors = new Map<number, readonly Extractor[]>();
  const notices = new Notices();
  const metrics = new Registry();
  const stopping = new AbortController();
  const rules = createRulesApart();
  const say = saying(pool);
  const correct = createCorrect({ pool, say });
  const backfills = createBackfills({ pool, accept: filling(pool), say });
  const deps: ApiDeps = {
    pool,
    rules,
    authentication,
    notices,
    random: randomBytes,
    now: clock.now,
    publicUrl: null,
    hostname: 'mx.example.com',
    version: '0.0.0',
    stopping: stopping.signal,
    metrics,
    settings: { pollMs: 50, heartbeatMs: 50, recheckMs: 50, maxClientsEach: 3 },
    contentOf: async (message) => {
      const body = parse(Buffer.from(message.raw).toString()) as { data?: unknown };
      return { ...EMPTY_VIEW, data: body.data };
    },
    extractorsOf: ({ source }) => extractors.get(source) ?? [],
    partOf: async (_, view, n) =>
      view.parts.some((part) => part.n === n)
        ? { name: 'a"b\r\n€.txt', type: 'text/html; x', bytes: Buffer.from('part') }
        : undefined,
    wake: (id, channel) => void woken.push(`${id}/${channel}`),
    configurationChanged: async () => undefined,
    filters: async () => [],
    surroundings: () => ({ disk: null, broker: null, clocks: [], backlogged: false }),
    release: async () => state.released,
    correct,
    backfills,
    decideHeld: createDecideHeld({ pool, say, correct }),
    rungs: createRungViews({ parse: ({ rung }) => state.parsed(rung) }, DEFAULT_LADDER, () => null),
    health: async () => state.health,
    ...settings,
  };
  const routes = allRoutes(deps, extra, []);
  const server = createServer({
    routes,
    authentication,
    refused: auditRefusals(pool, clock.monotonic, (error) => {
      throw error;
    }),
    log: silent,
    settings: { trustedProxies: [], publicUrl: deps.publicUrl, maxConnections: 1000 },
  });
  const { port } = await server.listen('127.0.0.1', 0);
  const origin = `http://127.0.0.1:${port}`;
  const seen = new Set<string>();

  const call: Api['call'] = async (method, path, ask = {}) => {
    const token = ask.token === undefined ? admin : ask.token;
    const response = await fetch(origin + path, {
      method,
      redirect: 'manual',
      headers: {
        ...(token !== null && { authorization: `Bearer ${token}` }),
        ...(ask.body !== undefined && { 'content-type': 'application/json' }),
        ...ask.headers,
      },
      ...(ask.body !== undefined && { body: typeof ask.body === 'string' ? ask.body : JSON.stringify(ask.body) }),
    });
    const text = await response.text();
    const route = routeOf(routes, method, path);
    if (route) seen.add(`${route} ${response.status}`);
    return {
      status: response.status,
      headers: response.headers,
      text,
      body: isJson(response) ? JSON.parse(text) : undefined,
    };
  };

  const token: Api['token'] = async (permissions, of = tenant) => {
    const name = `t-${randomBytes(4).toString('hex')}`;
    const text = `wb_${randomBytes(32).toString('base64url')}`;
    await pool.query(
      `insert into token (tenant, name, hash, permissions, created_by) values ($1, $2, sha256($3), $4, 'test')`,
      [of.id, name, Buffer.from(text), permissions],
    );
    return text;
  };

  return {
    db,
    pool,
    rules,
    clock,
    server,
    routes,
    origin,
    tenant,
    other,
    admin,
    woken,
    notices,
    metrics,
    backfills,
    stopping,
    extractors,
    seen,
    call,
    token,
    stranger: await token(PERMISSIONS, other),
    get health() {
      return state.health;
    },
    set health(health) {
      state.health = health;
    },
    get released() {
      return state.released;
    },
    set released(released) {
      state.released = released;
    },
    get parsed() {
      return state.parsed;
    },
    set parsed(parsed) {
      state.parsed = parsed;
    },
    async newTenant(name) {
      const tenant = await made(pool, name, 4);
      return { tenant, token: await token(PERMISSIONS, tenant) };
    },
    async close() {
      stopping.abort();
      await server.close(1000);
      await rules.close();
      await db.drop();
    },
  };
}

async function made(pool: Pool, name: string, channels: number): Promise<Tenant> {
  const created = await createTenant(pool, name, channels, 'test');
  if (created.result !== 'ok') throw new Error(`tenant ${name} could not be made`);
  return created.tenant;
}

function isJson(response: Response): boolean {
  return /^application\/(problem\+)?json/.test(response.headers.get('content-type') ?? '');
}

/** The line of the table that answers a request, as `get /v1/messages/:id`. */
function routeOf(routes: readonly Route[], method: string, path: string): string | undefined {
  const [bare = ''] = path.split('?');
  const route = routes.find(
    (one) =>
      one.method === method.toLowerCase() && new RegExp(`^${one.path.replace(/:[A-Za-z]+/g, '[^/]+')}$`).test(bare),
  );
  return route && `${route.method} ${route.path}`;
}
