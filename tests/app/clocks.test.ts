import { describe, expect, it } from 'vitest';
import { ClockOff, openClocks } from '../../src/app/clocks.js';
import type { OtherClock } from '../../src/storage/clock.js';
import { silent } from '../support/log.js';

const SECOND = 1_000;
const DAY = 86_400_000;
const START = Date.UTC(2026, 0, 1);

/** A machine and a database whose clocks a test sets; time passes for both, and while the database is asked. */
function world(options: { readonly machineAheadMs?: number; readonly answersAfterMs?: number } = {}) {
  const state = { elapsed: 0, machine: START + (options.machineAheadMs ?? 0), database: START };
  const others: OtherClock[] = [];
  const told: number[] = [];
  const back: number[] = [];
  const pass = (ms: number) => {
    state.elapsed += ms;
    state.machine += ms;
    state.database += ms;
  };
  const deps = {
    machine: { now: () => state.machine, monotonic: () => state.elapsed },
    databaseTime: async () => {
      const half = (options.answersAfterMs ?? 0) / 2;
      pass(half);
      const time = state.database;
      pass(half);
      return time;
    },
    exchange: async (offsetMs: number) => {
      told.push(offsetMs);
      return others;
    },
    onBack: async (ms: number) => {
      back.push(ms);
    },
    log: silent,
  };
  return { state, others, told, back, pass, deps };
}

describe('at the start', () => {
  it.each([
    [61_000, /61 s ahead of the database's/],
    [-3_600_000, /3600 s behind the database's/],
  ])('a clock that is %d ms off is refused, with a sentence', async (machineAheadMs, said) => {
    const opened = openClocks(world({ machineAheadMs }).deps);
    await expect(opened).rejects.toBeInstanceOf(ClockOff);
    await expect(opened).rejects.toThrow(said);
  });

  it('a minute is allowed, and what a slow answer leaves in doubt beside it', async () => {
    const { deps, state } = world({ machineAheadMs: 60_000, answersAfterMs: 4_000 });
    const clocks = await openClocks(deps);
    expect(clocks.offsetMs()).toBe(60_000);
    expect(clocks.problems()).toEqual([]);
    // The time that the answer took is not taken for a difference.
    expect(clocks.clock.now()).toBe(state.database);
  });
});

describe('the time that all go by', () => {
  it('is that of the database, whatever becomes of this machine’s clock', async () => {
    const { deps, state, pass } = world({ machineAheadMs: 20_000 });
    const clocks = await openClocks(deps);
    for (const jump of [DAY, -3 * DAY, 40 * DAY]) {
      state.machine += jump;
      pass(500);
      expect(clocks.clock.now()).toBe(state.database);
      await clocks.look();
      expect(clocks.clock.now()).toBe(state.database);
      expect(clocks.steady()).toBe(true);
    }
    expect(clocks.offsetMs()).toBe(38 * DAY + 20_000);
    expect(clocks.problems()).toEqual([expect.stringMatching(/ahead of the database's$/)]);
  });

  it('is asked for again every ten seconds, and at once when this machine’s clock was set', async () => {
    const { deps, state, told, pass } = world();
    const clocks = await openClocks(deps);
    for (let second = 0; second < 30; second++) {
      await clocks.look();
      pass(SECOND);
    }
    expect(told).toEqual([0, 0, 0]);
    state.machine += 5 * SECOND;
    await clocks.look();
    expect(told).toEqual([0, 0, 0, 5 * SECOND]);
  });

  it('goes on evenly while answers come now sooner and now later', async () => {
    const options = { answersAfterMs: 40 };
    const { deps, state, pass } = world(options);
    const clocks = await openClocks(deps);
    for (let i = 0; i < 20; i++) {
      pass(10 * SECOND);
      const before = clocks.clock.now() - state.elapsed;
      // Half of the way is a guess: the database's time is a little off it.
      state.database += i % 2 === 0 ? 15 : -15;
      await clocks.look();
      expect(clocks.clock.now() - state.elapsed).toBe(before);
    }
  });

  it('follows the database’s clock when that is set, and nothing is dropped for a day', async () => {
    const { deps, state, back, pass } = world();
    const clocks = await openClocks(deps);
    await clocks.look();
    state.database += DAY;
    pass(10 * SECOND);
    await clocks.look();
    expect(clocks.clock.now()).toBe(state.database);
    expect(clocks.steady()).toBe(false);
    expect(back).toEqual([]);
    pass(DAY - SECOND);
    expect(clocks.steady()).toBe(false);
    pass(SECOND);
    expect(clocks.steady()).toBe(true);
  });

  it('tells what has to be brought forward when the database’s clock went back, until that is done', async () => {
    const { deps, state, back, pass } = world();
    let fails = true;
    const clocks = await openClocks({
      ...deps,
      onBack: async (ms) => {
        if (fails) throw new Error('the database is away');
        await deps.onBack(ms);
      },
    });
    await clocks.look();
    state.database -= DAY;
    pass(10 * SECOND);
    await expect(clocks.look()).rejects.toThrow('away');
    expect(clocks.clock.now()).toBe(state.database);
    fails = false;
    pass(10 * SECOND);
    await clocks.look();
    pass(10 * SECOND);
    await clocks.look();
    expect(back).toEqual([DAY]);
    expect(clocks.steady()).toBe(false);
  });
});

describe('other processes', () => {
  it('are named when their clocks are more than a minute from this one', async () => {
    const { deps, others, told } = world({ machineAheadMs: 40_000 });
    others.push({ name: 'near:1', offsetMs: 10_000 }, { name: 'far:2', offsetMs: -30_000 });
    const clocks = await openClocks(deps);
    await clocks.look();
    expect(told).toEqual([40_000]);
    expect(clocks.problems()).toEqual(["this machine's clock is 70 s ahead of that of far:2"]);
  });
});
