import type { Filters, Sequenced } from '../channel/accept.js';
import { StoreError } from '../channel/batch.js';
import type { UnseenRoom } from '../channel/maybe.js';
import { lookUpUnseen, type SeenNow, type UnseenDeps } from '../storage/unseen.js';
import { unseenByTenant } from '../storage/unseen-read.js';

export interface UnseenCheckDeps extends UnseenDeps {
  readonly room: UnseenRoom;
  readonly filters: Pick<Filters, 'remember'>;
  readonly onSequenced: Sequenced;
  readonly observe: (seen: readonly SeenNow[]) => void;
}

/** Pages in one round, so that a stop does not wait for all of them. */
const MOST_PAGES = 20;

/** To be called every second: looks up what was taken as duplicates unseen, and hands on what was none. */
export function createUnseenChecks(deps: UnseenCheckDeps): () => Promise<void> {
  return async () => {
    for (let page = 0; page < MOST_PAGES; page++) {
      const seen = await lookUpUnseen(deps).catch(lostToOthers);
      if (seen.length === 0) break;
      deps.filters.remember(seen.map(({ candidate }) => candidate.fingerprint));
      const originals = seen.filter(({ became }) => became === 'original');
      if (originals.length > 0)
        deps.onSequenced(
          originals.map(({ candidate: { arrival, channel, sha256 }, sequence }) => ({
            arrival,
            channel,
            sequence,
            sha256,
          })),
        );
      deps.observe(seen);
    }
    deps.room.counted(await unseenByTenant(deps.pool));
  };
}

/** Another process was first with a key: the next round finds it. */
function lostToOthers(error: unknown): readonly SeenNow[] {
  if (error instanceof StoreError && error.failure === 'contended') return [];
  throw error;
}
