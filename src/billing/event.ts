import { readWanted, type Wanted } from '../content/json/exact.js';
import { follow } from '../content/json/pointer.js';
import { type JsonRead, readJson } from '../content/json/read.js';
import type { Kind } from '../message/arrival.js';

/** What of a stored message meters look at. */
export interface UsageMessage {
  readonly kind: Kind;
  readonly source: string;
  readonly account: string;
  readonly type: string | null;
  readonly meta: string | null;
  readonly raw: Body;
}

/** Bytes, or the text that they are in UTF-8. */
export type Body = Uint8Array | string;

export function readBody(body: Body): JsonRead {
  const bytes = typeof body === 'string' ? Buffer.from(body) : viewOf(body);
  return readJson(bytes, 0, bytes.length);
}

function textOf(body: Body): string {
  return typeof body === 'string' ? body : viewOf(body).toString();
}

function viewOf({ buffer, byteOffset, byteLength }: Uint8Array): Buffer {
  return Buffer.from(buffer, byteOffset, byteLength);
}

/**
 * The JSON that pointers of meters begin at: of an event its attributes and its data, of anything else `{data}`. Undefined
 * where there is none to read; a message that was read whole always has it if it is an event. What is not `wanted` may be
 * left out.
 */
export function documentOf({ kind, meta, raw }: UsageMessage, wanted: Wanted | 'all' = 'all'): unknown {
  const read = () => {
    const json = readBody(raw);
    return json.ok ? json.json.value : undefined;
  };
  switch (kind) {
    case 'event': {
      // The whole of it was JSON when it was accepted, and again when its owner read it.
      if (meta === null) return wanted === 'all' ? read() : readWanted(textOf(raw), wanted);
      return { ...(JSON.parse(meta) as Readonly<Record<string, unknown>>), data: read() };
    }
    case 'webhook':
    case 'amqp':
      return { data: read() };
    case 'mail':
      return {};
    default: {
      const never: never = kind;
      return never;
    }
  }
}

/** What everything in this file asks of an event's document. */
export const ALWAYS_WANTED: readonly (readonly string[])[] = [['source'], ['id'], ['subject']];

/** An event without a subject goes under its source's name, for want of an account: nobody is charged for it. */
export function namesNoAccount(message: UsageMessage, document: () => unknown): boolean {
  if (message.kind !== 'event' || message.account !== message.source) return false;
  const subject = follow(document(), ['subject']);
  return subject === undefined || subject === null;
}

/** What CloudEvents calls `source` and `id`: what makes an event the same as another one of its feed. */
export interface EventName {
  readonly source: string;
  readonly id: string;
}

/** By its document; undefined for what is no event. */
export function eventNameIn(document: unknown): EventName | undefined {
  const [source, id] = [follow(document, ['source']), follow(document, ['id'])];
  return typeof source === 'string' && typeof id === 'string' ? { source, id } : undefined;
}
