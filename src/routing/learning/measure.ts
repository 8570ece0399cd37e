/** How well a target is learnt. */
export interface TargetMeasure {
  /** Id. */
  readonly target: number;
  /** Decisions that chose it, and that did not. */
  readonly yes: number;
  readonly no: number;
  /** There were enough of them to learn anything. */
  readonly learnt: boolean;
  /** On a split by time; null where the older decisions alone were not enough. */
  readonly measured: Measured | null;
}

/** Decisions that were not learnt from, by the probability that was given to them. */
export interface Measured {
  /** Of each hundredth (`binOf`) that has any: how many chose the target, and how many did not. */
  readonly bins: readonly (readonly [bin: number, yes: number, no: number])[];
}

/** The least hundredth that a probability does not exceed: it exceeds every threshold below, and none from there on. */
export function binOf(probability: number): number {
  let bin = Math.ceil(probability * 100);
  if (bin > 0 && !(probability > (bin - 1) / 100)) bin--;
  return bin;
}

/** What a threshold would have come to. */
export interface AtThreshold {
  readonly threshold: number;
  /** Messages it would have been sent. */
  readonly sent: number;
  /** Of those, how many people sent it. */
  readonly right: number;
  /** How many people sent it at all. */
  readonly wanted: number;
  /** Share of what it would have been sent that was right; null where that is nothing. */
  readonly precision: number | null;
  /** Share of what people sent it that it would have been sent; null where that is nothing. */
  readonly recall: number | null;
}

/** Thresholds are hundredths; equal is not exceeded. */
export function atThreshold({ bins }: Measured, threshold: number): AtThreshold {
  const least = Math.round(threshold * 100);
  let [sent, right, wanted] = [0, 0, 0];
  for (const [bin, yes, no] of bins) {
    wanted += yes;
    if (bin <= least) continue;
    sent += yes + no;
    right += yes;
  }
  return {
    threshold,
    sent,
    right,
    wanted,
    precision: sent === 0 ? null : right / sent,
    recall: wanted === 0 ? null : right / wanted,
  };
}

/** How many decisions it was measured by. */
export function measuredDecisions({ bins }: Measured): number {
  return bins.reduce((sum, [, yes, no]) => sum + yes + no, 0);
}
