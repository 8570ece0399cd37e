/** Every task a caller may be allowed. A route names exactly one; a token or role holds some. */
export const PERMISSIONS = [
  'events.send',
  'hooks.send',
  'messages.read',
  'messages.decide',
  'sources.read',
  'sources.write',
  'targets.read',
  'targets.write',
  'targets.operate',
  'targets.pull',
  'deliveries.read',
  'deliveries.retry',
  'rules.read',
  'rules.write',
  'channels.read',
  'quarantine.read',
  'quarantine.decide',
  'refusals.read',
  'accounts.erase',
  'billing.read',
  'billing.write',
  'billing.correct',
  'people.manage',
  'tokens.manage',
  'tenants.manage',
  'metrics.read',
] as const;

export type Permission = (typeof PERMISSIONS)[number];

/** Built-in roles of people. `tenants.manage` is the installation's: only the owner of tenant `default` has it. */
export type Role = 'owner' | 'operator' | 'viewer';
