import type { Tenant } from '../message/tenant.js';
import type { Permission } from './permission.js';

/** Who is calling: a token or a signed-in person, always of one tenant. */
export interface Principal {
  readonly kind: 'token' | 'person';
  readonly tenant: Tenant;
  /** What decisions and the audit store: `token ci` or `anna`. */
  readonly who: string;
  readonly permissions: ReadonlySet<Permission>;
  /** A session's CSRF token; null for tokens, which need none. */
  readonly csrf: string | null;
}
