import type { Principal } from '../../src/access/principal.js';
import type { UsageEntry } from '../../src/storage/usage-views.js';
import type { Badge } from './words.js';

/* How the pages of billing write quantities, times and states, and how they lead to each other. */

const SECTIONS = [
  { id: 'accounts', label: 'Accounts', href: '/billing' },
  { id: 'gaps', label: 'Not counted', href: '/billing/gaps' },
  { id: 'backfills', label: 'Backfills', href: '/billing/backfills' },
  { id: 'meters', label: 'Meters', href: '/billing/meters' },
  { id: 'rate-cards', label: 'Rate cards', href: '/billing/rate-cards' },
  { id: 'subscriptions', label: 'Subscriptions', href: '/billing/subscriptions' },
] as const;

/** The tabs of the part. */
export function sections(current: (typeof SECTIONS)[number]['id'] | null) {
  return SECTIONS.map(({ id, label, href }) => ({ label, href, current: id === current }));
}

export function accountPath(account: string, rest = ''): string {
  return `/billing/accounts/${encodeURIComponent(account)}${rest}`;
}

/** Where a page leads back to, unless that is longer than an address may hold: names of accounts may be long. */
export function backTo(path: string): string | undefined {
  return path.length <= 2_000 ? path : undefined;
}

/** A decimal with its thousands apart, every digit of it. */
export function grouped(decimal: string): string {
  const [, sign = '', whole = '', rest = ''] = /^(-?)(\d+)(.*)$/.exec(decimal) ?? ['', '', decimal, ''];
  return `${sign === '-' ? '−' : ''}${whole.replace(/\B(?=(\d{3})+$)/g, ',')}${rest}`;
}

/** A quantity and its unit: `1,234.5 GB`. */
export function quantityText(quantity: string, unit: string | null): string {
  return unit === null ? grouped(quantity) : `${grouped(quantity)} ${unit}`;
}

/** `region=eu, tier=gold`; of what has none, what is said instead. */
export function dimensionText(dimensions: Readonly<Record<string, string>>, none = ''): string {
  const all = Object.entries(dimensions).map(([name, value]) => `${name} ${value}`);
  return all.length === 0 ? none : all.join(', ');
}

const CLOCKS = new Map<string, Intl.DateTimeFormat>();

/** `2026-03-29 14:05` on the clock of a zone. */
export function localTime(at: number, zone: string): string {
  let clock = CLOCKS.get(zone);
  if (!clock) {
    clock = new Intl.DateTimeFormat('sv-SE', { timeZone: zone, dateStyle: 'short', timeStyle: 'short' });
    // A page shows one zone; a tenant's accounts have few.
    if (CLOCKS.size >= 100) CLOCKS.clear();
    CLOCKS.set(zone, clock);
  }
  return clock.format(at);
}

/** The time of an entry, RFC 3339 to the microsecond, as a person reads it; zeros at its end are left out. */
export function exactTime(at: string): string {
  return `${at.slice(0, 19).replace('T', ' ')}${at.slice(19, -1).replace(/\.?0+$/, '')} UTC`;
}

const ENTRY_BADGES: Readonly<Record<UsageEntry['state'], Badge>> = {
  c: { label: 'counted', tone: 'ok' },
  v: { label: 'corrected', tone: 'plain' },
  n: { label: 'superseded', tone: 'plain' },
  h: { label: 'held: too late', tone: 'wait' },
};

export function entryBadge(state: UsageEntry['state']): Badge {
  return ENTRY_BADGES[state];
}

export const GAP_WORDS: Readonly<Record<string, string>> = {
  parked: 'parked: it is read again by itself',
  quarantined: 'in quarantine',
  partial: 'read only in part',
  missing: 'lost: asked for again by itself',
};

export const PROBLEM_WORDS: Readonly<Record<string, string>> = {
  value_missing: 'there is no value where the meter looks',
  value_not_a_number: 'its value is not a number',
  value_too_long: 'its value has too many digits',
  unit_wrong: 'it names another unit than the meter',
  account_missing: 'it names no account',
  dimension_invalid: 'a dimension is a list, an object or too long',
  member_invalid: 'what it tells apart is a list, an object or too long',
};

export function mayCorrect({ permissions }: Principal): boolean {
  return permissions.has('billing.correct');
}
