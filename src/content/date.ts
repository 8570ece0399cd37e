/** Longer than any date is written; what is longer is none. */
const MAX_DATE = 128;

const MONTHS: readonly string[] = 'jan feb mar apr may jun jul aug sep oct nov dec'.split(' ');
/** Hours ahead of UTC of the zones that RFC 5322 still names. */
const ZONES: ReadonlyMap<string, number> = new Map([
  ['ut', 0],
  ['utc', 0],
  ['gmt', 0],
  ['z', 0],
  ['est', -5],
  ['edt', -4],
  ['cst', -6],
  ['cdt', -5],
  ['mst', -7],
  ['mdt', -6],
  ['pst', -8],
  ['pdt', -7],
]);

const RFC_5322 =
  /^(?:[a-z]{3}\s*,\s*)?(\d{1,2})\s+([a-z]{3})\s+(\d{2,4})\s+(\d{1,2}):(\d{2})(?::(\d{2}))?\s+([+-]\d{4}|[a-z]{1,3})$/i;

export interface ReadDate {
  /** RFC 3339, in UTC. */
  readonly date: string;
  /** It was written as RFC 5322 says. */
  readonly proper: boolean;
}

/** Reads a mail's date; undefined for what can't be taken for one. */
export function readDate(text: string): ReadDate | undefined {
  if (text.length > MAX_DATE) return undefined;
  const plain = withoutComments(text);
  const proper = properTime(plain);
  if (proper !== undefined) return { date: rfc3339(proper), proper: true };
  const guess = Date.parse(plain);
  return isPresentable(guess) ? { date: rfc3339(guess), proper: false } : undefined;
}

function properTime(text: string): number | undefined {
  const match = RFC_5322.exec(text);
  if (!match) return undefined;
  const [, day, month, year, hour, minutes, second, zone] = match as unknown as [string, ...string[]];
  const monthIndex = MONTHS.indexOf((month as string).toLowerCase());
  const offset = offsetMinutes(zone as string);
  if (monthIndex === -1 || offset === undefined) return undefined;
  const fields = [fullYear(year as string), monthIndex, Number(day), Number(hour), Number(minutes)] as const;
  const seconds = Number(second ?? 0);
  const minute = Date.UTC(...fields);
  const time = minute + seconds * 1_000;
  // Date.UTC carries 31 February over into March.
  const carried = new Date(minute);
  const isDate = carried.getUTCDate() === fields[2] && fields[3] < 24 && fields[4] < 60 && seconds <= 60;
  return isDate && isPresentable(time) ? time - offset * 60_000 : undefined;
}

/** RFC 5322, 4.3: years of two digits are of 1950 to 2049, of three digits from 1900 on. */
function fullYear(text: string): number {
  const year = Number(text);
  if (text.length === 2) return year < 50 ? 2000 + year : 1900 + year;
  return text.length === 3 ? 1900 + year : year;
}

function offsetMinutes(zone: string): number | undefined {
  const numeric = /^([+-])(\d{2})(\d{2})$/.exec(zone);
  if (!numeric) return hoursToMinutes(ZONES.get(zone.toLowerCase()));
  const minutes = Number(numeric[2]) * 60 + Number(numeric[3]);
  return numeric[1] === '-' ? -minutes : minutes;
}

function hoursToMinutes(hours: number | undefined): number | undefined {
  return hours === undefined ? undefined : hours * 60;
}

function withoutComments(text: string): string {
  return text
    .replace(/\([^()]*\)/g, ' ')
    .replace(/\s+/g, ' ')
    .trim();
}

/** From 1900 to 9999: what RFC 3339 can write and a mail can mean. */
function isPresentable(time: number): boolean {
  return time >= Date.UTC(1900, 0, 1) && time < Date.UTC(10_000, 0, 1);
}

function rfc3339(time: number): string {
  return `${new Date(time).toISOString().slice(0, 19)}Z`;
}
