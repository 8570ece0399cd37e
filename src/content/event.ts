import { isUtf8 } from 'node:buffer';
import type { ParsedJson } from '../message/arrival.js';
import type { StoredMessage } from '../message/message.js';
import { type Defect, EMPTY_VIEW, type Rung, type View } from '../message/view.js';
import { cleanText, cutText } from './clean.js';
import { type DefectCode, defect } from './defects.js';
import { readJson } from './json/read.js';
import { MAIL_LIMITS } from './limits.js';

export type EventMessage = Pick<StoredMessage, 'kind' | 'raw' | 'meta'>;

/**
 * The view of an event, a webhook delivery or an AMQP message: its JSON as `data`, or its text as `text`. Made in place, since nothing
 * here can get stuck: what reads JSON is linear and bounded in depth. With `parsed` (of `eventJson`) nothing is read at
 * all. Body that is not what it says it is makes a view of rung 1 with a defect. Never throws.
 */
export function eventView(message: EventMessage, parsed?: ParsedJson, rung: Rung = 0): View {
  if (rung > 0) return { ...EMPTY_VIEW, rung, defects: [defect('body_set_aside', 'body')] };
  switch (message.kind) {
    case 'event':
      return message.meta === null ? structuredView(message, parsed) : bodyView(message, dataTypeOf(message));
    case 'webhook':
      return bodyView(message, contentTypeOf(message));
    case 'amqp':
      return bodyView(message, propertyTypeOf(message));
    case 'mail':
      return { ...EMPTY_VIEW, rung: 1, defects: [defect('body_set_aside', 'body')] };
    default: {
      const never: never = message.kind;
      return never;
    }
  }
}

/** The JSON of an event whose bytes say all, where it is whole: its view and its envelope are both made of it. Never throws. */
export function eventJson({ kind, meta, raw }: EventMessage): ParsedJson | undefined {
  if (kind !== 'event' || meta !== null || !isUtf8(raw)) return undefined;
  const read = readJson(bytesOf({ kind, meta, raw }), 0, raw.length);
  return read.ok ? read.json : undefined;
}

/** The raw bytes are the whole event, its data a member of it. */
function structuredView(message: EventMessage, parsed: ParsedJson | undefined): View {
  if (parsed !== undefined) return eventData(parsed.value, NONE);
  const raw = bytesOf(message);
  const read = readJson(raw, 0, raw.length);
  return read.ok ? eventData(read.json.value, charsetDefects(raw)) : unreadable(CODES[read.code]);
}

function eventData(value: unknown, defects: readonly Defect[]): View {
  const event = value as { readonly data?: unknown; readonly data_base64?: unknown };
  if (event.data !== undefined) return dataView(event.data, defects);
  if (event.data_base64 === undefined) return { ...EMPTY_VIEW, defects };
  return { ...EMPTY_VIEW, defects: [...defects, defect('binary_data', '/data_base64')] };
}

/** Written out, since it is made for every event: spreading EMPTY_VIEW takes ten times as long. */
function dataView(data: unknown, defects: readonly Defect[]): View {
  return {
    rung: 0,
    headers: NONE,
    subject: null,
    from: NONE,
    to: NONE,
    cc: NONE,
    replyTo: NONE,
    date: null,
    messageId: null,
    inReplyTo: NONE,
    references: NONE,
    text: null,
    html: null,
    parts: NONE,
    defects,
    data,
  };
}

const NONE: readonly never[] = [];

/** The raw bytes are the data, of the type that a header names. */
function bodyView(message: EventMessage, type: string | null): View {
  const raw = bytesOf(message);
  if (raw.length === 0) return EMPTY_VIEW;
  switch (formOf(type)) {
    case 'form':
      return dataView(formData(raw), charsetDefects(raw));
    case 'json':
      return jsonView(raw);
    case 'text': {
      const view = jsonView(raw);
      return view.rung === 0 ? view : textView(raw);
    }
    case 'bytes': {
      // Webhooks and programs often name no type, or a wrong one: their ingress reads JSON whatever it is called.
      const view = message.kind === 'event' ? null : jsonView(raw);
      return view?.rung === 0 ? view : { ...EMPTY_VIEW, defects: [defect('binary_data', 'body')] };
    }
  }
}

function jsonView(raw: Buffer): View {
  const read = readJson(raw, 0, raw.length);
  return read.ok
    ? { ...EMPTY_VIEW, data: read.json.value, defects: charsetDefects(raw) }
    : unreadable(CODES[read.code]);
}

function textView(raw: Buffer): View {
  const { text, cut } = cutText(raw.toString('utf8'), MAIL_LIMITS.textBytes);
  const defects = charsetDefects(raw);
  if (cut) defects.push(defect('too_large', 'text'));
  if (raw.includes(0)) defects.push(defect('nul', 'body'));
  return { ...EMPTY_VIEW, text: cleanText(text), defects };
}

const CODES = { json_malformed: 'json_malformed', json_too_deep: 'nesting_too_deep' } as const;

function unreadable(code: DefectCode): View {
  return { ...EMPTY_VIEW, rung: 1, defects: [defect(code, 'body')] };
}

/** How a body of a media type is read. What names no type is taken for JSON, as CloudEvents says. */
function formOf(type: string | null): 'form' | 'json' | 'text' | 'bytes' {
  const [media = ''] = (type ?? '').split(';', 1);
  const name = media.trim().toLowerCase();
  if (name === 'application/x-www-form-urlencoded') return 'form';
  if (name === '' || /^[^/]*\/(?:.*\+)?json$/.test(name)) return 'json';
  return /^text\/|[/+]xml$/.test(name) ? 'text' : 'bytes';
}

/** How many fields of a form are read. */
const MAX_FIELDS = 1_000;

/** A form's fields by name; or the JSON in its field `payload`, which is how GitHub and Slack send JSON as a form. */
function formData(raw: Buffer): unknown {
  const fields: [string, string][] = [];
  for (const field of new URLSearchParams(raw.toString('utf8'))) {
    if (fields.length === MAX_FIELDS) break;
    fields.push(field);
  }
  const payload = Buffer.from(fields.find(([name]) => name === 'payload')?.[1] ?? '');
  const read = readJson(payload, 0, payload.length);
  return read.ok ? read.json.value : Object.fromEntries(fields);
}

function charsetDefects(raw: Buffer): Defect[] {
  return isUtf8(raw) ? [] : [defect('charset_wrong', 'body')];
}

function bytesOf({ raw }: EventMessage): Buffer {
  return Buffer.from(raw.buffer, raw.byteOffset, raw.byteLength);
}

/** Of an event in binary mode, whose attributes `meta` holds. */
function dataTypeOf({ meta }: EventMessage): string | null {
  return textOf(metaOf(meta).datacontenttype);
}

/** Of a webhook delivery, whose headers `meta` holds. */
function contentTypeOf({ meta }: EventMessage): string | null {
  const { headers } = metaOf(meta);
  return typeof headers === 'object' && headers !== null
    ? textOf((headers as Readonly<Record<string, unknown>>)['content-type'])
    : null;
}

/** Of an AMQP message, whose properties `meta` holds. One that names no type claims nothing: text, where it is some. */
function propertyTypeOf({ meta, raw }: EventMessage): string {
  return textOf(metaOf(meta).contentType) ?? (isUtf8(raw) ? 'text/plain' : 'application/octet-stream');
}

/** `meta` is JSON that our own ingress wrote. */
function metaOf(meta: string | null): Readonly<Record<string, unknown>> {
  return meta === null ? {} : (JSON.parse(meta) as Readonly<Record<string, unknown>>);
}

function textOf(value: unknown): string | null {
  return typeof value === 'string' ? value : null;
}
