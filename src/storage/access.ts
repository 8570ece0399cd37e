import type { Pool, PoolClient } from 'pg';
import type { Permission, Role } from '../access/permission.js';
import { leavesNoOwner, type Person, type PersonChange } from '../access/person.js';
import { newSecret, type Random } from '../access/secret.js';
import { SIGN_IN_MS } from '../access/session.js';
import type { Tenant } from '../message/tenant.js';
import { inTransaction } from './pool.js';

export interface StoredToken {
  readonly tenant: Tenant;
  readonly id: number;
  readonly name: string;
  readonly permissions: readonly string[];
  readonly lastUsedAt: Date | null;
}

/** The token with this SHA-256, unless it has expired or was revoked. */
export async function findToken(pool: Pool, hash: Buffer, now: Date): Promise<StoredToken | undefined> {
  const { rows } = await pool.query({
    name: 'find_token',
    text: `select t.id, t.name, t.permissions, t.last_used_at, n.id as tenant, n.name as tenant_name, n.channels
             from token t join tenant n on n.id = t.tenant
            where t.hash = $1 and t.revoked_at is null and (t.expires_at is null or t.expires_at > $2)`,
    values: [hash, now],
  });
  const row = rows[0];
  return (
    row && {
      tenant: tenantOf(row),
      id: row.id,
      name: row.name,
      permissions: row.permissions,
      lastUsedAt: row.last_used_at,
    }
  );
}

export async function noteTokenUse(pool: Pool, tenant: number, id: number, now: Date): Promise<void> {
  await pool.query('update token set last_used_at = $3 where tenant = $1 and id = $2', [tenant, id, now]);
}

/** A token as people see it: all but the secret. */
export interface TokenEntry {
  readonly name: string;
  readonly permissions: readonly Permission[];
  readonly createdBy: string;
  readonly createdAt: Date;
  readonly expiresAt: Date | null;
  readonly revokedAt: Date | null;
  readonly lastUsedAt: Date | null;
}

const TOKEN_COLUMNS = `name, permissions, created_by as "createdBy", created_at as "createdAt", expires_at as "expiresAt",
  revoked_at as "revokedAt", last_used_at as "lastUsedAt"`;

/** All of a tenant, by name; the revoked ones too, while their name isn't taken again. */
export async function listTokens(pool: Pool, tenant: number): Promise<TokenEntry[]> {
  const sql = `select ${TOKEN_COLUMNS} from token where tenant = $1 order by name`;
  return (await pool.query<TokenEntry>(sql, [tenant])).rows;
}

export interface NewTokenRow {
  readonly name: string;
  readonly hash: Buffer;
  readonly permissions: readonly Permission[];
  readonly createdBy: string;
  readonly expiresAt: Date | null;
}

/** Tokens and people of a tenant: what can be made over the API is bounded, as it is listed whole. */
export const MOST_TOKENS = 1_000;
export const MOST_PEOPLE = 10_000;

/** Whether a tenant may have another token or person; one of that name counts no more than it does. */
export async function hasRoomFor(db: Pool, what: 'token' | 'person', tenant: number, name: string): Promise<boolean> {
  const { rows } = await db.query<{ room: boolean }>(
    `select count(*) < $2 as room from ${what} where tenant = $1 and name <> $3`,
    [tenant, what === 'token' ? MOST_TOKENS : MOST_PEOPLE, name],
  );
  return rows[0]?.room ?? false;
}

/** Adds a token, or undefined when one of that name is still good. The name of a revoked or expired one is free again. */
export async function createToken(
  pool: Pool,
  tenant: number,
  token: NewTokenRow,
  now: Date,
): Promise<TokenEntry | undefined> {
  const { rows } = await pool.query<TokenEntry>(
    `insert into token as t (tenant, name, hash, permissions, created_by, created_at, expires_at)
     values ($1, $2, $3, $4, $5, $6, $7)
     on conflict (tenant, name) do update
        set hash = excluded.hash, permissions = excluded.permissions, created_by = excluded.created_by,
            created_at = excluded.created_at, expires_at = excluded.expires_at, revoked_at = null, last_used_at = null
      where t.revoked_at is not null or t.expires_at <= $6
     returning ${TOKEN_COLUMNS}`,
    [tenant, token.name, token.hash, token.permissions, token.createdBy, now, token.expiresAt],
  );
  return rows[0];
}

/** Revokes a token and says its hash; undefined when there is none of that name. Revoking twice changes nothing. */
export async function revokeToken(pool: Pool, tenant: number, name: string, now: Date): Promise<Buffer | undefined> {
  const { rows } = await pool.query<{ hash: Buffer }>(
    'update token set revoked_at = coalesce(revoked_at, $3) where tenant = $1 and name = $2 returning hash',
    [tenant, name, now],
  );
  return rows[0]?.hash;
}

export async function listPeople(db: Pool | PoolClient, tenant: number): Promise<Person[]> {
  const { rows } = await db.query<Person>(
    'select id, name, role, disabled_at is not null as disabled from person where tenant = $1 order by name',
    [tenant],
  );
  return rows;
}

/** Adds a person; undefined when the name is taken, also by somebody disabled: decisions go by names. */
export async function createPerson(
  db: Pool | PoolClient,
  tenant: number,
  name: string,
  role: Role,
): Promise<Person | undefined> {
  const { rows } = await db.query<{ id: number }>(
    'insert into person (tenant, name, role) values ($1, $2, $3) on conflict do nothing returning id',
    [tenant, name, role],
  );
  return rows[0] && { id: rows[0].id, name, role, disabled: false };
}

export type PersonChanged =
  | { readonly result: 'changed'; readonly person: Person }
  | { readonly result: 'unknown' }
  | { readonly result: 'last_owner' };

/**
 * Changes role or state of a person; whoever loses either loses every session too.
 * The tenant's row is locked, so that two owners who disable each other at once don't both succeed.
 */
export function changePerson(pool: Pool, tenant: number, name: string, change: PersonChange): Promise<PersonChanged> {
  return inTransaction(pool, async (client) => {
    await client.query('select 1 from tenant where id = $1 for no key update', [tenant]);
    const people = await listPeople(client, tenant);
    const before = people.find((one) => one.name === name);
    if (!before) return { result: 'unknown' };
    if (leavesNoOwner(people, name, change)) return { result: 'last_owner' };
    const person = { ...before, role: change.role ?? before.role, disabled: change.disabled ?? before.disabled };
    await client.query(
      `update person set role = $3, disabled_at = case when $4 then coalesce(disabled_at, now()) end
        where tenant = $1 and id = $2`,
      [tenant, person.id, person.role, person.disabled],
    );
    if (person.disabled) {
      await client.query('delete from session where tenant = $1 and person = $2', [tenant, person.id]);
      await client.query('delete from sign_in where tenant = $1 and person = $2 and used_at is null', [
        tenant,
        person.id,
      ]);
    }
    return { result: 'changed', person };
  });
}

/** Stores a one-time link; those of anybody that have run out unused go with the occasion. */
export async function createSignIn(
  db: Pool | PoolClient,
  tenant: number,
  person: number,
  hash: Buffer,
  until: Date,
  now: Date,
) {
  await db.query('delete from sign_in where expires_at <= $1 and used_at is null', [now]);
  await db.query('insert into sign_in (hash, tenant, person, expires_at) values ($1, $2, $3, $4)', [
    hash,
    tenant,
    person,
    until,
  ]);
}

/**
 * A one-time link for the tenant's first owner, as the secret of `/sign-in/<secret>`; undefined once an owner has signed in.
 * Makes the person `owner` where the tenant has no owner yet. A link that ran out unused is followed by a new one.
 */
export function firstOwnerLink(pool: Pool, tenant: number, random: Random, now: Date): Promise<string | undefined> {
  return inTransaction(pool, async (client) => {
    await client.query('select 1 from tenant where id = $1 for no key update', [tenant]);
    const owners = (await listPeople(client, tenant)).filter((one) => one.role === 'owner' && !one.disabled);
    const signedIn = await client.query(
      'select 1 from sign_in where tenant = $1 and person = any($2) and used_at is not null limit 1',
      [tenant, owners.map((one) => one.id)],
    );
    if (signedIn.rows.length > 0) return undefined;
    const owner = owners[0] ?? (await createPerson(client, tenant, 'owner', 'owner'));
    if (!owner) return undefined;
    const { text, hash } = newSecret(random);
    await createSignIn(client, tenant, owner.id, hash, new Date(now.getTime() + SIGN_IN_MS), now);
    return text;
  });
}

/** Whom a link would sign in, without using it up; undefined when it is unknown, used or has run out. */
export async function readSignIn(
  pool: Pool,
  hash: Buffer,
  now: Date,
): Promise<{ person: string; tenant: string } | undefined> {
  const { rows } = await pool.query(
    `select p.name as person, n.name as tenant from sign_in s
       join person p on p.tenant = s.tenant and p.id = s.person
       join tenant n on n.id = s.tenant
      where s.hash = $1 and s.used_at is null and s.expires_at > $2 and p.disabled_at is null`,
    [hash, now],
  );
  return rows[0];
}

export interface NewSession {
  readonly hash: Buffer;
  readonly csrf: string;
  readonly expiresAt: Date;
}

/** Uses a link up and begins a session, both or neither; undefined when the link is unknown, used or has run out. */
export function useSignIn(
  pool: Pool,
  hash: Buffer,
  session: NewSession,
  now: Date,
): Promise<StoredSession | undefined> {
  return inTransaction(pool, async (client) => {
    const used = await client.query<{ tenant: number; person: number }>(
      'update sign_in set used_at = $2 where hash = $1 and used_at is null and expires_at > $2 returning tenant, person',
      [hash, now],
    );
    const link = used.rows[0];
    if (!link) return undefined;
    await client.query('delete from session where expires_at <= $1', [now]);
    await client.query(
      'insert into session (hash, tenant, person, csrf, created_at, expires_at) values ($1, $2, $3, $4, $5, $6)',
      [session.hash, link.tenant, link.person, session.csrf, now, session.expiresAt],
    );
    return findSession(client, session.hash, now);
  });
}

export interface StoredSession {
  readonly tenant: Tenant;
  readonly person: string;
  readonly role: Role;
  readonly csrf: string;
  readonly expiresAt: Date;
}

/** The session with this SHA-256, unless it has ended or its person is disabled. */
export async function findSession(db: Pool | PoolClient, hash: Buffer, now: Date): Promise<StoredSession | undefined> {
  const { rows } = await db.query({
    name: 'find_session',
    text: `select s.csrf, s.expires_at, p.name as person, p.role, n.id as tenant, n.name as tenant_name, n.channels
             from session s
             join person p on p.tenant = s.tenant and p.id = s.person
             join tenant n on n.id = s.tenant
            where s.hash = $1 and s.expires_at > $2 and p.disabled_at is null`,
    values: [hash, now],
  });
  const row = rows[0];
  return (
    row && { tenant: tenantOf(row), person: row.person, role: row.role, csrf: row.csrf, expiresAt: row.expires_at }
  );
}

export async function moveSessionEnd(pool: Pool, hash: Buffer, expiresAt: Date): Promise<void> {
  await pool.query('update session set expires_at = $2 where hash = $1', [hash, expiresAt]);
}

export async function endSession(pool: Pool, hash: Buffer): Promise<void> {
  await pool.query('delete from session where hash = $1', [hash]);
}

function tenantOf(row: { tenant: number; tenant_name: string; channels: number }): Tenant {
  return { id: row.tenant, name: row.tenant_name, channels: row.channels };
}
