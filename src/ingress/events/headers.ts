import { isUtf8 } from 'node:buffer';
import type { IncomingHttpHeaders } from 'node:http';

/** Attributes of an event in binary mode. `undefined` stands for a header that is there but can't be read. */
export type HeaderAttributes = Readonly<Record<string, string | undefined>>;

const PREFIX = 'ce-';
/** What the body and Content-Type say in this mode. */
const NOT_ATTRIBUTES: ReadonlySet<string> = new Set(['data', 'data_base64', 'datacontenttype']);
const REQUIRED = ['ce-specversion', 'ce-id', 'ce-source', 'ce-type'];

/** Whether the request is an event in binary mode, though it may lack something. */
export function hasEventHeaders(headers: IncomingHttpHeaders): boolean {
  return REQUIRED.some((name) => headers[name] !== undefined);
}

/** The context attributes that headers carry (HTTP protocol binding 3.1.3), by their names, extensions included. */
export function headerAttributes(headers: IncomingHttpHeaders): HeaderAttributes {
  const attributes = Object.create(null) as Record<string, string | undefined>;
  if (headers['content-type'] !== undefined) attributes.datacontenttype = headers['content-type'];
  for (const [header, value] of Object.entries(headers)) {
    const name = header.slice(PREFIX.length);
    if (!header.startsWith(PREFIX) || NOT_ATTRIBUTES.has(name) || typeof value !== 'string') continue;
    attributes[name] = headerText(value);
  }
  return attributes;
}

/**
 * A header's value as text: unquoted, then percent-decoded once, in UTF-8. Bytes beyond ASCII that came without
 * percent-encoding are taken too. Undefined when what comes out is no UTF-8.
 */
function headerText(value: string): string | undefined {
  const bytes = percentDecoded(unquoted(value));
  return isUtf8(bytes) ? bytes.toString('utf8') : undefined;
}

function unquoted(value: string): string {
  const isQuoted = value.length >= 2 && value.startsWith('"') && value.endsWith('"');
  return isQuoted ? value.slice(1, -1).replace(/\\(.)/g, '$1') : value;
}

/** Node hands headers over as Latin-1, one character a byte. A `%` without two hexadecimal digits stays. */
function percentDecoded(value: string): Buffer {
  const text = value.replace(/%([0-9A-Fa-f]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
  return Buffer.from(text, 'latin1');
}
