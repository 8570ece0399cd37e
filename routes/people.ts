import type { Pool } from 'pg';
import { z } from 'zod';
import { type Person, type PersonChange, personNameSchema } from '../src/access/person.js';
import type { Principal } from '../src/access/principal.js';
import { permissionsOf, ROLES } from '../src/access/role.js';
import { newSecret, type Random } from '../src/access/secret.js';
import { SIGN_IN_MS } from '../src/access/session.js';
import {
  changePerson,
  createPerson,
  createSignIn,
  hasRoomFor,
  listPeople,
  MOST_PEOPLE,
} from '../src/storage/access.js';
import { writeAudit } from '../src/storage/audit.js';
import { timeOut } from './fields.js';
import { ownOrigin } from './origin.js';
import { caller, notFound } from './problem.js';
import { type ApiRequest, Problem, type Route } from './route.js';
import { checkHeld } from './tokens.js';

export interface PeopleDeps {
  readonly pool: Pool;
  readonly random: Random;
  readonly now: () => number;
  /** Where people reach this server; null: by the name the request came to. */
  readonly publicUrl: string | null;
}

const personSchema = z.object({ name: z.string(), role: z.enum(ROLES), disabled: z.boolean() });
const linkSchema = z.object({
  signIn: z.url().meta({ description: 'Works once, within 24 hours' }),
  expiresAt: timeOut,
});
const createBody = z.strictObject({ name: personNameSchema, role: z.enum(ROLES) });
const changeBody = z.strictObject({ role: z.enum(ROLES).optional(), disabled: z.boolean().optional() });
const nameParams = z.object({ name: personNameSchema });
const taken = { description: 'The name is taken' };
const lastOwner = { description: 'The tenant would be left without an owner' };

export function peopleRoutes(deps: PeopleDeps): Route[] {
  const { pool } = deps;
  return [
    {
      method: 'get',
      path: '/v1/users',
      permission: 'people.manage',
      summary: 'All people of the tenant, by name',
      replies: { 200: { description: 'The people', schema: z.object({ items: z.array(personSchema) }) } },
      handler: async ({ principal }) => {
        const people = await listPeople(pool, caller(principal).tenant.id);
        return { status: 200, body: { items: people.map(personEntry) } };
      },
    },
    {
      method: 'get',
      path: '/v1/users/:name',
      permission: 'people.manage',
      summary: 'One person',
      params: nameParams,
      replies: { 200: { description: 'The person', schema: personSchema } },
      handler: async ({ principal, params }: ApiRequest<{ name: string }>) => {
        return { status: 200, body: personEntry(await personNamed(pool, caller(principal), params.name)) };
      },
    },
    {
      method: 'post',
      path: '/v1/users',
      permission: 'people.manage',
      summary: 'Add a person; the answer has their one-time sign-in link',
      body: 'json',
      bodySchema: createBody,
      replies: { 201: { description: 'Added', schema: personSchema.extend(linkSchema.shape) }, 409: taken },
      handler: async ({ principal, body, incoming }: ApiRequest<unknown, unknown, z.infer<typeof createBody>>) => {
        const person = await addPerson(deps, caller(principal), body);
        const link = await linkFor(deps, caller(principal), person, ownOrigin(deps.publicUrl, incoming));
        return { status: 201, body: { ...personEntry(person), ...link } };
      },
    },
    {
      method: 'put',
      path: '/v1/users/:name',
      permission: 'people.manage',
      summary: 'Change a person’s role, or let them in again; what is left out stays',
      params: nameParams,
      body: 'json',
      bodySchema: changeBody,
      replies: { 200: { description: 'Changed', schema: personSchema }, 409: lastOwner },
      handler: async ({ principal, params, body }: ApiRequest<{ name: string }, unknown, PersonChange>) => {
        return { status: 200, body: personEntry(await changeNamed(deps, caller(principal), params.name, body)) };
      },
    },
    {
      method: 'delete',
      path: '/v1/users/:name',
      permission: 'people.manage',
      summary: 'Let a person in no more, at once; the name stays with what they decided',
      params: nameParams,
      replies: { 204: { description: 'Disabled' }, 409: lastOwner },
      handler: async ({ principal, params }: ApiRequest<{ name: string }>) => {
        await changeNamed(deps, caller(principal), params.name, { disabled: true });
        return { status: 204 };
      },
    },
    {
      method: 'post',
      path: '/v1/users/:name/sign-in',
      permission: 'people.manage',
      summary: 'A new one-time sign-in link',
      params: nameParams,
      replies: { 201: { description: 'The link', schema: linkSchema }, 409: { description: 'The person is disabled' } },
      handler: async ({ principal, params, incoming }: ApiRequest<{ name: string }>) => {
        const origin = ownOrigin(deps.publicUrl, incoming);
        return { status: 201, body: await linkForNamed(deps, caller(principal), params.name, origin) };
      },
    },
  ];
}

function personEntry({ name, role, disabled }: Person): z.infer<typeof personSchema> {
  return { name, role, disabled };
}

async function personNamed(pool: Pool, { tenant }: Principal, name: string): Promise<Person> {
  const person = (await listPeople(pool, tenant.id)).find((one) => one.name === name);
  if (!person) throw notFound('person');
  return person;
}

/** Adds a person with no more rights than whoever adds them. Throws Problem: 403 `not_held`, 409. */
export async function addPerson(
  { pool }: PeopleDeps,
  { tenant, who, permissions }: Principal,
  { name, role }: z.infer<typeof createBody>,
): Promise<Person> {
  checkHeld(permissions, permissionsOf(role, tenant.name));
  if (!(await hasRoomFor(pool, 'person', tenant.id, name)))
    throw new Problem(409, 'too_many', `A tenant can have ${MOST_PEOPLE} people.`);
  const person = await createPerson(pool, tenant.id, name, role);
  if (!person) throw new Problem(409, 'name_taken', `There is a person "${name}" already.`);
  await writeAudit(pool, { tenant: tenant.id, who, action: 'person.create', object: name, detail: { role } });
  return person;
}

/** A one-time link for a person, as an address. */
export async function linkFor(
  { pool, random, now }: PeopleDeps,
  { tenant, who }: Principal,
  person: Person,
  origin: string,
): Promise<z.infer<typeof linkSchema>> {
  const at = now();
  const until = new Date(at + SIGN_IN_MS);
  const { text, hash } = newSecret(random);
  await createSignIn(pool, tenant.id, person.id, hash, until, new Date(at));
  await writeAudit(pool, { tenant: tenant.id, who, action: 'person.link', object: person.name });
  return { signIn: `${origin}/sign-in/${text}`, expiresAt: until.toISOString() };
}

/** A new one-time link for a person by name. Throws Problem: 403 `not_held`, 404, 409. */
export async function linkForNamed(
  deps: PeopleDeps,
  by: Principal,
  name: string,
  origin: string,
): Promise<z.infer<typeof linkSchema>> {
  const person = await personNamed(deps.pool, by, name);
  checkHeld(by.permissions, permissionsOf(person.role, by.tenant.name));
  if (person.disabled)
    throw new Problem(409, 'person_disabled', `${person.name} is disabled: let them in again first.`);
  return linkFor(deps, by, person, origin);
}

/** Changes a person, who may have no more rights than whoever does it, before and after. Throws Problem: 403, 404, 409. */
export async function changeNamed(
  { pool }: PeopleDeps,
  { tenant, who, permissions }: Principal,
  name: string,
  wanted: PersonChange,
): Promise<Person> {
  const before = (await listPeople(pool, tenant.id)).find((one) => one.name === name);
  if (before) checkHeld(permissions, permissionsOf(before.role, tenant.name));
  if (wanted.role) checkHeld(permissions, permissionsOf(wanted.role, tenant.name));
  const changed = await changePerson(pool, tenant.id, name, wanted);
  switch (changed.result) {
    case 'unknown':
      throw notFound('person');
    case 'last_owner':
      throw new Problem(409, 'last_owner', `${name} is the last owner: make somebody else owner first.`);
    case 'changed':
      await writeAudit(pool, { tenant: tenant.id, who, action: 'person.change', object: name, detail: { ...wanted } });
      return changed.person;
    default: {
      const never: never = changed;
      return never;
    }
  }
}
