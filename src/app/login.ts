import type { Authentication } from '../../routes/authentication.js';
import { Problem } from '../../routes/route.js';

/**
 * Who logs in over SMTP: a program with one of the tenant's tokens as its password; the user name is only for people.
 * Null for wrong credentials; rejects when they can't be checked just now.
 */
export async function verifyLogin(
  authentication: Authentication,
  password: string,
): Promise<{ name: string; tenant: string } | null> {
  try {
    const principal = await authentication.principal({ authorization: `Bearer ${password}` }, () => 'smtp');
    return principal ? { name: principal.who, tenant: principal.tenant.name } : null;
  } catch (error) {
    if (error instanceof Problem && error.status === 401) return null;
    throw error;
  }
}
