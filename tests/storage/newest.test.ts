import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type Found, NewestFirst, type Stretch } from '../../src/storage/newest.js';

interface Item extends Found {
  readonly matches: boolean;
}

/** Channels of items whose times rise with their positions. */
const channels = fc
  .array(fc.array(fc.record({ pause: fc.nat(5), matches: fc.boolean() }), { maxLength: 60 }), {
    minLength: 1,
    maxLength: 5,
  })
  .map((all) =>
    all.map((items, channel): Item[] => {
      let at = 0;
      return items.map(({ pause, matches }, i) => {
        at += pause;
        return { channel, position: i + 1, at, matches };
      });
    }),
  );

function walk(all: readonly (readonly Item[])[], start: ReadonlyMap<number, number>, step: number, budget: number) {
  const look = async (stretches: readonly Stretch[]) =>
    stretches.flatMap(({ channel, from, to }) =>
      (all[channel] ?? []).filter((item) => item.matches && item.position >= from && item.position <= to),
    );
  return new NewestFirst<Item>({ start, step, budget }, look);
}

async function page(walked: NewestFirst<Item>, limit: number): Promise<Item[]> {
  const items: Item[] = [];
  while (items.length < limit) {
    const next = await walked.peek();
    if (!next) break;
    walked.take(next);
    items.push(next);
  }
  return items;
}

test('pages give everything that matches exactly once, however small they, the steps and the budget are', async () => {
  await fc.assert(
    fc.asyncProperty(
      channels,
      fc.integer({ min: 1, max: 7 }),
      fc.integer({ min: 1, max: 9 }),
      fc.integer({ min: 1, max: 40 }),
      async (all, limit, step, budget) => {
        let positions: ReadonlyMap<number, number> = new Map(all.map((items, channel) => [channel, items.length]));
        const seen: Item[] = [];
        while (positions.size > 0) {
          const walked = walk(all, positions, step, budget);
          seen.push(...(await page(walked, limit)));
          positions = walked.positions();
        }
        const name = ({ channel, position }: Item) => `${channel}-${position}`;
        expect(seen.map(name).sort()).toEqual(
          all
            .flat()
            .filter((item) => item.matches)
            .map(name)
            .sort(),
        );
      },
    ),
  );
});

test('with budget enough everything comes newest first', async () => {
  await fc.assert(
    fc.asyncProperty(channels, fc.integer({ min: 1, max: 9 }), async (all, step) => {
      const start = new Map(all.map((items, channel) => [channel, items.length]));
      const times = (await page(walk(all, start, step, 1_000_000), 1_000_000)).map((item) => item.at);
      expect(times).toEqual([...times].sort((a, b) => b - a));
    }),
  );
});

test('a floor is not gone below', async () => {
  const all = [[1, 2, 3, 4].map((position) => ({ channel: 0, position, at: position, matches: true }))];
  const look = async (stretches: readonly Stretch[]) =>
    stretches.flatMap(({ from, to }) => (all[0] ?? []).filter(({ position }) => position >= from && position <= to));
  const walked = new NewestFirst<Item>(
    { start: new Map([[0, 4]]), floor: new Map([[0, 3]]), step: 10, budget: 100 },
    look,
  );
  expect((await page(walked, 10)).map(({ position }) => position)).toEqual([4, 3]);
  expect(walked.positions().size).toBe(0);
});
