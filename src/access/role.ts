import { PERMISSIONS, type Permission, type Role } from './permission.js';

/** The tenant whose owner also runs the installation. */
const INSTALLATION_TENANT = 'default';

export const ROLES = ['owner', 'operator', 'viewer'] as const satisfies readonly Role[];

/** What concerns every tenant at once: metrics are labelled with the names of all tenants' sources and targets. */
const INSTALLATION_ONLY: ReadonlySet<Permission> = new Set(['tenants.manage', 'metrics.read']);

const VIEWER: readonly Permission[] = [
  'messages.read',
  'sources.read',
  'targets.read',
  'deliveries.read',
  'rules.read',
  'channels.read',
  'quarantine.read',
  'billing.read',
];

const OPERATOR: readonly Permission[] = [
  ...VIEWER,
  'messages.decide',
  'targets.operate',
  'deliveries.retry',
  'quarantine.decide',
  'refusals.read',
  'billing.correct',
];

/** What a role may do in a tenant. */
export function permissionsOf(role: Role, tenant: string): ReadonlySet<Permission> {
  switch (role) {
    case 'viewer':
      return new Set(VIEWER);
    case 'operator':
      return new Set(OPERATOR);
    case 'owner':
      return new Set(PERMISSIONS.filter((one) => tenant === INSTALLATION_TENANT || !INSTALLATION_ONLY.has(one)));
    default: {
      const never: never = role;
      throw new Error(`no such role: ${String(never)}`);
    }
  }
}

/** What a caller would hand on without holding it; nobody grants that. Empty when the grant may be made. */
export function notHeld(holder: ReadonlySet<Permission>, granted: Iterable<Permission>): Permission[] {
  return [...granted].filter((one) => !holder.has(one));
}
