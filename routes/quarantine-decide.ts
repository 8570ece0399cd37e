import type { Pool } from 'pg';
import type { Principal } from '../src/access/principal.js';
import { type MessageId, messageId, type Place } from '../src/message/id.js';
import type { Tenant } from '../src/message/tenant.js';
import {
  type BulkDone,
  decideLikes,
  decideQuarantined,
  findQuarantined,
  type PoisonWish,
  type PutBack,
  type QuarantineEntry,
  type QuarantineNotDone,
} from '../src/storage/quarantine.js';
import type { Notices } from './notices.js';
import { notFound } from './problem.js';
import { type QuarantineViewDeps, rungNamed, rungsOf } from './quarantine-views.js';
import { Problem } from './route.js';

export interface QuarantineDeps extends QuarantineViewDeps {
  readonly pool: Pool;
  readonly notices: Notices;
  readonly wake: (tenant: number, channel: number) => void;
  readonly now: () => number;
  /**
   * Sequences what an entry holds that is not poison, as a new message of its channel, and marks the entry released,
   * in one transaction. `not_held`: somebody was faster. Rejects with Busy or Unavailable.
   */
  readonly release: (tenant: Tenant, number: number, who: string) => Promise<Place | 'not_held'>;
}

/** What is asked for with poison: one entry's, or all of one crash hash. */
export type Asked =
  | { readonly action: 'discard'; readonly reason?: string | undefined }
  | { readonly action: 'release' }
  | {
      readonly action: 'requeue' | 'delay';
      readonly rung?: string | number | undefined;
      readonly until?: Date | undefined;
      readonly reason?: string | undefined;
    };

export interface Released {
  readonly message: MessageId;
  /** `sequenced`: it is that message. `goes_on`: it was that all the time, and is read soon. */
  readonly how: 'sequenced' | 'goes_on';
}

/** Releases an entry as it is: into its channel as a new message, or poison as no more than its envelope. Throws Problem: 404, 409. */
export async function release(deps: QuarantineDeps, by: Principal, number: number): Promise<Released> {
  const { tenant, who } = by;
  const entry = await findQuarantined(deps.pool, tenant.id, number);
  if (!entry) throw notFound('entry of the quarantine');
  if (entry.cause === 'poison') {
    await decide(deps, by, number, { action: 'release' });
    return { message: entry.of as MessageId, how: 'goes_on' };
  }
  if (entry.state !== 'held') throw changed(entry.state);
  const place = await deps.release(tenant, number, who);
  if (place === 'not_held') throw changed('released or discarded');
  deps.notices.publish(tenant.id, [messageId(place)]);
  return { message: messageId(place), how: 'sequenced' };
}

/** Does what is asked with an entry: poison all of it, others can be discarded. Throws Problem: 404, 409, 422. */
export async function decide(deps: QuarantineDeps, by: Principal, number: number, asked: Asked): Promise<void> {
  const { tenant, who } = by;
  const entry = await findQuarantined(deps.pool, tenant.id, number);
  if (!entry) throw notFound('entry of the quarantine');
  const wish = wishOf(deps, entry.kind, asked);
  const done = await decideQuarantined(deps.pool, tenant.id, number, who, wish);
  if (done.result !== 'done') throw notDone(done);
  if (done.channel === null) return;
  if (wish.action !== 'discard') deps.wake(tenant.id, done.channel);
  else if (entry.of !== null) deps.notices.publish(tenant.id, [entry.of]);
}

/** The same with every held entry of a crash hash, hex. Throws Problem 422. */
export async function decideAll(
  deps: QuarantineDeps,
  { tenant, who }: Principal,
  crash: string,
  asked: Asked,
): Promise<Omit<BulkDone, 'channels'>> {
  // Only mails have one.
  const wish = wishOf(deps, 'mail', asked);
  const { done, skipped, channels } = await decideLikes(deps.pool, tenant.id, crash, who, wish);
  if (wish.action !== 'discard') for (const channel of channels) deps.wake(tenant.id, channel);
  return { done, skipped };
}

/** The rung on which nothing of a message is asked for but what is stored apart from it. */
const AS_IT_IS = 'envelope';
const LONGEST_DELAY_MS = 30 * 24 * 3_600_000;

function wishOf(deps: QuarantineDeps, kind: QuarantineEntry['kind'], asked: Asked): PoisonWish {
  switch (asked.action) {
    case 'discard':
      return { action: 'discard', reason: asked.reason ?? null };
    case 'release':
      return { action: 'release', rung: lowest(deps, kind), from: null, reason: null };
    case 'requeue':
    case 'delay':
      return {
        action: asked.action,
        rung: rungNamed(deps, kind, asked.rung ?? 0),
        from: asked.action === 'delay' ? checkedTime(asked.until, deps.now()) : null,
        reason: asked.reason ?? null,
      };
    default: {
      const never: never = asked;
      return never;
    }
  }
}

/** A configured ladder may lack the rung; then the last one on which anything is read. */
function lowest(deps: QuarantineDeps, kind: QuarantineEntry['kind']): PutBack['rung'] {
  const rungs = rungsOf(deps, kind);
  const rung = rungs.find(({ name }) => name === AS_IT_IS) ?? rungs.at(-1);
  if (!rung) throw new RangeError('a ladder has a rung besides its last');
  return rung;
}

function checkedTime(until: Date | undefined, now: number): Date {
  const from = until?.getTime() ?? Number.NaN;
  if (until && from > now && from <= now + LONGEST_DELAY_MS) return until;
  throw new Problem(422, 'until_invalid', '`until` must be in the future, and within 30 days.');
}

function notDone(not: QuarantineNotDone): Problem {
  switch (not.result) {
    case 'unknown':
      return notFound('entry of the quarantine');
    case 'changed':
      return changed(not.state);
    case 'being_released':
      return new Problem(
        409,
        'being_released',
        'Not done: its release has begun, and it may be a message by now. Release it again: that tells, and sends nothing twice.',
      );
    case 'wrong_cause':
      return new Problem(409, 'wrong_cause', `That can't be done with a ${not.cause} entry: release it.`, {
        cause: not.cause,
      });
    default: {
      const never: never = not;
      return never;
    }
  }
}

function changed(state: string): Problem {
  return new Problem(409, 'decision_changed', `Not done: somebody was faster, and it is ${state} by now.`, { state });
}
