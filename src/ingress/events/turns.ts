/** How many things are done before the event loop has its turn: about 3 ms of events. */
const A_TURN = 250;

/** Makes something of each item, in their order. `whose` is the tenant they are of. */
export type InTurns = <T, R>(whose: number, items: readonly T[], make: (item: T) => R) => Promise<R[]>;

/** One long list: works on the next items of it. True when it is done. */
type Slice = () => boolean;

/**
 * Works through long lists with a turn of the event loop after some items: what is written to the database in the
 * meantime goes out in as many pieces as the socket takes, one a turn, and each would otherwise wait for whole requests.
 * Lists of one tenant come one after the other, tenants in turns: many long lists of one hold up nobody else's.
 * A list of a turn's length or less is done at once.
 */
export function createInTurns(nextTurn: () => Promise<void>): InTurns {
  /** Lists that wait or are worked on, by tenant; whoever had a turn goes to the end. */
  const lists = new Map<number, Slice[]>();
  let working = false;

  async function work(): Promise<void> {
    working = true;
    // Whatever comes in the same moment is there before the first turn.
    await null;
    for (let next = lists.entries().next(); !next.done; next = lists.entries().next()) {
      const [whose, own] = next.value;
      const done = own[0]?.() ?? true;
      if (done) own.shift();
      lists.delete(whose);
      if (own.length > 0) lists.set(whose, own);
      if (lists.size > 0) await nextTurn();
    }
    working = false;
  }

  function line(whose: number, slice: Slice): void {
    const own = lists.get(whose);
    if (own) own.push(slice);
    else lists.set(whose, [slice]);
    if (!working) void work();
  }

  return async (whose, items, make) => {
    if (items.length <= A_TURN) return items.map(make);
    return new Promise((resolve, reject) => {
      const made: ReturnType<typeof make>[] = [];
      line(whose, () => {
        try {
          const end = Math.min(made.length + A_TURN, items.length);
          while (made.length < end) made.push(make(items[made.length] as (typeof items)[number]));
          if (end < items.length) return false;
          resolve(made);
        } catch (error) {
          reject(error);
        }
        return true;
      });
    });
  };
}
