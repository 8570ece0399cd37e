import type { Pool } from 'pg';
import type { Logger } from 'pino';
import { LEDGER_SOURCE, LEDGER_TYPES } from '../billing/correction.js';
import type { Subscription } from '../billing/definitions.js';
import { Exact } from '../billing/exact.js';
import { messageId } from '../message/id.js';
import type { Tenant } from '../message/tenant.js';
import { alarmBackfills } from '../storage/backfills.js';
import { alarmGaps, lostGaps } from '../storage/gaps.js';
import { type Book, Ledger } from '../storage/ledger.js';
import { knownNotices, noteNotice } from '../storage/notices.js';
import {
  closePeriod,
  contractsOf,
  markSent,
  nextPeriod,
  periodOf,
  subscribed,
  unsentStatements,
} from '../storage/statements.js';
import { liveBook, seriesOf, usage } from '../storage/usage.js';
import type { BackfillChores } from './backfills.js';
import type { Say } from './ledger-messages.js';

export interface LedgerDeps {
  readonly pool: Pool;
  readonly say: Say;
  readonly backfills: Pick<BackfillChores, 'finish'>;
  readonly now: () => number;
  readonly log: Logger;
}

/** Channels worked on at the same time: while one batch is with the database, another one is read. */
const AT_ONCE = 2;
const DUE = 64;
const HOUR = 3_600_000;
/** A gap that has been open for so long is somebody's business. */
const ALARM_AFTER_MS = HOUR;
const MOST_GAPS = 1_000;
const SUBSCRIBED = 500;

/** The chores of a process with the role `ledger`. Each may be repeated, and several processes may do them at once. */
export interface LedgerChores {
  /** Takes what plans say until nothing is left. */
  take(): Promise<void>;
  /** Asks again for what was lost, goes on with what was cut off, and says what has been open for long. */
  heal(): Promise<void>;
  /** Makes statements final whose time has come, and sends those that have a target. */
  close(): Promise<void>;
  /** Says how much of an allowance has been used. */
  notice(): Promise<void>;
}

export function createLedger(deps: LedgerDeps): LedgerChores {
  const ledger = new Ledger({ pool: deps.pool });
  return {
    async take() {
      for (let due = await ledger.due(DUE); due.length > 0; due = await ledger.due(DUE)) {
        const taken = await Promise.all(lanes(due, AT_ONCE).map((lane) => takeAll(ledger, lane, deps.log)));
        // What another process is at is due as well.
        if (!taken.some((some) => some)) return;
      }
    },
    async heal() {
      for (const { place, sequences } of await lostGaps(deps.pool, MOST_GAPS)) await ledger.ask(place, sequences);
      for (const { tenant, channel, count } of await alarmGaps(deps.pool, ALARM_AFTER_MS))
        deps.log.error(
          { tenant, channel, gaps: count },
          'the ledger has gaps that do not heal: see waybill ledger gaps',
        );
      await deps.backfills.finish();
      for (const { tenant, backfill } of await alarmBackfills(deps.pool))
        deps.log.error({ tenant, backfill }, 'a backfill has been open for a week: close or revert it');
    },
    async close() {
      await eachSubscribed(deps.pool, (tenant, account, subscription) => closeDue(deps, tenant, account, subscription));
      await sendStatements(deps);
    },
    async notice() {
      await eachSubscribed(deps.pool, async (tenant, account, subscription) => {
        if (subscription.thresholds.length > 0) await noticeThresholds(deps, tenant, account, subscription);
      });
    },
  };
}

function lanes<T>(items: readonly T[], count: number): T[][] {
  const all: T[][] = Array.from({ length: count }, () => []);
  for (const [i, item] of items.entries()) all[i % count]?.push(item);
  return all;
}

/** One channel that can't be taken holds up no other. */
async function takeAll(ledger: Ledger, places: readonly Book[], log: Logger): Promise<boolean> {
  let some = false;
  for (const place of places) {
    try {
      const taken = await ledger.take(place);
      some ||= taken !== null;
    } catch (error) {
      log.warn({ err: error, ...place }, 'the ledger could not take what a channel has; trying again');
    }
  }
  return some;
}

async function eachSubscribed(
  pool: Pool,
  fn: (tenant: Tenant, account: string, subscription: Subscription) => Promise<void>,
): Promise<void> {
  for (let after = { tenant: 0, account: '' }; ; ) {
    const page = await subscribed(pool, after, SUBSCRIBED);
    for (const { tenant, account, subscription } of page) await fn(tenant, account, subscription);
    const last = page.at(-1);
    if (!last || page.length < SUBSCRIBED) return;
    after = { tenant: last.tenant.id, account: last.account };
  }
}

/** All periods whose time has come, in their order; a gap stops them until it heals or a person takes it as it is. */
async function closeDue(
  { pool, now, log }: LedgerDeps,
  tenant: Tenant,
  account: string,
  { graceHours, zone, until }: Subscription,
): Promise<void> {
  const contracts = await contractsOf(pool, tenant.id, account);
  for (;;) {
    const period = await nextPeriod(pool, tenant.id, account, contracts);
    const ended = until !== undefined && period.from >= periodOf(contracts, Date.parse(`${until}T00:00:00Z`)).to;
    if (ended || now() < period.to + graceHours * HOUR) return;
    const closed = await closePeriod(pool, tenant, account, period, {
      who: LEDGER_SOURCE,
      now: now(),
      graceMs: graceHours * HOUR,
      incomplete: false,
    });
    if (closed.result !== 'final') return;
    log.info({ tenant: tenant.name, period: period.name, zone, hash: closed.hash }, 'a statement is final');
  }
}

/** As a message of the account's channel, sequenced once: however often it is tried, its target gets one. */
async function sendStatements({ pool, say }: LedgerDeps): Promise<void> {
  for (const { tenant, account, from, target, body, hash } of await unsentStatements(pool, SUBSCRIBED)) {
    const identity = `statement\0${account}\0${from.toISOString()}`;
    const id = `statement-${from.toISOString()}`;
    const head = { specversion: '1.0', id, source: LEDGER_SOURCE, type: LEDGER_TYPES.statement, subject: account };
    const text = `${JSON.stringify(head).slice(0, -1)},"data":{"target":${JSON.stringify(target)},"hash":"${hash}","statement":${body}}}`;
    const { place } = await say(tenant, { account, type: LEDGER_TYPES.statement, identity, time: null, text });
    await markSent(pool, tenant.id, account, from, messageId(place));
  }
}

async function noticeThresholds(
  { pool, say, now }: LedgerDeps,
  tenant: Tenant,
  account: string,
  { thresholds, target }: Subscription,
): Promise<void> {
  const period = periodOf(await contractsOf(pool, tenant.id, account), now());
  const known = await knownNotices(pool, tenant.id, account, period.from);
  for (const { meter, of, percent } of thresholds) {
    if (percent.every((each) => known.has(`${meter} ${each}`))) continue;
    const series = await seriesOf(pool, tenant.id, account, meter);
    const [first] = series;
    if (!first) continue;
    const place = { tenant: tenant.id, book: await liveBook(pool, tenant.id), channel: first.channel };
    const ids = series.map(({ id }) => id);
    const [found] = await usage(pool, place, [{ series: ids, aggregation: first.aggregation, ...period }]);
    const used = new Exact(found?.quantity ?? 0);
    for (const each of percent) {
      if (known.has(`${meter} ${each}`) || used.times(100).lt(new Exact(of).times(each))) continue;
      const type = LEDGER_TYPES.threshold;
      const id = `threshold-${period.name}-${meter}-${each}`;
      const data = { target: target ?? null, meter, percent: each, of, used: used.toFixed(), period: period.name };
      const text = JSON.stringify({ specversion: '1.0', id, source: LEDGER_SOURCE, type, subject: account, data });
      await say(tenant, { account, type, identity: `${id}\0${account}`, time: null, text });
      await noteNotice(pool, tenant.id, account, period.from, meter, each);
    }
  }
}
