import { JsonBytes } from '../content/json/bytes.js';
import { follow } from '../content/json/pointer.js';
import type { Arrival } from '../message/arrival.js';
import { type Place, parseMessageId } from '../message/id.js';
import type { Tenant } from '../message/tenant.js';
import type { Verdict } from '../message/verdict.js';
import { type Instead, LEDGER_SOURCE, LEDGER_TYPES } from './correction.js';
import { type Body, documentOf, readBody } from './event.js';

/*
 * Events of a backfill are messages of the ledger's own, in the channel of their account: they carry the event, and rules
 * don't see them. A channel is told by a message, too, that a backfill counts or counts no more, and so it is of what a meter
 * held. Which events of a backfill count is said by these alone, whatever order they are read in:
 *
 *   - none of them, unless its channel was told that the backfill is closed, and not that it was reverted;
 *   - not one whose meter has the same event (the same source, id and feed) already: from an event that came by itself, or from
 *     one of another backfill that counts and has a lower sequence;
 *   - beyond that, as corrections say.
 *
 * Other channels have no part in this. One of the same source, feed and id under an account of another channel is a conflict: a
 * backfill that has some is not closed.
 */

/** What such a message says. */
export type BackfillSays =
  | { readonly what: 'event'; readonly backfill: number; readonly instead: Instead }
  | { readonly what: 'close' | 'revert'; readonly backfill: number; readonly who: string; readonly why: string }
  /** That a message which a meter held is to count. */
  | { readonly what: 'accept'; readonly target: Place; readonly who: string; readonly why: string };

/** An event of a backfill as it is sequenced; digits as they came. */
export function backfillEventText(backfill: number, arrival: Arrival): string {
  const { account, eventTime, type, source } = arrival;
  const document = documentOf({ ...arrival, source: source.name });
  const said = { backfill, type, source: source.name };
  const head = { specversion: '1.0', id: arrival.externalId, source: LEDGER_SOURCE, type: LEDGER_TYPES.backfillEvent };
  const event = new JsonBytes().canonical(document).copy().toString();
  const data = `${JSON.stringify(said).slice(0, -1)},"event":${event}}`;
  return `${JSON.stringify({ ...head, subject: account, time: eventTime }).slice(0, -1)},"data":${data}}`;
}

/** That a backfill counts in a channel from here on, or no more. */
export function backfillWordText(given: {
  readonly id: string;
  readonly account: string;
  readonly action: 'close' | 'revert';
  readonly backfill: number;
  readonly who: string;
  readonly why: string;
}): { readonly type: string; readonly text: string } {
  const { id, account, action, backfill, who, why } = given;
  const type = action === 'close' ? LEDGER_TYPES.backfillClose : LEDGER_TYPES.backfillRevert;
  const data = { backfill, who, why };
  return {
    type,
    text: JSON.stringify({ specversion: '1.0', id, source: LEDGER_SOURCE, type, subject: account, data }),
  };
}

/** That a message which a meter held is to count. */
export function acceptanceText(given: {
  readonly account: string;
  readonly target: string;
  readonly who: string;
  readonly why: string;
}): { readonly type: string; readonly text: string } {
  const { account, target, who, why } = given;
  const type = LEDGER_TYPES.accept;
  const head = { specversion: '1.0', id: `accept-${target}`, source: LEDGER_SOURCE, type, subject: account };
  return { type, text: JSON.stringify({ ...head, data: { message: target, who, why } }) };
}

/** Reads what the functions above wrote; undefined for the ledger's other messages. */
export function readBackfillSays(type: string | null, raw: Body): BackfillSays | undefined {
  const what = WHAT[type ?? ''];
  if (what === undefined) return undefined;
  const json = readBody(raw);
  if (!json.ok) return undefined;
  const at = (step: string) => follow(json.json.value, ['data', step]);
  const text = (step: string) => {
    const value = at(step);
    return typeof value === 'string' ? value : null;
  };
  const [who, why] = [text('who') ?? '', text('why') ?? ''];
  if (what === 'accept') {
    const target = parseMessageId(text('message') ?? '');
    return target && { what, target, who, why };
  }
  const backfill = at('backfill');
  if (typeof backfill !== 'number') return undefined;
  if (what !== 'event') return { what, backfill, who, why };
  return { what, backfill, instead: { type: text('type'), source: text('source') ?? '', document: at('event') } };
}

const WHAT: Readonly<Record<string, BackfillSays['what'] | undefined>> = {
  [LEDGER_TYPES.backfillEvent]: 'event',
  [LEDGER_TYPES.backfillClose]: 'close',
  [LEDGER_TYPES.backfillRevert]: 'revert',
  [LEDGER_TYPES.accept]: 'accept',
};

/** What a backfill is for. Times are milliseconds since 1970, the first of them in it and the last not. */
export interface BackfillRange {
  readonly from: number;
  readonly to: number;
  /** Null: of any account. */
  readonly account: string | null;
}

/** Why a backfill can't take an event. Stable. */
export type BackfillRefusal = 'account_missing' | 'time_missing' | 'outside_range' | 'account_differs';

/** Whether a backfill is for an event; `namesAccount`: the event has a subject. */
export function refusedBy(
  { from, to, account }: BackfillRange,
  arrival: Pick<Arrival, 'account' | 'eventTime'>,
  namesAccount: boolean,
): BackfillRefusal | null {
  if (!namesAccount) return 'account_missing';
  if (account !== null && arrival.account !== account) return 'account_differs';
  if (arrival.eventTime === null) return 'time_missing';
  const at = Date.parse(arrival.eventTime);
  return at >= from && at < to ? null : 'outside_range';
}

/** `closing` and `reverting`: not all channels have been told yet. */
export type BackfillState = 'open' | 'closing' | 'closed' | 'reverting' | 'reverted';

export interface Ending {
  readonly action: 'close' | 'revert';
  readonly who: string;
  readonly why: string;
  /** Where a period that it changes is final: put the difference into the next statement. */
  readonly adjust: boolean;
  /** What somebody saw of it and confirmed: an open one that has come to more is not closed. */
  readonly seen?: SeenBackfill;
}

export interface SeenBackfill {
  readonly sent: number | undefined;
  readonly read: number | undefined;
}

/** Why a backfill can't be closed or reverted. */
export type NotEnded =
  | { readonly result: 'not_found' }
  | { readonly result: 'state'; readonly state: BackfillState }
  /** The ledger has not read all that was sent. */
  | { readonly result: 'behind' }
  /** It is not what was seen of it any more. */
  | { readonly result: 'changed' }
  /** The same source and id were counted for another account; the first of them are told. */
  | { readonly result: 'conflict'; readonly conflicts: readonly { readonly message: Place; readonly of: Place }[] }
  | { readonly result: 'period_final'; readonly account: string; readonly period: string };

export type NotSent = 'not_found' | 'not_open' | 'too_many_events';

export interface Backfills {
  /** A verdict for each event, in their order. They are sequenced, and count when the backfill is closed. */
  send(
    tenant: Tenant,
    id: number,
    arrivals: readonly Arrival[],
  ): Promise<{ readonly result: 'ok'; readonly verdicts: Verdict[] } | { readonly result: NotSent }>;
  /** Tells the channels of its accounts that it counts, or counts no more. */
  end(tenant: Tenant, id: number, ending: Ending): Promise<{ readonly result: 'ok' } | NotEnded>;
}

export interface HeldWish {
  readonly target: Place;
  readonly action: 'accept' | 'discard';
  readonly who: string;
  readonly why: string;
}

export type HeldDecided =
  /** `by`: the message that says so. `again`: it was said before. */
  | { readonly result: 'ok'; readonly by: Place; readonly again: boolean }
  | { readonly result: 'not_held' }
  /** The account was erased: nothing can be said of it any more. */
  | { readonly result: 'gone' };

/** Charges what a meter held, or has it count for good no more. */
export type DecideHeld = (tenant: Tenant, wish: HeldWish) => Promise<HeldDecided>;
