import { follow } from '../content/json/pointer.js';
import { readJson } from '../content/json/read.js';
import { type Place, parseMessageId } from '../message/id.js';

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
export function readCorrection(type: string | null, raw: Uint8Array): Correction | undefined {
  if (type !== LEDGER_TYPES.void && type !== LEDGER_TYPES.amend) return undefined;
  const bytes = Buffer.from(raw.buffer, raw.byteOffset, raw.byteLength);
  const json = readJson(bytes, 0, bytes.length);
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
