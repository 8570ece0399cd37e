import { createHmac } from 'node:crypto';
import { lookup as resolve } from 'node:dns';
import { Agent as HttpAgent, type OutgoingHttpHeaders } from 'node:http';
import { Agent as HttpsAgent } from 'node:https';
import { isIP, type LookupFunction } from 'node:net';
import type { Clock } from '../../message/clock.js';
import type { Outgoing, Sender, SendResult } from '../../message/delivery.js';
import { LONGEST_PUT_OFF } from '../retry.js';
import type { Target, WebhookTarget } from '../target.js';
import { headerFields, webhookId } from '../wire.js';
import { AddressRefused, isPublic, publicLookup, type Resolve } from './address.js';
import { createOneByOne } from './one-by-one.js';
import { type PostAnswer, PostTimeout, post } from './post.js';

export interface WebhookSenderDeps {
  readonly clock: Clock;
  /** Instead of the system's resolver. */
  readonly resolve?: Resolve;
}

/** How long an idle connection is kept, milliseconds. */
const KEEP_ALIVE_MS = 15_000;

/** Posts deliveries one by one, signed as Standard Webhooks says, over connections that are kept. */
export function createWebhookSender(target: Target<WebhookTarget>, deps: WebhookSenderDeps): Sender {
  const { definition } = target;
  const url = new URL(definition.url);
  const agent = createAgent(url, definition.concurrency);
  const lookup = definition.allowPrivateAddresses ? undefined : publicLookup(deps.resolve ?? resolve);
  const keys = definition.secrets.map(signingKey);
  const own = ownHeaders(definition.headers);
  const timeoutMs = definition.timeoutSeconds * 1000;
  return createOneByOne({
    clock: deps.clock,
    width: definition.concurrency,
    whom: 'the target',
    prepare(outgoing) {
      if (refusesHost(url, lookup)) return refusedAddress(new AddressRefused(url.host));
      return () => {
        const headers = { ...own, ...wireHeaders(outgoing, keys, deps.clock.now()) };
        return tryPost(() =>
          post({ url, headers, body: outgoing.body, agent, lookup, timeoutMs }).then((answer) =>
            statusResult(answer, deps.clock.now()),
          ),
        );
      };
    },
    isTrouble: (result) => result.result === 'retry',
    end: () => agent.destroy(),
  });
}

function createAgent(url: URL, maxSockets: number): HttpAgent {
  const options = { keepAlive: true, maxSockets, maxFreeSockets: maxSockets, timeout: KEEP_ALIVE_MS };
  // Whatever the environment says about certificates.
  return url.protocol === 'https:' ? new HttpsAgent({ ...options, rejectUnauthorized: true }) : new HttpAgent(options);
}

/** Sockets look no address up when the URL holds one already. `URL` has brought odd spellings (0x7f.1) into their usual form. */
function refusesHost(url: URL, lookup: LookupFunction | undefined): boolean {
  const host = url.hostname.replace(/^\[|\]$/g, '');
  return lookup !== undefined && isIP(host) !== 0 && !isPublic(host);
}

/** `whsec_` stands before the key in base64; a secret written otherwise is the key itself. */
function signingKey(secret: string): Buffer {
  return secret.startsWith('whsec_') ? Buffer.from(secret.slice('whsec_'.length), 'base64') : Buffer.from(secret);
}

/** Headers that belong to the connection, or that a definition may not forge. */
const NOT_OWN =
  /^(?:connection|content-length|content-type|expect|host|keep-alive|te|trailer|transfer-encoding|upgrade|waybill-.*|webhook-.*)$/;

function ownHeaders(headers: Readonly<Record<string, string>>): OutgoingHttpHeaders {
  const lowered = Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value] as const);
  return Object.fromEntries(lowered.filter(([name]) => !NOT_OWN.test(name)));
}

function wireHeaders(outgoing: Outgoing, keys: readonly Buffer[], now: number): OutgoingHttpHeaders {
  const id = webhookId(outgoing);
  const timestamp = String(Math.floor(now / 1000));
  return {
    'user-agent': 'Waybill',
    'content-type': outgoing.contentType,
    'content-length': outgoing.body.length,
    'webhook-id': id,
    'webhook-timestamp': timestamp,
    ...(keys.length > 0 && {
      'webhook-signature': keys.map((key) => signature(key, id, timestamp, outgoing.body)).join(' '),
    }),
    ...Object.fromEntries(headerFields(outgoing)),
  };
}

/** Standard Webhooks 1.0: HMAC-SHA256 over `id.timestamp.body`. */
function signature(key: Buffer, id: string, timestamp: string, body: Uint8Array): string {
  return `v1,${createHmac('sha256', key).update(`${id}.${timestamp}.`).update(body).digest('base64')}`;
}

async function tryPost(attempt: () => Promise<SendResult>): Promise<SendResult> {
  try {
    return await attempt();
  } catch (error) {
    if (error instanceof AddressRefused) return refusedAddress(error);
    if (error instanceof PostTimeout) return { result: 'retry', code: 'timeout', reason: error.message };
    return networkFailure(error);
  }
}

function refusedAddress(error: AddressRefused): SendResult {
  return { result: 'pause', code: 'address_refused', reason: error.message };
}

/** Of Node itself, before anything was sent: a header of the definition can't be written. */
const BAD_HEADER = new Set(['ERR_INVALID_CHAR', 'ERR_HTTP_INVALID_HEADER_VALUE', 'ERR_INVALID_HTTP_TOKEN']);

function networkFailure(error: unknown): SendResult {
  const { code, message } = error as NodeJS.ErrnoException;
  if (code !== undefined && BAD_HEADER.has(code)) {
    return { result: 'pause', code: 'header_invalid', reason: "one of the target's own headers can't be sent" };
  }
  return {
    result: 'retry',
    code: 'network',
    reason: code === undefined || message.includes(code) ? message : `${code}: ${message}`,
  };
}

/** DESIGN 2.5. Redirects are not followed: permanent ones ask for another URL, temporary ones may be over next time. */
function statusResult(answer: PostAnswer, now: number): SendResult {
  const { status } = answer;
  const code = `http_${status}`;
  const reason = `the target answered ${status}`;
  const text = { answer: `HTTP ${status} ${answer.body}`.trim() };
  if (status >= 200 && status < 300) return { result: 'delivered', ...text };
  if (PAUSING.has(status)) return { result: 'pause', code, reason, ...text };
  if (status >= 400 && status < 500 && !RETRIED.has(status)) return { result: 'refused', code, reason, ...text };
  const afterMs = retryAfterMs(answer.retryAfter, now);
  return { result: 'retry', code, reason, ...text, ...(afterMs !== undefined && { afterMs }) };
}

const PAUSING: ReadonlySet<number> = new Set([301, 308, 401, 403, 404, 410]);
/** Of the 4xx: request timeout, conflict, too early, too many requests. */
const RETRIED: ReadonlySet<number> = new Set([408, 409, 425, 429]);

/** All of its forms begin with the day's name (RFC 9110, 5.6.7); Date.parse alone takes far more. */
const HTTP_DATE = /^[A-Z][a-z]{2}/;

/** Retry-After in seconds or as a date; undefined where there is none that can be read. At most a day. */
export function retryAfterMs(value: string | undefined, now: number): number | undefined {
  if (value === undefined) return undefined;
  const ms = /^\d{1,9}$/.test(value)
    ? Number(value) * 1000
    : HTTP_DATE.test(value)
      ? Date.parse(value) - now
      : Number.NaN;
  return Number.isNaN(ms) ? undefined : Math.min(Math.max(ms, 0), LONGEST_PUT_OFF);
}
