import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createBacklog, evenShare } from '../../src/app/backlog.js';
import type { LinkState } from '../../src/broker/link.js';
import type { TenantBacklog } from '../../src/storage/backlog.js';
import { settableClock } from '../support/clock.js';
import { silent } from '../support/log.js';

const of = (...messages: number[]): TenantBacklog[] => messages.map((count, tenant) => ({ tenant, messages: count }));

/** A backlog of at most 1,000; the test says how the broker is and what waits. */
function watched() {
  const clock = settableClock();
  const state = { broker: 'up' as LinkState, waiting: of(), looks: 0 };
  const backlog = createBacklog({
    maxMessages: 1000,
    broker: () => state.broker,
    waiting: async () => {
      state.looks++;
      return state.waiting;
    },
    clock,
    log: silent,
  });
  const look = async (broker: LinkState, ...messages: number[]) => {
    Object.assign(state, { broker, waiting: of(...messages) });
    await backlog.look();
    clock.advance(1_000);
    return [...backlog.full()].sort();
  };
  return { backlog, look, state };
}

describe('an even share', () => {
  it('is what the largest may have so that all together keep to the bound', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(1000), { maxLength: 12 }), fc.integer({ min: 1, max: 3000 }), (messages, bound) => {
        const share = evenShare(of(...messages), bound);
        const total = messages.reduce((sum, each) => sum + each, 0);
        if (share === Number.POSITIVE_INFINITY) expect(total).toBeLessThan(bound);
        else expect(messages.reduce((sum, each) => sum + Math.min(each, share), 0)).toBeCloseTo(bound, 6);
      }),
    );
  });
});

describe('the backlog', () => {
  it('is asked for only while the broker is away or in alarm', async () => {
    const { look, state, backlog } = watched();
    expect(await look('up', 5000)).toEqual([]);
    expect(state.looks).toBe(0);
    expect(await look('blocked', 999)).toEqual([]);
    expect(backlog.waiting()).toEqual(of(999));
    expect(state.looks).toBe(1);
  });

  it.each(['down', 'blocked'] as const)('is full at its bound while the broker is %s', async (broker) => {
    const { look, backlog } = watched();
    expect(await look(broker, 1000)).toEqual([0]);
    expect([backlog.isFull(0), backlog.isFull(1)]).toEqual([true, false]);
  });

  it('is full of those who have an even share: one with much waiting stops no other', async () => {
    const { look } = watched();
    // The first has a queue in trouble of its own.
    expect(await look('down', 50_000, 10, 20)).toEqual([0]);
    expect(await look('down', 50_000, 300, 20)).toEqual([0]);
    expect(await look('down', 50_000, 490, 20)).toEqual([0, 1]);
    expect(await look('down', 50_000, 490, 400)).toEqual([0, 1, 2]);
  });

  it('takes again what it refused when a tenth is free, not at once', async () => {
    const { look } = watched();
    expect(await look('down', 1000)).toEqual([0]);
    expect(await look('down', 950)).toEqual([0]);
    expect(await look('down', 899)).toEqual([]);
    expect(await look('down', 999)).toEqual([]);
    expect(await look('down', 1001)).toEqual([0]);
  });

  it('is forgotten when the broker has been there for a while, and not when it comes and goes', async () => {
    const { look, backlog } = watched();
    expect(await look('blocked', 1200)).toEqual([0]);
    for (let i = 0; i < 10; i++) {
      expect(await look('up', 1150)).toEqual([0]);
      expect(await look('blocked', 1150)).toEqual([0]);
    }
    for (let i = 0; i < 4; i++) expect(await look('up', 1100)).toEqual([0]);
    expect(await look('up', 1100)).toEqual([]);
    expect(backlog.waiting()).toEqual([]);
  });
});
