import { setTimeout as pause } from 'node:timers/promises';
import type { PoolClient } from 'pg';
import { classify } from './pool.js';

/*
 * Whoever has something done with a message that nothing waited for any more (a replay, an assignment, a second reading)
 * and whoever drops messages that nothing waits for take turns: the first hold this lock shared, the second exclusively.
 */

const KEY = "hashtext('waybill keeping')";

/** Until the end of the transaction no content is dropped: what is there now will be there for what is decided now. */
export async function keepContent(client: PoolClient): Promise<void> {
  await client.query(`select pg_advisory_xact_lock_shared(${KEY})`);
}

/** Until the end of the transaction nobody decides about messages. */
export async function cutContent(client: PoolClient): Promise<void> {
  await client.query(`select pg_advisory_xact_lock(${KEY})`);
}

/** A chore that has to wait for a lock gives way to those who wait behind it this soon, in ms, and is tried again. */
export const LOCK_MS = 250;
const TRIES = 20;
const PAUSE_MS = 250;

/** Runs a transaction of a chore again while others are in its way, for some ten seconds. */
export async function patiently<T>(work: () => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries++) {
    try {
      return await work();
    } catch (error) {
      if (tries === TRIES || classify(error) !== 'repeat') throw error;
      await pause(PAUSE_MS);
    }
  }
}
