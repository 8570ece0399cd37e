import { randomBytes } from 'node:crypto';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Pool } from 'pg';
import type { Logger } from 'pino';
import { reconnectWait } from '../broker/backoff.js';
import { openReading } from '../broker/reading.js';
import { Room } from '../channel/room.js';
import type { AmqpSource, Source } from '../channel/source.js';
import type { Settings } from '../config/schema.js';
import { startAmqp } from '../ingress/amqp/amqp.js';
import type { QueueLink, Standing } from '../ingress/amqp/consumer.js';
import type { InTurns } from '../ingress/events/turns.js';
import type { Clock } from '../message/clock.js';
import { type Accept, Unavailable } from '../message/verdict.js';
import type { Metrics } from '../observe/metrics.js';
import type { Directory } from '../storage/directory.js';
import { createHealthLog } from '../storage/source-health.js';
import { createQuarantine } from '../storage/undecodable.js';

export interface AmqpSources {
  standings(): { readonly source: Source<AmqpSource>; readonly standing: Standing }[];
  close(): Promise<void>;
}

/**
 * Most seconds between heartbeats. A process that has frozen is cut off by its broker after two to three of them, and only
 * then another one gets the queue, with what the first had in hand before everything else.
 */
const HEARTBEAT_SECONDS = 5;
const TELL_MS = 1_000;

/** Consumes the queues of all AMQP sources, and follows their definitions. */
export function startAmqpSources(deps: {
  readonly settings: Settings;
  readonly pool: Pool;
  readonly process: string;
  readonly secret: Uint8Array;
  readonly directory: Directory;
  readonly accept: Accept;
  /** Why nothing may be stored just now, as a sentence; null when it may. */
  readonly forbidden: () => string | null;
  readonly inTurns: InTurns;
  readonly metrics: Metrics;
  readonly clock: Clock;
  readonly log: Logger;
  /** Runs a chore again and again; answers how to stop it. */
  readonly every: (ms: number, what: string, chore: () => Promise<unknown>) => () => Promise<void>;
}): AmqpSources {
  const { settings, pool, directory, metrics, log } = deps;
  const keep = createQuarantine(pool, deps.secret);
  const health = createHealthLog(pool, deps.process, log);

  const ingress = startAmqp({
    sources: () => directory.current().amqp(),
    open,
    accept: deps.accept,
    quarantine: async (entries) => {
      const reason = deps.forbidden();
      if (reason !== null) throw new Unavailable(reason);
      await keep(entries);
      for (const { tenant, source } of entries) {
        metrics.undecodable.inc({ tenant: tenant.name, source: source.name });
        metrics.quarantined.inc({ tenant: tenant.name, cause: 'undecodable' });
      }
    },
    storing: async () =>
      deps.forbidden() === null &&
      (await pool.query('select').then(
        () => true,
        () => false,
      )),
    room: new Room(settings.amqp.maxBuffered),
    maxBytes: settings.amqp.maxMessage,
    maxEvents: settings.http.maxEventsPerRequest,
    inTurns: deps.inTurns,
    randomBytes,
    nextTurn,
    clock: deps.clock,
    wait: (failures) => reconnectWait(failures, Math.random()),
    random: Math.random,
    drainMs: settings.drainSeconds * 1000,
    report: (source, standing) => {
      log.info({ tenant: source.tenant.name, source: source.name, ...standing }, `AMQP source ${standing.state}`);
      health.note(source.tenant.id, source.id, standing);
    },
  });
  const unfollow = directory.onChange(() => ingress.follow());
  const quiet = deps.every(TELL_MS, 'telling how sources are doing', () => health.flush());

  function open({ tenant, name, definition }: Source<AmqpSource>): QueueLink {
    const url = definition.url ?? settings.broker.url;
    if (url === undefined) return NO_BROKER;
    return openReading({
      url,
      heartbeatSeconds: Math.min(settings.broker.heartbeatSeconds, HEARTBEAT_SECONDS),
      random: Math.random,
      notify: (notice) => log.info({ tenant: tenant.name, source: name, broker: notice }, `broker ${notice.event}`),
    });
  }

  return {
    standings: () => ingress.standings(),
    async close() {
      unfollow();
      await ingress.close();
      await quiet();
    },
  };
}

const NO_BROKER: QueueLink = {
  current: () => null,
  problem: () => 'none is configured: set AMQP_URL, or the `url` of the source',
  onUp: () => () => undefined,
  close: async () => undefined,
};
