import ICAL from 'ical.js';
import { cleanLine, cleanText } from './clean.js';

/** What a calendar says, as data: enough to answer an invitation or to put it into another calendar. */
export interface Calendar {
  /** `REQUEST`, `REPLY`, `CANCEL` …; null for a plain file. */
  readonly method: string | null;
  readonly items: readonly CalendarItem[];
}

export interface CalendarItem {
  readonly kind: 'event' | 'todo' | 'journal' | 'freebusy';
  readonly uid: string | null;
  readonly sequence: number | null;
  readonly status: string | null;
  readonly summary: string | null;
  readonly location: string | null;
  readonly start: CalendarTime | null;
  readonly end: CalendarTime | null;
  /** As RFC 5545 writes it: `PT1H`. */
  readonly duration: string | null;
  readonly organizer: Attendee | null;
  readonly attendees: readonly Attendee[];
  /** It comes again; the rule as it stands is in the part. */
  readonly repeats: boolean;
}

/** `2026-01-01`, `2026-01-01T10:00:00` or `2026-01-01T10:00:00Z`, and the zone it names. */
export interface CalendarTime {
  readonly time: string;
  readonly zone: string | null;
}

export interface Attendee {
  readonly name: string | null;
  /** Without `mailto:`. */
  readonly address: string;
  /** `ACCEPTED`, `NEEDS-ACTION` … */
  readonly status: string | null;
  readonly role: string | null;
}

/** Bytes beyond which a calendar is kept as the file it is. */
export const MAX_CALENDAR_BYTES = 1024 * 1024;
const MAX_ITEMS = 100;
const MAX_ATTENDEES = 1_000;
const MAX_LINE = 500;
const MAX_TEXT = 10_000;

const KINDS: ReadonlyMap<string, CalendarItem['kind']> = new Map([
  ['vevent', 'event'],
  ['vtodo', 'todo'],
  ['vjournal', 'journal'],
  ['vfreebusy', 'freebusy'],
]);

/** jCal (RFC 7265), as ical.js gives it. */
type Component = readonly [name: string, properties: readonly Property[], components: readonly Component[]];
type Property = readonly [
  name: string,
  parameters: Readonly<Record<string, unknown>>,
  type: string,
  ...values: unknown[],
];

/** Null where it is no calendar. Throws nothing of its own; ical.js may, on what it can't read. */
export function readCalendar(text: string): Calendar | null {
  const parsed = ICAL.parse(text) as unknown as readonly unknown[];
  // Several calendars in one file come as a list of them.
  const calendars = (typeof parsed[0] === 'string' ? [parsed] : parsed) as readonly Component[];
  const own = calendars.filter((each) => Array.isArray(each) && each[0] === 'vcalendar');
  const [first] = own;
  if (first === undefined) return null;
  let room = MAX_ATTENDEES;
  const items: CalendarItem[] = [];
  for (const [name, properties] of own.flatMap(([, , components]) => components)) {
    const kind = KINDS.get(name);
    if (kind === undefined || items.length >= MAX_ITEMS) continue;
    const item = itemOf(kind, properties, room);
    room -= item.attendees.length;
    items.push(item);
  }
  return { method: textOf(find(first[1], 'method'), MAX_LINE), items };
}

function itemOf(kind: CalendarItem['kind'], properties: readonly Property[], mostAttendees: number): CalendarItem {
  const text = (name: string, most = MAX_LINE) => textOf(find(properties, name), most);
  const sequence = find(properties, 'sequence')?.[3];
  return {
    kind,
    uid: text('uid'),
    sequence: typeof sequence === 'number' && Number.isSafeInteger(sequence) ? sequence : null,
    status: text('status'),
    summary: text('summary', MAX_TEXT),
    location: text('location', MAX_TEXT),
    start: timeOf(find(properties, 'dtstart')),
    end: timeOf(find(properties, kind === 'todo' ? 'due' : 'dtend')),
    duration: text('duration'),
    organizer: attendeeOf(find(properties, 'organizer')),
    attendees: properties
      .filter(([name]) => name === 'attendee')
      .slice(0, mostAttendees)
      .map(attendeeOf)
      .filter((attendee) => attendee !== null),
    repeats: properties.some(([name]) => name === 'rrule' || name === 'rdate'),
  };
}

function find(properties: readonly Property[], name: string): Property | undefined {
  return properties.find(([its]) => its === name);
}

function textOf(property: Property | undefined, most: number): string | null {
  const value = property?.[3];
  if (value === undefined || value === null || typeof value === 'object') return null;
  return cleanText(String(value).slice(0, most));
}

function timeOf(property: Property | undefined): CalendarTime | null {
  const time = property?.[3];
  if (property === undefined || typeof time !== 'string') return null;
  return { time: cleanLine(time, MAX_LINE), zone: parameterOf(property, 'tzid') };
}

function attendeeOf(property: Property | undefined): Attendee | null {
  const value = property?.[3];
  if (property === undefined || typeof value !== 'string') return null;
  return {
    name: parameterOf(property, 'cn'),
    address: cleanLine(value.replace(/^mailto:/i, ''), MAX_LINE),
    status: parameterOf(property, 'partstat'),
    role: parameterOf(property, 'role'),
  };
}

function parameterOf([, parameters]: Property, name: string): string | null {
  const value = parameters[name];
  return typeof value === 'string' ? cleanLine(value, MAX_LINE) : null;
}
