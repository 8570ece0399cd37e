import { isUtf8 } from 'node:buffer';
import type { ParsedJson } from '../message/arrival.js';
import type { StoredMessage } from '../message/message.js';
import { EMPTY_VIEW, type Rung, type View } from '../message/view.js';
import { defect } from './defects.js';
import { readJson } from './json/read.js';

/**
 * The view of an event or a webhook, read where it lies. `parsed` is the JSON of the raw bytes where the ingress has
 * read it already. From rung 1 on nothing of the body is read: the envelope has to do.
 */
export function eventView(
  message: Pick<StoredMessage, 'kind' | 'raw' | 'meta'>,
  parsed: ParsedJson | undefined,
  rung: Rung,
): View {
  if (rung > 0) return { ...EMPTY_VIEW, rung };
  const json = parsed ?? jsonOf(message.raw);
  if (json === null) return unreadable(message.raw);
  // A structured event says all of itself in its body; in binary mode, and of a webhook, the body is the data.
  const structured = message.kind === 'event' && message.meta === null;
  return { ...EMPTY_VIEW, data: structured ? dataOf(json.value) : json.value };
}

function dataOf(event: unknown): unknown {
  const { data, data_base64: encoded } = event as { data?: unknown; data_base64?: unknown };
  return data === undefined ? encoded : data;
}

function jsonOf(raw: Uint8Array): ParsedJson | null {
  const bytes = Buffer.from(raw.buffer, raw.byteOffset, raw.length);
  if (!isUtf8(bytes)) return null;
  const read = readJson(bytes, 0, bytes.length);
  return read.ok ? read.json : null;
}

/** A body that is not JSON is shown as text where it is text; what it is has been kept either way. */
function unreadable(raw: Uint8Array): View {
  const bytes = Buffer.from(raw.buffer, raw.byteOffset, raw.length);
  return {
    ...EMPTY_VIEW,
    text: isUtf8(bytes) ? bytes.toString('utf8', 0, TEXT_BYTES) : null,
    defects: [defect('json_malformed', '')],
  };
}

/** As much of a body that is not JSON as a view holds. */
const TEXT_BYTES = 1 << 20;
