import type { IncomingHttpHeaders } from 'node:http';

/** Bytes of what is kept of a delivery's headers. */
const MAX_META_BYTES = 16 * 1024;

/** Names of headers that hold what proves who sent it. A harmless one too many is lost rather than a secret kept. */
const SECRET = /auth|cookie|signature|token|secret|passw|key|credential|session|jwt|assertion|hmac|digest/;
const NO_SECRET: ReadonlySet<string> = new Set(['idempotency-key']);
/** Of the connection, not of the delivery. */
const HOP_BY_HOP: ReadonlySet<string> = new Set([
  'connection',
  'keep-alive',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]);

/**
 * A delivery's headers as JSON text, `{"headers":{…}}`, without those that could hold a secret; `signature` names the
 * source's own such header. Headers that would make it longer than 16 kB are left out.
 */
export function headersMeta(headers: IncomingHttpHeaders, signature: string | null): string {
  const members: string[] = [];
  let bytes = '{"headers":{}}'.length;
  for (const [name, value] of Object.entries(headers)) {
    if (typeof value !== 'string' || !isKept(name, signature)) continue;
    const member = `${JSON.stringify(name)}:${JSON.stringify(value)}`;
    bytes += Buffer.byteLength(member) + 1;
    if (bytes > MAX_META_BYTES) break;
    members.push(member);
  }
  return `{"headers":{${members.join(',')}}}`;
}

function isKept(name: string, signature: string | null): boolean {
  if (name === signature?.toLowerCase() || HOP_BY_HOP.has(name)) return false;
  return NO_SECRET.has(name) || !SECRET.test(name);
}
