import type { Kind } from '../message/arrival.js';
import type { Place } from '../message/id.js';
import { type BackfillSays, readBackfillSays } from './backfill.js';
import { type Correction, type Instead, LEDGER_SOURCE, LEDGER_TYPES, readCorrection } from './correction.js';
import { type Body, type EventName, eventNameIn, type UsageMessage } from './event.js';
import type { GapReason, Seen } from './mark.js';
import type { Measured, Meter, Meters, ProblemCode } from './meter.js';

/** A message as the ledger reads it. Times are UTC as texts, to the microsecond, and the earlier one is the lesser text. */
export interface LedgerMessage {
  readonly sequence: number;
  readonly source: string;
  readonly kind: Kind;
  readonly account: string;
  readonly type: string | null;
  readonly meta: string | null;
  readonly raw: Body;
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

/** What a message says to the ledger by itself. Of its bytes nothing is kept, so that a batch of them stays small. */
export interface Gist {
  readonly sequence: number;
  readonly account: string;
  readonly type: string | null;
  readonly at: string;
  readonly arrivedAt: string;
  /** Whether it may be usage, or what the ledger says itself. */
  readonly matters: boolean;
  /** The ledger wrote it: what it counts, a person has agreed to. */
  readonly own: boolean;
  readonly measured: readonly Measured[];
  readonly problems: readonly { readonly meter: Meter; readonly code: ProblemCode }[];
  readonly unmetered: boolean;
  readonly correction: Correction | null;
  readonly word: BackfillWord | null;
  /** The backfill that an event came with. */
  readonly backfill: number | null;
  /** What tells an event that is counted from others of its feed. */
  readonly identity: bigint | null;
}

export type BackfillWord = Exclude<BackfillSays, { what: 'event' }>;

/** 64 bits of what makes an event the same as another one of its feed. */
export type Identify = (feed: string, event: EventName) => bigint;

/** Reads one message; null for one that is erased. */
export function gistOf(message: LedgerMessage, meters: Meters, channel: number, identify: Identify): Gist | null {
  if (message.erased) return null;
  const { sequence, account, type, at, arrivedAt, source } = message;
  const own = isLedgerOwn(source);
  const place = { channel, sequence };
  const says = own ? ownWords(message, meters, place, identify) : usage(message, meters, place, identify);
  return { sequence, account, type, at, arrivedAt, own, ...says };
}

type Says = Omit<Gist, 'sequence' | 'account' | 'type' | 'at' | 'arrivedAt' | 'own'>;

const NONE: readonly never[] = [];
/** Of the ledger's own words, all matter. */
const NOTHING: Says = {
  matters: true,
  measured: NONE,
  problems: NONE,
  unmetered: false,
  correction: null,
  word: null,
  backfill: null,
  identity: null,
};

function usage(message: LedgerMessage, meters: Meters, place: Place, identify: Identify): Says {
  const { measured, problems, unmetered, concerned, document } = meters.measure(message, place);
  const name = message.kind === 'event' && measured.length > 0 ? eventNameIn(document()) : undefined;
  const identity = name ? identify(message.source, name) : null;
  return { matters: concerned, measured, problems, unmetered, correction: null, word: null, backfill: null, identity };
}

/** Sequences of other channels mean nothing here. */
function ownWords(message: LedgerMessage, meters: Meters, place: Place, identify: Identify): Says {
  const correction = readCorrection(message.type, message.raw);
  if (correction) {
    if (correction.target.channel !== place.channel) return NOTHING;
    return { ...NOTHING, ...usageInstead(correction.instead, message, meters, place), correction };
  }
  const says = readBackfillSays(message.type, message.raw);
  if (!says) return NOTHING;
  if (says.what !== 'event') {
    const isElsewhere = says.what === 'accept' && says.target.channel !== place.channel;
    return isElsewhere ? NOTHING : { ...NOTHING, word: says };
  }
  const { source, document } = says.instead;
  const name = eventNameIn(document);
  if (!name) return NOTHING;
  const counted = usageInstead(says.instead, message, meters, place);
  return { ...NOTHING, ...counted, backfill: says.backfill, identity: identify(source, name) };
}

/** An amendment is measured as the event it stands for, and so is an event of a backfill. */
function usageInstead(
  instead: Instead | null,
  message: LedgerMessage,
  meters: Meters,
  place: Place,
): Pick<Says, 'measured' | 'problems'> | undefined {
  if (!instead) return undefined;
  const amended: UsageMessage = { ...message, kind: 'event', type: instead.type, source: instead.source };
  const { measured, problems } = meters.measure(amended, place, instead.document);
  return { measured, problems };
}

/**
 * What becomes of a sequence: it is a gap where it was not read whole, or is not there, as far as it may be usage. What no meter
 * is for leaves none.
 */
export function judge({ sequence, gap }: PlanSays, gist: Gist | null): Seen {
  if (gist === null) return { sequence, gap: gap ?? 'missing' };
  return { sequence, gap: gist.matters ? gap : null };
}

/** One meter's count of one message. */
export interface NewEntry {
  readonly gist: Gist;
  readonly measured: Measured;
}

/** What the messages of a batch come to, before anything is written. */
export interface Reckoned {
  readonly entries: readonly NewEntry[];
  readonly corrections: readonly { readonly gist: Gist; readonly correction: Correction }[];
  readonly problems: readonly { readonly gist: Gist; readonly meter: number; readonly code: ProblemCode }[];
  /** By type and day of arrival. */
  readonly unmetered: readonly Unmetered[];
  /** Of events that are counted and came by themselves: what tells them apart. */
  readonly identities: readonly Identified[];
  readonly backfills: readonly (Identified & { readonly backfill: number })[];
  readonly words: readonly { readonly gist: Gist; readonly word: BackfillWord }[];
}

export interface Identified {
  readonly sequence: number;
  readonly identity: bigint;
}

export interface Unmetered {
  readonly type: string;
  readonly day: string;
  readonly events: number;
  /** The last of them. */
  readonly sequence: number;
}

export function reckon(gists: readonly Gist[]): Reckoned {
  const entries: NewEntry[] = [];
  const corrections: { gist: Gist; correction: Correction }[] = [];
  const problems: { gist: Gist; meter: number; code: ProblemCode }[] = [];
  const unmetered = new Map<string, { type: string; day: string; events: number; sequence: number }>();
  const identities: Identified[] = [];
  const backfills: (Identified & { backfill: number })[] = [];
  const words: { gist: Gist; word: BackfillWord }[] = [];
  for (const gist of gists) {
    const { sequence, correction, word, backfill, identity } = gist;
    if (correction) corrections.push({ gist, correction });
    if (word) words.push({ gist, word });
    if (identity !== null) {
      if (backfill === null) identities.push({ sequence, identity });
      else backfills.push({ sequence, identity, backfill });
    }
    for (const measured of gist.measured) entries.push({ gist, measured });
    for (const { meter, code } of gist.problems) problems.push({ gist, meter: meter.id, code });
    if (gist.unmetered) countUnmetered(unmetered, gist);
  }
  return { entries, corrections, problems, unmetered: [...unmetered.values()], identities, backfills, words };
}

function countUnmetered(
  unmetered: Map<string, { type: string; day: string; events: number; sequence: number }>,
  { type: given, arrivedAt, sequence }: Gist,
): void {
  const [type, day] = [given ?? '', arrivedAt.slice(0, 10)];
  const known = unmetered.get(`${day}${type}`);
  if (known) {
    known.events++;
    known.sequence = Math.max(known.sequence, sequence);
  } else {
    unmetered.set(`${day}${type}`, { type, day, events: 1, sequence });
  }
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
