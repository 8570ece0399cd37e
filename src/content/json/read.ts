import type { ParsedJson } from '../../message/arrival.js';
import { readExact } from './exact.js';
import { scan } from './scan.js';

export type JsonRead =
  | { readonly ok: true; readonly json: ParsedJson }
  | { readonly ok: false; readonly code: 'json_malformed' | 'json_too_deep' };

const MALFORMED: JsonRead = { ok: false, code: 'json_malformed' };
const TOO_DEEP: JsonRead = { ok: false, code: 'json_too_deep' };

/**
 * Reads the JSON in `bytes[from, to)` with its digits kept. JSON.parse decides what is JSON. Bytes that are no UTF-8
 * read as U+FFFD: callers for whom that matters ask `isUtf8` first. Never throws.
 */
export function readJson(bytes: Buffer, from: number, to: number): JsonRead {
  const seen = scan(bytes, from, to);
  if (seen === 'too_deep') return TOO_DEEP;
  const text = bytes.toString('utf8', from, to);
  const native = parseNative(text);
  if (native === undefined) return MALFORMED;
  if (seen === 'plain') return { ok: true, json: { value: native, lossless: false } };
  return { ok: true, json: { value: readExact(text), lossless: true } };
}

/** JSON has no undefined, so that can say that it isn't JSON. */
function parseNative(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}
