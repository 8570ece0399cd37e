const RFC_3339 = /^(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d{1,32}))?([Zz]|[+-]\d\d:\d\d)$/;

/** As JavaScript writes a time, and most senders do. */
const PLAIN_TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;

const LONGEST_TIME = 64;
const MINUTE_MS = 60_000;
const YEAR_10000_MS = 253_402_300_800_000;

/**
 * An RFC 3339 time in UTC with microseconds (`2024-05-06T07:08:09.123456Z`); further digits are cut off. Undefined for
 * anything else and outside the years 1970 to 9999. A leap second is the first of the next minute.
 */
export function normalisedTime(text: string): string | undefined {
  if (text.length > LONGEST_TIME) return undefined;
  if (PLAIN_TIME.test(text) && isPlainMoment(text)) return `${text.slice(0, 23)}000Z`;
  const match = RFC_3339.exec(text);
  if (!match) return undefined;
  const [, year, month, day, hours, minutes, seconds, fraction, zone] = match as unknown as TimeMatch;
  const second = Number(seconds);
  if (!isDay(Number(year), Number(month), Number(day)) || Number(hours) > 23 || Number(minutes) > 59 || second > 60) {
    return undefined;
  }
  // Nearly all times come in UTC as they are to go out; the others take the way through milliseconds.
  const isPlain = (zone === 'Z' || zone === 'z') && second < 60 && year >= '1970';
  const toSecond = isPlain
    ? `${year}-${month}-${day}T${hours}:${minutes}:${seconds}`
    : inUtc(`${year}-${month}-${day}T${hours}:${minutes}:00Z`, second, zone);
  return toSecond === undefined ? undefined : `${toSecond}.${microseconds(fraction)}Z`;
}

/** Of a text in the form of PLAIN_TIME: whether it goes out as it is. */
function isPlainMoment(text: string): boolean {
  const year = 100 * twoDigits(text, 0) + twoDigits(text, 2);
  if (year < 1970 || !isDay(year, twoDigits(text, 5), twoDigits(text, 8))) return false;
  return twoDigits(text, 11) <= 23 && twoDigits(text, 14) <= 59 && twoDigits(text, 17) <= 59;
}

function twoDigits(text: string, at: number): number {
  return 10 * (text.charCodeAt(at) - ZERO) + text.charCodeAt(at + 1) - ZERO;
}

const ZERO = 0x30;

type TimeMatch = [string, string, string, string, string, string, string, string | undefined, string];

function isDay(year: number, month: number, day: number): boolean {
  return month >= 1 && month <= 12 && day >= 1 && day <= daysOf(year, month);
}

function daysOf(year: number, month: number): number {
  if (month === 2) return year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0) ? 29 : 28;
  return month === 4 || month === 6 || month === 9 || month === 11 ? 30 : 31;
}

function inUtc(minute: string, seconds: number, zone: string): string | undefined {
  const offset = zoneMinutes(zone);
  if (offset === undefined) return undefined;
  const ms = Date.parse(minute) + seconds * 1000 - offset * MINUTE_MS;
  return ms >= 0 && ms < YEAR_10000_MS ? new Date(ms).toISOString().slice(0, 19) : undefined;
}

/** Minutes east of Greenwich. */
function zoneMinutes(zone: string): number | undefined {
  if (zone === 'Z' || zone === 'z') return 0;
  const hours = Number(zone.slice(1, 3));
  const minutes = Number(zone.slice(4, 6));
  if (hours > 23 || minutes > 59) return undefined;
  return (zone.startsWith('-') ? -1 : 1) * (hours * 60 + minutes);
}

function microseconds(fraction: string | undefined): string {
  if (fraction === undefined) return '000000';
  return fraction.length >= 6 ? fraction.slice(0, 6) : fraction.padEnd(6, '0');
}
