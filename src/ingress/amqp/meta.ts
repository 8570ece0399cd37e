import type { QueueMessage } from './message.js';
import { plainTable } from './table.js';

/** What the transport said of a message. */
export interface MessageMeta {
  /** JSON: `{exchange, routingKey, contentType, … headers}`. */
  readonly text: string;
  /** The same without what brokers add on the way: it stays the same when the message comes again. */
  readonly lasting: string;
  /** Whether headers lay too deep and are left out. */
  readonly cut: boolean;
}

/** Properties in the order they are told. */
const TOLD = [
  'contentType',
  'contentEncoding',
  'type',
  'messageId',
  'correlationId',
  'timestamp',
  'appId',
  'userId',
  'replyTo',
  'expiration',
  'priority',
  'deliveryMode',
] as const;

/** How often a delivery was tried: held against nobody, so told to nobody. */
const COUNTERS: ReadonlySet<string> = new Set(['x-delivery-count', 'x-acquired-count']);
/** Where a message has been: what died and was sent round comes with more of these. */
const TRACES = /^x-(?:death$|(?:first|last)-death-)/;

/** The transport's envelope of a message, with what it has and nothing else. */
export function messageMeta({ fields, properties }: QueueMessage): MessageMeta {
  const headers = Object.entries(properties.headers ?? {}).filter(([name]) => !COUNTERS.has(name));
  const { table, cut } = plainTable(Object.fromEntries(headers));
  const told = TOLD.filter((name) => properties[name] !== undefined).map((name) => [name, properties[name]]);
  const said = plainTable({ exchange: fields.exchange, routingKey: fields.routingKey, ...Object.fromEntries(told) });
  const unreadable = properties.unreadable && { unreadable: properties.unreadable.toString('base64') };
  const text = JSON.stringify({ ...said.table, ...unreadable, headers: table });
  const traced = headers.some(([name]) => TRACES.test(name));
  return { text, lasting: traced ? withoutTraces(said.table, table) : text, cut };
}

function withoutTraces(said: object, headers: object): string {
  const lasting = Object.entries(headers).filter(([name]) => !TRACES.test(name));
  return JSON.stringify({ ...said, headers: Object.fromEntries(lasting) });
}
