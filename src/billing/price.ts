import type { Decimal } from 'decimal.js';
import type { Aggregation, MeteredPrice } from './definitions.js';
import { Exact, isWhole, type Share, shareOf, ZERO } from './exact.js';

/** One step of how an amount came about. Texts are decimals. */
export interface Step {
  /** How much fell into it. */
  readonly quantity: string;
  readonly price: string;
  readonly flat: string | null;
  /** The last quantity of its tier; null where there is none above. */
  readonly upTo: string | null;
  readonly amount: string;
}

export interface Priced {
  /** What of the quantity cost nothing. */
  readonly free: Exact;
  readonly steps: readonly Step[];
  /** Not rounded yet. */
  readonly amount: Exact;
}

/** Places that a part of an allowance or of a tier is rounded to, where a period is cut. */
const BOUND_PLACES = 12;

/** Of these a period's quantity is the sum of its parts; of the others each part has a level of its own. */
function isAdditive(aggregation: Aggregation): boolean {
  switch (aggregation) {
    case 'count':
    case 'sum':
      return true;
    case 'max':
    case 'min':
    case 'last':
    case 'unique':
      return false;
    default: {
      const never: never = aggregation;
      return never;
    }
  }
}

/**
 * What a quantity costs. `share` is the part of the period that the price holds for: of what adds up, allowances and tiers
 * shrink with it and the price of a unit stays; a level (a peak of seats, say) keeps its tiers and costs that part of the price.
 */
export function priceQuantity(quantity: Exact, price: MeteredPrice, aggregation: Aggregation, share: Share): Priced {
  const additive = isAdditive(aggregation);
  const bound = (text: string): Exact => {
    const whole = new Exact(text);
    return additive && !isWhole(share) ? shareOf(whole, share).toDecimalPlaces(BOUND_PLACES) : whole;
  };
  // A credit uses nothing up.
  const free = price.free === undefined || quantity.isNegative() ? ZERO : Exact.min(quantity, bound(price.free));
  const charged = quantity.minus(free);
  const steps = stepsOf(charged, price, bound);
  const sum = steps.reduce((total, { amount }) => total.plus(amount), ZERO);
  return { free, steps, amount: additive ? sum : shareOf(sum, share) };
}

function stepsOf(charged: Exact, price: MeteredPrice, bound: (text: string) => Exact): Step[] {
  switch (price.model) {
    case 'per_unit':
      return [step(charged, price.price, undefined, null)];
    case 'graduated': {
      const steps: Step[] = [];
      let below = ZERO;
      for (const { upTo, price: each, flat } of price.tiers) {
        const end = upTo === null ? null : bound(upTo);
        const reached = end === null ? charged : Exact.min(charged, end);
        const within = reached.minus(below);
        // Credits are worth what the first units cost.
        if (within.gt(0) || (steps.length === 0 && within.lte(0))) steps.push(step(within, each, flat, end));
        if (end === null || charged.lte(end)) break;
        below = end;
      }
      return steps;
    }
    case 'volume': {
      const tier = price.tiers.find(({ upTo }) => upTo === null || charged.lte(bound(upTo)));
      if (!tier) throw new RangeError('the last tier has no end');
      return [step(charged, tier.price, tier.flat, tier.upTo === null ? null : bound(tier.upTo))];
    }
    default: {
      const never: never = price;
      return never;
    }
  }
}

/** A fee of a tier is due where anything falls into it. */
function step(quantity: Exact, price: string, flat: string | undefined, upTo: Exact | null): Step {
  const fee = flat !== undefined && quantity.gt(0) ? flat : null;
  const amount = quantity.times(price).plus(fee ?? 0);
  return {
    quantity: quantity.toFixed(),
    price,
    flat: fee,
    upTo: upTo === null ? null : upTo.toFixed(),
    amount: amount.toFixed(),
  };
}

export type RoundingMode = 'half_even' | 'half_up' | 'up' | 'down';

const MODES: Readonly<Record<RoundingMode, Decimal.Rounding>> = {
  half_even: Exact.ROUND_HALF_EVEN,
  half_up: Exact.ROUND_HALF_UP,
  up: Exact.ROUND_UP,
  down: Exact.ROUND_DOWN,
};

/** With all its places: `12.00`. */
export function rounded(amount: Exact, { digits, mode }: { digits: number; mode: RoundingMode }): string {
  const text = amount.toFixed(digits, MODES[mode]);
  return /^-0(?:\.0+)?$/.test(text) ? text.slice(1) : text;
}
