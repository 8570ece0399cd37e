import type { Series } from '../../src/overview/series.js';

/* Small charts as SVG paths: no script draws them, and colours are the style sheet's. */

/** Units of the drawing; it is stretched to the room there is. */
const WIDTH = 240;
const HEIGHT = 40;
/** Left above the highest point and below zero for the thickness of the line. */
const MARGIN = 2;

/** What a template needs for one chart. */
export interface Spark {
  readonly id: string;
  readonly title: string;
  /** The same in words. */
  readonly description: string;
  /** The greatest value, which the drawing is as high as. */
  readonly most: string;
  readonly viewBox: string;
  readonly height: number;
  readonly line: string;
  readonly area: string;
  /** Where nothing is known. */
  readonly gaps: readonly { readonly x: number; readonly width: number }[];
}

/** `id` is unique on the page; `unit` follows a number: `a second`. */
export function sparkOf(id: string, title: string, unit: string, series: Series): Spark {
  const runs = runsOf(series);
  const top = Math.max(0, ...series.map((value) => value ?? 0));
  const points = (run: Run) => pointsOf(run, series.length, top);
  return {
    id,
    title,
    description: inWords(series, unit),
    most: figure(series.some((value) => value !== null) ? top : null),
    viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
    height: HEIGHT,
    line: runs.map((run) => `M${points(run).join('L')}`).join(''),
    area: runs.map((run) => areaOf(points(run))).join(''),
    gaps: gapsOf(series).map(({ first, count }) => ({
      x: xOf(first, series.length),
      width: round(xOf(first + count, series.length) - xOf(first, series.length)),
    })),
  };
}

/** Values beside each other, none of them missing. */
interface Run {
  readonly first: number;
  readonly values: readonly number[];
}

function runsOf(series: Series): Run[] {
  const runs: { first: number; values: number[] }[] = [];
  series.forEach((value, i) => {
    if (value === null) return;
    const last = runs.at(-1);
    if (last && last.first + last.values.length === i) last.values.push(value);
    else runs.push({ first: i, values: [value] });
  });
  return runs;
}

function gapsOf(series: Series): { first: number; count: number }[] {
  return runsOf(series.map((value) => (value === null ? 1 : null))).map(({ first, values }) => ({
    first,
    count: values.length,
  }));
}

/** From the beginning of the first value's time to the end of the last one's: one that stands alone is seen, too. */
function pointsOf({ first, values }: Run, of: number, top: number): string[] {
  const y = (value: number) => round(HEIGHT - MARGIN - (top === 0 ? 0 : (value / top) * (HEIGHT - 2 * MARGIN)));
  const middles = values.map((value, i) => `${xOf(first + i + 0.5, of)} ${y(value)}`);
  const begin = `${xOf(first, of)} ${y(values[0] ?? 0)}`;
  const end = `${xOf(first + values.length, of)} ${y(values.at(-1) ?? 0)}`;
  return [begin, ...middles, end];
}

function areaOf(points: readonly string[]): string {
  const xs = [points[0], points.at(-1)].map((point) => point?.split(' ')[0] ?? '0');
  return `M${xs[0]} ${HEIGHT}L${points.join('L')}L${xs[1]} ${HEIGHT}Z`;
}

function xOf(at: number, of: number): number {
  return of === 0 ? 0 : round((at / of) * WIDTH);
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}

function inWords(series: Series, unit: string): string {
  const known = series.filter((value) => value !== null);
  if (known.length === 0) return 'No figures yet.';
  const missing = series.length - known.length;
  const range = `From ${figure(Math.min(...known))} to ${figure(Math.max(...known))} ${unit}`;
  const last = series.at(-1);
  const end = last == null ? '' : `, at the end ${figure(last)}`;
  return `${range}${end}.${missing === 0 ? '' : ` Of ${missing} of ${series.length} points nothing is known.`}`;
}

/** A figure as people read it: what is small keeps a digit, what is not known is a dash. */
export function figure(value: number | null): string {
  if (value === null) return '–';
  if (value > 0 && value < 0.1) return '<0.1';
  return value < 10 && !Number.isInteger(value) ? value.toFixed(1) : Math.round(value).toLocaleString('en');
}
