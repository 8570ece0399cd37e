import type { Pool } from 'pg';
import { z } from 'zod';
import type { BillingDefinition, BillingKind } from '../src/billing/definitions.js';
import {
  BILLING_SCHEMAS,
  type BillingPut,
  type BillingRemoved,
  getBilling,
  listBilling,
  putBilling,
  removeBilling,
  type StoredBilling,
} from '../src/storage/billing.js';
import { readCursor, writeCursor } from './cursor.js';
import { EDIT_REPLIES, etag, expected, expectedVersion } from './definitions.js';
import { editRefused } from './edit-problem.js';
import { cursorSchema, limitSchema, nameParams, pageOf, timeOut } from './fields.js';
import { caller, invalid, notFound } from './problem.js';
import { type ApiRequest, Problem, type Route } from './route.js';

export interface BillingDeps {
  readonly pool: Pool;
  readonly configurationChanged: () => Promise<void>;
}

interface Kind {
  readonly kind: BillingKind;
  /** In addresses. */
  readonly path: string;
  readonly words: string;
  readonly leaves: string;
}

const KINDS: readonly Kind[] = [
  { kind: 'meter', path: 'meters', words: 'meter', leaves: 'what it has counted stays' },
  { kind: 'rate-card', path: 'rate-cards', words: 'rate card', leaves: 'final statements stay as they are' },
  { kind: 'subscription', path: 'subscriptions', words: 'subscription', leaves: 'final statements stay as they are' },
];

const storedSchema = z.object({
  name: z.string(),
  definition: z.record(z.string(), z.unknown()),
  managedBy: z.enum(['file', 'api']),
  version: z.int().meta({ description: 'For If-Match; also the ETag' }),
  createdAt: timeOut,
  updatedAt: timeOut,
});

function entry(one: StoredBilling): z.input<typeof storedSchema> {
  return {
    name: one.name,
    definition: { ...one.definition },
    managedBy: one.managedBy,
    version: one.version,
    createdAt: one.createdAt.toISOString(),
    updatedAt: one.updatedAt.toISOString(),
  };
}

const listQuery = z.strictObject({ limit: limitSchema, cursor: cursorSchema.optional() });

/** Meters, rate cards and subscriptions. */
export function billingRoutes(deps: BillingDeps): Route[] {
  return KINDS.flatMap((kind) => routesOf(deps, kind));
}

function routesOf({ pool, configurationChanged }: BillingDeps, { kind, path, words, leaves }: Kind): Route[] {
  const schema: z.ZodType<BillingDefinition> = BILLING_SCHEMAS[kind];
  return [
    {
      method: 'get',
      path: `/v1/${path}`,
      permission: 'billing.read',
      summary: `All ${words}s, by name`,
      query: listQuery,
      replies: { 200: { description: `The ${words}s`, schema: pageOf(storedSchema) } },
      handler: async ({ principal, query }: ApiRequest<unknown, z.output<typeof listQuery>>) => {
        const { tenant } = caller(principal);
        const after = query.cursor === undefined ? '' : readCursor(path, query.cursor, z.string().max(63));
        const found = await listBilling(pool, tenant.id, kind, { after, limit: query.limit });
        const last = found.length === query.limit ? found.at(-1) : undefined;
        const next = last === undefined ? null : writeCursor(path, last.name);
        return { status: 200, body: { items: found.map(entry), next } };
      },
    },
    {
      method: 'get',
      path: `/v1/${path}/:name`,
      permission: 'billing.read',
      summary: `One ${words}`,
      params: nameParams,
      replies: { 200: { description: `The ${words}`, schema: storedSchema } },
      handler: async ({ principal, params }: ApiRequest<{ name: string }>) => {
        const found = await getBilling(pool, caller(principal).tenant.id, kind, params.name);
        if (!found) throw notFound(words);
        return { status: 200, body: entry(found), headers: etag(found.version) };
      },
    },
    {
      method: 'put',
      path: `/v1/${path}/:name`,
      permission: 'billing.write',
      summary: kind === 'meter' ? 'Make a meter, which counts from now on' : `Make or change a ${words}`,
      params: nameParams,
      body: 'json',
      bodyDocument: schema,
      replies: {
        200: { description: 'Changed', schema: storedSchema },
        201: { description: 'Made', schema: storedSchema },
        ...EDIT_REPLIES,
      },
      handler: async ({ principal, params: { name }, body, headers }: ApiRequest<{ name: string }>) => {
        const { tenant, who } = caller(principal);
        const checked = schema.safeParse(body);
        if (!checked.success) throw invalid('body', checked.error);
        const put = await putBilling(pool, tenant, kind, name, checked.data, { expected: expected(headers), who });
        if (put.result !== 'ok') throw editProblem(words, name, put);
        await configurationChanged();
        return { status: put.created ? 201 : 200, body: entry(put.stored), headers: etag(put.stored.version) };
      },
    },
    {
      method: 'delete',
      path: `/v1/${path}/:name`,
      permission: 'billing.write',
      summary: `Take a ${words} out of use; ${leaves}`,
      params: nameParams,
      replies: { 204: { description: 'Out of use' }, ...EDIT_REPLIES },
      handler: async ({ principal, params: { name }, headers }: ApiRequest<{ name: string }>) => {
        const { tenant, who } = caller(principal);
        const removed = await removeBilling(pool, tenant, kind, name, { expected: expectedVersion(headers), who });
        if (removed.result !== 'ok') throw editProblem(words, name, removed);
        await configurationChanged();
        return { status: 204 };
      },
    },
  ];
}

type NotDone = Exclude<BillingPut | BillingRemoved, { readonly result: 'ok' }>;

export function editProblem(words: string, name: string, not: NotDone): Problem {
  return not.result === 'refused' ? new Problem(409, not.code, not.detail) : editRefused(words, name, not);
}
