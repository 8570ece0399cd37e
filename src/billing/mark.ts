/*
 * The ledger's own check that nothing is counted twice and nothing is left out, by (channel, sequence) alone: a mark, up to
 * which every sequence has been seen, and the gaps below it, which have not been counted.
 */

/** Why a sequence below the mark is not counted. `missing`: it was not there to be read. */
export const GAP_REASONS = ['parked', 'quarantined', 'partial', 'missing'] as const;
export type GapReason = (typeof GAP_REASONS)[number];

export interface Mark {
  /** 0 where nothing has been seen. */
  readonly through: number;
  readonly gaps: ReadonlyMap<number, GapReason>;
}

/** One sequence as it comes to the ledger: read whole, or why not. */
export interface Seen {
  readonly sequence: number;
  readonly gap: GapReason | null;
}

export interface Admitted {
  readonly through: number;
  /** To be counted now, in the order they came. */
  readonly fresh: readonly number[];
  /** Gaps that this opens, or that have another reason now. */
  readonly opened: ReadonlyMap<number, GapReason>;
  /** Gaps that this closes; all of them are among the fresh. */
  readonly healed: readonly number[];
  /** Seen before: nothing comes of them. */
  readonly repeated: number;
}

/**
 * What a batch changes. In whatever order sequences come, however often and in whatever batches: each one that comes whole is
 * fresh once, and at the end gaps are just those that never did.
 */
export function admit(mark: Mark, batch: readonly Seen[]): Admitted {
  const opened = new Map<number, GapReason>();
  const healed = new Set<number>();
  const fresh: number[] = [];
  let through = mark.through;
  let repeated = 0;
  for (const { sequence, gap } of batch) {
    if (sequence > through) {
      for (let skipped = through + 1; skipped < sequence; skipped++) opened.set(skipped, 'missing');
      through = sequence;
      if (gap === null) fresh.push(sequence);
      else opened.set(sequence, gap);
      continue;
    }
    const open = opened.has(sequence) || (mark.gaps.has(sequence) && !healed.has(sequence));
    if (!open) {
      repeated++;
    } else if (gap === null) {
      fresh.push(sequence);
      opened.delete(sequence);
      if (mark.gaps.has(sequence)) healed.add(sequence);
    } else {
      opened.set(sequence, gap);
    }
  }
  return { through, fresh, opened, healed: [...healed], repeated };
}
