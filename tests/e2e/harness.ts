import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import type { Pool } from 'pg';
import type { Browser, BrowserContext, BrowserContextOptions, Page } from 'playwright-core';
import { Registry } from 'prom-client';
import { expect } from 'vitest';
import { Authentication } from '../../routes/authentication.js';
import { Notices } from '../../routes/notices.js';
import { type PageDeps, pageRoutes, problemPage } from '../../routes/pages/index.js';
import type { Route } from '../../routes/route.js';
import { createServer, type WaybillServer } from '../../routes/server.js';
import { type ApiDeps, allRoutes } from '../../routes/table.js';
import type { Role } from '../../src/access/permission.js';
import { newSecret } from '../../src/access/secret.js';
import { SESSION_COOKIE, SIGN_IN_MS } from '../../src/access/session.js';
import { type BackfillChores, createBackfills } from '../../src/app/backfills.js';
import { createCorrect } from '../../src/app/corrections.js';
import { createDecideHeld } from '../../src/app/held.js';
import { createRulesApart } from '../../src/app/rules-apart.js';
import { createRungViews } from '../../src/app/rung-views.js';
import { eventView } from '../../src/content/event.js';
import type { ExtractorDefinition } from '../../src/content/extract/definition.js';
import { compileExtractors, type Extractor } from '../../src/content/extract/extract.js';
import { EVERYTHING } from '../../src/content/features.js';
import { makeSafe } from '../../src/content/html.js';
import { DEFAULT_LADDER } from '../../src/content/index.js';
import { MAIL_LIMITS } from '../../src/content/limits.js';
import { type MailTools, readHtml, readMail, readPart } from '../../src/content/reader.js';
import { messageId, type Place } from '../../src/message/id.js';
import type { Tenant } from '../../src/message/tenant.js';
import { createPerson, createSignIn } from '../../src/storage/access.js';
import { loadInstallation } from '../../src/storage/installation.js';
import { createTenant } from '../../src/storage/tenants.js';
import { addMessage, addSource, addTarget, filling, plan, saying } from '../routes/seed.js';
import { realClock } from '../support/clock.js';
import { silent } from '../support/log.js';
import { freshDatabase, type TestDatabase } from '../support/postgres.js';
import { until } from '../support/until.js';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

/** One thread for all pages of a run of tests: it ends by itself. */
const RULES = createRulesApart();

/** The pages over a database of their own, as a browser meets them; nothing routes or delivers behind them. */
export interface TestSite {
  readonly pool: Pool;
  readonly origin: string;
  readonly tenant: Tenant;
  readonly sources: { readonly mail: number; readonly billing: number; readonly shop: number };
  readonly targets: { readonly archive: number; readonly crm: number; readonly erp: number };
  readonly notices: Notices;
  readonly backfills: BackfillChores;
  /** Everything that can be called. */
  readonly routes: readonly Route[];
  /** Puts a mail into the inbox, read as the owner reads it. */
  addMail(raw: string, account?: string): Promise<Place>;
  /** Puts an event into the inbox. */
  addEvent(data: string, about?: { readonly type?: string; readonly account?: string }): Promise<Place>;
  /** What a source looks for in its messages. */
  lookFor(source: number, definitions: readonly ExtractorDefinition[]): void;
  /** Tells those who listen that a message came or changed. */
  announce(place: Place): void;
  /** A one-time link. */
  linkFor(name: string, role?: Role): Promise<string>;
  /** A browser of its own in which somebody has signed in. */
  signedIn(
    browser: Browser,
    options?: BrowserContextOptions & { readonly role?: Role; readonly name?: string },
  ): Promise<BrowserContext>;
  close(): Promise<void>;
}

export async function startSite(): Promise<TestSite> {
  const db = await freshDatabase();
  const { pool } = db;
  const created = await createTenant(pool, 'default', 4, 'test');
  if (created.result !== 'ok') throw new Error('the tenant could not be made');
  await loadInstallation(pool);
  const { tenant } = created;
  const authentication = new Authentication({ pool, clock: realClock, random: randomBytes, admin: null });
  const notices = new Notices();
  const stopping = new AbortController();
  const looked = new Map<number, readonly Extractor[]>();
  const say = saying(pool);
  const correct = createCorrect({ pool, say });
  const backfills = createBackfills({ pool, accept: filling(pool), say });
  const deps: ApiDeps & PageDeps = {
    pool,
    rules: RULES,
    authentication,
    notices,
    correct,
    backfills,
    decideHeld: createDecideHeld({ pool, say, correct }),
    random: randomBytes,
    now: realClock.now,
    publicUrl: null,
    hostname: 'mx.example.com',
    version: '0.0.0',
    stopping: stopping.signal,
    metrics: new Registry(),
    settings: { pollMs: 20 },
    contentOf: async (message) => eventView(message, undefined, 0),
    extractorsOf: ({ source }) => looked.get(source) ?? [],
    partOf: async (message, _, n) => {
      const found = await readPart(Buffer.from(message.raw), n, TOOLS);
      return found ? { name: found.part.name, type: found.part.type, bytes: found.bytes } : undefined;
    },
    safeHtml: async (message) => {
      const { html, pictures } = await readHtml(Buffer.from(message.raw), TOOLS);
      return html === null ? null : makeSafe(html, pictures, 1_000_000);
    },
    wake: () => undefined,
    configurationChanged: async () => undefined,
    filters: async () => [
      {
        generation: 1,
        openedAt: new Date(realClock.now() - 259_200_000),
        sealedAt: null,
        ready: true,
        keys: 12_345,
        fill: 0.31,
        falsePositives: 0.0004,
      },
    ],
    surroundings: () => ({ disk: null, broker: null, clocks: [], backlogged: false }),
    release: async () => 'not_held',
    rungs: createRungViews(
      {
        async parse({ raw, rung, level }) {
          const view = await readMail(Buffer.from(raw), { ...TOOLS, level });
          return { ok: true, view: { ...view, rung }, tookMs: 0, child: null };
        },
      },
      DEFAULT_LADDER,
      () => null,
    ),
    health: async () => ({ accepting: true, degraded: [] }),
    templates: `${ROOT}templates`,
    assets: `${ROOT}public`,
  };
  const routes = allRoutes(deps, [], pageRoutes(deps));
  const server = createServer({
    routes,
    authentication,
    refused: () => undefined,
    log: silent,
    settings: { trustedProxies: [], publicUrl: null, maxConnections: 1000 },
    assets: [{ path: '/assets', directory: deps.assets }],
    problemPage: problemPage(deps),
  });
  const { port } = await server.listen('127.0.0.1', 0);
  const origin = `http://127.0.0.1:${port}`;
  const sources = {
    mail: await addSource(pool, tenant, 'mail', 'mail'),
    billing: await addSource(pool, tenant, 'billing', 'events'),
    shop: await addSource(pool, tenant, 'shop', 'webhook'),
  };
  const targets = {
    archive: await addTarget(pool, tenant, 'archive'),
    crm: await addTarget(pool, tenant, 'crm'),
    erp: await addTarget(pool, tenant, 'erp'),
  };

  const linkFor: TestSite['linkFor'] = async (name, role = 'owner') => {
    const now = realClock.now();
    const person = await createPerson(pool, tenant.id, name, role);
    if (!person) throw new Error(`there is a ${name} already`);
    const { text, hash } = newSecret(randomBytes);
    await createSignIn(pool, tenant.id, person.id, hash, new Date(now + SIGN_IN_MS), new Date(now));
    return `${origin}/sign-in/${text}`;
  };

  return {
    pool,
    origin,
    tenant,
    sources,
    targets,
    notices,
    backfills,
    routes,
    linkFor,
    addMail: async (raw, account = 'invoices@example.com') => {
      const view = await readMail(Buffer.from(raw), TOOLS);
      const place = await addMessage(pool, tenant, {
        source: sources.mail,
        kind: 'mail',
        type: 'mail',
        account,
        raw,
        view,
      });
      await plan(pool, tenant, place, { mode: 'wait' });
      return place;
    },
    addEvent: async (data, { type = 'order.placed', account = 'acme' } = {}) => {
      const raw = `{"specversion":"1.0","id":"x-1","source":"/shop","type":"${type}","subject":"${account}","data":${data}}`;
      const place = await addMessage(pool, tenant, { source: sources.billing, kind: 'event', type, account, raw });
      await pool.query('update message set meta = null where tenant = $1 and channel = $2 and sequence = $3', [
        tenant.id,
        place.channel,
        place.sequence,
      ]);
      await plan(pool, tenant, place, { mode: 'wait' });
      return place;
    },
    lookFor: (source, definitions) => void looked.set(source, compileExtractors(definitions)),
    announce: (place) => notices.publish(tenant.id, [messageId(place)]),
    async signedIn(browser, { role = 'owner', name = `anna-${randomBytes(3).toString('hex')}`, ...options } = {}) {
      const response = await fetch(await linkFor(name, role), { method: 'POST', redirect: 'manual' });
      const cookie = new RegExp(`${SESSION_COOKIE}=([^;]+)`).exec(response.headers.get('set-cookie') ?? '')?.[1];
      if (!cookie) throw new Error('signing in gave no session');
      const context = await browser.newContext({ baseURL: origin, ...options });
      await context.addCookies([{ name: SESSION_COOKIE, value: cookie, url: origin, httpOnly: true, sameSite: 'Lax' }]);
      return context;
    },
    close: () => closeAll(server, stopping, db),
  };
}

async function closeAll(server: WaybillServer, stopping: AbortController, db: TestDatabase): Promise<void> {
  stopping.abort();
  await server.close(1000);
  // A request whose browser has gone still ends by itself.
  await until(() => db.pool.totalCount === db.pool.idleCount, 'the last requests to end');
  await db.drop();
}

const TOOLS: MailTools = { level: EVERYTHING, limits: MAIL_LIMITS, stage: () => undefined };

/** Fails with what axe finds that is serious or critical. */
export async function expectAccessible(page: Page): Promise<void> {
  await page.evaluate(AXE);
  const found = await page.evaluate(async () => {
    // biome-ignore lint/suspicious/noExplicitAny: axe puts itself there
    const { violations } = await (globalThis as any).axe.run(document, { resultTypes: ['violations'], iframes: false });
    return (violations as { id: string; impact: string; nodes: { html: string; failureSummary: string }[] }[])
      .filter(({ impact }) => impact === 'serious' || impact === 'critical')
      .map(
        ({ id, nodes }) =>
          `${id}: ${nodes
            .slice(0, 3)
            .map((node) => `${node.html} ${node.failureSummary}`)
            .join('; ')}`,
      );
  });
  expect(found, `${page.url()} as axe sees it`).toEqual([]);
}
