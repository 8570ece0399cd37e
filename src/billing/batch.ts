import type { Kind } from '../message/arrival.js';
import { type BackfillSays, readBackfillSays } from './backfill.js';
import { type Correction, type Instead, LEDGER_SOURCE, LEDGER_TYPES, readCorrection } from './correction.js';
import { identityIn, type UsageMessage } from './event.js';
import type { GapReason, Seen } from './mark.js';
import type { Measured, Meters, ProblemCode } from './meter.js';

/** A message as the ledger reads it. Times are UTC as texts, to the microsecond, and the earlier one is the lesser text. */
export interface LedgerMessage {
  readonly sequence: number;
  readonly source: string;
  readonly kind: Kind;
  readonly account: string;
  readonly type: string | null;
  readonly meta: string | null;
  readonly raw: Uint8Array;
  /** When it happened: its event time, else when it came. */
  readonly at: string;
  readonly arrivedAt: string;
  readonly erased: boolean;
}

/** What the plans say of one sequence. */
export interface PlanSays {
  readonly sequence: number;
  /** Null where it was read whole. */
  readonly gap: GapReason | null;
}

/** A sequence, and what is there of it. */
export interface Judged extends Seen {
  readonly message: LedgerMessage | null;
}

/**
 * What becomes of a sequence: it is a gap where it was not read whole, or is not there, as far as it may be usage. What no meter
 * is for leaves none.
 */
export function judge(
  { sequence, gap }: PlanSays,
  message: LedgerMessage | null,
  meters: Meters,
  channel: number,
): Judged {
  if (message === null || message.erased) return { sequence, message: null, gap: gap ?? 'missing' };
  const matters =
    message.source === LEDGER_SOURCE || meters.concern(message.type, message.source, { channel, sequence });
  return { sequence, message, gap: matters ? gap : null };
}

export interface NewEntry extends Measured {
  readonly message: LedgerMessage;
  /** A correction: what it counts, a person has agreed to. */
  readonly correction: boolean;
}

/** What the messages of a batch come to, before anything is written. */
export interface Reckoned {
  readonly entries: readonly NewEntry[];
  readonly corrections: readonly { readonly message: LedgerMessage; readonly correction: Correction }[];
  readonly problems: readonly { readonly message: LedgerMessage; readonly meter: number; readonly code: ProblemCode }[];
  /** By type and day of arrival. */
  readonly unmetered: readonly Unmetered[];
  /** Of events that are counted and came by themselves: what tells them apart. */
  readonly identities: readonly Identified[];
  readonly backfills: readonly (Identified & { readonly backfill: number })[];
  readonly words: readonly { readonly message: LedgerMessage; readonly word: BackfillWord }[];
}

export type BackfillWord = Exclude<BackfillSays, { what: 'event' }>;

export interface Identified {
  readonly sequence: number;
  /** The name of its feed. */
  readonly source: string;
  readonly identity: Uint8Array;
}

export interface Unmetered {
  readonly type: string;
  readonly day: string;
  readonly events: number;
  /** The last of them. */
  readonly sequence: number;
}

export function reckon(messages: readonly LedgerMessage[], meters: Meters, channel: number): Reckoned {
  const entries: NewEntry[] = [];
  const corrections: { message: LedgerMessage; correction: Correction }[] = [];
  const problems: { message: LedgerMessage; meter: number; code: ProblemCode }[] = [];
  const unmetered = new Map<string, { type: string; day: string; events: number; sequence: number }>();
  const identities: Identified[] = [];
  const backfills: (Identified & { backfill: number })[] = [];
  const words: { message: LedgerMessage; word: BackfillWord }[] = [];
  for (const message of messages) {
    const place = { channel, sequence: message.sequence };
    const own = message.source === LEDGER_SOURCE;
    const correction = own ? readCorrection(message.type, message.raw) : undefined;
    // Sequences of other channels mean nothing here.
    if (correction && correction.target.channel !== channel) continue;
    if (correction) corrections.push({ message, correction });
    const says = own ? readBackfillSays(message.type, message.raw) : undefined;
    if (says && says.what !== 'event') {
      if (says.what !== 'accept' || says.target.channel === channel) words.push({ message, word: says });
      continue;
    }
    const instead = correction?.instead ?? says?.instead ?? null;
    const measurement = own ? usageInstead(instead, message, meters, place) : meters.measure(message, place);
    if (!measurement) continue;
    if (says) {
      const { source, document } = says.instead;
      const identity = identityIn(document);
      if (!identity) continue;
      backfills.push({ sequence: message.sequence, source, identity, backfill: says.backfill });
    } else if (!own && message.kind === 'event' && measurement.measured.length > 0) {
      const identity = identityIn(measurement.document());
      if (identity) identities.push({ sequence: message.sequence, source: message.source, identity });
    }
    for (const measured of measurement.measured) entries.push({ ...measured, message, correction: own });
    for (const { meter, code } of measurement.problems) problems.push({ message, meter: meter.id, code });
    if (measurement.unmetered) {
      const [type, day] = [message.type ?? '', message.arrivedAt.slice(0, 10)];
      const known = unmetered.get(`${day}${type}`);
      if (known) {
        known.events++;
        known.sequence = Math.max(known.sequence, message.sequence);
      } else {
        unmetered.set(`${day}${type}`, { type, day, events: 1, sequence: message.sequence });
      }
    }
  }
  const rest = { identities, backfills, words };
  return { entries, corrections, problems, unmetered: [...unmetered.values()], ...rest };
}

/** An amendment is measured as the event it stands for, and so is an event of a backfill. */
function usageInstead(
  instead: Instead | null,
  message: LedgerMessage,
  meters: Meters,
  place: { readonly channel: number; readonly sequence: number },
) {
  if (!instead) return undefined;
  const amended: UsageMessage = { ...message, kind: 'event', type: instead.type, source: instead.source };
  return { ...meters.measure(amended, place, instead.document), unmetered: false };
}

/** Whether the ledger itself wrote a message: rules don't see it. */
export function isLedgerOwn(source: string): boolean {
  return source === LEDGER_SOURCE;
}

/** The target that a message of the ledger goes to, by its own data; null where it goes nowhere. */
export function ownTarget(type: string | null, data: unknown): string | null {
  if (type !== LEDGER_TYPES.statement && type !== LEDGER_TYPES.threshold) return null;
  const target = (data as { readonly target?: unknown } | null | undefined)?.target;
  return typeof target === 'string' ? target : null;
}
