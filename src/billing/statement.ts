import type { Aggregation, Price, RateCard, Subscription } from './definitions.js';
import { ALL, Exact, type Share, shareOf, ZERO } from './exact.js';
import { priceQuantity, type RoundingMode, rounded, type Step } from './price.js';
import { type Period, type Span, startOfDate } from './zone.js';

/** A meter's usage with one set of dimensions. */
export interface Series {
  readonly id: number;
  readonly meter: string;
  readonly aggregation: Aggregation;
  readonly unit: string | null;
  readonly dimensions: Readonly<Record<string, string>>;
}

/** A part of a period in which one set of prices holds, or none. */
export interface Segment extends Span {
  readonly share: Share;
  readonly terms: Terms | null;
}

/** The prices in force: kept with a statement, so that its period can be priced anew by them. */
export interface Terms {
  readonly subscription: string;
  readonly rateCard: string;
  /** The day this version of the card holds from. */
  readonly version: string;
  readonly prices: readonly Price[];
}

export interface Rounding {
  readonly digits: number;
  readonly mode: RoundingMode;
}

/** All that statements of an account need to know about prices. */
export interface Contract {
  readonly name: string;
  readonly subscription: Subscription;
  readonly card: RateCard;
}

/** Cuts a period where subscriptions or versions of their rate cards begin and end. */
export function segmentsOf(period: Period, contracts: readonly Contract[]): Segment[] {
  const segments: Segment[] = [];
  const whole = new Exact(period.to - period.from);
  const add = (from: number, to: number, terms: Terms | null) => {
    if (from < to) segments.push({ from, to, terms, share: { of: new Exact(to - from), whole } });
  };
  let at = period.from;
  const inOrder = [...contracts].sort((a, b) => (a.subscription.from < b.subscription.from ? -1 : 1));
  for (const { name, subscription, card } of inOrder) {
    const zone = subscription.zone;
    const from = Math.max(startOfDate(subscription.from, zone), at);
    const to = Math.min(subscription.until ? startOfDate(subscription.until, zone) : period.to, period.to);
    if (from >= to) continue;
    add(at, from, null);
    at = from;
    const versions = card.versions.map((version) => ({ ...version, at: startOfDate(version.from, zone) }));
    versions.forEach((version, i) => {
      const begins = Math.max(version.at, at);
      const ends = Math.min(versions[i + 1]?.at ?? to, to);
      if (begins >= ends) return;
      // Before its first version a card says no price.
      add(at, begins, null);
      add(begins, ends, {
        subscription: name,
        rateCard: subscription.rateCard,
        version: version.from,
        prices: version.prices,
      });
      at = ends;
    });
  }
  add(at, period.to, null);
  return segments.map((segment) => (segments.length === 1 ? { ...segment, share: ALL } : segment));
}

/** What one line is about, before anybody has looked how much it is. */
export interface Asked {
  readonly segment: Segment;
  /** Null: no price is for it. */
  readonly price: Price | null;
  readonly meter: string;
  readonly aggregation: Aggregation;
  readonly unit: string | null;
  readonly dimensions: Readonly<Record<string, string>>;
  readonly series: readonly number[];
}

/** Shares the series out among the prices: each goes to the first that fits it, and what fits none is unpriced. */
export function askedOf(segment: Segment, all: readonly Series[]): Asked[] {
  const asked = new Map<string, Asked & { series: number[] }>();
  for (const series of [...all].sort(bySeries)) {
    const place = segment.terms?.prices.findIndex((price) => fits(price, series)) ?? -1;
    const price = segment.terms?.prices[place] ?? null;
    const dimensions = price?.model === 'flat' ? {} : picked(series.dimensions, price);
    const key = JSON.stringify([place, series.meter, dimensions]);
    const known = asked.get(key);
    if (known) known.series.push(series.id);
    else asked.set(key, { segment, price, dimensions, ...about(series), series: [series.id] });
  }
  return [...asked.values()];
}

function about({ meter, aggregation, unit }: Series): Pick<Asked, 'meter' | 'aggregation' | 'unit'> {
  return { meter, aggregation, unit };
}

function bySeries(a: Series, b: Series): number {
  const [textA, textB] = [a, b].map(({ meter, dimensions }) => `${meter}\n${JSON.stringify(dimensions)}`);
  return (textA as string) < (textB as string) ? -1 : 1;
}

function fits(price: Price, { meter, dimensions }: Series): boolean {
  if (price.model === 'flat' || price.meter !== meter) return false;
  return Object.entries(price.where ?? {}).every(([name, value]) => dimensions[name] === value);
}

/** The dimensions that a line names: those its price asks for or tells apart; all of them where nothing is priced. */
function picked(
  dimensions: Readonly<Record<string, string>>,
  price: Exclude<Price, { model: 'flat' }> | null,
): Record<string, string> {
  if (price === null) return { ...dimensions };
  const names = new Set([...Object.keys(price.where ?? {}), ...(price.per ?? [])]);
  return Object.fromEntries(Object.entries(dimensions).filter(([name]) => names.has(name)));
}

/** Sequences of a channel that usage rests on, both ends included. */
export interface Range {
  readonly channel: number;
  readonly from: number;
  readonly to: number;
}

/** How much there was of what was asked for. */
export interface Found {
  /** A decimal; the number of members for unique. */
  readonly quantity: string;
  readonly events: number;
  readonly ranges: readonly Range[];
}

export interface Line {
  readonly kind: 'usage' | 'flat' | 'unpriced' | 'adjustment';
  /** Of a fee, its name. */
  readonly what: string;
  readonly unit: string | null;
  readonly dimensions: Readonly<Record<string, string>>;
  /** RFC 3339. */
  readonly from: string;
  readonly to: string;
  /** Of an adjustment: the period it is about. */
  readonly period: string | null;
  readonly quantity: string;
  readonly events: number;
  readonly model: Price['model'] | null;
  readonly free: string | null;
  readonly steps: readonly Step[];
  /** Rounded; null where there is no price. */
  readonly amount: string | null;
  readonly ranges: readonly Range[];
}

/** A line of usage, at its price. */
export function usageLine({ segment, price, ...asked }: Asked, found: Found, rounding: Rounding): Line {
  const base = {
    what: asked.meter,
    unit: asked.unit,
    dimensions: asked.dimensions,
    from: iso(segment.from),
    to: iso(segment.to),
    period: null,
    quantity: found.quantity,
    events: found.events,
    ranges: found.ranges,
  };
  if (price === null || price.model === 'flat')
    return { ...base, kind: 'unpriced', model: null, free: null, steps: [], amount: null };
  const priced = priceQuantity(new Exact(found.quantity), price, asked.aggregation, segment.share);
  return {
    ...base,
    kind: 'usage',
    model: price.model,
    free: price.free === undefined ? null : priced.free.toFixed(),
    steps: priced.steps,
    amount: rounded(priced.amount, rounding),
  };
}

/** The fees of a segment, each for its share of the period. */
export function flatLines(segment: Segment, rounding: Rounding): Line[] {
  return (segment.terms?.prices ?? []).flatMap((price): Line[] => {
    if (price.model !== 'flat') return [];
    const amount = rounded(shareOf(new Exact(price.amount), segment.share), rounding);
    return [
      {
        kind: 'flat',
        what: price.name,
        unit: null,
        dimensions: {},
        from: iso(segment.from),
        to: iso(segment.to),
        period: null,
        quantity: '1',
        events: 0,
        model: 'flat',
        free: null,
        steps: [],
        amount,
        ranges: [],
      },
    ];
  });
}

/** A line is the same line in another statement of its period when it is about the same. */
function lineKey({ what, dimensions, from, to }: Line): string {
  return JSON.stringify([what, dimensions, from, to]);
}

/**
 * What has changed in a period that was charged already: a line for each line that comes to another quantity or amount by now.
 * `charged` are the lines of its statement and all adjustments of it since.
 */
export function adjustments(
  period: string,
  charged: readonly Line[],
  now: readonly Line[],
  rounding: Rounding,
): Line[] {
  const before = new Map<string, { quantity: Exact; amount: Exact; events: number; line: Line }>();
  for (const line of charged) {
    if (line.kind === 'flat') continue;
    const known = before.get(lineKey(line)) ?? { quantity: ZERO, amount: ZERO, events: 0, line };
    before.set(lineKey(line), {
      line,
      quantity: known.quantity.plus(line.quantity),
      amount: known.amount.plus(line.amount ?? 0),
      events: known.events + line.events,
    });
  }
  const lines: Line[] = [];
  const current = new Map(now.filter(({ kind }) => kind !== 'flat').map((line) => [lineKey(line), line]));
  for (const key of new Set([...before.keys(), ...current.keys()])) {
    const old = before.get(key);
    const line = current.get(key);
    const quantity = new Exact(line?.quantity ?? 0).minus(old?.quantity ?? 0);
    const amount = new Exact(line?.amount ?? 0).minus(old?.amount ?? 0);
    const events = (line?.events ?? 0) - (old?.events ?? 0);
    if (quantity.isZero() && amount.isZero() && events === 0) continue;
    const like = (line ?? old?.line) as Line;
    lines.push({
      ...like,
      kind: 'adjustment',
      period,
      quantity: quantity.toFixed(),
      events,
      free: null,
      steps: [],
      amount: like.amount === null ? null : rounded(amount, rounding),
      ranges: line?.ranges ?? [],
    });
  }
  return lines;
}

/** A sequence that is not counted, and so makes a statement incomplete. */
export interface OpenGap {
  readonly channel: number;
  readonly sequence: number;
  readonly reason: string;
}

export interface Statement {
  readonly account: string;
  readonly period: {
    readonly name: string;
    readonly kind: string;
    readonly zone: string;
    readonly from: string;
    readonly to: string;
  };
  readonly currency: string | null;
  readonly rounding: Rounding;
  readonly terms: readonly { readonly from: string; readonly to: string; readonly terms: Terms | null }[];
  readonly lines: readonly Line[];
  readonly total: string;
  /** All sequences of the account's channel up to here are in it, but for the gaps. */
  readonly through: { readonly channel: number; readonly sequence: number };
  readonly complete: boolean;
  readonly gaps: readonly OpenGap[];
}

/** The sum of what was rounded line by line. */
export function totalOf(lines: readonly Line[], { digits }: Rounding): string {
  return lines.reduce((sum, { amount }) => sum.plus(amount ?? 0), ZERO).toFixed(digits);
}

export function iso(at: number): string {
  return new Date(at).toISOString();
}

/** Ranges in order, those that touch or overlap joined, and the nearest joined until there are at most so many. */
export function joinRanges(ranges: readonly Range[], most: number): Range[] {
  const joined: { channel: number; from: number; to: number }[] = [];
  for (const { channel, from, to } of [...ranges].sort((a, b) => a.channel - b.channel || a.from - b.from)) {
    const last = joined.at(-1);
    if (last && last.channel === channel && from <= last.to + 1) last.to = Math.max(last.to, to);
    else joined.push({ channel, from, to });
  }
  while (joined.length > most) {
    let nearest = 1;
    for (let i = 2; i < joined.length; i++) if (apart(joined, i) < apart(joined, nearest)) nearest = i;
    if (apart(joined, nearest) === Number.POSITIVE_INFINITY) return joined;
    const [gone] = joined.splice(nearest, 1);
    const kept = joined[nearest - 1];
    if (kept && gone) kept.to = gone.to;
  }
  return joined;
}

function apart(ranges: readonly Range[], i: number): number {
  const [before, after] = [ranges[i - 1], ranges[i]];
  return before && after && before.channel === after.channel ? after.from - before.to : Number.POSITIVE_INFINITY;
}
