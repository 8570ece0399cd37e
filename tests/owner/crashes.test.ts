import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { TOP } from '../../src/message/view.js';
import { type Crashes, createCrashes } from '../../src/owner/crashes.js';
import type { Crash } from '../../src/owner/ports.js';

const hashOf = (n: number) => Buffer.alloc(32, n.toString(36).padStart(8, '0'));
const crash = (n: number, rung = 6, tenant = 1): Crash => ({
  tenant,
  hash: hashOf(n),
  place: { rung, blamed: [2], deaths: 1, interruptions: 2 },
});
const nothing = () => undefined;

/** A try that ends when it is told how. */
function tryOf(crashes: Crashes, n: number, tenant = 1): { end(well: boolean): void; fail(): void } {
  let end: (well: boolean) => void = nothing;
  let fail: () => void = nothing;
  const outcome = new Promise<boolean>((resolve, reject) => {
    end = resolve;
    fail = () => reject(new Error('the process ends'));
  });
  crashes.trying(tenant, hashOf(n), outcome);
  return { end, fail };
}

async function isSettled(promise: Promise<void> | null): Promise<boolean> {
  const open = {};
  // What is settled goes before what follows some turns of the loop later.
  const turns = new Promise((resolve) => setImmediate(() => resolve(open)));
  return (await Promise.race([promise, turns])) !== open;
}

describe('mails whose like failed', () => {
  it('are tried where the last of them came down to', () => {
    const crashes = createCrashes([], nothing);
    expect(crashes.placeOf(1, hashOf(1))).toBe(TOP);
    crashes.note(crash(1, 6));
    expect(crashes.placeOf(1, hashOf(1))).toEqual({ ...crash(1, 6).place, interruptions: 0 });
    crashes.note(crash(1, 8));
    expect(crashes.placeOf(1, hashOf(1)).rung).toBe(8);
  });

  it('are known from other processes, and not written down again', () => {
    const kept: Crash[] = [];
    const crashes = createCrashes([], (one) => void kept.push(one));
    crashes.note(crash(1, 8));
    crashes.learn([crash(1, 6), crash(2, 6)]);
    expect(crashes.placeOf(1, hashOf(1)).rung).toBe(8);
    expect(crashes.placeOf(1, hashOf(2)).rung).toBe(6);
    expect(kept).toHaveLength(1);
  });

  it('are another tenant’s own business', () => {
    const crashes = createCrashes([], nothing);
    crashes.note(crash(1, 6, 1));
    expect(crashes.placeOf(2, hashOf(1))).toBe(TOP);
    tryOf(crashes, 1, 1);
    expect(crashes.twinEnded(2, hashOf(1))).toBeNull();
  });

  it('are kept for the next process, which knows them from the start', () => {
    const kept: Crash[] = [];
    const crashes = createCrashes([], (each) => kept.push(each));
    crashes.note(crash(1));
    crashes.note(crash(2, 7));
    expect(kept).toEqual([crash(1), crash(2, 7)]);
    const next = createCrashes(kept, (each) => kept.push(each));
    expect([1, 2, 3].map((n) => next.placeOf(1, hashOf(n)).rung)).toEqual([6, 7, 0]);
    expect(kept).toHaveLength(2);
  });

  it('are known of where the first of the known is the newest', () => {
    const crashes = createCrashes([crash(1, 8), crash(1, 6)], nothing);
    expect(crashes.placeOf(1, hashOf(1)).rung).toBe(8);
  });

  it('are bounded: the oldest is forgotten', () => {
    const crashes = createCrashes([], nothing);
    for (let n = 0; n <= 10_000; n++) crashes.note(crash(n));
    expect(crashes.placeOf(1, hashOf(0))).toBe(TOP);
    expect(crashes.placeOf(1, hashOf(1)).rung).toBe(6);
    expect(crashes.placeOf(1, hashOf(10_000)).rung).toBe(6);
  });

  it('are remembered as long as they are asked for', () => {
    const crashes = createCrashes([], nothing);
    for (let n = 0; n <= 10_000; n++) {
      crashes.placeOf(1, hashOf(0));
      crashes.note(crash(n));
    }
    expect(crashes.placeOf(1, hashOf(0)).rung).toBe(6);
    expect(crashes.placeOf(1, hashOf(1))).toBe(TOP);
  });

  it('are bounded in what is known from the start as well, and the newest stay', () => {
    const known = Array.from({ length: 10_001 }, (_, n) => crash(n));
    const crashes = createCrashes(known, nothing);
    expect(crashes.placeOf(1, hashOf(0)).rung).toBe(6);
    expect(crashes.placeOf(1, hashOf(10_000))).toBe(TOP);
  });
});

describe('mails that are being tried', () => {
  it('have their twins wait until that ends, and no others', async () => {
    const crashes = createCrashes([], nothing);
    const first = tryOf(crashes, 1);
    expect(crashes.twinEnded(1, hashOf(2))).toBeNull();
    const waiting = crashes.twinEnded(1, hashOf(1));
    expect(waiting).not.toBeNull();
    expect(await isSettled(waiting)).toBe(false);
    first.end(false);
    await waiting;
    expect(crashes.twinEnded(1, hashOf(1))).toBeNull();
  });

  it('have no twin wait once one of them went well', async () => {
    const crashes = createCrashes([], nothing);
    const first = tryOf(crashes, 1);
    const waiting = crashes.twinEnded(1, hashOf(1));
    first.end(true);
    await waiting;
    tryOf(crashes, 1);
    expect(crashes.twinEnded(1, hashOf(1))).toBeNull();
  });

  it('have twins wait again when they went well only further down', async () => {
    const crashes = createCrashes([crash(1)], nothing);
    tryOf(crashes, 1).end(true);
    await crashes.twinEnded(1, hashOf(1));
    tryOf(crashes, 1);
    expect(crashes.twinEnded(1, hashOf(1))).not.toBeNull();
  });

  it('are no longer harmless when one of them fails after all', async () => {
    const crashes = createCrashes([], nothing);
    tryOf(crashes, 1).end(true);
    await crashes.twinEnded(1, hashOf(1));
    crashes.note(crash(1));
    tryOf(crashes, 1);
    expect(crashes.twinEnded(1, hashOf(1))).not.toBeNull();
    expect(crashes.placeOf(1, hashOf(1)).rung).toBe(6);
  });

  it('let their twins go on when nothing is known of their end', async () => {
    const crashes = createCrashes([], nothing);
    const first = tryOf(crashes, 1);
    const waiting = crashes.twinEnded(1, hashOf(1));
    first.fail();
    await expect(waiting).resolves.toBeUndefined();
    expect(crashes.twinEnded(1, hashOf(1))).toBeNull();
    expect(crashes.placeOf(1, hashOf(1))).toBe(TOP);
  });

  it('leave the wait for another of them alone when they end', async () => {
    const crashes = createCrashes([], nothing);
    const first = tryOf(crashes, 1);
    const waiting = crashes.twinEnded(1, hashOf(1));
    const second = tryOf(crashes, 1);
    first.end(false);
    await waiting;
    const still = crashes.twinEnded(1, hashOf(1));
    expect(await isSettled(still)).toBe(false);
    second.end(false);
    await still;
    expect(crashes.twinEnded(1, hashOf(1))).toBeNull();
  });

  it('leave nothing behind that waits, in whatever order they end', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.nat(3), fc.boolean()), { maxLength: 20 }),
        fc.scheduler(),
        async (each, s) => {
          const crashes = createCrashes([], nothing);
          for (const [n, well] of each) crashes.trying(1, hashOf(n), s.schedule(Promise.resolve(well)));
          await s.waitAll();
          for (let n = 0; n <= 3; n++) expect(crashes.twinEnded(1, hashOf(n))).toBeNull();
        },
      ),
    );
  });
});
