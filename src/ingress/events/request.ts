import { isUtf8 } from 'node:buffer';
import type { IncomingHttpHeaders } from 'node:http';
import { type Span, splitArray, splitLines, trimmed } from '../../content/json/split.js';
import { type EventContext, type EventRead, readBinary, readStructured } from './event.js';
import { hasEventHeaders } from './headers.js';
import type { InTurns } from './turns.js';

/** How a request carries its events. */
export type Mode = 'structured' | 'array' | 'lines' | 'json' | 'binary';

export type RequestRead =
  /** `batch`: answered by the rule for batches, even with one event or none in it. */
  | { readonly ok: true; readonly batch: boolean; readonly reads: readonly EventRead[] }
  /** Refused whole. A JSON array is one document: an error anywhere in it makes all of it doubtful. */
  | { readonly ok: false; readonly code: 'json_malformed' | 'too_many_events' };

/** The mode that Content-Type and headers ask for; undefined where they ask for none that is known. */
export function requestMode(headers: IncomingHttpHeaders): Mode | undefined {
  const type = (headers['content-type'] ?? '').split(';', 1)[0]?.trim().toLowerCase() ?? '';
  if (type === 'application/cloudevents+json') return 'structured';
  if (type === 'application/cloudevents-batch+json') return 'array';
  if (type.startsWith('application/cloudevents')) return undefined;
  if (hasEventHeaders(headers)) return 'binary';
  if (type === 'application/x-ndjson' || type === 'application/ndjson') return 'lines';
  return type === 'application/json' ? 'json' : undefined;
}

/** Reads all events of a body, in order. */
export async function readRequest(
  mode: Mode,
  body: Buffer,
  headers: IncomingHttpHeaders,
  maxEvents: number,
  context: EventContext,
  inTurns: InTurns,
): Promise<RequestRead> {
  if (mode === 'binary') return { ok: true, batch: false, reads: [readBinary(body, headers, context)] };
  const text = withoutByteOrderMark(body);
  switch (mode) {
    case 'structured':
      return readOne(text, context);
    case 'lines':
      return readBatch(text, splitLines(text, maxEvents), maxEvents, context, inTurns);
    case 'array':
      return readArray(text, maxEvents, context, inTurns);
    case 'json':
      return isArray(text) ? readArray(text, maxEvents, context, inTurns) : readOne(text, context);
    default: {
      const never: never = mode;
      return never;
    }
  }
}

function readOne(text: Buffer, context: EventContext): RequestRead {
  const event = readStructured(text, trimmed(text, 0, text.length), isUtf8(text), context);
  return { ok: true, batch: false, reads: [event] };
}

async function readArray(
  text: Buffer,
  maxEvents: number,
  context: EventContext,
  inTurns: InTurns,
): Promise<RequestRead> {
  const spans = splitArray(text, maxEvents);
  if (spans === undefined) return { ok: false, code: 'json_malformed' };
  const request = await readBatch(text, spans, maxEvents, context, inTurns);
  return request.ok && request.reads.some(isMalformed) ? { ok: false, code: 'json_malformed' } : request;
}

function isMalformed(event: EventRead): boolean {
  return event.read === 'rejected' && event.rejected.code === 'json_malformed';
}

async function readBatch(
  text: Buffer,
  spans: readonly Span[],
  maxEvents: number,
  context: EventContext,
  inTurns: InTurns,
): Promise<RequestRead> {
  if (spans.length > maxEvents) return { ok: false, code: 'too_many_events' };
  const utf8 = isUtf8(text);
  const reads = await inTurns(context.tenant.id, spans, (span) => readStructured(text, span, utf8, context));
  return { ok: true, batch: true, reads };
}

const OPEN_BRACKET = 0x5b;

function isArray(text: Buffer): boolean {
  return text[trimmed(text, 0, text.length).from] === OPEN_BRACKET;
}

/** Some senders put one first; it is no part of any event. */
function withoutByteOrderMark(body: Buffer): Buffer {
  return body[0] === 0xef && body[1] === 0xbb && body[2] === 0xbf ? body.subarray(3) : body;
}
