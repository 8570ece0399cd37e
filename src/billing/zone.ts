/*
 * Days and months in a time zone, by the rules that the runtime brings along. Local times are milliseconds as if they were
 * UTC: `Date.UTC(2026, 2, 29)` is midnight of 29 March wherever it is.
 */

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

export function isZone(zone: string): boolean {
  try {
    // Offsets such as +01:00 are zones to newer runtimes, and unknown to others.
    return /^[A-Za-z]/.test(zone) && zone.length <= 64 && clockOf(zone) !== undefined;
  } catch {
    return false;
  }
}

/** Making one takes 50 µs; a process sees few zones. */
const CLOCKS = new Map<string, Intl.DateTimeFormat>();
const MOST_CLOCKS = 1_000;

function clockOf(zone: string): Intl.DateTimeFormat {
  const known = CLOCKS.get(zone);
  if (known) return known;
  const made = new Intl.DateTimeFormat('en-US', {
    timeZone: zone,
    calendar: 'iso8601',
    numberingSystem: 'latn',
    hourCycle: 'h23',
    year: 'numeric',
    month: 'numeric',
    day: 'numeric',
    hour: 'numeric',
    minute: 'numeric',
    second: 'numeric',
  });
  if (CLOCKS.size >= MOST_CLOCKS) CLOCKS.clear();
  CLOCKS.set(zone, made);
  return made;
}

/** What the wall clock of the zone shows at an instant, as if it were UTC; whole seconds. */
function localAt(instant: number, zone: string): number {
  const at: Record<string, number> = {};
  for (const { type, value } of clockOf(zone).formatToParts(instant)) at[type] = Number(value);
  const { year = 0, month = 1, day = 1, hour = 0, minute = 0, second = 0 } = at;
  return Date.UTC(year, month - 1, day, hour, minute, second);
}

/** The first instant of a local day: midnight, or where the clock skips it the moment it skips to. */
function startOfDay(local: number, zone: string): number {
  // No zone is further from UTC than this, and none changes twice within two days.
  const early = local - offsetAt(local - 1.5 * DAY, zone);
  const late = local - offsetAt(local + 1.5 * DAY, zone);
  // A clock that is put back shows it twice: the day begins with the first time.
  for (const instant of [Math.min(early, late), Math.max(early, late)]) {
    if (localAt(instant, zone) === local) return instant;
  }
  return firstShowing(local, zone, Math.min(early, late) - 3 * HOUR, Math.max(early, late) + 3 * HOUR);
}

/** The first instant at which the clock shows that time or a later one. */
function firstShowing(local: number, zone: string, from: number, to: number): number {
  let before = from;
  let after = to;
  while (after - before > 1_000) {
    const middle = before + Math.floor((after - before) / 2_000) * 1_000;
    if (localAt(middle, zone) >= local) after = middle;
    else before = middle;
  }
  return after;
}

function offsetAt(instant: number, zone: string): number {
  return localAt(instant, zone) - Math.floor(instant / 1_000) * 1_000;
}

export type PeriodKind = 'month' | 'day';

/** From the first instant up to the first that is not part of it; milliseconds since 1970. */
export interface Span {
  readonly from: number;
  readonly to: number;
}

export interface Period extends Span {
  readonly kind: PeriodKind;
  readonly zone: string;
  /** `2026-03` or `2026-03-29`. */
  readonly name: string;
}

/** The period that an instant lies in. */
export function periodAt(instant: number, kind: PeriodKind, zone: string): Period {
  const local = new Date(localAt(instant, zone));
  return periodFrom(local.getUTCFullYear(), local.getUTCMonth(), kind === 'month' ? 1 : local.getUTCDate(), kind, zone);
}

/** The one that begins where another ends. */
export function periodAfter({ to, kind, zone }: Period): Period {
  return periodAt(to, kind, zone);
}

/** `2026-03` of a month, `2026-03-29` of a day; undefined for what is no name of such a period. */
export function periodNamed(name: string, kind: PeriodKind, zone: string): Period | undefined {
  const match = (kind === 'month' ? /^(\d{4})-(\d\d)()$/ : /^(\d{4})-(\d\d)-(\d\d)$/).exec(name);
  if (!match) return undefined;
  const [, year, month, day = ''] = match;
  const found = periodFrom(Number(year), Number(month) - 1, day === '' ? 1 : Number(day), kind, zone);
  return found.name === name ? found : undefined;
}

/** The first instant of a date such as `2026-03-29` in a zone. */
export function startOfDate(date: string, zone: string): number {
  return startOfDay(Date.parse(`${date}T00:00:00Z`), zone);
}

function periodFrom(year: number, month: number, day: number, kind: PeriodKind, zone: string): Period {
  const first = Date.UTC(year, month, day);
  const next = kind === 'month' ? Date.UTC(year, month + 1, 1) : Date.UTC(year, month, day + 1);
  const name = new Date(first).toISOString().slice(0, kind === 'month' ? 7 : 10);
  return { kind, zone, name, from: startOfDay(first, zone), to: startOfDay(next, zone) };
}
