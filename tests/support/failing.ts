import type { Batch, BatchAnswer, CommitBatch } from '../../src/channel/batch.js';
import { StoreError } from '../../src/channel/batch.js';

/** What becomes of a commit: it holds, it holds and its answer is lost, or nothing of it holds. */
export type Fault = 'ok' | 'lost' | 'refused';

/** Faults for all commits that are made through it, by turns; one that is repeated has none. */
export function failing(faults: readonly Fault[]): (commit: CommitBatch) => CommitBatch {
  let turn = 0;
  return (commit) =>
    async (batch: Batch): Promise<BatchAnswer> => {
      const fault = faults[turn++ % faults.length];
      if (fault === 'refused' && !batch.repeated) throw new StoreError('unavailable', 'refused');
      const answer = await commit(batch);
      if (fault === 'lost' && !batch.repeated) throw new StoreError('unavailable', 'lost');
      return answer;
    };
}
