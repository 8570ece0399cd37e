import { sameSecret } from './secret.js';

export const SESSION_COOKIE = 'waybill_session';

/** A session ends this long after it was last used. */
export const SESSION_MS = 14 * 24 * 3_600_000;
/** Its end is moved on at most once an hour, so that reading a page seldom writes. */
const SLIDE_MS = 3_600_000;

/** A one-time link for somebody new must survive a night in a mailbox. */
export const SIGN_IN_MS = 24 * 3_600_000;

/** The session's secret out of a Cookie header; undefined where there is none. */
export function sessionCookie(header: string | undefined): string | undefined {
  if (header === undefined) return undefined;
  for (const pair of header.split(';')) {
    const equals = pair.indexOf('=');
    if (equals > 0 && pair.slice(0, equals).trim() === SESSION_COOKIE) return pair.slice(equals + 1).trim();
  }
  return undefined;
}

/** The Set-Cookie value that begins a session, or with an empty secret ends it. */
export function setSessionCookie(secret: string, https: boolean): string {
  const age = secret === '' ? 0 : SESSION_MS / 1000;
  return `${SESSION_COOKIE}=${secret}; Path=/; Max-Age=${age}; HttpOnly; SameSite=Lax${https ? '; Secure' : ''}`;
}

/** The new end of a session that is being used, or null while the old one is good enough. Milliseconds since 1970. */
export function slide(expiresAt: number, now: number): number | null {
  const end = now + SESSION_MS;
  return end - expiresAt >= SLIDE_MS ? end : null;
}

/** What a request that changes something says of where it comes from. */
export interface Provenance {
  readonly origin: string | undefined;
  /** `Sec-Fetch-Site`: browsers that send no Origin with a form still say this. */
  readonly fetchSite: string | undefined;
  /** From the header `x-csrf-token` or the form's field `_csrf`. */
  readonly csrf: string | undefined;
}

/**
 * Whether a request by cookie really comes from our own pages: the session's CSRF token, and an origin that is ours
 * where one is named. `own` lists the origins this server is known by.
 */
export function fromOwnPages(request: Provenance, csrf: string, own: readonly string[]): boolean {
  if (request.csrf === undefined || !sameSecret(request.csrf, csrf)) return false;
  if (request.origin !== undefined) return own.includes(request.origin);
  return request.fetchSite === undefined || request.fetchSite === 'same-origin';
}
