import type { Pool } from 'pg';
import type { Finding } from '../delivery/chain.js';
import { fingerprintOf } from '../delivery/checkpoint.js';
import type { Tenant } from '../message/tenant.js';
import { loadInstallation } from './installation.js';
import { lastArrivedBy } from './messages.js';
import { alteredStatements } from './statements.js';
import {
  type Books,
  type ChannelBooks,
  type ChannelReport,
  channelBooks,
  type Stretch,
  verifyChannel,
} from './verify-channel.js';
import { verifyKeys } from './verify-keys.js';

/** What a verification is narrowed to; nothing means all there is. */
export interface VerifyWish {
  readonly channel?: number | undefined;
  /** Sequences, both ends included. */
  readonly from?: number | undefined;
  readonly to?: number | undefined;
  /** What arrived then or later. */
  readonly since?: Date | undefined;
}

export type VerifyEvent =
  | {
      readonly event: 'progress';
      readonly doing: 'messages' | 'keys';
      readonly done: number;
      readonly total: number;
    }
  | ({ readonly event: 'finding' } & Finding)
  | ({ readonly event: 'result' } & VerifyResult);

export interface VerifyResult {
  /** Nothing was found. */
  readonly ok: boolean;
  readonly channels: number;
  readonly messages: number;
  /** Of those, how many have only their hash left because a person had their account erased. */
  readonly erased: number;
  readonly plans: number;
  /** Keys that were compared with their messages. */
  readonly keys: number;
  /** How many there are; the first hundred of each channel are told. */
  readonly findings: number;
  /** Channels of which retention has dropped messages; their plans are held by signed checkpoints. */
  readonly checkpoints: number;
  /** Names the public key that the checkpoints are signed with. */
  readonly signer: string;
}

/**
 * Verifies a tenant's channels one after another, then their keys. What comes in meanwhile is left for the next time. It
 * stops when the generator is left.
 */
export async function* verifyTenant(pool: Pool, tenant: Tenant, wish: VerifyWish): AsyncGenerator<VerifyEvent> {
  const installation = await loadInstallation(pool);
  const books: Books = { pool, installation, tenant };
  const channels = wish.channel === undefined ? Array.from({ length: tenant.channels }, (_, n) => n) : [wish.channel];
  const wanted: { readonly at: ChannelBooks; readonly stretch: Stretch }[] = [];
  for (const channel of channels) {
    const at = await channelBooks(books, channel);
    wanted.push({ at, stretch: await stretchOf(books, at, wish) });
  }
  const total = wanted.reduce((sum, { at, stretch }) => sum + lengthOf(at, stretch), 0);
  const sum = { messages: 0, erased: 0, plans: 0, findings: 0, checkpoints: 0 };
  let done = 0;
  for (const { at, stretch } of wanted) {
    const before = done;
    const reading = verifySettled(books, at, stretch);
    let next = await reading.next();
    for (; !next.done; next = await reading.next()) {
      done = Math.min(done + next.value, before + lengthOf(at, stretch));
      yield { event: 'progress', doing: 'messages', done, total };
    }
    done = before + lengthOf(at, stretch);
    const report = next.value;
    for (const finding of report.findings) yield { event: 'finding', ...finding };
    sum.messages += report.messages;
    sum.erased += report.erased;
    sum.plans += report.plans;
    sum.findings += report.found;
    sum.checkpoints += at.checkpoint ? 1 : 0;
  }
  const keys = yield* verifiedKeys(books, wanted);
  for (const finding of keys.findings) yield { event: 'finding', ...finding };
  const all =
    wish.channel === undefined && wish.from === undefined && wish.to === undefined && wish.since === undefined;
  const altered = all ? await alteredStatements(pool, tenant.id) : [];
  for (const { account, from, channel } of altered) {
    const detail = `The statement of ${account} from ${from.toISOString()} on is not the text that its hash is of.`;
    yield { event: 'finding', code: 'statement_altered', channel, message: null, plan: null, detail };
  }
  const findings = sum.findings + keys.found + altered.length;
  const signer = fingerprintOf(installation.signingKey);
  yield { event: 'result', ok: findings === 0, channels: channels.length, ...sum, findings, keys: keys.keys, signer };
}

/** How often a channel is looked at again because retention dropped part of it meanwhile. */
const MOST_AGAIN = 3;

/** What retention drops while a channel is being looked at would be found missing: then it is looked at again. */
async function* verifySettled(
  books: Books,
  begun: ChannelBooks,
  stretch: Stretch,
): AsyncGenerator<number, ChannelReport> {
  let at = begun;
  for (let again = 0; ; again++) {
    const report = yield* verifyChannel(books, at, stretch);
    const now = await channelBooks(books, at.channel);
    const same = now.checkpoint?.generation === at.checkpoint?.generation;
    if (report.found === 0 || same || again === MOST_AGAIN) return report;
    at = now;
  }
}

async function stretchOf(books: Books, at: ChannelBooks, wish: VerifyWish): Promise<Stretch> {
  const { from, to, since } = wish;
  if (from === undefined && to === undefined && since === undefined) return { of: 'all' };
  const first = Math.max(from ?? 1, since === undefined ? 1 : await firstSince(books, at, since));
  return { of: 'range', from: first, to: Math.min(to ?? at.last, at.last) };
}

/** Messages arrive in another order than they are numbered in, by less than this. */
const SLACK_MS = 600_000;

async function firstSince({ pool, tenant }: Books, { channel, last }: ChannelBooks, since: Date): Promise<number> {
  const before = await lastArrivedBy(pool, tenant.id, new Date(since.getTime() - SLACK_MS), [
    { channel, last, planned: 0 },
  ]);
  return (before.get(channel) ?? 0) + 1;
}

/** Messages of it that are stored, but for those that retention moved on. */
function lengthOf(at: ChannelBooks, stretch: Stretch): number {
  const kept = at.checkpoint?.planned ?? 0;
  const first = stretch.of === 'range' ? Math.max(stretch.from, kept + 1) : kept + 1;
  const last = stretch.of === 'all' ? at.last : Math.min(stretch.to, at.last);
  return Math.max(0, last - first + 1);
}

async function* verifiedKeys(
  books: Books,
  wanted: readonly { readonly at: ChannelBooks; readonly stretch: Stretch }[],
): AsyncGenerator<VerifyEvent, { findings: readonly Finding[]; found: number; keys: number }> {
  const sequences = wanted.map(({ at, stretch }) => ({
    channel: at.channel,
    first: stretch.of === 'range' ? stretch.from : 1,
    last: stretch.of === 'all' ? at.last : stretch.to,
  }));
  const total = wanted.reduce((sum, { at, stretch }) => sum + lengthOf(at, stretch), 0);
  const reading = verifyKeys(books, sequences);
  let done = 0;
  let next = await reading.next();
  for (; !next.done; next = await reading.next()) {
    done = Math.min(done + next.value, total);
    yield { event: 'progress', doing: 'keys', done, total };
  }
  return next.value;
}
