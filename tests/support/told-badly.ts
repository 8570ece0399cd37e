import type { Pool } from 'pg';
import type { PlanSays } from '../../src/billing/batch.js';
import { Ledger, readMessages } from '../../src/storage/ledger.js';

/**
 * Tells a ledger of a channel's messages in any order and any batches, some again and again, some parked, some lost on the way, and kills
 * it as it likes. `order` picks among `count` messages; whether the ledger dies of a batch goes by turns.
 */
export async function tellBadly(
  pool: Pool,
  place: { readonly tenant: number; readonly book: number; readonly channel: number },
  count: number,
  how: { readonly order: readonly number[]; readonly batches: readonly number[]; readonly crashes: readonly boolean[] },
): Promise<void> {
  const { order, batches, crashes } = how;
  let crash = false;
  const ledger = new Ledger({
    pool,
    read: async (...at) => {
      const rows = await readMessages(...at);
      if (crash) throw new Error('killed');
      return rows.filter(({ sequence }) => (sequence * (order[0] ?? 1)) % 5 !== 1);
    },
  });
  const said: PlanSays[] = order.map((pick) => ({
    sequence: (pick % count) + 1,
    gap: pick % 7 === 0 ? 'parked' : null,
  }));
  for (let at = 0, turn = 0; at < said.length; turn++) {
    crash = crashes[turn % crashes.length] ?? false;
    const size = batches[turn % batches.length] as number;
    const fed = await ledger.feed(place, said.slice(at, at + size)).catch(() => null);
    if (fed || crash) at += size;
  }
}
