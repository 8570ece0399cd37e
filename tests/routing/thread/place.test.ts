import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { joinThreads, referenceKey, type Unplaced } from '../../../src/routing/thread/place.js';

function of(...references: string[]): Unplaced {
  return { tenant: 1, references };
}

const known = new Map([
  [referenceKey(1, 'a'), 10],
  [referenceKey(1, 'b'), 11],
  [referenceKey(2, 'x'), 20],
]);

describe('which thread a message belongs to', () => {
  it('is the one that what it names leads to, whatever else it names', () => {
    expect(joinThreads([of('new', 'a')], known)).toEqual({
      threads: [10],
      begun: [],
      references: [{ tenant: 1, thread: 10, hash: 'new' }],
      links: [],
    });
  });

  it('is a new one where nothing does', () => {
    expect(joinThreads([of('x'), { tenant: 2, references: ['a'] }], known)).toMatchObject({
      threads: [-1, -2],
      begun: [1, 2],
    });
  });

  it('is that of another message of the same batch', () => {
    expect(joinThreads([of('one'), of('two', 'one'), of('one')], known)).toMatchObject({
      threads: [-1, -1, -1],
      begun: [1],
    });
  });

  it('is the nearest of two, which are linked', () => {
    expect(joinThreads([of('new', 'b', 'a')], known)).toMatchObject({
      threads: [11],
      links: [{ tenant: 1, thread: 11, other: 10 }],
    });
    expect(joinThreads([of('one'), of('two'), of('three', 'two', 'one')], known)).toMatchObject({
      threads: [-1, -2, -2],
      links: [{ tenant: 1, thread: -2, other: -1 }],
    });
  });
});

const reference = fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f', 'g');
const messages = fc.array(
  fc.record({
    tenant: fc.constantFrom(1, 2),
    references: fc.uniqueArray(reference, { minLength: 1, maxLength: 4 }),
  }),
);

it('comes to the same in one batch and one after another, and never moves a message', () => {
  fc.assert(
    fc.property(messages, (all) => {
      const together = joinThreads(all, known);
      // As the database numbers those that begin.
      const id = (thread: number) => (thread < 0 ? 1000 - thread : thread);
      const seen = new Map(known);
      const links: string[] = [];
      let begun = 0;
      for (const [i, one] of all.entries()) {
        const joined = joinThreads([one], seen);
        const own = (thread: number) => (thread < 0 ? id(-begun - 1) : thread);
        for (const { tenant, hash, thread } of joined.references) seen.set(referenceKey(tenant, hash), own(thread));
        const thread = own(joined.threads[0] as number);
        expect(id(together.threads[i] as number)).toBe(thread);
        for (const { other } of joined.links) links.push(`${one.tenant} ${thread} ${other}`);
        begun += joined.begun.length;
      }
      expect(together.begun).toHaveLength(begun);
      expect(together.links.map((one) => `${one.tenant} ${id(one.thread)} ${id(one.other)}`)).toEqual(links);
    }),
  );
});

it('names each reference once, in order of tenant and hash', () => {
  fc.assert(
    fc.property(messages, (all) => {
      const keys = joinThreads(all, known).references.map(({ tenant, hash }) => referenceKey(tenant, hash));
      expect(keys).toEqual([...new Set(keys)].sort());
      for (const key of keys) expect(known.has(key)).toBe(false);
    }),
  );
});
