/** What a tenant's counters stood at, once. Times in milliseconds since 1970. */
export interface Sample {
  /** What it is for: a multiple of the distance of samples. It was taken `at`. */
  readonly slot: number;
  readonly at: number;
  readonly accepted: number;
  readonly sequenced: number;
  readonly routed: number;
  /** Null while more waits than was counted. */
  readonly delivered: number | null;
  readonly duplicates: number;
  readonly conflicts: number;
  readonly expired: number;
  /** What waited for a person, and for targets. */
  readonly inbox: number;
  readonly waiting: number;
}

/** A stretch of time in points: each is the time between two samples, or the time of the second. */
export interface Stretch {
  /** Milliseconds a point. */
  readonly step: number;
  readonly points: number;
  /** Milliseconds between the samples it is made of; `step` is a multiple of it. */
  readonly apart: number;
}

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
export const SHORT_STEP = 10 * SECOND;
export const LONG_STEP = 5 * MINUTE;
export const LAST_HOUR: Stretch = { step: MINUTE, points: 60, apart: SHORT_STEP };
export const LAST_DAY: Stretch = { step: 15 * MINUTE, points: 96, apart: LONG_STEP };

/** One value a point, oldest first; null where there is no sample: a gap, and no zero. */
export type Series = readonly (number | null)[];

/** Where the points begin and end: one more than there are points, up to the last full one. */
export function boundsOf({ step, points }: Stretch, now: number): number[] {
  const last = Math.floor(now / step) * step;
  return Array.from({ length: points + 1 }, (_, i) => last - (points - i) * step);
}

/** How much a counter grew a second, point by point. Each bound has one sample, so that points beside each other add up. */
export function ratesOf(
  samples: readonly Sample[],
  stretch: Stretch,
  now: number,
  of: (sample: Sample) => number | null,
): Series {
  const at = atBounds(samples, stretch, now);
  return at.slice(1).map((to, i) => rateBetween(at[i], to, of));
}

/** What something stood at, at the end of each point. */
export function levelsOf(
  samples: readonly Sample[],
  stretch: Stretch,
  now: number,
  of: (sample: Sample) => number,
): Series {
  return atBounds(samples, stretch, now)
    .slice(1)
    .map((sample) => (sample === undefined ? null : of(sample)));
}

/** The sample of each bound; where that is missing, the one before or after it. */
function atBounds(samples: readonly Sample[], stretch: Stretch, now: number): (Sample | undefined)[] {
  const bySlot = new Map(samples.map((sample) => [sample.slot, sample]));
  const { apart } = stretch;
  return boundsOf(stretch, now).map(
    (bound) => bySlot.get(bound) ?? bySlot.get(bound - apart) ?? bySlot.get(bound + apart),
  );
}

/** Nobody reads a figure of a second that is older than this. */
const FRESH_MS = 30 * SECOND;

/** How much a counter grows a second now: over the last minute, or what there is of it; null without two fresh samples. */
export function rateNow(samples: readonly Sample[], now: number, of: (sample: Sample) => number | null): number | null {
  const last = samples.at(-1);
  if (last === undefined || now - last.at > FRESH_MS) return null;
  return rateBetween(
    samples.find(({ slot }) => slot >= last.slot - MINUTE),
    last,
    of,
  );
}

/** A counter falls where something that was counted as delivered is found not to be: that is no rate below zero. */
function rateBetween(
  from: Sample | undefined,
  to: Sample | undefined,
  of: (sample: Sample) => number | null,
): number | null {
  if (from === undefined || to === undefined || to.at <= from.at) return null;
  const [before, after] = [of(from), of(to)];
  if (before === null || after === null) return null;
  return (Math.max(0, after - before) * SECOND) / (to.at - from.at);
}
