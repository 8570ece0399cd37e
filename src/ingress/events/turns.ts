/** How many things are done before the event loop has its turn: about 3 ms of events. */
const A_TURN = 250;

/** Makes something of each item, in their order. */
export type InTurns = <T, R>(items: readonly T[], make: (item: T) => R) => Promise<R[]>;

/**
 * Works through long lists one after the other, with a turn of the event loop after some items: what is written to the
 * database in the meantime goes out in as many pieces as the socket takes, one a turn, and each would otherwise wait
 * for whole requests. A list of a turn's length or less is done at once.
 */
export function createInTurns(nextTurn: () => Promise<void>): InTurns {
  let last: Promise<unknown> = Promise.resolve();

  async function slowly<T, R>(items: readonly T[], make: (item: T) => R): Promise<R[]> {
    const made: R[] = [];
    for (const item of items) {
      if (made.length > 0 && made.length % A_TURN === 0) await nextTurn();
      made.push(make(item));
    }
    return made;
  }

  return async (items, make) => {
    if (items.length <= A_TURN) return items.map(make);
    const mine = last.then(() => slowly(items, make));
    // Not what was made: that would be kept until the next long list comes.
    last = mine.then(
      () => undefined,
      () => undefined,
    );
    return mine;
  };
}
