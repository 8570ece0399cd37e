import { randomInt, randomUUID } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import type { Pool } from 'pg';
import { createThreadPort } from '../../src/app/threads.js';
import { createAccepter } from '../../src/channel/accept.js';
import { accountHash, channelOf } from '../../src/channel/partition.js';
import { type Target, targetDefinitionSchema } from '../../src/delivery/target.js';
import type { Arrival } from '../../src/message/arrival.js';
import type { SendResult } from '../../src/message/delivery.js';
import type { Tenant } from '../../src/message/tenant.js';
import { EMPTY_VIEW } from '../../src/message/view.js';
import { createCrashes } from '../../src/owner/crashes.js';
import { createOwner } from '../../src/owner/owner.js';
import type { OwnerDirectory } from '../../src/owner/state.js';
import { canonicalMessage } from '../../src/routing/canonical.js';
import { createCommit } from '../../src/storage/accept.js';
import { type Generations, openGenerations } from '../../src/storage/generations.js';
import { createLeaseStore } from '../../src/storage/lease.js';
import { createOwnerStore } from '../../src/storage/owner.js';
import { insertTenant, testSecret } from './arrivals.js';
import { realClock } from './clock.js';
import { silent } from './log.js';
import { outgoingOf } from './outgoing.js';
import { until } from './until.js';

/*
 * A tenant whose books are kept by the product's own accepter and owner, within the test's process. By its account a
 * message goes to the queue `erp` (taken at once), to `shelf` (pulled, so it waits), or to the inbox.
 */

const DAY = 86_400_000;

export interface Keeper {
  readonly tenant: Tenant;
  readonly source: number;
  /** Target ids. */
  readonly erp: number;
  readonly shelf: number;
  readonly generations: Generations;
  /** An account of this channel that goes where its name says. */
  account(kind: 'erp' | 'shelf' | 'inbox', channel: number): string;
  /** Those of an account whose ids begin with `thread` are one conversation. */
  arrival(id: string, account: string): Arrival;
  /** Accepts one message for each id, each in a plan of its own, and waits until nothing is under way. */
  take(account: string, ...ids: string[]): Promise<void>;
  accept(arrivals: readonly Arrival[]): Promise<unknown>;
  /** Until everything that came is planned, and nothing is sent whose outcome is not written. */
  settled(): Promise<void>;
  wake(): void;
  /** Makes every sealed generation so many days older, and drops the keys that are old enough. */
  age(days: number): Promise<void>;
  /** From now on what is accepted is planned by nobody. */
  stopOwner(): Promise<void>;
  /** Another process after this one. */
  again(): Promise<Keeper>;
  stop(): Promise<void>;
}

/** What is there before a process starts. */
interface Site {
  readonly pool: Pool;
  readonly tenant: Tenant;
  readonly source: number;
  readonly targets: readonly [Target, Target];
  readonly secret: Buffer;
}

export async function keepBooks(pool: Pool, channels = 2): Promise<Keeper> {
  const tenant = await insertTenant(pool, 'one', channels);
  const { rows } = await pool.query<{ id: number }>(
    `insert into source (tenant, name, kind, definition, managed_by) values ($1, 'feed', 'events', '{"kind":"events"}', 'api')
     returning id`,
    [tenant.id],
  );
  const source = rows[0]?.id as number;
  const targets = [
    await insertTarget(pool, tenant, 'erp', { kind: 'queue' }),
    await insertTarget(pool, tenant, 'shelf', { kind: 'pull' }),
  ] as const;
  return startKeeper({ pool, tenant, source, targets, secret: testSecret() });
}

async function startKeeper(site: Site): Promise<Keeper> {
  const { pool, tenant, source, targets, secret } = site;
  const process = randomUUID();
  const owner = createOwner({
    process,
    name: 'test',
    roles: ['owner'],
    owns: true,
    epoch: 1,
    store: createOwnerStore(pool, process, 1),
    leases: createLeaseStore(pool, process, 1),
    crashes: createCrashes([], () => undefined),
    threads: createThreadPort(secret, () => THREADED),
    content: {
      slots: 1,
      parsedOf: () => undefined,
      inPlace: (message) => ({ ...EMPTY_VIEW, data: JSON.parse(Buffer.from(message.raw).toString() || 'null') }),
      parse: async (raw) => ({ ok: true, child: null, view: { ...EMPTY_VIEW, text: Buffer.from(raw).toString() } }),
      tryMs: 3_000,
      crashHash: () => Buffer.alloc(32),
      afterInterruptions: (_kind, place) => place,
      isPoison: () => false,
    },
    directory: () => directoryOf(tenant, targets),
    senderOf: (target) =>
      target.name === 'erp'
        ? {
            send: async (batch) => batch.map((): SendResult => ({ result: 'delivered', answer: null })),
            close: nothing,
          }
        : null,
    render: (target, ready, delivery) => outgoingOf(tenant.name, target, ready, delivery),
    canonical: (message, names, view, parsed) =>
      canonicalMessage(message, { ...names, hostname: 'mx.example.com', extractors: [] }, view, parsed),
    afterTry: () => ({ becomes: { state: 'delivered' }, pause: null }),
    clock: realClock,
    log: silent,
    settings: {
      beatMs: 500,
      lostAfterMs: 4000,
      pollMs: 50,
      parkAfterMs: 1000,
      roundRows: 200,
      roundBytes: 1 << 22,
      handoverBytes: 1 << 20,
      maxUnconfirmed: 1000,
      maxUnconfirmedBytes: 1 << 24,
      dispatchBytes: 1 << 24,
    },
    observe: {
      planned: nothing,
      viewed: nothing,
      pending: nothing,
      paused: nothing,
      settled: nothing,
      attempts: nothing,
      quarantined: nothing,
      given: nothing,
      foreign: nothing,
    },
  });
  await owner.start();
  const settings = { windowMs: 35 * DAY, futureMs: DAY, expectedKeys: 1000, cacheDirectory: null };
  const generations = await openGenerations({ pool, settings, clock: realClock, log: silent });
  const accepter = createAccepter({
    commit: createCommit(pool, process),
    filters: generations.filters,
    secret,
    clock: realClock,
    settings: {
      maxBatchRows: 500,
      maxBatchBytes: 1 << 22,
      secondLaneRows: 1,
      maxWaitingRows: 100_000,
      maxWaitingBytes: 1 << 26,
      window: { pastMs: 1e10, futureMs: 1e8 },
      patienceMs: 1000,
    },
    onSequenced: (sequenced) => owner.sequenced(sequenced),
    randomId: () => randomInt(1, 2 ** 47),
    pause: (ms) => pause(ms),
  });

  async function settled(): Promise<void> {
    await until(async () => {
      const under = await pool.query<{ left: number }>(
        `select (select sum(c.last_sequence - r.planned) from channel c join reader r using (tenant, channel))
           + (select count(*) from plan where open) + (select count(*) from decision where plan is null)
           + (select count(*) from standing where state = 'parked') as left`,
      );
      return Number(under.rows[0]?.left) === 0;
    }, 'the books to be settled');
  }

  let stopped = false;
  let stoppedOwner = false;
  const keeper: Keeper = {
    tenant,
    source,
    erp: targets[0].id,
    shelf: targets[1].id,
    generations,
    account(kind, channel) {
      for (let n = 0; ; n++)
        if (channelOf(accountHash(`${kind} ${n}`), tenant.channels) === channel) return `${kind} ${n}`;
    },
    arrival: (id, account) => ({
      tenant,
      source: { id: source, name: 'feed' },
      kind: 'event',
      account,
      type: 'usage',
      externalId: id,
      value: '1.50',
      eventTime: null,
      arrivedAt: Date.now(),
      peer: 'token test',
      meta: JSON.stringify({ headers: { from: account } }),
      identity: Buffer.from(id),
      digest: '\x01'.repeat(16),
      onOtherContent: 'conflict',
      raw: Buffer.from(JSON.stringify({ id, account, ...(id.startsWith('thread') && { thread: account }) })),
    }),
    async take(account, ...ids) {
      for (const id of ids) {
        await accepter.accept([keeper.arrival(id, account)]);
        await settled();
      }
    },
    accept: (arrivals) => accepter.accept(arrivals),
    settled,
    wake: () => owner.wake(),
    async age(days) {
      await pool.query(
        'update generation set last_arrival = last_arrival - make_interval(days => $1) where sealed_at is not null',
        [days],
      );
      await generations.tend();
    },
    async stopOwner() {
      if (!stoppedOwner) await owner.stop();
      stoppedOwner = true;
    },
    async again() {
      await keeper.stop();
      return startKeeper(site);
    },
    async stop() {
      if (stopped) return;
      stopped = true;
      await accepter.close();
      await keeper.stopOwner();
    },
  };
  return keeper;
}

const THREADED = { threadKey: () => '/data/thread', extractors: () => [], accountIsRecipient: () => true };

function nothing(): never {
  return undefined as never;
}

async function insertTarget(pool: Pool, tenant: Tenant, name: string, definition: { kind: string }): Promise<Target> {
  const { rows } = await pool.query<{ id: number }>(
    `insert into target (tenant, name, kind, definition, managed_by) values ($1, $2, $3, $4, 'api') returning id`,
    [tenant.id, name, definition.kind, definition],
  );
  const id = rows[0]?.id as number;
  return { id, name, tenant, definition: targetDefinitionSchema.parse(definition), paused: null };
}

function directoryOf(tenant: Tenant, targets: readonly Target[]): OwnerDirectory {
  return {
    tenant: () => tenant,
    sourceName: () => 'feed',
    rules: () => ({
      version: 1,
      decide: ({ account }) => {
        const [kind = ''] = account.split(' ');
        return kind === 'inbox'
          ? { rules: [], outcome: { do: 'wait' } }
          : { rules: [kind], outcome: { do: 'deliver', targets: [kind] } };
      },
    }),
    target: (_, wanted) => targets.find((target) => target.id === wanted),
    targetNamed: (_, name) => targets.find((target) => target.name === name),
    targets: () => targets,
    automatic: () => null,
  };
}
