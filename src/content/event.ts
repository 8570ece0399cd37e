import { isUtf8 } from 'node:buffer';
import { stringify } from 'lossless-json';
import type { ParsedJson } from '../message/arrival.js';
import type { StoredMessage } from '../message/message.js';
import { type Defect, EMPTY_VIEW, type Rung, type View } from '../message/view.js';
import { setAsideBytes } from './anatomy.js';
import { cleanText, cutText } from './clean.js';
import { DEFECTS, type DefectCode, defect } from './defects.js';
import { follow, pointerSteps } from './json/pointer.js';
import { readJson } from './json/read.js';
import { MAIL_LIMITS } from './limits.js';
import type { Fitting, SchemaCheck } from './schema.js';

export type EventMessage = Pick<StoredMessage, 'kind' | 'raw' | 'meta'>;

/**
 * How much of an event, a webhook delivery or an AMQP message is read: all; all but the fields that are not what the
 * source's schema says; what was said about it; only that it is there; nothing, a person decides.
 */
export const EVENT_LADDER = ['full', 'schema', 'envelope', 'opaque', 'poison'] as const;
const SCHEMA = EVENT_LADDER.indexOf('schema');
const ENVELOPE = EVENT_LADDER.indexOf('envelope');
const OPAQUE = EVENT_LADDER.indexOf('opaque');

/**
 * The view of an event, a webhook delivery or an AMQP message: its JSON as `data`, or its text as `text`. Made in place, since nothing
 * here can get stuck: what reads JSON is linear and bounded in depth. With `parsed` (of `eventJson`) nothing is read at
 * all. A body that is not what it says it is makes a view of the rung `envelope`, with a defect. Never throws.
 */
export function eventView(
  message: EventMessage,
  parsed?: ParsedJson,
  rung: Rung = 0,
  schema: SchemaCheck | null = null,
): View {
  if (rung >= ENVELOPE) return leftOut(message, rung, rung >= OPAQUE ? 'envelope_only' : 'body_set_aside');
  const view = viewOf(message, parsed);
  const seen = schema === null || view.data === undefined ? view : fitted(view, schema(view.data));
  // It does not climb back.
  return seen.rung < rung ? { ...seen, rung } : seen;
}

/** A view without what is not as its source's schema says. */
function fitted(view: View, { data, misfits }: Fitting): View {
  if (misfits.length === 0) return view;
  const removed = misfits.filter((misfit) => misfit.removed);
  const defects = misfits.map(({ pointer, why, removed }) =>
    defect(removed ? 'field_set_aside' : 'field_missing', `data${pointer}`, removed ? undefined : why),
  );
  const setAside = removed.map(({ pointer, why }) => {
    const value = Buffer.from(stringify(follow(view.data, pointerSteps(pointer))) ?? '');
    return setAsideBytes(value, `data${pointer}`, why);
  });
  const { data: _, ...rest } = view;
  return {
    ...rest,
    ...(data !== undefined && { data }),
    rung: removed.length > 0 ? SCHEMA : view.rung,
    defects: [...view.defects, ...defects],
    setAside,
    unread: removed.length > 0 ? ['data'] : view.unread,
  };
}

function viewOf(message: EventMessage, parsed: ParsedJson | undefined): View {
  switch (message.kind) {
    case 'event':
      return message.meta === null ? structuredView(message, parsed) : bodyView(message, dataTypeOf(message));
    case 'webhook':
      return bodyView(message, contentTypeOf(message));
    case 'amqp':
      return bodyView(message, propertyTypeOf(message));
    case 'mail':
      return leftOut(message, OPAQUE, 'envelope_only');
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
  return read.ok ? eventData(read.json.value, charsetDefects(raw)) : leftOut(message, ENVELOPE, CODES[read.code]);
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
    setAside: NONE,
    unread: NONE,
    blamed: NONE,
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
      return formView(raw);
    case 'json':
      return jsonView(message);
    case 'text': {
      const view = jsonView(message);
      return view.rung === 0 ? view : textView(raw);
    }
    case 'bytes': {
      // Webhooks and programs often name no type, or a wrong one: their ingress reads JSON whatever it is called.
      const view = message.kind === 'event' ? null : jsonView(message);
      return view?.rung === 0 ? view : { ...EMPTY_VIEW, defects: [defect('binary_data', 'body')] };
    }
  }
}

function jsonView(message: EventMessage): View {
  const raw = bytesOf(message);
  const read = readJson(raw, 0, raw.length);
  return read.ok
    ? { ...EMPTY_VIEW, data: read.json.value, defects: charsetDefects(raw) }
    : leftOut(message, ENVELOPE, CODES[read.code]);
}

function textView(raw: Buffer): View {
  const { text, cut } = cutText(raw.toString('utf8'), MAIL_LIMITS.textBytes);
  const defects = charsetDefects(raw);
  if (cut) defects.push(defect('too_large', 'text'));
  if (raw.includes(0)) defects.push(defect('nul', 'body'));
  return { ...EMPTY_VIEW, text: cleanText(text), defects, unread: cut ? ['text'] : NONE };
}

const CODES = { json_malformed: 'json_malformed', json_too_deep: 'nesting_too_deep' } as const;

/** A view without the body, which stays in the raw message. */
function leftOut(message: EventMessage, rung: Rung, code: DefectCode): View {
  const setAside = [setAsideBytes(bytesOf(message), 'body', DEFECTS[code].means)];
  return { ...EMPTY_VIEW, rung, defects: [defect(code, 'body')], setAside, unread: ['text', 'data'] };
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

function formView(raw: Buffer): View {
  const { data, cut } = formData(raw);
  const defects = charsetDefects(raw);
  if (!cut) return dataView(data, defects);
  return {
    ...dataView(data, [...defects, defect('too_large', 'data', 'only its first fields were read')]),
    unread: ['data'],
  };
}

/** A form's fields by name; or the JSON in its field `payload`, which is how GitHub and Slack send JSON as a form. */
function formData(raw: Buffer): { readonly data: unknown; readonly cut: boolean } {
  const fields: [string, string][] = [];
  let cut = false;
  for (const field of new URLSearchParams(raw.toString('utf8'))) {
    cut = fields.length === MAX_FIELDS;
    if (cut) break;
    fields.push(field);
  }
  const payload = Buffer.from(fields.find(([name]) => name === 'payload')?.[1] ?? '');
  const read = readJson(payload, 0, payload.length);
  return { data: read.ok ? read.json.value : Object.fromEntries(fields), cut };
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
