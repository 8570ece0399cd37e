import { hash as digest, randomInt, timingSafeEqual } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import { isIPv6 } from 'node:net';
import type { Pool } from 'pg';
import { RateLimiterMemory, RateLimiterRes } from 'rate-limiter-flexible';
import { KnownTokens } from '../src/access/known-tokens.js';
import { PERMISSIONS, type Permission } from '../src/access/permission.js';
import type { Principal } from '../src/access/principal.js';
import { permissionsOf } from '../src/access/role.js';
import { looksLikeSecret, looksLikeToken, newSecret, type Random, secretHash } from '../src/access/secret.js';
import { SESSION_MS, sessionCookie, slide } from '../src/access/session.js';
import type { Clock } from '../src/message/clock.js';
import type { Tenant } from '../src/message/tenant.js';
import {
  endSession,
  findSession,
  findToken,
  moveSessionEnd,
  noteTokenUse,
  type StoredSession,
  type StoredToken,
  useSignIn,
} from '../src/storage/access.js';
import { Problem } from './route.js';

export interface AuthenticationDeps {
  readonly pool: Pool;
  readonly clock: Clock;
  readonly random: Random;
  /** `WAYBILL_ADMIN_TOKEN` and the tenant it owns; null when it is not set. */
  readonly admin: { readonly token: string; readonly tenant: Tenant } | null;
}

/** Wrong credentials a peer may show in a minute before it is told to wait. */
const FAILURES_PER_MINUTE = 30;
/** Peers share this many counters, so that many addresses can't take all memory. */
const COUNTERS = 16_384;
/** When a token was last used is written down at most this often. */
const USE_NOTED_MS = 60_000;
const LONGEST_TOKEN = 512;

/** Tells who is calling: by bearer token, else by session cookie. */
export class Authentication {
  readonly #tokens: KnownTokens;
  readonly #adminHash: Buffer | null;
  readonly #failures = new RateLimiterMemory({ points: FAILURES_PER_MINUTE, duration: 60 });
  /** Nobody outside can tell which peers share a counter. */
  readonly #salt = randomInt(2 ** 47);

  constructor(private readonly deps: AuthenticationDeps) {
    this.#adminHash = deps.admin && secretHash(deps.admin.token);
    this.#tokens = new KnownTokens((hash) => this.#findToken(hash), deps.clock.monotonic);
  }

  /**
   * The caller; null when it shows no credentials. At once for a token used in the last second, else after a look-up.
   * Throws Problem: 401 for credentials that don't hold, 429 for a peer that showed too many of those.
   */
  principal(headers: IncomingHttpHeaders, peer: () => string): Principal | null | Promise<Principal | null> {
    const { authorization } = headers;
    if (authorization !== undefined) {
      const token = bearer(authorization);
      const hash = digest('sha256', token, 'base64url');
      return this.#tokens.fresh(hash) ?? this.#byToken(token, hash, peer());
    }
    const cookie = sessionCookie(headers.cookie);
    return cookie === undefined ? null : this.#bySession(cookie, peer());
  }

  /** Uses a sign-in link up: the secret for the session's cookie, or undefined when the link holds no longer. 429 as above. */
  async signIn(link: string, peer: string): Promise<string | undefined> {
    await this.#refuseGuessers(`link ${peer}`);
    const { clock, pool, random } = this.deps;
    const now = clock.now();
    const session = newSecret(random);
    const begun =
      looksLikeSecret(link) &&
      (await useSignIn(
        pool,
        secretHash(link),
        { hash: session.hash, csrf: newSecret(random).text, expiresAt: new Date(now + SESSION_MS) },
        new Date(now),
      ));
    if (begun) return session.text;
    await this.#countFailure(`link ${peer}`);
    return undefined;
  }

  /** Ends the session of a request, if it has one. */
  async signOut(headers: IncomingHttpHeaders): Promise<void> {
    const cookie = sessionCookie(headers.cookie);
    if (cookie !== undefined && looksLikeSecret(cookie)) await endSession(this.deps.pool, secretHash(cookie));
  }

  /** A token revoked by this process is refused from now on. */
  forgetToken(hash: Buffer): void {
    this.#tokens.forget(hash.toString('base64url'));
  }

  async #byToken(token: string, hash: string, peer: string): Promise<Principal> {
    // A token that was good a while ago isn't a guess: others behind the same address can't lock it out.
    if (!this.#tokens.seen(hash)) await this.#refuseGuessers(`token ${peer}`);
    const principal = looksLikeToken(token) || this.#isAdmin(hash) ? await this.#tokens.lookUp(hash) : undefined;
    if (principal) return principal;
    await this.#countFailure(`token ${peer}`);
    throw new Problem(401, 'token_invalid', 'The token is unknown, has expired or was revoked.', {}, WWW_AUTHENTICATE);
  }

  #isAdmin(hash: string): boolean {
    return this.#adminHash !== null && timingSafeEqual(Buffer.from(hash, 'base64url'), this.#adminHash);
  }

  async #findToken(hash: string): Promise<Principal | undefined> {
    const { admin, clock, pool } = this.deps;
    if (admin && this.#isAdmin(hash)) return adminPrincipal(admin.tenant);
    const now = clock.now();
    const token = await findToken(pool, Buffer.from(hash, 'base64url'), new Date(now));
    if (!token) return undefined;
    if (now - (token.lastUsedAt?.getTime() ?? 0) >= USE_NOTED_MS) {
      await noteTokenUse(pool, token.tenant.id, token.id, new Date(now));
    }
    return tokenPrincipal(token);
  }

  async #bySession(cookie: string, peer: string): Promise<Principal> {
    const { clock, pool } = this.deps;
    const hash = secretHash(cookie);
    const now = clock.now();
    const session = looksLikeSecret(cookie) ? await findSession(pool, hash, new Date(now)) : undefined;
    if (!session) {
      await this.#countFailure(`session ${peer}`);
      throw new Problem(401, 'session_ended', 'You are no longer signed in: use a new sign-in link.');
    }
    const end = slide(session.expiresAt.getTime(), now);
    if (end !== null) await moveSessionEnd(pool, hash, new Date(end));
    return sessionPrincipal(session);
  }

  async #refuseGuessers(key: string): Promise<void> {
    const count = await this.#failures.get(this.#counter(key));
    if (count && count.consumedPoints > FAILURES_PER_MINUTE) throw tooMany(count.msBeforeNext);
  }

  async #countFailure(key: string): Promise<void> {
    try {
      await this.#failures.consume(this.#counter(key));
    } catch (error) {
      throw error instanceof RateLimiterRes ? tooMany(error.msBeforeNext) : error;
    }
  }

  #counter(key: string): string {
    const bytes = digest('sha256', `${this.#salt} ${networkOf(key)}`, 'buffer');
    return String(bytes.readUInt32BE() % COUNTERS);
  }
}

const WWW_AUTHENTICATE = { 'www-authenticate': 'Bearer realm="waybill"' };

function bearer(authorization: string): string {
  const space = authorization.indexOf(' ');
  const token = authorization.slice(space + 1);
  if (space > 0 && token.length <= LONGEST_TOKEN && authorization.slice(0, space).toLowerCase() === 'bearer')
    return token;
  throw new Problem(401, 'token_invalid', 'Authorization must be `Bearer` and a token.', {}, WWW_AUTHENTICATE);
}

/** An IPv6 peer owns its whole /64, so it is counted as one. */
function networkOf(key: string): string {
  const space = key.indexOf(' ');
  const address = key.slice(space + 1);
  if (!isIPv6(address) || address.startsWith('::ffff:')) return key;
  const [head = '', tail] = address.split('::');
  const groups = head.split(':');
  const missing = tail === undefined ? 0 : 8 - groups.length - tail.split(':').length;
  return `${key.slice(0, space)} ${[...groups, ...Array<string>(Math.max(0, missing)).fill('0')].slice(0, 4).join(':')}`;
}

function tooMany(msBeforeNext: number): Problem {
  const seconds = String(Math.ceil(msBeforeNext / 1000));
  return new Problem(
    429,
    'too_many_failures',
    `Too many wrong credentials came from here; try again in ${seconds} s.`,
    {},
    {
      'retry-after': seconds,
    },
  );
}

function adminPrincipal(tenant: Tenant): Principal {
  return { kind: 'token', tenant, who: 'admin token', permissions: permissionsOf('owner', tenant.name), csrf: null };
}

function tokenPrincipal(token: StoredToken): Principal {
  const held = permissionsOf('owner', token.tenant.name);
  const permissions = new Set(PERMISSIONS.filter((one) => held.has(one) && token.permissions.includes(one)));
  return { kind: 'token', tenant: token.tenant, who: `token ${token.name}`, permissions, csrf: null };
}

function sessionPrincipal(session: StoredSession): Principal {
  const permissions: ReadonlySet<Permission> = permissionsOf(session.role, session.tenant.name);
  return { kind: 'person', tenant: session.tenant, who: session.person, permissions, csrf: session.csrf };
}
