import { Exact } from '../../src/billing/exact.js';

/* Bar charts as SVG: each bar is a link, no script draws them, and colours are the style sheet's. */

/** Units of the drawing; it is stretched to the room there is. */
const WIDTH = 1000;
const HEIGHT = 120;
/** Of what each bar has, so much is bar. */
const FILLED = 0.8;
/** Even the least is seen. */
const LEAST = 2;

export interface BarValue {
  /** A decimal. */
  readonly quantity: string;
  readonly label: string;
  readonly href: string;
}

export interface Bar {
  readonly label: string;
  readonly href: string;
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
  /** The whole column, which is easier to point at. */
  readonly left: number;
  readonly room: number;
}

export interface BarChart {
  readonly viewBox: string;
  readonly height: number;
  readonly zero: number;
  /** What has usage; null leaves its place empty. */
  readonly bars: readonly Bar[];
}

/** What charts beside each other are drawn by, so that they can be compared. */
export interface Scale {
  readonly most: string;
  /** Less than zero where there are credits. */
  readonly least: string;
}

export function scaleOf(quantities: readonly string[]): Scale {
  const all = quantities.map((quantity) => new Exact(quantity));
  return { most: Exact.max(0, ...all).toFixed(), least: Exact.min(0, ...all).toFixed() };
}

export function barsOf(values: readonly (BarValue | null)[], { most, least }: Scale): BarChart {
  const range = new Exact(most).minus(least);
  // A double is exact enough to draw with.
  const y = (quantity: string) =>
    range.isZero() ? HEIGHT : round(new Exact(most).minus(quantity).div(range).toNumber() * HEIGHT);
  const zero = y('0');
  const room = WIDTH / Math.max(1, values.length);
  const bars = values.flatMap((value, i): Bar[] => {
    if (value === null) return [];
    const at = y(value.quantity);
    const height = Math.max(LEAST, Math.abs(zero - at));
    const top = at <= zero ? zero - height : zero;
    return [
      {
        label: value.label,
        href: value.href,
        x: round((i + (1 - FILLED) / 2) * room),
        y: round(Math.max(0, Math.min(top, HEIGHT - height))),
        width: round(room * FILLED),
        height: round(height),
        left: round(i * room),
        room: round(room),
      },
    ];
  });
  return { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, height: HEIGHT, zero, bars };
}

function round(value: number): number {
  return Math.round(value * 100) / 100;
}
