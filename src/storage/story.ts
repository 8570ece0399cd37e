import type { Pool } from 'pg';
import type { Place } from '../message/id.js';
import { type DecisionEntry, decisionsOf } from './decisions.js';
import {
  attemptsOf,
  type DeliveryAttempt,
  type DeliveryEntry,
  deliveriesOfMessage,
  type PlannedRun,
  planned,
} from './deliveries-read.js';

/** One try of reading a message's content. */
export interface ContentAttempt {
  readonly rung: number;
  readonly stage: string;
  readonly try: number;
  readonly started: Date;
  readonly ended: Date | null;
  /** `not_tried`: its like failed while it waited for a child. */
  readonly outcome: 'processed' | 'failed' | 'interrupted' | 'not_tried' | null;
  readonly reason: string | null;
  /** Leaves that were left out for what they did before. */
  readonly blamed: readonly number[];
  /** Which process tried it, by its id, and in which child. */
  readonly process: string;
  readonly child: string | null;
}

/** Everything that is written down about a message beside itself. */
export interface Story {
  readonly plans: readonly PlannedRun[];
  readonly decisions: readonly DecisionEntry[];
  readonly content: readonly ContentAttempt[];
  /** The newest of them, with their tries. */
  readonly deliveries: readonly (DeliveryEntry & { readonly tries: readonly DeliveryAttempt[] })[];
  /** How many older deliveries there are. */
  readonly olderDeliveries: number;
  /** Entries of the quarantine about it: itself, and what came later with its key and other content. */
  readonly held: readonly HeldCopy[];
}

/** An entry of the quarantine that names a message. */
export interface HeldCopy {
  readonly number: number;
  readonly cause: 'conflict' | 'poison';
  readonly state: 'held' | 'released' | 'discarded';
  /** How often the same came, and when first and last. */
  readonly count: number;
  readonly first: Date;
  readonly last: Date;
}

/** Deliveries whose tries are told one by one; a message with more has the rest under `/v1/messages/{id}`. */
const TOLD = 50;

export async function storyOf(pool: Pool, tenant: number, place: Place): Promise<Story> {
  const [plans, decisions, content, deliveries, held] = await Promise.all([
    planned(pool, tenant, place),
    decisionsOf(pool, tenant, place),
    contentAttempts(pool, tenant, place),
    deliveriesOfMessage(pool, tenant, place),
    heldCopies(pool, tenant, place),
  ]);
  const told = await Promise.all(
    deliveries.slice(-TOLD).map(async (delivery) => ({ ...delivery, tries: await attemptsOf(pool, tenant, delivery) })),
  );
  return { plans, decisions, content, deliveries: told, olderDeliveries: deliveries.length - told.length, held };
}

/** Somebody who sends other content under one key again and again makes an entry each. */
const HELD_TOLD = 20;

async function heldCopies(pool: Pool, tenant: number, { channel, sequence }: Place): Promise<HeldCopy[]> {
  const { rows } = await pool.query<HeldCopy>(
    `select number, cause, state, count, arrived_at as first, last_at as last from quarantine
      where tenant = $1 and of_channel = $2 and of_sequence = $3 order by number limit ${HELD_TOLD}`,
    [tenant, channel, sequence],
  );
  return rows;
}

/** No try covers more sequences than this. */
const LARGEST_BATCH = 10_000;

/** The latest tries of a message, in order. */
export async function contentAttempts(
  pool: Pool,
  tenant: number,
  { channel, sequence }: Place,
): Promise<ContentAttempt[]> {
  const { rows } = await pool.query<ContentAttempt>(
    `select rung, stage, try, started, ended, outcome, reason, blamed, process, child from (
       select id, rung, stage, try, started_at as started, ended_at as ended, outcome, reason, blamed, process, child
       from attempt where tenant = $1 and channel = $2 and first_sequence between $3 - ${LARGEST_BATCH} and $3
         and last_sequence >= $3
       order by id desc limit 200) a
     order by id`,
    [tenant, channel, sequence],
  );
  return rows;
}
