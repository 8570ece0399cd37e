import type { Pool } from 'pg';
import type { Clock } from '../message/clock.js';
import { SHORT_STEP } from '../overview/series.js';
import { takeSample } from '../storage/samples.js';

/** To be called every second: asks the database once in ten seconds, soon after they have begun. */
export function createSampling(pool: Pool, clock: Pick<Clock, 'now'>): () => Promise<void> {
  let last = Number.NaN;
  return async () => {
    const now = clock.now();
    const slot = Math.floor(now / SHORT_STEP);
    if (slot === last) return;
    await takeSample(pool, now);
    last = slot;
  };
}
