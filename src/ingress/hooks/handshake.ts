import type { IncomingHttpHeaders } from 'node:http';
import type { WebhookSource } from '../../channel/source.js';
import { follow } from '../../content/json/pointer.js';
import { sameText } from './verify.js';

/** What comes before deliveries: the provider asks whether we want them. Handshakes are never messages. */
export type Handshake =
  | { readonly handshake: 'none' }
  | { readonly handshake: 'answered'; readonly challenge: string }
  | { readonly handshake: 'refused'; readonly why: string };

const NONE: Handshake = { handshake: 'none' };
const WRONG_TOKEN: Handshake = {
  handshake: 'refused',
  why: 'The verification token is not the one this source expects.',
};

/** What is echoed comes from outside: short and without anything a browser or header could take for more than text. */
const CHALLENGE = /^[\w.~+/=:-]{1,512}$/;

/**
 * Slack's `url_verification`: believed when the delivery's signature or bearer token proved its sender, else when it
 * names the source's handshake token. A source that can't tell takes it for an ordinary message.
 */
export function slackHandshake(source: WebhookSource, view: unknown): Handshake {
  const challenge = follow(view, ['challenge']);
  if (follow(view, ['type']) !== 'url_verification' || typeof challenge !== 'string') return NONE;
  if (source.verify.scheme === 'none') {
    if (source.handshakeToken === undefined) return NONE;
    if (!isToken(source, follow(view, ['token']))) return WRONG_TOKEN;
  }
  return echoed(challenge);
}

/** Meta's subscription check: `GET ?hub.mode=subscribe&hub.verify_token=…&hub.challenge=…`. */
export function metaHandshake(source: WebhookSource, query: Readonly<Record<string, unknown>>): Handshake {
  if (query['hub.mode'] !== 'subscribe') return NONE;
  if (!isToken(source, query['hub.verify_token'])) return WRONG_TOKEN;
  const challenge = query['hub.challenge'];
  return typeof challenge === 'string'
    ? echoed(challenge)
    : { handshake: 'refused', why: 'There is no hub.challenge.' };
}

function isToken(source: WebhookSource, given: unknown): boolean {
  return source.handshakeToken !== undefined && typeof given === 'string' && sameText(given, source.handshakeToken);
}

function echoed(challenge: string): Handshake {
  if (CHALLENGE.test(challenge)) return { handshake: 'answered', challenge };
  return {
    handshake: 'refused',
    why: 'The challenge is longer than 512 characters or holds others than A-Z a-z 0-9 _.~+/=:-',
  };
}

/** A DNS name, a port perhaps. */
const ORIGIN = /^[A-Za-z0-9.*-]{1,253}(?::\d{1,5})?$/;

/**
 * CloudEvents' abuse protection (HTTP 1.1 Web Hooks, 4): headers that allow the asking origin to deliver, as often as it
 * likes, since back-pressure is by 429. Only `Allow` where nobody asks, or the origin is no name.
 */
export function permissionHeaders(headers: IncomingHttpHeaders): Record<string, string> {
  const origin = headers['webhook-request-origin'];
  const allow = { allow: 'GET, OPTIONS, POST' };
  if (typeof origin !== 'string' || !ORIGIN.test(origin)) return allow;
  return { ...allow, 'webhook-allowed-origin': origin, 'webhook-allowed-rate': '*' };
}
