import { createHash } from 'node:crypto';
import type { Pool, PoolClient } from 'pg';
import { type RuleProblem, type TargetMention, unknownTargets } from '../routing/parse.js';
import { writeAudit } from './audit.js';
import { changeConfiguration, isStorable } from './configuration.js';

/** One version of a tenant's rules. Versions are never changed, and kept: decisions name them. */
export interface StoredRuleSet {
  readonly version: number;
  /** SHA-256 of the text, hex. */
  readonly hash: string;
  readonly text: string;
  readonly managedBy: 'file' | 'api';
  readonly active: boolean;
  readonly who: string;
  readonly why: string | null;
  readonly createdAt: Date;
  /** Names of the targets its rules send to. */
  readonly targets: readonly string[];
}

export type RuleSetEntry = Omit<StoredRuleSet, 'text'>;

export interface NewRuleSet {
  /** It has been through `parseRuleSet`, which gave the mentions. */
  readonly text: string;
  readonly mentions: readonly TargetMention[];
  readonly who: string;
  readonly why: string | null;
}

/** The version of the active rules that the caller has seen: null for none. */
export type ExpectedRules = number | null | 'any';

type Refused =
  | { readonly result: 'managed_by_file' }
  /** The active version is another one. */
  | { readonly result: 'version_mismatch'; readonly version: number | null };

export type RulesSaved =
  | { readonly result: 'ok'; readonly version: number; readonly active: boolean }
  | Refused
  /** The text or the reason holds NUL or half a surrogate pair. */
  | { readonly result: 'unstorable' }
  | { readonly result: 'unknown_targets'; readonly problems: readonly RuleProblem[] };

export type RulesActivated =
  | { readonly result: 'ok' }
  | { readonly result: 'not_found' }
  | Refused
  | { readonly result: 'unknown_targets'; readonly targets: readonly string[] };

/**
 * Keeps a rule set as the next version, and makes it the one in force where `activate` says so. A text equal to the
 * active one makes no new version. Saving without activating is allowed whoever manages the active one.
 */
export function saveRuleSet(
  pool: Pool,
  tenant: number,
  rules: NewRuleSet,
  how: { readonly activate: boolean; readonly expected: ExpectedRules },
): Promise<RulesSaved> {
  return changeConfiguration(pool, async (client): Promise<RulesSaved> => {
    if (!isStorable([rules.text, rules.why])) return { result: 'unstorable' };
    const active = await activeRuleSet(client, tenant);
    const refused = how.activate ? refusedBy(active, how.expected) : undefined;
    if (refused) return refused;
    const problems = unknownTargets(rules.mentions, await targetNames(client, tenant));
    if (problems.length > 0) return { result: 'unknown_targets', problems };
    if (active && active.hash === hashOf(rules.text)) return { result: 'ok', version: active.version, active: true };
    const version = await insertRuleSet(client, tenant, rules, 'api');
    if (how.activate) await switchRules(client, tenant, version, 'api', rules.who);
    return { result: 'ok', version, active: how.activate };
  });
}

/** Puts a version in force that was kept before. */
export function activateRuleSet(
  pool: Pool,
  tenant: number,
  version: number,
  by: { readonly expected: ExpectedRules; readonly who: string },
): Promise<RulesActivated> {
  return changeConfiguration(pool, async (client): Promise<RulesActivated> => {
    const { rows } = await client.query<{ targets: string[] }>(
      'select targets from rule_set where tenant = $1 and version = $2',
      [tenant, version],
    );
    if (!rows[0]) return { result: 'not_found' };
    const active = await activeRuleSet(client, tenant);
    const refused = refusedBy(active, by.expected);
    if (refused) return refused;
    const known = await targetNames(client, tenant);
    const targets = rows[0].targets.filter((name) => !known.has(name));
    if (targets.length > 0) return { result: 'unknown_targets', targets };
    if (active?.version !== version) await switchRules(client, tenant, version, 'api', by.who);
    return { result: 'ok' };
  });
}

const ENTRY = 'version, hash, managed_by as "managedBy", active, who, why, created_at as "createdAt", targets';

/** Newest first, from below `before` on. */
export async function listRuleSets(
  db: Pool | PoolClient,
  tenant: number,
  page: { readonly before: number | null; readonly limit: number },
): Promise<RuleSetEntry[]> {
  const { rows } = await db.query<RuleSetEntry>(
    `select ${ENTRY} from rule_set where tenant = $1 and ($2::int is null or version < $2) order by version desc limit $3`,
    [tenant, page.before, page.limit],
  );
  return rows;
}

export async function getRuleSet(
  db: Pool | PoolClient,
  tenant: number,
  version: number,
): Promise<StoredRuleSet | undefined> {
  const { rows } = await db.query<StoredRuleSet>(
    `select ${ENTRY}, text from rule_set where tenant = $1 and version = $2`,
    [tenant, version],
  );
  return rows[0];
}

/** The rules in force; undefined for a tenant without any, whose messages all wait in the inbox. */
export async function activeRuleSet(db: Pool | PoolClient, tenant: number): Promise<StoredRuleSet | undefined> {
  const { rows } = await db.query<StoredRuleSet>(`select ${ENTRY}, text from rule_set where tenant = $1 and active`, [
    tenant,
  ]);
  return rows[0];
}

function refusedBy(active: StoredRuleSet | undefined, expected: ExpectedRules): Refused | undefined {
  if (active?.managedBy === 'file') return { result: 'managed_by_file' };
  const version = active?.version ?? null;
  return expected !== 'any' && expected !== version ? { result: 'version_mismatch', version } : undefined;
}

/** Names of the tenant's targets. */
export async function targetNames(client: PoolClient, tenant: number): Promise<Set<string>> {
  const { rows } = await client.query<{ name: string }>(
    'select name from target where tenant = $1 and removed_at is null',
    [tenant],
  );
  return new Set(rows.map(({ name }) => name));
}

/** The tenant's targets by name, and why each is paused; null for those that run. */
export async function targetPauses(
  pool: Pool,
  tenant: number,
): Promise<Map<string, { readonly code: string; readonly reason: string } | null>> {
  const { rows } = await pool.query<{ name: string; paused: boolean; code: string | null; reason: string | null }>(
    `select name, paused_at is not null as paused, paused_code as code, paused_reason as reason from target
      where tenant = $1 and removed_at is null`,
    [tenant],
  );
  return new Map(
    rows.map(({ name, paused, code, reason }) => [
      name,
      paused ? { code: code ?? 'paused', reason: reason ?? 'by a person' } : null,
    ]),
  );
}

/** Keeps a text as the next version, not active yet; within a transaction of `changeConfiguration`. */
export async function insertRuleSet(
  client: PoolClient,
  tenant: number,
  { text, mentions, who, why }: NewRuleSet,
  managedBy: 'file' | 'api',
): Promise<number> {
  const targets = [...new Set(mentions.map(({ target }) => target))];
  const { rows } = await client.query<{ version: number }>(
    `insert into rule_set (tenant, version, hash, text, managed_by, who, why, targets)
     select $1, coalesce(max(version), 0) + 1, $2, $3, $4, $5, $6, $7 from rule_set where tenant = $1
     returning version`,
    [tenant, hashOf(text), text, managedBy, who, why, targets],
  );
  return rows[0]?.version ?? 0;
}

/** Puts a version in force instead of the one that is; within a transaction of `changeConfiguration`. */
export async function switchRules(
  client: PoolClient,
  tenant: number,
  version: number,
  managedBy: 'file' | 'api',
  who: string,
): Promise<void> {
  await client.query('update rule_set set active = false where tenant = $1 and active and version <> $2', [
    tenant,
    version,
  ]);
  await client.query('update rule_set set active = true, managed_by = $3 where tenant = $1 and version = $2', [
    tenant,
    version,
    managedBy,
  ]);
  await writeAudit(client, { tenant, who, action: 'rules.activate', object: String(version) });
}

export function hashOf(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}
