import { setTimeout as sleep } from 'node:timers/promises';

const POLL_MS = 10;

/**
 * Waits until `condition` gives something other than false, null or undefined, and resolves to that.
 * Rejects after `withinMs`, naming what was waited for.
 */
export async function until<T>(
  condition: () => T | Promise<T>,
  what: string,
  withinMs = 20_000,
): Promise<Exclude<T, false | null | undefined>> {
  const deadline = performance.now() + withinMs;
  for (;;) {
    const value = await condition();
    if (value !== false && value !== null && value !== undefined) return value as Exclude<T, false | null | undefined>;
    if (performance.now() > deadline) throw new Error(`waited ${withinMs} ms in vain for ${what}`);
    await sleep(POLL_MS);
  }
}
