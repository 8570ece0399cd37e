import type { HeaderAttributes } from '../events/headers.js';
import type { Properties } from './message.js';
import { attributeText } from './table.js';

/** Both are allowed: not every client can write a colon. */
const PREFIX = /^cloudEvents[:_]/;
/** What the body and the content type say in this mode. */
const NOT_ATTRIBUTES: ReadonlySet<string> = new Set(['data', 'data_base64', 'datacontenttype']);
const REQUIRED: ReadonlySet<string> = new Set(['specversion', 'id', 'source', 'type']);

/** Whether a message is an event in binary mode (AMQP protocol binding), though it may lack something. */
export function hasAttributes(headers: Readonly<Record<string, unknown>>): boolean {
  return Object.keys(headers).some((name) => PREFIX.test(name) && REQUIRED.has(name.replace(PREFIX, '')));
}

/** The context attributes that headers carry, by their names, extensions included. One told twice must be told the same. */
export function messageAttributes({ contentType, headers = {} }: Properties): HeaderAttributes {
  const attributes = Object.create(null) as Record<string, string | undefined>;
  for (const [header, value] of Object.entries(headers)) {
    if (!PREFIX.test(header)) continue;
    const name = header.replace(PREFIX, '');
    if (NOT_ATTRIBUTES.has(name)) continue;
    const text = attributeText(value);
    attributes[name] = name in attributes && attributes[name] !== text ? undefined : text;
  }
  if (contentType !== undefined) attributes.datacontenttype = contentType;
  return attributes;
}
