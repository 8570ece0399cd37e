import type { Aggregation } from './definitions.js';
import { greaterOf, lesserOf, sumOf } from './exact.js';

/*
 * Hourly cells: what the entries of one series come to in one hour. Cells of the same hour are put together by the store.
 */

/** An entry that counts. */
export interface Countable {
  readonly series: number;
  readonly aggregation: Aggregation;
  /** UTC, `YYYY-MM-DD HH:…`; of two, the text that is less is the earlier one. */
  readonly at: string;
  readonly sequence: number;
  readonly value: string | null;
  readonly member: string | null;
}

export interface Cell {
  readonly series: number;
  readonly hour: string;
  readonly aggregation: Aggregation;
  readonly events: number;
  /** Sum, greatest, least or last; null for counts and members. */
  readonly value: string | null;
  /** Of the last one. */
  readonly at: string;
  readonly sequence: number;
  readonly first: number;
  readonly final: number;
  /** Those told apart, each once. */
  readonly members: readonly string[];
}

/** By series, then by time: entries of a cell stand beside each other, the last one last. */
export function byCell(a: Countable, b: Countable): number {
  if (a.series !== b.series) return a.series - b.series;
  if (a.at !== b.at) return a.at < b.at ? -1 : 1;
  return a.sequence - b.sequence;
}

/** Of entries in the order of `byCell`. */
export function cellsOf(entries: readonly Countable[]): Cell[] {
  const cells: Cell[] = [];
  for (let from = 0; from < entries.length; ) {
    const { series, at } = entries[from] as Countable;
    const hour = hourOf(at);
    let to = from + 1;
    while (to < entries.length && entries[to]?.series === series && entries[to]?.at.startsWith(hour)) to++;
    cells.push(cellOf(hour, entries.slice(from, to)));
    from = to;
  }
  return cells;
}

/** `YYYY-MM-DD HH`. */
function hourOf(at: string): string {
  return at.slice(0, at.indexOf(':'));
}

function cellOf(hour: string, entries: readonly Countable[]): Cell {
  const { series, aggregation, at, sequence } = entries.at(-1) as Countable;
  let [first, final] = [sequence, sequence];
  for (const entry of entries) {
    if (entry.sequence < first) first = entry.sequence;
    else if (entry.sequence > final) final = entry.sequence;
  }
  const value = quantityOf(aggregation, entries);
  const members = aggregation === 'unique' ? [...new Set(entries.map(({ member }) => member as string))] : NONE;
  return { series, hour, aggregation, events: entries.length, value, at, sequence, first, final, members };
}

const NONE: readonly never[] = [];

function quantityOf(aggregation: Aggregation, entries: readonly Countable[]): string | null {
  switch (aggregation) {
    case 'count':
    case 'unique':
      return null;
    case 'sum':
      return sumOf(entries.map(valueIn));
    case 'max':
      return entries.map(valueIn).reduce(greaterOf);
    case 'min':
      return entries.map(valueIn).reduce(lesserOf);
    case 'last':
      return valueIn(entries.at(-1) as Countable);
    default: {
      const never: never = aggregation;
      return never;
    }
  }
}

function valueIn({ value }: Countable): string {
  if (value === null) throw new TypeError('an entry of a meter that adds or compares has no value');
  return value;
}
