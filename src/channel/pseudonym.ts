import { createHmac } from 'node:crypto';

const PREFIX = 'erased-';

/**
 * What stands in the place of an account that was erased: the same for the same account of a tenant, so that its messages
 * still add up, and nothing that leads back to it for whoever doesn't have the installation's secret. 29 characters.
 */
export function pseudonymOf(secret: Uint8Array, tenant: number, account: string): string {
  const mac = createHmac('sha256', secret).update(`account of tenant ${tenant}\n${account}`).digest('base64url');
  return PREFIX + mac.slice(0, 22);
}

export function isPseudonym(account: string): boolean {
  return /^erased-[A-Za-z0-9_-]{22}$/.test(account);
}
