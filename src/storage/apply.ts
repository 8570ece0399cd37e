import type { Pool, PoolClient } from 'pg';
import { type Clash, clashes, type NamedSource } from '../channel/claims.js';
import type { SourceDefinition } from '../channel/source.js';
import type { TargetDefinition } from '../delivery/target.js';
import type { Tenant } from '../message/tenant.js';
import type { FilePlace, NamedDefinition, TenantDefinitions } from '../routing/definitions.js';
import { type RuleProblem, unknownTargets } from '../routing/parse.js';
import { applyBilling, type BillingProblem } from './billing.js';
import { changeConfiguration } from './configuration.js';
import { allSources, type DefinitionTable, MOST_DEFINITIONS, remove, write } from './definitions.js';
import { activeRuleSet, hashOf, insertRuleSet, type StoredRuleSet, switchRules, targetNames } from './rule-sets.js';
import { findTenant, insertTenant } from './tenants.js';

/** What became of one thing of the file. */
export interface Change {
  readonly kind: 'tenant' | 'source' | 'target' | 'meter' | 'rate-card' | 'subscription' | 'rules';
  /** Of rules, their version. */
  readonly name: string;
  /** `released`: the file names it no more, and it stays. */
  readonly what: 'added' | 'changed' | 'removed' | 'unchanged' | 'released';
}

export interface ApplyProblem {
  readonly code: /** Something of the name was made over the API; the file can't take it over. */
    | 'managed_by_api'
    /** A tenant keeps the channels it was made with. */
    | 'channels_fixed'
    /** A source that was made over the API has the address, takes the events, or consumes the queue. */
    | 'address_taken'
    | 'feed_taken'
    | 'queue_taken'
    | 'too_many'
    /** The rules, or a subscription, name a target that there isn't. */
    | 'target_unknown'
    | BillingProblem;
  readonly tenant: string;
  /** Null where what stands against it is not in the file. */
  readonly at: FilePlace | null;
  /** A sentence without its full stop. */
  readonly message: string;
  readonly didYouMean?: string;
}

export type Applied =
  | { readonly ok: true; readonly tenants: readonly { readonly tenant: string; readonly changes: readonly Change[] }[] }
  /** Nothing was changed. */
  | { readonly ok: false; readonly problems: readonly ApplyProblem[] };

/** `config/rules.yaml:12:22: there is no target "acounting"; did you mean "accounting"?` */
export function formatApplyProblem({ at, tenant, message, didYouMean }: ApplyProblem): string {
  const where = at ? `${at.file}:${at.line}:${at.column}` : `tenant "${tenant}"`;
  return `${where}: ${message}${didYouMean === undefined ? '' : `; did you mean "${didYouMean}"?`}`;
}

/**
 * Makes the database name what the file names: in one transaction, all of it or nothing. What the file named before
 * and names no more is removed; what was made over the API is left alone. Rules that the file names no more stay in
 * force and may be changed over the API from then on.
 */
export async function applyDefinitions(
  pool: Pool,
  wanted: readonly TenantDefinitions[],
  by: ApplyWish,
): Promise<Applied> {
  try {
    return await changeConfiguration(pool, async (client) => {
      const applied = await apply(client, wanted, by);
      if (by.dryRun) throw new Tried(applied);
      return applied;
    });
  } catch (error) {
    if (error instanceof Refused) return { ok: false, problems: error.problems };
    if (error instanceof Tried) return error.applied;
    throw error;
  }
}

export interface ApplyWish {
  readonly who: string;
  /** Of tenants to be made, where the file doesn't say. */
  readonly channels: number;
  /** Says what would change, and changes nothing. */
  readonly dryRun?: boolean;
}

/** Thrown so that what was tried is undone. */
class Tried extends Error {
  override readonly name = 'Tried';
  constructor(readonly applied: Applied) {
    super('it was only tried');
  }
}

/** Thrown so that the transaction is undone. */
class Refused extends Error {
  override readonly name = 'Refused';
  constructor(readonly problems: readonly ApplyProblem[]) {
    super('the definitions do not fit what is there');
  }
}

interface Scope {
  readonly client: PoolClient;
  readonly who: string;
  readonly problems: ApplyProblem[];
}

async function apply(client: PoolClient, wanted: readonly TenantDefinitions[], by: ApplyWish): Promise<Applied> {
  const scope: Scope = { client, who: by.who, problems: [] };
  const named = [...wanted, ...(await formerTenants(client, wanted))];
  const tenants: { tenant: string; changes: Change[] }[] = [];
  for (const definitions of named) {
    const { tenant, changes } = await ensureTenant(scope, definitions, by.channels);
    changes.push(...(await applyTable(scope, tenant, 'source', definitions.sources)));
    changes.push(...(await applyTable(scope, tenant, 'target', definitions.targets)));
    const billing = await applyBilling(client, tenant, definitions.billing, by.who);
    changes.push(...billing.changes);
    scope.problems.push(...billing.problems);
    changes.push(...(await applyRules(scope, tenant, definitions.rules)));
    tenants.push({ tenant: tenant.name, changes });
  }
  scope.problems.push(...(await clashProblems(client, named)));
  if (scope.problems.length > 0) throw new Refused(scope.problems);
  return { ok: true, tenants };
}

/** Tenants whose definitions a file named before, and which it doesn't mention now: nothing is named for them. */
async function formerTenants(client: PoolClient, wanted: readonly TenantDefinitions[]): Promise<TenantDefinitions[]> {
  const { rows } = await client.query<{ name: string }>(
    `select name from tenant t where name <> all($1::text[]) and (
       exists (select from source where tenant = t.id and managed_by = 'file' and removed_at is null) or
       exists (select from target where tenant = t.id and managed_by = 'file' and removed_at is null) or
       exists (select from billing_definition where tenant = t.id and managed_by = 'file' and removed_at is null) or
       exists (select from rule_set where tenant = t.id and managed_by = 'file' and active))
     order by name`,
    [wanted.map(({ tenant }) => tenant)],
  );
  return rows.map(({ name }) => ({ tenant: name, channels: null, sources: [], targets: [], billing: [], rules: null }));
}

async function ensureTenant(
  { client, who, problems }: Scope,
  { tenant: name, channels }: TenantDefinitions,
  channelsOtherwise: number,
): Promise<{ tenant: Tenant; changes: Change[] }> {
  const tenant = await findTenant(client, name);
  if (!tenant) {
    const made = await insertTenant(client, name, channels?.count ?? channelsOtherwise, who);
    return { tenant: made, changes: [{ kind: 'tenant', name, what: 'added' }] };
  }
  if (channels && channels.count !== tenant.channels) {
    const message = `tenant "${name}" was made with ${tenant.channels} channels and keeps them`;
    problems.push({ code: 'channels_fixed', tenant: name, at: channels.at, message });
  }
  return { tenant, changes: [] };
}

async function applyTable(
  { client, who, problems }: Scope,
  tenant: Tenant,
  table: DefinitionTable,
  wanted: readonly NamedDefinition<SourceDefinition | TargetDefinition>[],
): Promise<Change[]> {
  const there = await managers(client, table, tenant.id);
  const changes: Change[] = [];
  for (const { name, definition, at } of wanted) {
    if (there.get(name) === 'api') {
      const message = `the ${table} "${name}" was made over the API; remove it there first, or choose another name`;
      problems.push({ code: 'managed_by_api', tenant: tenant.name, at, message });
      continue;
    }
    const { created, changed } = await write(client, table, tenant.id, { name, definition, managedBy: 'file', who });
    changes.push({ kind: table, name, what: created ? 'added' : changed ? 'changed' : 'unchanged' });
  }
  const names = new Set(wanted.map(({ name }) => name));
  for (const [name, manager] of there) {
    if (manager !== 'file' || names.has(name)) continue;
    await remove(client, table, tenant.id, name, who);
    changes.push({ kind: table, name, what: 'removed' });
  }
  const count = new Set([...names, ...[...there].flatMap(([name, manager]) => (manager === 'api' ? [name] : []))]).size;
  if (count > MOST_DEFINITIONS) {
    const message = `${count} ${table}s are more than the ${MOST_DEFINITIONS} a tenant may have`;
    problems.push({ code: 'too_many', tenant: tenant.name, at: wanted.at(-1)?.at ?? null, message });
  }
  return changes;
}

async function managers(
  client: PoolClient,
  table: DefinitionTable,
  tenant: number,
): Promise<Map<string, 'file' | 'api'>> {
  const { rows } = await client.query<{ name: string; managed_by: 'file' | 'api' }>(
    `select name, managed_by from ${table} where tenant = $1 and removed_at is null`,
    [tenant],
  );
  return new Map(rows.map(({ name, managed_by }) => [name, managed_by]));
}

/** After the targets: rules that name one which is gone are refused, whoever wrote them. */
async function applyRules(
  { client, who, problems }: Scope,
  tenant: Tenant,
  rules: TenantDefinitions['rules'],
): Promise<Change[]> {
  const known = await targetNames(client, tenant.id);
  const active = await activeRuleSet(client, tenant.id);
  if (!rules) {
    if (active) problems.push(...staleTargets(tenant, active, known));
    if (active?.managedBy !== 'file') return [];
    await switchRules(client, tenant.id, active.version, 'api', who);
    return [{ kind: 'rules', name: String(active.version), what: 'released' }];
  }
  problems.push(...unknownTargets(rules.mentions, known).map((problem) => ruleProblem(tenant, rules.file, problem)));
  const same = active?.hash === hashOf(rules.text);
  if (same && active.managedBy === 'file') return [{ kind: 'rules', name: String(active.version), what: 'unchanged' }];
  const version = same ? active.version : await insertRuleSet(client, tenant.id, { ...rules, who, why: null }, 'file');
  await switchRules(client, tenant.id, version, 'file', who);
  return [{ kind: 'rules', name: String(version), what: active ? 'changed' : 'added' }];
}

function staleTargets(tenant: Tenant, active: StoredRuleSet, known: ReadonlySet<string>): ApplyProblem[] {
  return active.targets
    .filter((name) => !known.has(name))
    .map((name) => {
      const message = `the target "${name}" is gone, but the rules in force (version ${active.version}) name it`;
      return { code: 'target_unknown', tenant: tenant.name, at: null, message };
    });
}

function ruleProblem(tenant: Tenant, file: string, problem: RuleProblem): ApplyProblem {
  const { line, column, message, didYouMean } = problem;
  const found = { code: 'target_unknown', tenant: tenant.name, at: { file, line, column }, message } as const;
  return didYouMean === undefined ? found : { ...found, didYouMean };
}

/** The file's own sources don't clash, that was seen when it was read; those made over the API may. */
async function clashProblems(client: PoolClient, wanted: readonly TenantDefinitions[]): Promise<ApplyProblem[]> {
  const places = new Map(
    wanted.flatMap(({ tenant, sources }) => sources.map(({ name, at }) => [`${tenant}/${name}`, at] as const)),
  );
  const placeOf = ({ tenant, name }: NamedSource) => places.get(`${tenant}/${name}`) ?? null;
  const sources = await allSources(client);
  // What was there first keeps its claim: the API's sources come before the file's.
  const inOrder = [...sources.filter((source) => !placeOf(source)), ...sources.filter(placeOf)];
  return clashes(inOrder).map(({ kind, what, first, second }) => {
    const holder = `the source "${first.name}" of tenant "${first.tenant}", which was made over the API`;
    const message = `${claimed(kind, what)} belongs to ${holder}`;
    return { code: `${kind}_taken` as const, tenant: second.tenant, at: placeOf(second), message };
  });
}

function claimed(kind: Clash<NamedSource>['kind'], what: string | null): string {
  switch (kind) {
    case 'address':
      return `the mail address ${what}`;
    case 'feed':
      return what ?? 'all events no other feed names';
    case 'queue':
      return `the queue ${what}`;
    default: {
      const never: never = kind;
      return never;
    }
  }
}
