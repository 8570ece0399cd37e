import { isUtf8 } from 'node:buffer';
import type { IncomingHttpHeaders } from 'node:http';
import type { DeliveryKey } from '../../channel/identity.js';
import type { WebhookSource } from '../../channel/source.js';
import { follow, numericText, pointerSteps, scalarText } from '../../content/json/pointer.js';
import { readJson } from '../../content/json/read.js';
import { FIELD_LIMITS, type ParsedJson } from '../../message/arrival.js';
import { isField, isStorable } from '../field.js';

/** What the envelope of a webhook's message is made from. */
export interface DeliveryFacts {
  readonly key: DeliveryKey;
  readonly externalId: string | null;
  /** Null: the source's name stands for it. */
  readonly account: string | null;
  readonly type: string | null;
  readonly value: string | null;
}

/**
 * What pointers look into: the JSON body, or the JSON in a form's `payload`; undefined where there is neither. What is
 * unreadable is no error, it just says nothing.
 */
export function readDeliveryBody(headers: IncomingHttpHeaders, body: Buffer): unknown {
  return isForm(headers) ? formPayload(body) : jsonOf(body)?.value;
}

function jsonOf(bytes: Buffer): ParsedJson | null {
  if (!isUtf8(bytes)) return null;
  const read = readJson(bytes, 0, bytes.length);
  return read.ok ? read.json : null;
}

function isForm(headers: IncomingHttpHeaders): boolean {
  return /^\s*application\/x-www-form-urlencoded\s*(?:;|$)/i.test(headers['content-type'] ?? '');
}

const PAYLOAD = 'payload=';

/** The JSON in a form's field `payload`, as Slack and others send it. Only that field is decoded, however many there are. */
function formPayload(body: Buffer): unknown {
  const at = body.indexOf(`&${PAYLOAD}`) + 1;
  const isFirst = body.subarray(0, PAYLOAD.length).equals(Buffer.from(PAYLOAD));
  if (!isFirst && at === 0) return undefined;
  const start = (isFirst ? 0 : at) + PAYLOAD.length;
  const end = body.indexOf('&', start);
  const text = formDecoded(body.toString('latin1', start, end === -1 ? body.length : end));
  return text === undefined ? undefined : jsonOf(Buffer.from(text))?.value;
}

function formDecoded(text: string): string | undefined {
  try {
    return decodeURIComponent(text.replaceAll('+', ' '));
  } catch {
    return undefined;
  }
}

/** Finds what the source's definition, or its scheme, says where to look for. `chance`: 16 random bytes. */
export function deliveryFacts(
  source: WebhookSource,
  headers: IncomingHttpHeaders,
  body: Buffer,
  view: unknown,
  chance: () => Uint8Array,
): DeliveryFacts {
  const id = givenId(source, headers, view);
  return {
    key: deliveryKey(source, id, body, chance),
    externalId: isField(id, FIELD_LIMITS.id) ? id : null,
    account: pointed(view, source.account, FIELD_LIMITS.account),
    type: deliveryType(source, headers, view),
    value: source.value === undefined ? null : numericText(follow(view, pointerSteps(source.value))),
  };
}

function deliveryKey(
  source: WebhookSource,
  id: string | undefined,
  body: Buffer,
  chance: () => Uint8Array,
): DeliveryKey {
  if (source.identity?.from === 'body') return { by: 'body', body };
  return id === undefined ? { by: 'chance', bytes: chance() } : { by: 'id', id };
}

/** The id its sender gave, of any length; undefined where there is none that could tell two deliveries apart. */
function givenId(source: WebhookSource, headers: IncomingHttpHeaders, view: unknown): string | undefined {
  const id =
    source.identity === undefined ? schemeId(source, headers, view) : configuredId(source.identity, headers, view);
  return id !== undefined && id.length > 0 && isStorable(id) ? id : undefined;
}

function configuredId(
  identity: NonNullable<WebhookSource['identity']>,
  headers: IncomingHttpHeaders,
  view: unknown,
): string | undefined {
  switch (identity.from) {
    case 'header':
      return headerText(headers, identity.header);
    case 'pointer':
      return scalarText(follow(view, pointerSteps(identity.pointer)));
    case 'body':
      return undefined;
    default: {
      const never: never = identity;
      return never;
    }
  }
}

function schemeId(source: WebhookSource, headers: IncomingHttpHeaders, view: unknown): string | undefined {
  switch (source.verify.scheme) {
    case 'standard':
      return headerText(headers, 'webhook-id');
    case 'github':
      return headerText(headers, 'x-github-delivery');
    case 'stripe':
      return scalarText(follow(view, ['id']));
    case 'hmac':
    case 'token':
    case 'none':
      return undefined;
    default: {
      const never: never = source.verify;
      return never;
    }
  }
}

function deliveryType(source: WebhookSource, headers: IncomingHttpHeaders, view: unknown): string | null {
  const type =
    source.type === undefined ? schemeType(source, headers, view) : configuredType(source.type, headers, view);
  return isField(type, FIELD_LIMITS.type) ? type : null;
}

function configuredType(
  type: NonNullable<WebhookSource['type']>,
  headers: IncomingHttpHeaders,
  view: unknown,
): string | undefined {
  if (type.from === 'header') return headerText(headers, type.header);
  return scalarText(follow(view, pointerSteps(type.pointer)));
}

function schemeType(source: WebhookSource, headers: IncomingHttpHeaders, view: unknown): string | undefined {
  switch (source.verify.scheme) {
    case 'github':
      return gitHubType(headers, view);
    case 'standard':
    case 'stripe':
      return scalarText(follow(view, ['type']));
    case 'hmac':
    case 'token':
    case 'none':
      return undefined;
    default: {
      const never: never = source.verify;
      return never;
    }
  }
}

/** `push`, or `pull_request.opened` where the body names an action. */
function gitHubType(headers: IncomingHttpHeaders, view: unknown): string | undefined {
  const event = headerText(headers, 'x-github-event');
  const action = follow(view, ['action']);
  return event !== undefined && typeof action === 'string' ? `${event}.${action}` : event;
}

function pointed(view: unknown, pointer: string | undefined, maxBytes: number): string | null {
  if (pointer === undefined) return null;
  const text = scalarText(follow(view, pointerSteps(pointer)));
  return isField(text, maxBytes) ? text : null;
}

function headerText(headers: IncomingHttpHeaders, name: string): string | undefined {
  const value = headers[name.toLowerCase()];
  return typeof value === 'string' ? value : undefined;
}
