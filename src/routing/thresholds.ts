import { compareDecimals, type Decimal } from './decimal.js';

/** More rules than these are rather asked in their order than put into it. */
const MOST_SORTED = 64;

/** Rules, as positions, by the least (`above`) or the most (`below`) that a number may be. */
export class Thresholds {
  /** All positions, ascending. */
  private readonly every: readonly number[];
  /** In the order in which numbers come to hold: ascending for `above`. */
  private readonly sorted: readonly Threshold[];
  private readonly direction: 1 | -1;

  constructor(side: 'above' | 'below', thresholds: readonly Threshold[]) {
    this.direction = side === 'above' ? 1 : -1;
    this.sorted = thresholds.toSorted((a, b) => this.direction * compareDecimals(a.than, b.than));
    this.every = [...new Set(thresholds.map(({ position }) => position))];
  }

  /** Ascending; none that could hold is left out, and some may be among them that do not. */
  find(value: Decimal): readonly number[] {
    const count = this.countOf(value);
    if (count > MOST_SORTED) return this.every;
    return this.sorted
      .slice(0, count)
      .map(({ position }) => position)
      .sort((a, b) => a - b);
  }

  /** How many thresholds a value reaches. */
  private countOf(value: Decimal): number {
    let [from, to] = [0, this.sorted.length];
    while (from < to) {
      const middle = (from + to) >> 1;
      const { than } = this.sorted[middle] as Threshold;
      if (this.direction * compareDecimals(than, value) <= 0) from = middle + 1;
      else to = middle;
    }
    return from;
  }
}

/** `position` of the rule; thresholds are given in the order of positions. */
export interface Threshold {
  readonly than: Decimal;
  readonly position: number;
}
