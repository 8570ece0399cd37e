import type { Kind } from '../../src/message/arrival.js';
import type { DeliveryState } from '../../src/message/delivery.js';
import type { Address } from '../../src/message/view.js';
import type { MessageState } from '../../src/storage/messages.js';

/* How times, sizes, states and senders are written on pages. */

/** A time as pages show it: how long ago, and on asking exactly. */
export interface When {
  /** RFC 3339. */
  readonly iso: string;
  /** `3 min`. */
  readonly ago: string;
  /** `2026-01-31 12:00:00 UTC`. */
  readonly full: string;
}

const UNITS = [
  ['d', 86_400_000],
  ['h', 3_600_000],
  ['min', 60_000],
  ['s', 1_000],
] as const;

/** `now` in milliseconds since 1970. */
export function when(at: Date, now: number): When {
  const iso = at.toISOString();
  return { iso, ago: span(Math.abs(now - at.getTime())), full: `${iso.slice(0, 10)} ${iso.slice(11, 19)} UTC` };
}

/** A time that is yet to come; null when there is none: what is due already waits for something else. */
export function yetToCome(at: Date | null, now: number): When | null {
  return at !== null && at.getTime() > now ? when(at, now) : null;
}

/** A length of time in its greatest unit. */
function span(ms: number): string {
  const [unit, length] = UNITS.find(([, least]) => ms >= least) ?? ['s', 1_000];
  return `${Math.floor(ms / length)} ${unit}`;
}

/** Bytes for people: `812 B`, `4.1 kB`, `3.2 MB`. */
export function size(bytes: number): string {
  if (bytes < 1000) return `${bytes} B`;
  const [value, unit] = bytes < 1_000_000 ? [bytes / 1000, 'kB'] : [bytes / 1_000_000, 'MB'];
  return `${value < 10 ? value.toFixed(1) : Math.round(value)} ${unit}`;
}

export function count(number: number, one: string, many: string): string {
  return `${number.toLocaleString('en')} ${number === 1 ? one : many}`;
}

/** What a state means for whoever looks: `tone` gives it its colour, `label` its word. */
export interface Badge {
  readonly label: string;
  readonly tone: 'plain' | 'ok' | 'wait' | 'bad';
}

const MESSAGE_BADGES: Readonly<Record<MessageState, Badge>> = {
  accepted: { label: 'accepted', tone: 'plain' },
  routed: { label: 'routed', tone: 'ok' },
  waiting: { label: 'waiting', tone: 'wait' },
  snoozed: { label: 'snoozed', tone: 'plain' },
  closed: { label: 'closed', tone: 'plain' },
  parked: { label: 'parked', tone: 'wait' },
  quarantined: { label: 'quarantined', tone: 'bad' },
};

export function messageBadge(state: MessageState): Badge {
  return MESSAGE_BADGES[state];
}

const DELIVERY_BADGES: Readonly<Record<DeliveryState, Badge>> = {
  pending: { label: 'pending', tone: 'wait' },
  delivered: { label: 'delivered', tone: 'ok' },
  failed: { label: 'failed', tone: 'bad' },
  cancelled: { label: 'cancelled', tone: 'plain' },
};

export function deliveryBadge(state: DeliveryState): Badge {
  return DELIVERY_BADGES[state];
}

const KINDS: Readonly<Record<Kind, string>> = { mail: 'mail', event: 'event', webhook: 'hook', amqp: 'amqp' };

export function kindLabel(kind: Kind): string {
  return KINDS[kind];
}

/** `Anna Example <anna@example.com>, …`. */
export function addresses(all: readonly Address[]): string {
  return all.map(({ name, address }) => (name === '' ? address : `${name} <${address}>`)).join(', ');
}

/** Of what names no type. */
const TITLES = { event: 'Event', webhook: 'Webhook', amqp: 'Queue message' } as const;

/** What a person would call a message. */
export function titleOf(message: {
  readonly kind: Kind;
  readonly subject: string | null;
  readonly type: string | null;
}): string {
  if (message.kind === 'mail') return message.subject?.trim() || '(no subject)';
  return message.type ?? TITLES[message.kind];
}

/** What tells it from others of its title: a mail's sender, else the id its sender gave it. */
export function subtitleOf(message: { readonly from: readonly Address[]; readonly externalId: string | null }): string {
  const [first] = message.from;
  return first ? first.name.trim() || first.address : (message.externalId ?? '');
}
