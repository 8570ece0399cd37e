import { randomBytes, randomInt, randomUUID } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { setImmediate as nextTurn, setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { Logger } from 'pino';
import { applyRoutes } from '../routes/apply.js';
import { Authentication } from '../routes/authentication.js';
import { backfillEventsRoute } from '../routes/backfills.js';
import { eventRoutes } from '../routes/events.js';
import { hookRoutes } from '../routes/hooks.js';
import { Notices } from '../routes/notices.js';
import { pageRoutes } from '../routes/pages/index.js';
import { problemPage } from '../routes/pages/problem.js';
import { pullRoutes } from '../routes/pull.js';
import type { Route } from '../routes/route.js';
import { createServer } from '../routes/server.js';
import { allRoutes, auditRefusals } from '../routes/table.js';
import { newToken } from './access/secret.js';
import { createAfterTry } from './app/after-try.js';
import { type AmqpSources, startAmqpSources } from './app/amqp.js';
import { createBackfills } from './app/backfills.js';
import { createBacklog } from './app/backlog.js';
import { writeClientFile } from './app/client-file.js';
import { openClocks } from './app/clocks.js';
import {
  applyConfiguration,
  type Configuration,
  ConfigurationInvalid,
  readConfiguration,
} from './app/configuration.js';
import { createContentPort } from './app/content.js';
import { createCorrect } from './app/corrections.js';
import { filterCache, openDatabase } from './app/database.js';
import { createFreeDisk } from './app/free-disk.js';
import { createHearing, publishPlanned } from './app/hearing.js';
import { createDecideHeld } from './app/held.js';
import { learnFromDecisions } from './app/learning.js';
import { createLedger } from './app/ledger.js';
import { createSay } from './app/ledger-messages.js';
import { verifyLogin } from './app/login.js';
import { checkPorts } from './app/ports.js';
import { createPullRender, PendingNotices } from './app/pull.js';
import { databaseReadings } from './app/readings.js';
import { createRelease } from './app/release.js';
import { createRender } from './app/render.js';
import { createRulesApart } from './app/rules-apart.js';
import { createRungViews } from './app/rung-views.js';
import { createSampling } from './app/sampling.js';
import { createSenders } from './app/senders.js';
import { createThreadPort } from './app/threads.js';
import { createUnseenChecks } from './app/unseen.js';
import { Broker } from './broker/broker.js';
import { createAccepter } from './channel/accept.js';
import { UnseenRoom } from './channel/maybe.js';
import type { LoadFrom } from './config/load.js';
import { startContent } from './content/children.js';
import { levelOf } from './content/ladder.js';
import { createInTurns } from './ingress/events/turns.js';
import { startSmtp } from './ingress/smtp/smtp.js';
import type { Clock } from './message/clock.js';
import { quarantineId } from './message/id.js';
import type { StoredMessage } from './message/message.js';
import { type Accept, Backlogged, Busy, Unavailable } from './message/verdict.js';
import type { View } from './message/view.js';
import { createMetrics, type Metrics } from './observe/metrics.js';
import type { Surroundings } from './overview/judge.js';
import { createCrashes } from './owner/crashes.js';
import { createOwner } from './owner/owner.js';
import type { Canonical, Ready } from './owner/state.js';
import { canonicalMessage } from './routing/canonical.js';
import { createCommit } from './storage/accept.js';
import { firstOwnerLink } from './storage/access.js';
import { brokerBacklog } from './storage/backlog.js';
import { type Notice, openBulletin } from './storage/bulletin.js';
import { sweepClaims } from './storage/claims.js';
import { bringForward, databaseTime, exchangeOffsets } from './storage/clock.js';
import { forgetCrash, keepCrash, knownCrashes, lateCrashes, sweepCrashes } from './storage/crashes.js';
import { noteDead } from './storage/dead.js';
import { openDirectory } from './storage/directory.js';
import { createFreshWords } from './storage/fresh-words.js';
import { openGenerations } from './storage/generations.js';
import { sumUpCounts } from './storage/inbox-counts.js';
import { isUnchanged, loadInstallation } from './storage/installation.js';
import { createLeaseStore } from './storage/lease.js';
import { createOwnerStore } from './storage/owner.js';
import { createPullStore } from './storage/pull.js';
import { dropDecided } from './storage/quarantine.js';
import { createRefusalLog } from './storage/refusal-log.js';
import { retain } from './storage/retention.js';
import { fillSearch } from './storage/search.js';
import type { SeenNow } from './storage/unseen.js';
import { unseenByTenant } from './storage/unseen-read.js';

const DAY = 86_400_000;
const HOUR = 3_600_000;
/** Each is a request to a child; the others have their links. */
const MOST_INLINE_PARTS = 32;
/** Mails that failed before, whose likes are recognised. */
const MOST_CRASHES = 10_000;
/** Below this share of free disk nothing is accepted any more, in percent. */
const LEAST_FREE_DISK = 10;
const TEND_MS = 1_000;
/** A notice of another process that got lost is made up for within this; a second is promised. */
const OWNER_POLL_MS = 500;
const SWEEP_MS = HOUR;
/** What is kept to be looked up at most, by all processes; the oldest of it is some seconds old. */
const UNSEEN_BYTES = 64 * 1024 * 1024;
/** What is planned is in the ledger within about so long; the longer, the larger its batches. */
const LEDGER_POLL_MS = 500;
const CLOSING_MS = 60_000;
/** How soon what people decide is looked at, to be learnt from. */
const LEARN_MS = 5_000;
/** Of each second or so that goes to filling the search, at most so much is spent on it. */
const FILL_MS = 400;
/** Of views just written; the search is filled with them within seconds. */
const FRESH_WORDS_BYTES = 16 * 1024 * 1024;

export interface AppDeps {
  readonly from: LoadFrom;
  readonly configuration: Configuration;
  readonly clock: Clock;
  readonly log: Logger;
}

export interface App {
  /** Where it listens: `http://127.0.0.1:8420`, and `127.0.0.1:2525` or null where mail is not taken. */
  readonly http: string;
  readonly smtp: string | null;
  /** A one-time link for the first owner to sign in with; null once there is one, or with an admin token. */
  readonly firstLink: string | null;
  /** Resolves when a backup was restored under this process: what it knows holds no more, and it must end. */
  readonly replaced: Promise<void>;
  stop(): Promise<void>;
}

/**
 * Puts a Waybill process together and starts it, in the order a message needs its parts:
 * database, configuration, channels, content, broker, owner, ingress, pages. Whatever started is stopped again when a
 * later part can not start.
 */
export async function startApp(deps: AppDeps): Promise<App> {
  const running = new Running();
  try {
    return await start(deps, running);
  } catch (error) {
    await running.stop();
    throw error;
  }
}

/** What has been started, to be stopped in the opposite order. */
class Running {
  readonly #stops: (() => Promise<void>)[] = [];
  #stopping: Promise<void> | null = null;

  onStop(stop: () => Promise<void>): void {
    this.#stops.push(stop);
  }

  stop(): Promise<void> {
    this.#stopping ??= (async () => {
      const failures: unknown[] = [];
      // One that can not be stopped keeps none of the others running.
      for (const stop of this.#stops.reverse()) await stop().catch((error: unknown) => failures.push(error));
      if (failures.length > 0) throw failures[0];
    })();
    return this.#stopping;
  }
}

/** Stops all at the same time; rejects, when all have been tried, with what the first failed with. */
async function together(stops: readonly (() => Promise<void>)[]): Promise<void> {
  const ended = await Promise.allSettled(stops.map((stop) => stop()));
  for (const each of ended) if (each.status === 'rejected') throw each.reason;
}

async function start({ from, configuration, clock: machine, log }: AppDeps, running: Running): Promise<App> {
  const { settings } = configuration;
  const process = randomUUID();
  const has = (role: (typeof settings.roles)[number]) => settings.roles.includes(role);
  const host = settings.smtp.hostname ?? hostname();

  // A data directory that is there has a lock, which tells more than a port in use.
  if (!existsSync(settings.data))
    await checkPorts([settings.http.listen, ...(has('ingress') ? [settings.smtp.listen] : [])]);
  const database = await openDatabase(settings, machine, log);
  running.onStop(() => database.close());
  const { pool, work } = database;
  const clocks = await openClocks({
    machine,
    databaseTime: () => databaseTime(pool),
    exchange: (offsetMs) => exchangeOffsets(pool, process, offsetMs),
    onBack: (ms) => bringForward(pool, process, ms),
    log,
  });
  const { clock } = clocks;
  const installation = await loadInstallation(pool);
  await applyConfiguration(pool, configuration.definitions, { who: 'file', channels: settings.channel.count });
  const directory = await openDirectory(pool, { postmaster: settings.smtp.postmaster ?? null, log });
  running.onStop(() => directory.close());

  const refusals = createRefusalLog(pool, clock, log);
  running.onStop(() => refusals.flush());
  const generations = await openGenerations({
    pool,
    clock,
    steady: clocks.steady,
    log,
    settings: {
      windowMs: settings.channel.windowDays * DAY,
      futureMs: settings.channel.futureHours * HOUR,
      expectedKeys: settings.channel.filterExpectedKeys,
      cacheDirectory: filterCache(settings),
    },
  });

  const content = await startContent({
    children: settings.content.children,
    limits: {
      timeMs: settings.content.trySeconds * 1000,
      memoryBytes: settings.content.memory,
      parts: settings.content.maxParts,
      depth: settings.content.maxDepth,
      headerBytes: settings.content.maxHeaderBytes,
      headerLines: settings.content.maxHeaderLines,
      hops: settings.content.maxHops,
    },
    log,
    clock,
  });
  running.onStop(() => content.close());
  const tryMs = settings.content.trySeconds * 1000;
  const contentPort = createContentPort(
    content,
    settings.content.ladder,
    settings.content.children,
    tryMs,
    (tenant, source) => directory.current().schema(tenant, source),
  );
  const unsaid = (error: unknown) => log.warn({ err: error }, 'what is known of a crash was not written down');
  const crashes = createCrashes(
    await knownCrashes(work, MOST_CRASHES),
    (crash) => void keepCrash(work, crash).then(() => tellOthers(['crashed', crash.tenant]), unsaid),
    (tenant, hash) => void forgetCrash(work, tenant, hash).catch(unsaid),
  );

  const broker = settings.broker.url ? startBroker(settings.broker.url) : null;
  if (broker) running.onStop(() => broker.close());
  const senders = createSenders(
    { broker, unconfirmedMs: settings.delivery.unconfirmedMs, clock, host, installation: installation.id },
    (error) => log.warn({ err: error }, 'a sender could not be closed'),
  );
  running.onStop(() => senders.close());
  // A queue is there before its first message, so that its consumer can be.
  const openQueues = () => {
    const targets = directory.current().targets();
    senders.keepOnly(targets);
    for (const target of targets) if (target.definition.kind === 'queue') senders.of(target);
  };
  openQueues();
  directory.onChange(openQueues);

  const notices = new Notices();
  const pendingNotices = new PendingNotices();
  const leases = createLeaseStore(work, process, installation.epoch);
  const store = createOwnerStore(work, process, installation.epoch);
  let metrics: Metrics | null = null;
  let amqp: AmqpSources | null = null;
  const inTurns = createInTurns(nextTurn);
  let baseUrl = settings.http.publicUrl ?? '';
  const render = createRender(() => baseUrl, inlineParts, onePart);
  const canonical: Canonical = (message, names, view, parsed) =>
    canonicalMessage(message, { ...names, hostname: host, extractors: extractorsOf(message) }, view, parsed);
  const extractorsOf = ({ tenant, source }: StoredMessage) => directory.current().extractors(tenant, source);
  const freshWords = createFreshWords(FRESH_WORDS_BYTES);
  const owner = createOwner({
    process,
    name: `${hostname()}:${globalThis.process.pid}`,
    roles: settings.roles,
    owns: has('owner'),
    epoch: installation.epoch,
    store,
    leases,
    content: contentPort,
    crashes,
    threads: createThreadPort(installation.fingerprintSecret, () => directory.current()),
    directory: () => directory.current(),
    senderOf: (target) =>
      target.definition.kind === 'queue' && broker?.state() === 'down' ? null : senders.of(target),
    render,
    canonical,
    afterTry: createAfterTry(Math.random, clocks.steady),
    clock,
    log,
    settings: {
      beatMs: settings.lease.beatMs,
      lostAfterMs: settings.lease.lostAfterMs,
      pollMs: OWNER_POLL_MS,
      parkAfterMs: settings.content.parkAfterMs,
      roundRows: 2000,
      roundBytes: 32 * 1024 * 1024,
      handoverBytes: 24 * 1024 * 1024,
      maxUnconfirmed: 5000,
      maxUnconfirmedBytes: 64 * 1024 * 1024,
      dispatchBytes: 256 * 1024 * 1024,
    },
    observe: {
      planned: (tenant, channel, first, last) => {
        publishPlanned(notices, tenant, channel, first, last);
        tellOthers(['planned', tenant, channel, first, last]);
      },
      viewed: freshWords.put,
      pending: (tenant, target) => {
        pendingNotices.publish(tenant, target);
        tellOthers(['pending', tenant, target]);
      },
      given: () => tellOthers(['given']),
      foreign: (tenant, channel, last) => bulletin.post(['stored', tenant, channel, last]),
      paused: (target, code) => {
        metrics?.paused.inc({ tenant: target.tenant.name, target: target.name, code });
        void directory.refresh().catch((error: unknown) => log.warn({ err: error }, 'the pause is not seen yet'));
      },
      settled: (target, results) => {
        for (const [result, count] of tally(results)) {
          const labels = { tenant: target.tenant.name, target: target.name, result };
          metrics?.deliveries.inc(labels, count);
          // A broker that is away says so itself.
          if (result !== 'delivered' && result !== 'interrupted')
            log.info({ ...labels, count }, 'deliveries were not taken');
        }
      },
      attempts: (outcome, count) => metrics?.attempts.inc({ outcome }, count),
      quarantined: (entry) => {
        const tenant = directory.current().tenant(entry.tenant)?.name ?? String(entry.tenant);
        metrics?.quarantined.inc({ tenant, cause: 'poison' });
        const told = { tenant, entry: quarantineId(entry.number), crash: entry.crashHash?.toString('hex') ?? null };
        if (entry.first) log.error(told, 'a message of a new kind could be read on no rung: see the quarantine');
        else log.warn(told, 'a message could be read on no rung, as others like it before: see the quarantine');
      },
    },
  });

  const unseen = new UnseenRoom(UNSEEN_BYTES);
  unseen.counted(await unseenByTenant(pool));
  const randomId = () => randomInt(1, 2 ** 47);
  const accepter = createAccepter({
    commit: createCommit(work, process),
    filters: generations.filters,
    unseen,
    secret: installation.fingerprintSecret,
    clock,
    settings: {
      maxBatchRows: settings.channel.maxBatchMessages,
      maxBatchBytes: settings.channel.maxBatchBytes,
      secondLaneRows: 500,
      maxWaitingRows: settings.channel.maxWaitingMessages,
      maxWaitingBytes: settings.channel.maxWaitingBytes,
      window: {
        pastMs: settings.channel.windowDays * DAY,
        futureMs: settings.channel.futureHours * HOUR,
      },
      patienceMs: settings.channel.patienceSeconds * 1000,
    },
    onSequenced: (rows) => owner.sequenced(rows),
    randomId,
    pause: (ms) => (ms === 0 ? nextTurn() : pause(ms)),
  });

  const disk = database.directory === null ? null : createFreeDisk(database.directory, LEAST_FREE_DISK);
  await disk?.look();
  const backlog = broker
    ? createBacklog({
        maxMessages: settings.delivery.maxBacklog,
        broker: () => broker.state(),
        waiting: (most) => brokerBacklog(pool, most),
        clock,
        log,
      })
    : null;
  const readings = databaseReadings(pool, log);
  metrics = createMetrics({
    ...readings,
    filters: () => generations.filters.status(),
    filterAnswers: () => generations.filters.measured(),
    waiting: () => accepter.waiting(),
    backlog: () =>
      (backlog?.waiting() ?? []).map(({ tenant, messages }) => ({
        tenant: directory.current().tenant(tenant)?.name ?? String(tenant),
        messages,
        full: backlog?.isFull(tenant) ?? false,
      })),
    clockOffsetMs: () => clocks.offsetMs(),
    queues: () =>
      amqpStandings().map(({ source, standing }) => ({
        tenant: source.tenant.name,
        source: source.name,
        consuming: standing.state === 'consuming',
      })),
  });
  const told = metrics;
  const take: Accept = async (arrivals) => {
    const full = disk?.problem();
    if (full) throw new Unavailable(full);
    if (arrivals.some(({ tenant }) => backlog?.isFull(tenant.id))) throw new Backlogged(BACKLOGGED);
    const done = told.acceptSeconds.startTimer();
    const verdicts = await accepter.accept(arrivals);
    done();
    countVerdicts(told, arrivals, verdicts);
    return verdicts;
  };
  const accept: Accept = async (arrivals) => {
    try {
      return await take(arrivals);
    } catch (error) {
      countPushedBack(told, arrivals, error);
      throw error;
    }
  };
  const refuse: typeof refusals.refuse = (refusal) => {
    told.refused.inc({ ingress: refusal.ingress, code: refusal.code });
    refusals.refuse(refusal);
  };

  const heard = createHearing({
    owner: () => owner,
    notices,
    pendingNotices,
    directory,
    crashes,
    lateCrashes: (tenant) => lateCrashes(work, tenant),
    log,
  });
  const bulletin = openBulletin({ pool: work, url: database.url, process, heard, log });
  running.onStop(() => bulletin.close());
  // Nobody else can have been at an embedded database.
  if (database.directory !== null) await leases.forgetOthers();
  await broker?.settled(BROKER_ANSWERS_MS);
  await owner.start();
  running.onStop(() => owner.stop());
  running.onStop(() => accepter.close());
  const tending = every(TEND_MS, 'tending the filters', () => generations.tend());
  const flushing = every(TEND_MS, 'writing refusals', () => refusals.flush());
  const looking = every(TEND_MS, 'looking at the disk', async () => disk?.look());
  const counting = every(TEND_MS, 'counting what waits for the broker', async () => backlog?.look());
  const comparingClocks = every(TEND_MS, 'comparing clocks', () => clocks.look());
  const sweeping = every(SWEEP_MS, 'sweeping', async () => {
    await refusals.sweep(settings.retention.refusalsDays);
    await leases.sweep();
    await sweepCrashes(pool);
    await sweepClaims(pool);
  });
  const summing = every(TEND_MS, 'summing the inbox up', () => sumUpCounts(pool));
  const seeing = has('ingress')
    ? every(
        TEND_MS,
        'looking up what was taken as a duplicate unseen',
        createUnseenChecks({
          pool: work,
          process,
          secret: installation.fingerprintSecret,
          room: unseen,
          filters: generations.filters,
          randomId,
          onSequenced: (rows) => owner.sequenced(rows),
          observe: (seen) => countSeen(told, seen),
        }),
      )
    : async () => undefined;
  let replacedNow = () => {};
  const replaced = new Promise<void>((resolve) => {
    replacedNow = resolve;
  });
  const comparing = every(TEND_MS, 'looking whether a backup was restored', async () => {
    if (!(await isUnchanged(pool, installation))) replacedNow();
  });
  running.onStop(async () => {
    await Promise.all([
      tending(),
      flushing(),
      looking(),
      counting(),
      comparingClocks(),
      sweeping(),
      summing(),
      seeing(),
      comparing(),
    ]);
  });

  const defaultTenant = directory.current().tenantNamed('default');
  if (!defaultTenant) throw new Error('tenant "default" is missing although the configuration names it');
  // Without one that somebody chose, a new one for each start, told only to this machine's own user.
  const adminToken = settings.access.adminToken ?? newToken(randomBytes).text;
  const authentication = new Authentication({
    pool,
    clock,
    random: randomBytes,
    admin: { token: adminToken, tenant: defaultTenant },
  });
  const stopping = new AbortController();
  const say = createSay({ pool, accept, now: clock.now });
  const correct = createCorrect({ pool, say });
  const backfills = createBackfills({ pool, accept, say });
  if (has('ledger')) {
    const sampling = every(TEND_MS, 'writing down figures', createSampling(pool, clock));
    running.onStop(sampling);
    const ledger = createLedger({ pool, say, backfills, now: clock.now, log });
    const chores = [
      every(LEDGER_POLL_MS, 'keeping the ledger', () => ledger.take()),
      every(TEND_MS, 'healing gaps of the ledger', () => ledger.heal()),
      every(CLOSING_MS, 'closing periods', () => ledger.close()),
      every(CLOSING_MS, 'looking at thresholds', () => ledger.notice()),
    ];
    running.onStop(() => together(chores));
    const retaining = every(HOUR, 'dropping what is older than what is kept', async () => {
      await retain({
        pool,
        installation,
        clock,
        steady: clocks.steady,
        log,
        stopping: stopping.signal,
        settings: { contentMs: settings.retention.contentDays * DAY },
        observe: {
          moved: (messages) => told.retention.inc({ what: 'message_moved' }, messages),
          dropped: () => told.retention.inc({ what: 'generation_dropped' }),
          found: (findings) => told.retention.inc({ what: 'fault_found' }, findings),
        },
      });
      const { quarantineDays } = settings.retention;
      if (quarantineDays === undefined || !clocks.steady()) return;
      const dropped = await dropDecided(pool, quarantineDays, stopping.signal);
      told.retention.inc({ what: 'quarantine_dropped' }, dropped);
    });
    const learning = every(LEARN_MS, 'learning from what people decided', () =>
      learnFromDecisions({
        pool,
        viewInPlace: (message) => contentPort.inPlace(message, undefined, 0),
        extractorsOf,
        random: randomBytes,
        monotonic: clock.monotonic,
        log,
        contentMs: settings.retention.contentDays * DAY,
        stopping: stopping.signal,
      }),
    );
    const filling = every(TEND_MS, 'filling the search', () => {
      const until = clock.monotonic() + FILL_MS;
      return fillSearch(
        pool,
        settings.search.kinds,
        freshWords,
        () => stopping.signal.aborted || clock.monotonic() > until,
      );
    });
    running.onStop(() => {
      stopping.abort();
      return together([retaining, learning, filling]);
    });
  }
  const rules = createRulesApart();
  running.onStop(() => rules.close());
  const api = {
    pool,
    rules,
    hostname: host,
    contentOf: async (message: StoredMessage) => contentPort.inPlace(message, undefined, 0),
    extractorsOf,
    partOf: async (message: StoredMessage, view: View, n: number) => {
      const read = await content.part({ raw: message.raw, n, level: levelOf(settings.content.ladder, view) });
      return read.ok ? { name: read.part.name, type: read.part.type, bytes: read.bytes } : undefined;
    },
    safeHtml: async (message: StoredMessage, view: View) => {
      const level = levelOf(settings.content.ladder, view);
      if (level.reader !== 'whole' || level.without.has('html')) return null;
      const read = await content.safeHtml({ raw: message.raw, level });
      return read.ok && read.html !== null ? { html: read.html, blocked: read.blocked } : null;
    },
    notices,
    wake: () => {
      owner.wake();
      bulletin.post(['decided']);
    },
    configurationChanged: async () => {
      await directory.refresh();
      owner.wake();
      bulletin.post(['configured']);
    },
    filters: async () => filterStates(),
    surroundings,
    now: clock.now,
    release: createRelease({ pool, accept, now: clock.now }),
    correct,
    backfills,
    decideHeld: createDecideHeld({ pool, say, correct }),
    rungs: createRungViews(content, settings.content.ladder, (tenant, source) =>
      directory.current().schema(tenant, source),
    ),
    random: randomBytes,
    publicUrl: settings.http.publicUrl ?? null,
    authentication,
    templates: fileURLToPath(new URL('templates', ROOT)),
    assets: fileURLToPath(new URL('public', ROOT)),
  };
  const server = createServer({
    routes: routesOf(),
    assets: [{ path: '/assets', directory: api.assets }],
    ...(has('web') && { problemPage: problemPage(api) }),
    authentication,
    refused: auditRefusals(pool, clock.monotonic, (error) => log.warn({ err: error }, 'a refusal was not audited')),
    log,
    settings: {
      trustedProxies: settings.http.trustedProxies,
      publicUrl: settings.http.publicUrl ?? null,
      maxConnections: settings.http.maxConnections,
    },
  });
  // All doors close at once: none lets anybody in while what came by another is still ending.
  const doors = [
    async () => {
      stopping.abort();
      await server.close(settings.drainSeconds * 1000);
    },
  ];
  running.onStop(() => together(doors));
  const listening = await server.listen(settings.http.listen.host, settings.http.listen.port);
  const http = `http://${urlHost(listening.address)}:${listening.port}`;
  if (baseUrl === '') baseUrl = http;

  const smtp = has('ingress') ? await startMail() : null;
  if (has('ingress')) startQueues();
  let firstLink: string | undefined;
  if (settings.access.adminToken === undefined) {
    await writeClientFile(settings.data, { url: http, token: adminToken, smtp });
    firstLink = await firstOwnerLink(pool, defaultTenant.id, randomBytes, new Date(clock.now()));
  }
  return {
    http,
    smtp,
    firstLink: firstLink === undefined ? null : `${baseUrl}/sign-in/${firstLink}`,
    replaced,
    stop: () => running.stop(),
  };

  function tellOthers(notice: Notice): void {
    if (owner.accompanied()) bulletin.post(notice);
  }

  function startBroker(url: string): Broker {
    const made = new Broker({
      url,
      installation: installation.id,
      heartbeatSeconds: settings.broker.heartbeatSeconds,
      clock,
      random: Math.random,
      notify: (notice) => log.info({ broker: notice }, `broker ${notice.event}`),
    });
    made.start();
    made.onUp(() => owner.wake());
    made.onDead(async (dead) => {
      const noted = await noteDead(pool, dead);
      log.warn({ dead, noted: noted.noted }, 'a consumer gave a delivery up');
      if (noted.noted !== 'voided') return;
      owner.voided(noted.line);
      bulletin.post(['voided', noted.line.tenant, noted.line.target, noted.line.channel]);
    });
    return made;
  }

  async function inlineParts(ready: Ready): Promise<Map<number, Uint8Array>> {
    const parts = new Map<number, Uint8Array>();
    const level = levelOf(settings.content.ladder, ready.view);
    const small = ready.view.parts.filter(({ size }) => size <= INLINE_PART_BYTES).slice(0, MOST_INLINE_PARTS);
    for (const { n } of small) {
      const read = await content.part({ raw: ready.message.raw, n, level });
      if (read.ok) parts.set(n, read.bytes);
    }
    return parts;
  }

  async function onePart({ message, view }: Ready, n: number): Promise<Uint8Array | null> {
    if (message.kind !== 'mail' || !view.parts.some((part) => part.n === n)) return null;
    const read = await content.part({ raw: message.raw, n, level: levelOf(settings.content.ladder, view) });
    if (!read.ok && read.failure === 'unavailable') throw new Error(`part ${n} can not be read now: ${read.reason}`);
    return read.ok ? read.bytes : null;
  }

  async function startMail(): Promise<string> {
    const { smtp } = settings;
    const ingress = await startSmtp({
      accept,
      refuse,
      sources: () => directory.current(),
      postmaster: (domain) => directory.current().postmaster(domain),
      verifyLogin: (_user, password) => verifyLogin(authentication, password),
      clock,
      log,
      settings: {
        host: smtp.listen.host,
        port: smtp.listen.port,
        hostname: host,
        tls: smtp.tls ? { key: readFileSync(smtp.tls.key), cert: readFileSync(smtp.tls.certificate) } : null,
        loopbackLogin: smtp.loopbackLogin,
        maxMessageBytes: smtp.maxMessage,
        maxBufferedBytes: smtp.maxBuffered,
        maxFanOutBytes: smtp.maxFanOut,
        maxRecipients: smtp.maxRecipients,
        maxConnections: smtp.maxConnections,
        maxConnectionsPerPeer: smtp.maxConnectionsPerPeer,
        messagesPerMinute: smtp.maxMessagesPerPeerPerMinute ?? null,
        recipientsPerMinute: smtp.maxRecipientsPerPeerPerMinute ?? null,
        idleMs: smtp.idleSeconds * 1000,
        transactionMs: smtp.transactionSeconds * 1000,
        drainMs: settings.drainSeconds * 1000,
        trusted: { proxies: smtp.trustedProxies, xclient: smtp.trustedXclient },
      },
    });
    doors.push(() => ingress.close());
    return `${urlHost(ingress.address.host)}:${ingress.address.port}`;
  }

  function startQueues(): void {
    const started = startAmqpSources({
      settings,
      pool,
      process,
      secret: installation.fingerprintSecret,
      directory,
      accept,
      forbidden: () => disk?.problem() ?? null,
      inTurns,
      metrics: told,
      clock,
      log,
      every,
    });
    amqp = started;
    doors.push(() => started.close());
  }

  function amqpStandings(): ReturnType<AmqpSources['standings']> {
    return amqp?.standings() ?? [];
  }

  function routesOf(): Route[] {
    const limits = { maxBodyBytes: settings.http.maxBody, maxBytesInFlight: 4 * settings.http.maxBody };
    const sources = () => directory.current();
    const maxEvents = settings.http.maxEventsPerRequest;
    const events = { accept, refuse, sources, clock, inTurns, limits: { ...limits, maxEvents } };
    const ingress: Route[] = has('ingress')
      ? [
          ...eventRoutes(events),
          backfillEventsRoute({ ...events, backfills }),
          ...hookRoutes({
            accept,
            refuse,
            sources,
            clock,
            randomBytes,
            authenticate: (request) => authentication.principal(request.headers, () => request.peer),
            limits,
          }),
        ]
      : [];
    const pulling = pullRoutes({
      store: createPullStore(pool),
      targetNamed: (tenant, name) => directory.current().targetNamed(tenant, name),
      isPulled: ({ definition }) => definition.kind === 'pull' || (definition.kind === 'queue' && broker === null),
      render: createPullRender({
        store,
        directory: () => directory.current(),
        canonical,
        viewInPlace: (message, rung) => contentPort.inPlace(message, undefined, rung),
        render,
      }),
      onPending: pendingNotices.on,
      clock,
      random: randomBytes,
      stopping: stopping.signal,
    });
    return allRoutes(
      { ...api, health: async () => health(), metrics: told.registry, stopping: stopping.signal, version: VERSION },
      [...ingress, ...pulling, ...applyRoutes({ reapply })],
      has('web') ? pageRoutes({ ...api, stopping: stopping.signal }) : [],
    );
  }

  async function reapply(who: string, dryRun: boolean) {
    try {
      const { definitions } = readConfiguration(from);
      const applied = await applyConfiguration(pool, definitions, { who, channels: settings.channel.count, dryRun });
      if (dryRun) return applied;
      await directory.refresh();
      owner.wake();
      bulletin.post(['configured']);
      return applied;
    } catch (error) {
      if (error instanceof ConfigurationInvalid) return { ok: false as const, problems: error.problems };
      throw error;
    }
  }

  async function filterStates() {
    const { asked, maybe, found } = generations.filters.measured();
    const { rows } = await pool.query<{ id: number; opened_at: Date; sealed_at: Date | null }>(
      'select id, opened_at, sealed_at from generation where keys_dropped_at is null',
    );
    return generations.filters.status().map(({ generation, ready, keys, fill }) => {
      const row = rows.find((each) => each.id === generation);
      return {
        generation,
        openedAt: row?.opened_at ?? new Date(clock.now()),
        sealedAt: row?.sealed_at ?? null,
        ready,
        keys,
        fill,
        falsePositives: asked === 0 ? null : Math.max(0, maybe - found) / asked,
      };
    });
  }

  function surroundings(tenant: number): Surroundings {
    return {
      disk: disk?.problem() ?? null,
      broker: broker && { state: broker.state(), problem: broker.problem() },
      clocks: clocks.problems(),
      backlogged: backlog?.isFull(tenant) ?? false,
    };
  }

  async function health() {
    const degraded: string[] = [];
    const full = disk?.problem();
    if (full) degraded.push(full);
    const stored = await pool
      .query('select')
      .then(() => true)
      .catch(() => false);
    if (!stored) degraded.push('the database can not be reached');
    if (broker && broker.state() !== 'up') {
      degraded.push(`the broker is ${broker.state()}: queue deliveries wait${problemOf(broker)}`);
    }
    const idle = amqpStandings().filter(({ standing }) => standing.state === 'down').length;
    if (idle > 0) degraded.push(`${idle} of the sources' queues can not be consumed: see /v1/sources`);
    degraded.push(...clocks.problems());
    const refused = backlog?.full().size ?? 0;
    const tenants = directory.current().tenants().length;
    if (refused > 0) degraded.push(`${refused} of ${tenants} tenants are told to come back: ${BACKLOGGED}`);
    return { accepting: stored && !full && refused < tenants, degraded };
  }

  /** Runs a chore again and again, never twice at once. Answers how to stop it. */
  function every(ms: number, what: string, chore: () => Promise<unknown>): () => Promise<void> {
    const ended = new AbortController();
    const done = (async () => {
      while (!ended.signal.aborted) {
        await chore().catch((error: unknown) => log.warn({ err: error }, `${what} failed; trying again`));
        await pause(ms, undefined, { signal: ended.signal }).catch(() => undefined);
      }
    })();
    return () => {
      ended.abort();
      return done;
    };
  }
}

/** How long a broker that takes connections and says nothing may hold up the start. */
const BROKER_ANSWERS_MS = 5_000;

const BACKLOGGED = 'too much waits for the broker, which is away or in alarm';

/** Parts up to this size go into the message itself where a target asks for that. */
const INLINE_PART_BYTES = 65_536;

/** The project's own directory, seen from where this file is built to. */
const ROOT = new URL('../../', import.meta.url);
const VERSION = (JSON.parse(readFileSync(new URL('package.json', ROOT), 'utf8')) as { version: string }).version;

function problemOf(broker: Broker): string {
  const problem = broker.problem();
  return problem === null ? '' : ` (${problem})`;
}

/** How often each comes. */
function tally<T>(values: Iterable<T>): Map<T, number> {
  const counts = new Map<T, number>();
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1);
  return counts;
}

function countVerdicts(metrics: Metrics, arrivals: Parameters<Accept>[0], verdicts: Awaited<ReturnType<Accept>>): void {
  const counts = new Map<string, { labels: { tenant: string; source: string; verdict: string }; count: number }>();
  verdicts.forEach((said, i) => {
    const { verdict } = said;
    const arrival = arrivals[i];
    if (!arrival) return;
    if (said.verdict === 'duplicate' && said.basis === 'filter') {
      metrics.unseen.inc({ tenant: arrival.tenant.name, source: arrival.source.name, became: 'kept' });
    }
    const labels = { tenant: arrival.tenant.name, source: arrival.source.name, verdict };
    const key = `${labels.tenant}/${labels.source}/${verdict}`;
    if (verdict === 'conflict' || verdict === 'expired') {
      metrics.quarantined.inc({ tenant: labels.tenant, cause: verdict });
    }
    const known = counts.get(key);
    if (known) known.count++;
    else counts.set(key, { labels, count: 1 });
  });
  for (const { labels, count } of counts.values()) metrics.accepted.inc(labels, count);
}

/** What became of what was taken as a duplicate unseen. */
function countSeen(metrics: Metrics, seen: readonly SeenNow[]): void {
  for (const { candidate, became, count } of seen) {
    const labels = { tenant: candidate.arrival.tenant.name, source: candidate.arrival.source.name };
    const copies = became === 'original' ? count - 1 : 0;
    metrics.unseen.inc({ ...labels, became }, count - copies);
    if (copies > 0) metrics.unseen.inc({ ...labels, became: 'duplicate' }, copies);
    if (became === 'original') metrics.unseenValue.inc(labels, Math.abs(Number(candidate.arrival.value)));
  }
}

/** What was not taken now, but may come again. */
function countPushedBack(metrics: Metrics, arrivals: Parameters<Accept>[0], error: unknown): void {
  const why = error instanceof Busy ? 'busy' : error instanceof Backlogged ? 'backlog' : 'unavailable';
  for (const [tenant, count] of tally(arrivals.map((arrival) => arrival.tenant.name))) {
    metrics.pushedBack.inc({ tenant, why }, count);
  }
}

/** An address as it stands in a URL. */
function urlHost(address: string): string {
  return address.includes(':') ? `[${address}]` : address;
}
