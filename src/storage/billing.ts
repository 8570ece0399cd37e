import { isDeepStrictEqual } from 'node:util';
import type { Pool, PoolClient } from 'pg';
import type { z } from 'zod';
import {
  type BillingDefinition,
  type BillingKind,
  meterSchema,
  overlapping,
  type RateCard,
  rateCardSchema,
  type Subscription,
  subscriptionSchema,
} from '../billing/definitions.js';
import type { Tenant } from '../message/tenant.js';
import type { FilePlace, NamedBilling } from '../routing/definitions.js';
import { writeAudit } from './audit.js';
import { changeConfiguration, isStorable } from './configuration.js';
import { liveBook, makeMarks } from './usage.js';

/** Meters, rate cards and subscriptions as they are kept. */
export interface StoredBilling<D = BillingDefinition> {
  readonly id: number;
  readonly name: string;
  readonly definition: D;
  readonly managedBy: 'file' | 'api';
  readonly version: number;
  readonly createdAt: Date;
  readonly updatedAt: Date;
}

/** Of one kind, a tenant may have so many: subscriptions are one an account. */
export const MOST_DEFINED: Readonly<Record<BillingKind, number>> = {
  meter: 200,
  'rate-card': 1_000,
  subscription: 200_000,
};

/** Why a definition can't be taken. Stable. */
export type BillingProblem =
  /** A meter is not changed: what it has counted was counted by what it says. */
  | 'meter_fixed'
  | 'subscription_overlaps'
  | 'currency_differs'
  | 'meter_unknown'
  | 'rate_card_unknown'
  | 'target_unknown'
  | 'in_use';

export type BillingPut =
  | { readonly result: 'ok'; readonly created: boolean; readonly stored: StoredBilling }
  | { readonly result: 'refused'; readonly code: BillingProblem; readonly detail: string }
  | { readonly result: 'managed_by_file' | 'unstorable' }
  | { readonly result: 'version_mismatch'; readonly version: number | null }
  | { readonly result: 'too_many'; readonly most: number };

export type BillingRemoved =
  | { readonly result: 'ok' }
  | { readonly result: 'not_found' | 'managed_by_file' }
  | { readonly result: 'refused'; readonly code: BillingProblem; readonly detail: string }
  | { readonly result: 'version_mismatch'; readonly version: number };

export const BILLING_SCHEMAS = {
  meter: meterSchema,
  'rate-card': rateCardSchema,
  subscription: subscriptionSchema,
} as const satisfies Record<BillingKind, z.ZodType>;

interface Row {
  readonly id: number;
  readonly name: string;
  readonly definition: unknown;
  readonly managed_by: 'file' | 'api';
  readonly version: number;
  readonly created_at: Date;
  readonly updated_at: Date;
}

function stored(kind: BillingKind, row: Row): StoredBilling {
  return {
    id: row.id,
    name: row.name,
    definition: BILLING_SCHEMAS[kind].parse(row.definition),
    managedBy: row.managed_by,
    version: row.version,
    createdAt: row.created_at,
    updatedAt: row.updated_at,
  };
}

const PRESENT = `select id, name, definition, managed_by, version, created_at, updated_at from billing_definition
  where tenant = $1 and kind = $2 and removed_at is null`;

/** Those of a kind by name, from one on. */
export async function listBilling(
  db: Pool | PoolClient,
  tenant: number,
  kind: BillingKind,
  page: { readonly after: string; readonly limit: number },
): Promise<StoredBilling[]> {
  const { rows } = await db.query<Row>(`${PRESENT} and name > $3 order by name limit $4`, [
    tenant,
    kind,
    page.after,
    page.limit,
  ]);
  return rows.map((row) => stored(kind, row));
}

export async function getBilling(
  db: Pool | PoolClient,
  tenant: number,
  kind: BillingKind,
  name: string,
): Promise<StoredBilling | undefined> {
  const { rows } = await db.query<Row>(`${PRESENT} and name = $3`, [tenant, kind, name]);
  return rows[0] && stored(kind, rows[0]);
}

/** Makes or changes one. `definition` has been through its schema. */
export function putBilling(
  pool: Pool,
  tenant: Tenant,
  kind: BillingKind,
  name: string,
  definition: BillingDefinition,
  by: { readonly expected: number | 'absent' | 'any'; readonly who: string },
): Promise<BillingPut> {
  return changeConfiguration(pool, async (client): Promise<BillingPut> => {
    if (!isStorable(definition)) return { result: 'unstorable' };
    const there = await getBilling(client, tenant.id, kind, name);
    const version = there?.version ?? null;
    if (by.expected === 'absent' ? there : by.expected !== 'any' && by.expected !== version)
      return { result: 'version_mismatch', version };
    if (there?.managedBy === 'file') return { result: 'managed_by_file' };
    const refused = await writeBilling(client, tenant, kind, { name, definition, managedBy: 'api', who: by.who });
    if (refused.result !== 'ok') return refused;
    return { ...refused, stored: (await getBilling(client, tenant.id, kind, name)) as StoredBilling };
  });
}

interface BillingWrite {
  readonly name: string;
  readonly definition: BillingDefinition;
  readonly managedBy: 'file' | 'api';
  readonly who: string;
}

type Written =
  | { readonly result: 'ok'; readonly created: boolean; readonly changed: boolean }
  | { readonly result: 'refused'; readonly code: BillingProblem; readonly detail: string }
  | { readonly result: 'too_many'; readonly most: number };

/** Writes one where it is new or differs, after all checks; within a transaction of `changeConfiguration`. */
async function writeBilling(
  client: PoolClient,
  tenant: Tenant,
  kind: BillingKind,
  wanted: BillingWrite,
): Promise<Written> {
  const { name, definition, managedBy } = wanted;
  const there = await getBilling(client, tenant.id, kind, name);
  const same = there !== undefined && isDeepStrictEqual(there.definition, definition);
  if (same && there.managedBy === managedBy) return { result: 'ok', created: false, changed: false };
  if (!there && (await countOf(client, tenant.id, kind)) >= MOST_DEFINED[kind])
    return { result: 'too_many', most: MOST_DEFINED[kind] };
  const fixed = there && !same && kind === 'meter' ? meterFixed(name) : undefined;
  const problem = fixed ?? (same ? undefined : await problemOf(client, tenant, kind, name, definition));
  if (problem) return problem;
  await store(client, tenant, kind, wanted, there);
  return { result: 'ok', created: !there, changed: true };
}

async function countOf(client: PoolClient, tenant: number, kind: BillingKind): Promise<number> {
  const { rows } = await client.query<{ count: number }>(
    'select count(*) as count from billing_definition where tenant = $1 and kind = $2 and removed_at is null',
    [tenant, kind],
  );
  return rows[0]?.count ?? 0;
}

async function store(
  client: PoolClient,
  tenant: Tenant,
  kind: BillingKind,
  { name, definition, managedBy, who }: BillingWrite,
  there: StoredBilling | undefined,
): Promise<void> {
  const json = JSON.stringify(definition);
  if (there) {
    await client.query(
      `update billing_definition set definition = $3, managed_by = $4, version = version + 1, updated_at = now()
       where tenant = $1 and id = $2`,
      [tenant.id, there.id, json, managedBy],
    );
  } else {
    const since = kind === 'meter' ? await marksNow(client, tenant) : {};
    await client.query(
      'insert into billing_definition (tenant, kind, name, definition, managed_by, since) values ($1, $2, $3, $4, $5, $6)',
      [tenant.id, kind, name, json, managedBy, JSON.stringify(since)],
    );
  }
  const action = `${kind}.${there ? 'change' : 'create'}`;
  await writeAudit(client, { tenant: tenant.id, who, action, object: name });
}

export interface BillingApplied {
  readonly changes: readonly {
    readonly kind: BillingKind;
    readonly name: string;
    readonly what: 'added' | 'changed' | 'removed' | 'unchanged';
  }[];
  readonly problems: readonly {
    readonly code: BillingProblem | 'managed_by_api' | 'too_many';
    readonly tenant: string;
    readonly at: FilePlace | null;
    readonly message: string;
  }[];
}

/**
 * Makes a tenant's meters, rate cards and subscriptions what the file names. All are written, and then held against one
 * another: it does not matter in which order they stand. Within a transaction of `changeConfiguration`, which the caller
 * undoes where there is a problem.
 */
export async function applyBilling(
  client: PoolClient,
  tenant: Tenant,
  wanted: readonly NamedBilling[],
  who: string,
): Promise<BillingApplied> {
  const changes: BillingApplied['changes'][number][] = [];
  const problems: BillingApplied['problems'][number][] = [];
  const complain = (at: FilePlace | null, { code, detail }: { code: BillingProblem; detail: string }) =>
    problems.push({ code, tenant: tenant.name, at, message: sentence(detail) });
  const written: NamedBilling[] = [];
  for (const named of wanted) {
    const { kind, name, definition, at } = named;
    const there = await getBilling(client, tenant.id, kind, name);
    const same = there !== undefined && isDeepStrictEqual(there.definition, definition);
    if (there?.managedBy === 'api') {
      const message = `the ${words(kind)} "${name}" was made over the API; remove it there first, or choose another name`;
      problems.push({ code: 'managed_by_api', tenant: tenant.name, at, message });
    } else if (there && !same && kind === 'meter') {
      complain(at, meterFixed(name));
    } else {
      if (!same) await store(client, tenant, kind, { name, definition, managedBy: 'file', who }, there);
      if (!same) written.push(named);
      changes.push({ kind, name, what: same ? 'unchanged' : there ? 'changed' : 'added' });
    }
  }
  // Those that name others first.
  for (const kind of ['subscription', 'rate-card', 'meter'] as const) {
    const names = wanted.flatMap((named) => (named.kind === kind ? [named.name] : []));
    for (const gone of await namedByFile(client, tenant.id, kind, names)) {
      const user = await userOf(client, tenant.id, kind, gone.name);
      if (user) complain(null, refused('in_use', `The ${words(kind)} "${gone.name}" is gone, but ${user} names it.`));
      await dropBilling(client, tenant, kind, gone, who);
      changes.push({ kind, name: gone.name, what: 'removed' });
    }
    if ((await countOf(client, tenant.id, kind)) > MOST_DEFINED[kind]) {
      const message = `a tenant can have ${MOST_DEFINED[kind]} ${words(kind)}s, and these are more`;
      const at = wanted.findLast((named) => named.kind === kind)?.at ?? null;
      problems.push({ code: 'too_many', tenant: tenant.name, at, message });
    }
  }
  for (const { kind, name, definition, at } of written) {
    const problem = await problemOf(client, tenant, kind, name, definition);
    if (problem) complain(at, problem);
  }
  return { changes, problems };
}

/** Those of a kind that a file named, without these. */
async function namedByFile(
  client: PoolClient,
  tenant: number,
  kind: BillingKind,
  without: readonly string[],
): Promise<Pick<StoredBilling, 'id' | 'name'>[]> {
  const { rows } = await client.query<{ id: number; name: string }>(
    `select id, name from billing_definition where tenant = $1 and kind = $2 and managed_by = 'file'
       and removed_at is null and name <> all ($3::text[]) order by name`,
    [tenant, kind, without],
  );
  return rows;
}

function words(kind: BillingKind): string {
  return kind.replace('-', ' ');
}

/** As problems of a file are told: after a colon, without a full stop. */
function sentence(detail: string): string {
  return `${detail.charAt(0).toLowerCase()}${detail.slice(1)}`.replace(/\.$/, '');
}

function meterFixed(name: string): Extract<Written, { result: 'refused' }> {
  return refused('meter_fixed', `A meter is not changed: remove "${name}", or make another one beside it.`);
}

export function removeBilling(
  pool: Pool,
  tenant: Tenant,
  kind: BillingKind,
  name: string,
  by: { readonly expected: number | 'any'; readonly who: string },
): Promise<BillingRemoved> {
  return changeConfiguration(pool, async (client): Promise<BillingRemoved> => {
    const there = await getBilling(client, tenant.id, kind, name);
    if (!there) return { result: 'not_found' };
    if (by.expected !== 'any' && by.expected !== there.version)
      return { result: 'version_mismatch', version: there.version };
    if (there.managedBy === 'file') return { result: 'managed_by_file' };
    const user = await userOf(client, tenant.id, kind, name);
    if (user) return refused('in_use', `It is named by ${user}; change that first.`);
    await dropBilling(client, tenant, kind, there, by.who);
    return { result: 'ok' };
  });
}

/** Takes one out of use; what was counted and charged by it stays. Within a transaction of `changeConfiguration`. */
async function dropBilling(
  client: PoolClient,
  tenant: Tenant,
  kind: BillingKind,
  { id, name }: Pick<StoredBilling, 'id' | 'name'>,
  who: string,
): Promise<void> {
  const until = kind === 'meter' ? JSON.stringify(await marksNow(client, tenant)) : null;
  await client.query(
    'update billing_definition set removed_at = now(), updated_at = now(), until = $3 where tenant = $1 and id = $2',
    [tenant.id, id, until],
  );
  await writeAudit(client, { tenant: tenant.id, who, action: `${kind}.remove`, object: name });
}

/**
 * Where the channels of the live ledger stand. They stand there until the end of the transaction: what comes after is counted
 * by what it has changed, and what came before is not.
 */
async function marksNow(client: PoolClient, tenant: Tenant): Promise<Record<string, number>> {
  const book = await liveBook(client, tenant.id);
  await makeMarks(client, tenant, book);
  const { rows } = await client.query<{ channel: number; through: number }>(
    'select channel, through from ledger_mark where tenant = $1 and book = $2 order by channel for update',
    [tenant.id, book],
  );
  // Whoever made the ledger anew may have held them, and put another book in its place.
  if ((await liveBook(client, tenant.id)) !== book) return marksNow(client, tenant);
  return Object.fromEntries(rows.map(({ channel, through }) => [String(channel), through]));
}

function refused(code: BillingProblem, detail: string): Extract<Written, { result: 'refused' }> {
  return { result: 'refused', code, detail };
}

async function problemOf(
  client: PoolClient,
  tenant: Tenant,
  kind: BillingKind,
  name: string,
  definition: BillingDefinition,
): Promise<Extract<Written, { result: 'refused' }> | undefined> {
  switch (kind) {
    case 'meter':
      return undefined;
    case 'rate-card':
      return rateCardProblem(client, tenant, name, definition as RateCard);
    case 'subscription':
      return subscriptionProblem(client, tenant, name, definition as Subscription);
    default: {
      const never: never = kind;
      return never;
    }
  }
}

async function rateCardProblem(client: PoolClient, tenant: Tenant, name: string, card: RateCard) {
  const named = card.versions.flatMap(({ prices }) =>
    prices.flatMap((price) => (price.model === 'flat' ? [] : [price.meter])),
  );
  const unknown = await unknownMeter(client, tenant.id, named);
  if (unknown !== undefined) return refused('meter_unknown', `There is no meter "${unknown}".`);
  const { rows } = await client.query<{ name: string; currency: string }>(
    `select name, definition->>'currency' as currency from billing_definition where tenant = $1
       and kind = 'subscription' and removed_at is null and definition->>'rateCard' = $2
       and definition->>'currency' <> $3 limit 1`,
    [tenant.id, name, card.currency],
  );
  const [other] = rows;
  return other && refused('currency_differs', `The subscription "${other.name}" is in ${other.currency}.`);
}

async function unknownMeter(client: PoolClient, tenant: number, names: readonly string[]): Promise<string | undefined> {
  const { rows } = await client.query<{ name: string }>(
    // One that was removed may still have usage of this period.
    `select n.name from unnest($2::text[]) as n(name) where not exists (
       select from billing_definition where tenant = $1 and kind = 'meter' and name = n.name) limit 1`,
    [tenant, names],
  );
  return rows[0]?.name;
}

async function subscriptionProblem(client: PoolClient, tenant: Tenant, name: string, wanted: Subscription) {
  const card = await getBilling(client, tenant.id, 'rate-card', wanted.rateCard);
  if (!card) return refused('rate_card_unknown', `There is no rate card "${wanted.rateCard}".`);
  const { currency } = card.definition as RateCard;
  if (currency !== wanted.currency)
    return refused('currency_differs', `The rate card "${wanted.rateCard}" is in ${currency}.`);
  const meter = await unknownMeter(
    client,
    tenant.id,
    wanted.thresholds.map((threshold) => threshold.meter),
  );
  if (meter !== undefined) return refused('meter_unknown', `There is no meter "${meter}".`);
  if (wanted.target !== undefined) {
    const { rows } = await client.query('select from target where tenant = $1 and name = $2 and removed_at is null', [
      tenant.id,
      wanted.target,
    ]);
    if (rows.length === 0) return refused('target_unknown', `There is no target "${wanted.target}".`);
  }
  const { rows } = await client.query<{ name: string; definition: unknown }>(
    `select name, definition from billing_definition where tenant = $1 and kind = 'subscription' and removed_at is null
       and definition->>'account' = $2 and name <> $3`,
    [tenant.id, wanted.account, name],
  );
  for (const other of rows) {
    const { from, until, zone, period, account, currency: theirs } = subscriptionSchema.parse(other.definition);
    if (overlapping(wanted, { account, from, until }))
      return refused(
        'subscription_overlaps',
        `The account has the subscription "${other.name}" from ${from}${until === undefined ? ' on' : ` until ${until}`}.`,
      );
    if (theirs !== wanted.currency)
      return refused(
        'currency_differs',
        `The account's statements are in ${theirs}, by the subscription "${other.name}".`,
      );
    if (zone !== wanted.zone || period !== wanted.period)
      return refused(
        'subscription_overlaps',
        `The account's periods are a ${period} each in ${zone}, by the subscription "${other.name}": all its subscriptions share them.`,
      );
  }
  return undefined;
}

/** What names a definition, in words; undefined where nothing does. */
async function userOf(
  client: PoolClient,
  tenant: number,
  kind: BillingKind,
  name: string,
): Promise<string | undefined> {
  if (kind === 'subscription') return undefined;
  const { rows } = await client.query<{ kind: BillingKind; name: string }>(
    kind === 'rate-card'
      ? `select kind, name from billing_definition where tenant = $1 and kind = 'subscription' and removed_at is null
           and definition->>'rateCard' = $2 limit 1`
      : `select kind, name from billing_definition where tenant = $1 and kind = 'rate-card' and removed_at is null
           and jsonb_path_exists(definition, '$.versions[*].prices[*].meter ? (@ == $name)', jsonb_build_object('name', $2::text))
           limit 1`,
    [tenant, name],
  );
  const [user] = rows;
  return user && `the ${words(user.kind)} "${user.name}"`;
}
