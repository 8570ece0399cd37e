import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Lease } from '../../src/owner/leases.js';
import { movesOf } from '../../src/owner/shares.js';

const NAMES = ['a', 'b', 'c', 'd', 'e'];

/** Leases of a few tenants, held by anybody: living, dead or nobody. */
const leases = fc
  .array(
    fc.tuple(fc.integer({ min: 1, max: 20 }), fc.array(fc.constantFrom(null, 'dead', ...NAMES), { maxLength: 20 })),
    {
      maxLength: 4,
    },
  )
  .map((tenants) =>
    [...new Map(tenants)].flatMap(([tenant, holders]) =>
      holders.map((holder, channel): Lease => ({ tenant, channel, holder, term: 1, present: true })),
    ),
  );
const living = fc.subarray(NAMES, { minLength: 1 });

const ALL = () => true;
const lostTo = (owners: readonly string[]) => (holder: string) => !owners.includes(holder);

/** What the leases are after one owner has done what it should. */
function after(before: readonly Lease[], owners: readonly string[], self: string): Lease[] {
  const { take, give } = movesOf(before, owners, self, lostTo(owners), ALL);
  const among = (moved: readonly { tenant: number; channel: number }[], lease: Lease) =>
    moved.some(({ tenant, channel }) => tenant === lease.tenant && channel === lease.channel);
  return before.map((lease) => {
    if (among(give, lease)) return { ...lease, holder: null };
    return among(take, lease) ? { ...lease, holder: self, term: lease.term + 1 } : lease;
  });
}

describe('shares', () => {
  it('come out even for each tenant, whoever moves first, and then nothing moves any more', () => {
    fc.assert(
      fc.property(leases, living, fc.infiniteStream(fc.nat()), (start, owners, turns) => {
        let now = start;
        for (let round = 0; round < 3; round++) {
          const order = [...owners].sort(() => (turns.next().value % 2 ? 1 : -1));
          for (const self of order) now = after(now, owners, self);
        }
        for (const tenant of new Set(now.map((lease) => lease.tenant))) {
          const held = owners.map(
            (owner) => now.filter((lease) => lease.tenant === tenant && lease.holder === owner).length,
          );
          expect(Math.max(...held) - Math.min(...held)).toBeLessThanOrEqual(1);
        }
        expect(now.every(({ holder }) => holder !== null && owners.includes(holder))).toBe(true);
        for (const self of owners)
          expect(movesOf(now, owners, self, lostTo(owners), ALL)).toEqual({ take: [], give: [] });
      }),
    );
  });

  it('move nothing that a living owner has as its share', () => {
    fc.assert(
      fc.property(leases, living, (start, owners) => {
        for (const self of owners) {
          const { take } = movesOf(start, owners, self, lostTo(owners), ALL);
          for (const { tenant, channel } of take) {
            const holder = start.find((lease) => lease.tenant === tenant && lease.channel === channel)?.holder;
            expect(holder === null || !owners.includes(holder as string)).toBe(true);
          }
        }
      }),
    );
  });

  it('are taken apart by owners that look at the same time', () => {
    fc.assert(
      fc.property(leases, living, (start, owners) => {
        const taken = owners.flatMap((self) => movesOf(start, owners, self, lostTo(owners), ALL).take);
        expect(new Set(taken.map(({ tenant, channel }) => `${tenant}/${channel}`)).size).toBe(taken.length);
      }),
    );
  });

  it('take nothing from one that is not known to be lost', () => {
    const held = Array.from(
      { length: 4 },
      (_, channel): Lease => ({ tenant: 1, channel, holder: 'new', term: 1, present: true }),
    );
    expect(movesOf(held, ['a'], 'a', () => false, ALL)).toEqual({ take: [], give: [] });
  });

  it('even out over tenants: no owner gets the odd channel of all of them', () => {
    const many = Array.from({ length: 30 * 16 }, (_, i): Lease => {
      return { tenant: 1 + Math.floor(i / 16), channel: i % 16, holder: null, term: 0, present: false };
    });
    const held = ['a', 'b', 'c'].map((self) => movesOf(many, ['a', 'b', 'c'], self, () => false, ALL).take.length);
    expect(held).toEqual([160, 160, 160]);
  });
});
