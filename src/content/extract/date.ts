const ISO = /^(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?)\s?(Z|[+-]\d\d:?\d\d)?)?$/i;
const NUMBERS = /^(\d{1,2})([./-])(\d{1,2})\2(\d{4})$/;
const DAY_FIRST = /^(\d{1,2})(?:\.|st|nd|rd|th)?\s+(\p{L}{3,9})\.?,?\s+(\d{4})$/iu;
const MONTH_FIRST = /^(\p{L}{3,9})\.?\s+(\d{1,2})(?:st|nd|rd|th)?,?\s+(\d{4})$/iu;
const WEEKDAY = /^\p{L}{2,10}\.?,\s+(?=[\p{L}\d])/u;

/** English and German, by the letters that tell them apart. */
const MONTHS: readonly RegExp[] = [
  /^jan(uary|uar)?$/i,
  /^feb(ruary|ruar)?$/i,
  /^(mar(ch)?|märz|mär|maerz)$/i,
  /^apr(il)?$/i,
  /^(may|mai)$/i,
  /^jun[ei]?$/i,
  /^jul[yi]?$/i,
  /^aug(ust)?$/i,
  /^sept?(ember)?$/i,
  /^(oct(ober)?|okt(ober)?)$/i,
  /^nov(ember)?$/i,
  /^(dec(ember)?|dez(ember)?)$/i,
];

/**
 * A date as ISO 8601 writes it, from what people write; with its time where it has one in that form. Null for anything
 * else, and for what is one day to some and another to others: `3/4/2026`.
 */
export function readDate(text: string): string | null {
  const written = text.trim().replace(WEEKDAY, '');
  if (written.length > 40) return null;
  const iso = ISO.exec(written);
  if (iso) {
    const [, year, month, day, time, zone = ''] = iso;
    const date = dateOf(year, month, day);
    if (date === null || time === undefined) return date;
    return Number.isNaN(Date.parse(`${date}T${time}Z`)) ? null : `${date}T${time}${zone.toUpperCase()}`;
  }
  const numbers = NUMBERS.exec(written);
  if (numbers) return ofNumbers(Number(numbers[1]), numbers[2] as string, Number(numbers[3]), numbers[4]);
  const dayFirst = DAY_FIRST.exec(written);
  if (dayFirst) return dateOf(dayFirst[3], monthOf(dayFirst[2]), dayFirst[1]);
  const monthFirst = MONTH_FIRST.exec(written);
  return monthFirst ? dateOf(monthFirst[3], monthOf(monthFirst[1]), monthFirst[2]) : null;
}

/** With points the day comes first wherever that is written; with strokes only one of two over 12 tells. */
function ofNumbers(first: number, sign: string, second: number, year: string | undefined): string | null {
  if (sign === '.' || first > 12 || first === second) return dateOf(year, second, first);
  return second > 12 ? dateOf(year, first, second) : null;
}

function monthOf(name: string | undefined): number {
  return MONTHS.findIndex((month) => month.test(name ?? '')) + 1;
}

/** Null where the calendar has no such day. */
function dateOf(year: unknown, month: unknown, day: unknown): string | null {
  const date = `${year}-${String(month).padStart(2, '0')}-${String(day).padStart(2, '0')}`;
  const at = new Date(`${date}T00:00:00Z`);
  return !Number.isNaN(at.getTime()) && at.toISOString().startsWith(date) ? date : null;
}
