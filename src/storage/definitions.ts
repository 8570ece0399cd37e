import { isDeepStrictEqual } from 'node:util';
import type { Pool, PoolClient } from 'pg';
import { clashes, type NamedSource } from '../channel/claims.js';
import { type SourceDefinition, sourceDefinitionSchema } from '../channel/source.js';
import { type TargetDefinition, targetDefinitionSchema } from '../delivery/target.js';
import type { Tenant } from '../message/tenant.js';
import { writeAudit } from './audit.js';
import { changeConfiguration, isStorable } from './configuration.js';

/** Sources, and likewise targets, that one tenant may have. */
export const MOST_DEFINITIONS = 1000;

/** A source or target as it is kept. */
export interface Stored<D> {
  readonly id: number;
  readonly name: string;
  readonly definition: D;
  /** What a file names is changed in the file alone. */
  readonly managedBy: 'file' | 'api';
  /** Rises with every change of the definition, also over a removal; pausing is none. */
  readonly version: number;
  readonly createdAt: Date;
  readonly updatedAt: Date;
}

export type StoredSource = Stored<SourceDefinition>;

export interface StoredTarget extends Stored<TargetDefinition> {
  readonly paused: { readonly by: string; readonly code: string; readonly reason: string; readonly since: Date } | null;
  /** When it last took something; null for never. */
  readonly lastTakenAt: Date | null;
}

/** What the caller has seen: that version, nothing of that name, or it doesn't matter. */
export type Expected = number | 'absent' | 'any';

interface VersionMismatch {
  readonly result: 'version_mismatch';
  /** The version there is; null for none. */
  readonly version: number | null;
}

type Refused =
  | { readonly result: 'managed_by_file' }
  | VersionMismatch
  /** A text holds NUL or half a surrogate pair. */
  | { readonly result: 'unstorable' }
  | { readonly result: 'too_many'; readonly most: number };

export type SourcePut =
  | { readonly result: 'ok'; readonly created: boolean; readonly source: StoredSource }
  | Refused
  /** Another source, of this tenant or another one, or the same twice, has the mail address. */
  | { readonly result: 'address_taken'; readonly address: string }
  /** Another feed of the tenant takes these events; null: both would take all that no other feed names. */
  | { readonly result: 'feed_taken'; readonly accepts: string | null; readonly by: string }
  /** Another source, of this tenant or another one, consumes the queue. */
  | { readonly result: 'queue_taken'; readonly queue: string }
  /** A queue of the installation's own broker, and the tenant is not the installation's own. */
  | { readonly result: 'broker_not_yours' };

export type TargetPut = { readonly result: 'ok'; readonly created: boolean; readonly target: StoredTarget } | Refused;

export type SourceRemoved =
  | { readonly result: 'ok' }
  | { readonly result: 'not_found' }
  | { readonly result: 'managed_by_file' }
  | VersionMismatch;

/** `in_use`: the active rules name it. */
export type TargetRemoved = SourceRemoved | { readonly result: 'in_use'; readonly rules: number };

/** All sources of a tenant, by name. */
export async function listSources(db: Pool | PoolClient, tenant: number): Promise<StoredSource[]> {
  return (await present(db, 'source', tenant, null)).map(storedSource);
}

export async function getSource(
  db: Pool | PoolClient,
  tenant: number,
  name: string,
): Promise<StoredSource | undefined> {
  return (await present(db, 'source', tenant, name)).map(storedSource)[0];
}

/** All targets of a tenant, by name. */
export async function listTargets(db: Pool | PoolClient, tenant: number): Promise<StoredTarget[]> {
  return (await present(db, 'target', tenant, null)).map(storedTarget);
}

export async function getTarget(
  db: Pool | PoolClient,
  tenant: number,
  name: string,
): Promise<StoredTarget | undefined> {
  return (await present(db, 'target', tenant, name)).map(storedTarget)[0];
}

/** Makes or changes a source over the API. `definition` has been through its schema, `name` is well-formed. */
export function putSource(
  pool: Pool,
  tenant: Tenant,
  name: string,
  definition: SourceDefinition,
  by: { readonly expected: Expected; readonly who: string },
): Promise<SourcePut> {
  return changeConfiguration(pool, async (client): Promise<SourcePut> => {
    const refused = await mayPut(client, 'source', tenant.id, name, definition, by.expected);
    if (refused) return refused;
    if (!mayConsume(tenant, definition)) return { result: 'broker_not_yours' };
    const clash = await clashOf(client, { tenant: tenant.name, name, definition });
    if (clash) return clash;
    const { created } = await write(client, 'source', tenant.id, { name, definition, managedBy: 'api', who: by.who });
    return { result: 'ok', created, source: (await getSource(client, tenant.id, name)) as StoredSource };
  });
}

/** Makes or changes a target over the API. One that was removed comes back under its id, with its delivery numbers. */
export function putTarget(
  pool: Pool,
  tenant: Tenant,
  name: string,
  definition: TargetDefinition,
  by: { readonly expected: Expected; readonly who: string },
): Promise<TargetPut> {
  return changeConfiguration(pool, async (client): Promise<TargetPut> => {
    const refused = await mayPut(client, 'target', tenant.id, name, definition, by.expected);
    if (refused) return refused;
    const { created } = await write(client, 'target', tenant.id, { name, definition, managedBy: 'api', who: by.who });
    return { result: 'ok', created, target: (await getTarget(client, tenant.id, name)) as StoredTarget };
  });
}

/** Its messages stay; nothing comes in by it any more. */
export function removeSource(
  pool: Pool,
  tenant: number,
  name: string,
  by: { readonly expected: number | 'any'; readonly who: string },
): Promise<SourceRemoved> {
  return changeConfiguration(pool, async (client): Promise<SourceRemoved> => {
    const refused = await mayRemove(client, 'source', tenant, name, by.expected);
    if (refused) return refused;
    await remove(client, 'source', tenant, name, by.who);
    return { result: 'ok' };
  });
}

/** Refused while the active rules name it. Its deliveries and numbers stay. */
export function removeTarget(
  pool: Pool,
  tenant: number,
  name: string,
  by: { readonly expected: number | 'any'; readonly who: string },
): Promise<TargetRemoved> {
  return changeConfiguration(pool, async (client): Promise<TargetRemoved> => {
    const refused = await mayRemove(client, 'target', tenant, name, by.expected);
    if (refused) return refused;
    const { rows } = await client.query<{ version: number }>(
      'select version from rule_set where tenant = $1 and active and $2 = any(targets)',
      [tenant, name],
    );
    if (rows[0]) return { result: 'in_use', rules: rows[0].version };
    await remove(client, 'target', tenant, name, by.who);
    return { result: 'ok' };
  });
}

export type PauseChanged = { readonly result: 'ok' | 'already' | 'not_found' };

/** A person stops a target: it gets nothing, and its deliveries wait. `already` leaves the first reason in place. */
export function pauseTarget(
  pool: Pool,
  tenant: number,
  name: string,
  who: string,
  reason: string,
): Promise<PauseChanged> {
  return changePause(pool, tenant, name, { who, action: 'target.pause', detail: { reason } }, (client) =>
    client.query(
      `update target set paused_at = now(), paused_by = $3, paused_code = 'by_person', paused_reason = $4
        where tenant = $1 and name = $2 and removed_at is null and paused_at is null`,
      [tenant, name, who, reason],
    ),
  );
}

/** Whoever paused it, a person lets it go on; what waited begins its retries anew. */
export function resumeTarget(pool: Pool, tenant: number, name: string, who: string): Promise<PauseChanged> {
  return changePause(pool, tenant, name, { who, action: 'target.resume', detail: {} }, (client) =>
    client.query(
      `update target set paused_at = null, paused_by = null, paused_code = null, paused_reason = null, resumed_at = now()
        where tenant = $1 and name = $2 and removed_at is null and paused_at is not null`,
      [tenant, name],
    ),
  );
}

async function changePause(
  pool: Pool,
  tenant: number,
  name: string,
  audit: { readonly who: string; readonly action: string; readonly detail: Readonly<Record<string, unknown>> },
  change: (client: PoolClient) => Promise<{ readonly rowCount: number | null }>,
): Promise<PauseChanged> {
  return changeConfiguration(pool, async (client): Promise<PauseChanged> => {
    const { rowCount } = await change(client);
    if (rowCount === 0) return { result: (await getTarget(client, tenant, name)) ? 'already' : 'not_found' };
    await writeAudit(client, { tenant, object: name, ...audit });
    return { result: 'ok' };
  });
}

export type DefinitionTable = 'source' | 'target';

interface Row {
  readonly id: number;
  readonly name: string;
  readonly definition: unknown;
  readonly managed_by: 'file' | 'api';
  readonly version: number;
  readonly created_at: Date;
  readonly updated_at: Date;
  readonly paused_at: Date | null;
  readonly paused_by: string | null;
  readonly paused_code: string | null;
  readonly paused_reason: string | null;
  readonly last_taken_at: Date | null;
}

const COLUMNS: Readonly<Record<DefinitionTable, string>> = {
  source: 'id, name, definition, managed_by, version, created_at, updated_at',
  target: `id, name, definition, managed_by, version, created_at, updated_at,
    paused_at, paused_by, paused_code, paused_reason, last_taken_at`,
};

async function present(
  db: Pool | PoolClient,
  table: DefinitionTable,
  tenant: number,
  name: string | null,
): Promise<Row[]> {
  const { rows } = await db.query<Row>(
    `select ${COLUMNS[table]} from ${table}
      where tenant = $1 and ($2::text is null or name = $2) and removed_at is null order by name`,
    [tenant, name],
  );
  return rows;
}

function storedSource(row: Row): StoredSource {
  return { ...common(row), definition: sourceDefinitionSchema.parse(row.definition) };
}

function storedTarget(row: Row): StoredTarget {
  const { paused_at, paused_by, paused_code, paused_reason } = row;
  return {
    ...common(row),
    definition: targetDefinitionSchema.parse(row.definition),
    paused: paused_at && {
      by: paused_by ?? '',
      code: paused_code ?? '',
      reason: paused_reason ?? '',
      since: paused_at,
    },
    lastTakenAt: row.last_taken_at,
  };
}

function common(row: Row): Omit<Stored<never>, 'definition'> {
  const { id, name, managed_by, version, created_at, updated_at } = row;
  return { id, name, managedBy: managed_by, version, createdAt: created_at, updatedAt: updated_at };
}

async function mayPut(
  client: PoolClient,
  table: DefinitionTable,
  tenant: number,
  name: string,
  definition: unknown,
  expected: Expected,
): Promise<Refused | undefined> {
  if (!isStorable(definition)) return { result: 'unstorable' };
  const [row] = await present(client, table, tenant, name);
  const version = row?.version ?? null;
  if (expected === 'absent' ? row : expected !== 'any' && expected !== version)
    return { result: 'version_mismatch', version };
  if (row) return row.managed_by === 'file' ? { result: 'managed_by_file' } : undefined;
  const { rows } = await client.query<{ count: number }>(
    `select count(*) as count from ${table} where tenant = $1 and removed_at is null`,
    [tenant],
  );
  return (rows[0]?.count ?? 0) >= MOST_DEFINITIONS ? { result: 'too_many', most: MOST_DEFINITIONS } : undefined;
}

async function mayRemove(
  client: PoolClient,
  table: DefinitionTable,
  tenant: number,
  name: string,
  expected: number | 'any',
): Promise<Exclude<SourceRemoved, { result: 'ok' }> | undefined> {
  const [row] = await present(client, table, tenant, name);
  if (!row) return { result: 'not_found' };
  if (expected !== 'any' && expected !== row.version) return { result: 'version_mismatch', version: row.version };
  return row.managed_by === 'file' ? { result: 'managed_by_file' } : undefined;
}

async function clashOf(client: PoolClient, source: NamedSource): Promise<SourcePut | undefined> {
  const others = (await allSources(client)).filter(
    ({ tenant, name }) => tenant !== source.tenant || name !== source.name,
  );
  // The new one comes last, so that whoever has a claim already keeps it.
  const clash = clashes([...others, source]).find(({ second }) => second === source);
  if (!clash) return undefined;
  const { kind, what, first } = clash;
  switch (kind) {
    case 'address':
      return { result: 'address_taken', address: what ?? '' };
    case 'feed':
      return { result: 'feed_taken', accepts: what, by: first.name };
    case 'queue':
      return { result: 'queue_taken', queue: what ?? '' };
    default: {
      const never: never = kind;
      return never;
    }
  }
}

/** The tenant of those who run the installation. */
const OPERATORS = 'default';

/**
 * A broker knows no tenants: whoever names a queue of the installation's own takes messages out of it. That is for those
 * who run it, over the API as tenant `default`, or for anybody by the configuration file.
 */
function mayConsume(tenant: Tenant, definition: SourceDefinition): boolean {
  return definition.kind !== 'amqp' || definition.url !== undefined || tenant.name === OPERATORS;
}

/** Every source of every tenant that claims addresses, events or a queue. */
export async function allSources(client: PoolClient): Promise<NamedSource[]> {
  const { rows } = await client.query<{ tenant: string; name: string; definition: unknown }>(
    `select t.name as tenant, s.name, s.definition from source s join tenant t on t.id = s.tenant
      where s.removed_at is null and s.kind in ('mail', 'events', 'amqp') order by t.id, s.id`,
  );
  return rows.map((row) => ({ ...row, definition: sourceDefinitionSchema.parse(row.definition) }));
}

export interface Write {
  readonly name: string;
  readonly definition: SourceDefinition | TargetDefinition;
  readonly managedBy: 'file' | 'api';
  readonly who: string;
}

export interface Written {
  readonly created: boolean;
  readonly changed: boolean;
}

/** Writes a definition where it is new or differs; within a transaction of `changeConfiguration`, after all checks. */
export async function write(
  client: PoolClient,
  table: DefinitionTable,
  tenant: number,
  wanted: Write,
): Promise<Written> {
  const { name, definition, managedBy, who } = wanted;
  const { rows } = await client.query<{ definition: unknown; managed_by: string; removed: boolean }>(
    `select definition, managed_by, removed_at is not null as removed from ${table} where tenant = $1 and name = $2`,
    [tenant, name],
  );
  const [row] = rows;
  const created = row === undefined || row.removed;
  const json = JSON.stringify(definition);
  if (!created && row.managed_by === managedBy && isDeepStrictEqual(row.definition, JSON.parse(json))) {
    return { created, changed: false };
  }
  await client.query(
    `insert into ${table} as old (tenant, name, kind, definition, managed_by) values ($1, $2, $3, $4, $5)
     on conflict (tenant, name) do update set kind = $3, definition = $4, managed_by = $5,
       version = old.version + 1, updated_at = now(), removed_at = null${AGAIN[table]}`,
    [tenant, name, definition.kind, json, managedBy],
  );
  await writeAudit(client, { tenant, who, action: `${table}.${created ? 'create' : 'change'}`, object: name });
  return { created, changed: true };
}

/** A target that comes back after a removal is not paused any more. */
const AGAIN: Readonly<Record<DefinitionTable, string>> = {
  source: '',
  target: ['paused_at', 'paused_by', 'paused_code', 'paused_reason']
    .map((column) => `, ${column} = case when old.removed_at is null then old.${column} end`)
    .join(''),
};

/** Takes a definition out of use; within a transaction of `changeConfiguration`, after all checks. */
export async function remove(
  client: PoolClient,
  table: DefinitionTable,
  tenant: number,
  name: string,
  who: string,
): Promise<void> {
  await client.query(
    `update ${table} set removed_at = now(), updated_at = now(), version = version + 1 where tenant = $1 and name = $2`,
    [tenant, name],
  );
  await writeAudit(client, { tenant, who, action: `${table}.remove`, object: name });
}
