import { LosslessNumber } from 'lossless-json';
import { JsonBytes } from '../content/json/bytes.js';
import { follow, pointerSteps } from '../content/json/pointer.js';
import { type Place, parseMessageId } from '../message/id.js';
import type { Tenant } from '../message/tenant.js';
import { parseDecimal } from '../routing/decimal.js';
import { type Body, readBody } from './event.js';

/*
 * Corrections are messages of the account's own channel, written by the product itself under a source whose name no
 * configuration can give. Which messages count is said by them alone, whatever order they are read in:
 *
 *   - a message that any correction names does not count;
 *   - an amendment counts, if no other correction of the same message has a lower sequence, and none names it.
 *
 * So a second void changes nothing, and neither does amending what has been voided.
 */

/** Not a name that the API or a file may give: it holds a dot. */
export const LEDGER_SOURCE = 'waybill.ledger';

export const LEDGER_TYPES = {
  void: 'waybill.correction.void',
  amend: 'waybill.correction.amend',
  statement: 'waybill.statement.final',
  threshold: 'waybill.usage.threshold',
  backfillEvent: 'waybill.backfill.event',
  backfillClose: 'waybill.backfill.close',
  backfillRevert: 'waybill.backfill.revert',
  accept: 'waybill.held.accept',
} as const;

export interface Correction {
  readonly action: 'void' | 'amend';
  /** What it names, in the same channel. */
  readonly target: Place;
  readonly who: string;
  readonly why: string;
  /** What is counted instead; null of a void. */
  readonly instead: Instead | null;
}

/** The event as it should have been, for meters of its own type and source. */
export interface Instead {
  readonly type: string | null;
  readonly source: string;
  readonly document: unknown;
}

/** The body of a correction as it is sequenced. `document` is JSON text, digits as written. */
export function correctionBody(given: {
  readonly id: string;
  readonly account: string;
  readonly target: string;
  readonly who: string;
  readonly why: string;
  readonly instead: { readonly type: string | null; readonly source: string; readonly document: string } | null;
}): { readonly type: string; readonly text: string } {
  const { id, account, target, who, why, instead } = given;
  const type = instead === null ? LEDGER_TYPES.void : LEDGER_TYPES.amend;
  const head = JSON.stringify({ specversion: '1.0', id, source: LEDGER_SOURCE, type, subject: account });
  const said = JSON.stringify({ message: target, who, why });
  const amended =
    instead === null
      ? ''
      : `,"type":${JSON.stringify(instead.type)},"source":${JSON.stringify(instead.source)},"event":${instead.document}`;
  return { type, text: `${head.slice(0, -1)},"data":${said.slice(0, -1)}${amended}}}` };
}

/** Reads what `correctionBody` wrote; undefined for the ledger's other messages. */
export function readCorrection(type: string | null, raw: Body): Correction | undefined {
  if (type !== LEDGER_TYPES.void && type !== LEDGER_TYPES.amend) return undefined;
  const json = readBody(raw);
  const text = (...steps: string[]) => {
    const value = json.ok ? follow(json.json.value, ['data', ...steps]) : undefined;
    return typeof value === 'string' ? value : null;
  };
  const target = parseMessageId(text('message') ?? '');
  if (!json.ok || !target) return undefined;
  const action = type === LEDGER_TYPES.void ? 'void' : 'amend';
  const instead =
    action === 'void'
      ? null
      : { type: text('type'), source: text('source') ?? '', document: follow(json.json.value, ['data', 'event']) };
  return { action, target, who: text('who') ?? '', why: text('why') ?? '', instead };
}

/** A document with other values at some places; undefined where a place can't be set. */
export function amendedDocument(document: unknown, set: ReadonlyMap<string, string>): string | undefined {
  let amended = document;
  for (const [pointer, text] of set) {
    const next = withValue(amended, pointerSteps(pointer), text);
    if (next === undefined) return undefined;
    amended = next;
  }
  return new JsonBytes().canonical(amended).copy().toString();
}

/** Where a number stands, a text that is written like one becomes one, digit for digit. Only members of objects are set. */
function withValue(at: unknown, steps: readonly string[], text: string): unknown {
  const [step, ...rest] = steps;
  if (step === undefined) {
    const wasNumber = typeof at === 'number' || at instanceof LosslessNumber;
    return wasNumber && parseDecimal(text) ? new LosslessNumber(text) : text;
  }
  if (typeof at !== 'object' || at === null || Array.isArray(at) || at instanceof LosslessNumber) return undefined;
  const object = at as Readonly<Record<string, unknown>>;
  const there = Object.hasOwn(object, step) ? object[step] : rest.length > 0 ? {} : null;
  const changed = withValue(there, rest, text);
  return changed === undefined ? undefined : { ...object, [step]: changed };
}

/** Whether a message may be corrected: usage, or what stands for some. */
export function isCorrectable(source: string, type: string | null): boolean {
  return source !== LEDGER_SOURCE || type === LEDGER_TYPES.amend || type === LEDGER_TYPES.backfillEvent;
}

export interface CorrectionWish {
  readonly account: string;
  readonly action: 'void' | 'amend';
  readonly target: Place;
  readonly who: string;
  readonly why: string;
  /** Values by JSON pointer, of an amendment. */
  readonly set: ReadonlyMap<string, string>;
  /** RFC 3339; null keeps the event's own. */
  readonly time: string | null;
  /** Where its period is final: put the difference into the next statement. */
  readonly adjust: boolean;
}

export type Corrected =
  /** `again`: the same was asked before, and that is its answer. */
  | { readonly result: 'ok'; readonly correction: Place; readonly again: boolean }
  | { readonly result: 'unknown' | 'other_account' | 'not_usage' | 'gone' | 'not_settable' }
  /** A meter could not count what it would say. */
  | { readonly result: 'not_countable'; readonly meter: string; readonly code: string }
  | { readonly result: 'corrected_already'; readonly by: Place }
  | { readonly result: 'period_final'; readonly period: string };

export type Correct = (tenant: Tenant, wish: CorrectionWish) => Promise<Corrected>;
