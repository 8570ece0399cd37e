import { z } from 'zod';
import type { Role } from './permission.js';

/** No spaces, so that nobody is called `token ci`. */
export const personNameSchema = z
  .string()
  .regex(
    /^[a-z0-9][a-z0-9._@+-]{0,62}$/,
    'lower-case letters, digits and . _ @ + -, at most 63, beginning with a letter or digit',
  );

export interface Person {
  readonly id: number;
  readonly name: string;
  readonly role: Role;
  readonly disabled: boolean;
}

/** What is to become of a person; what is left out stays. */
export interface PersonChange {
  readonly role?: Role | undefined;
  readonly disabled?: boolean | undefined;
}

/** Whether a change would leave the tenant without anybody who may manage it. `people` are all of the tenant. */
export function leavesNoOwner(people: readonly Person[], name: string, change: PersonChange): boolean {
  const after = people.map((one) =>
    one.name === name ? { ...one, role: change.role ?? one.role, disabled: change.disabled ?? one.disabled } : one,
  );
  const owns = (one: Person) => one.role === 'owner' && !one.disabled;
  return people.some(owns) && !after.some(owns);
}
