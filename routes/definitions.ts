import type { IncomingHttpHeaders } from 'node:http';
import { isDeepStrictEqual } from 'node:util';
import { z } from 'zod';
import type { Principal } from '../src/access/principal.js';
import type { SourceDefinition } from '../src/channel/source.js';
import type { TargetDefinition } from '../src/delivery/target.js';
import type { Tenant } from '../src/message/tenant.js';
import type {
  Expected,
  SourcePut,
  SourceRemoved,
  Stored,
  TargetPut,
  TargetRemoved,
} from '../src/storage/definitions.js';
import { redact } from '../src/storage/redact.js';
import { editRefused } from './edit-problem.js';
import { nameParams, timeOut } from './fields.js';
import { caller, invalid } from './problem.js';
import { type ApiRequest, Problem, type Reply, type Route } from './route.js';

/* What sources and targets have in common over HTTP. */

/** The replies of a PUT and a DELETE besides their good ones. */
export const EDIT_REPLIES = {
  409: { description: 'A file names it (`managed_by_file`), or something else stands in the way' },
  412: { description: 'It is no longer the version that If-Match names' },
} as const;

/** A definition as it is given out. */
export const storedSchema = z.object({
  name: z.string(),
  kind: z.string(),
  definition: z.record(z.string(), z.unknown()).meta({
    description: 'Secrets are shown as `{"set": n}` and `***`; sent back like that they stay as they are',
  }),
  managedBy: z.enum(['file', 'api']),
  version: z.int().meta({ description: 'For If-Match; also the ETag' }),
  createdAt: timeOut,
  updatedAt: timeOut,
});

export function storedEntry(one: Stored<SourceDefinition | TargetDefinition>): z.input<typeof storedSchema> {
  return {
    name: one.name,
    kind: one.definition.kind,
    definition: { ...redact(one.definition) },
    managedBy: one.managedBy,
    version: one.version,
    createdAt: one.createdAt.toISOString(),
    updatedAt: one.updatedAt.toISOString(),
  };
}

export function etag(version: number): Record<string, string> {
  return { etag: `"${version}"` };
}

/** What the caller has seen, by `If-Match: "3"`, or nothing of that name by `If-None-Match: *`. */
export function expected(headers: IncomingHttpHeaders): Expected {
  const match = headers['if-match'];
  if (headers['if-none-match'] === '*') return 'absent';
  return match === undefined || match === '*' ? 'any' : versionIn(match);
}

/** The same for a removal, which needs something to be there. */
export function expectedVersion(headers: IncomingHttpHeaders): number | 'any' {
  const match = headers['if-match'];
  return match === undefined || match === '*' ? 'any' : versionIn(match);
}

function versionIn(match: string): number {
  const version = /^"?([1-9]\d{0,8})"?$/.exec(match)?.[1];
  if (version === undefined) throw new Problem(400, 'if_match_invalid', 'If-Match is a version such as "3".');
  return Number(version);
}

/** Reads a definition in which secrets may stand as they are shown: those keep what is stored. Throws 422. */
function readDefinition<T>(
  schema: z.ZodType<T>,
  body: unknown,
  stored: SourceDefinition | TargetDefinition | undefined,
): T {
  const whole = stored === undefined ? body : keepHidden(body, redact(stored), stored);
  const checked = schema.safeParse(whole);
  if (!checked.success) throw invalid('body', checked.error);
  return checked.data;
}

function keepHidden(given: unknown, shown: unknown, stored: unknown): unknown {
  if (isDeepStrictEqual(given, shown)) return stored;
  if (!isRecord(given) || !isRecord(shown) || !isRecord(stored)) return given;
  return Object.fromEntries(
    Object.entries(given).map(([key, value]) => [key, keepHidden(value, shown[key], stored[key])]),
  );
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** One of the two kinds of definitions, as its routes need it. */
export interface Editable<D extends SourceDefinition | TargetDefinition> {
  readonly what: 'source' | 'target';
  /** What becomes of one that is taken out of use. */
  readonly leaves: string;
  readonly definitionSchema: z.ZodType<D>;
  readonly shownSchema: z.ZodType;
  stored(tenant: Tenant, name: string): Promise<Stored<D> | undefined>;
  put(
    tenant: Tenant,
    name: string,
    definition: D,
    by: { readonly expected: Expected; readonly who: string },
  ): Promise<NotDone | { readonly result: 'ok'; readonly created: boolean }>;
  remove(
    tenant: Tenant,
    name: string,
    by: { readonly expected: number | 'any'; readonly who: string },
  ): Promise<NotDone | { readonly result: 'ok' }>;
  shown(by: Principal, name: string, status?: number): Promise<Reply>;
  changed(): Promise<void>;
}

/** Reading one, making or changing it, and taking it out of use. */
export function editRoutes<D extends SourceDefinition | TargetDefinition>(kind: Editable<D>): Route[] {
  const { what, shownSchema } = kind;
  const path = `/v1/${what}s/:name`;
  return [
    {
      method: 'get',
      path,
      permission: `${what}s.read`,
      summary: `One ${what}`,
      params: nameParams,
      replies: { 200: { description: `The ${what}`, schema: shownSchema } },
      handler: ({ principal, params }: ApiRequest<{ name: string }>) => kind.shown(caller(principal), params.name),
    },
    {
      method: 'put',
      path,
      permission: `${what}s.write`,
      summary: `Make or change a ${what}`,
      params: nameParams,
      body: 'json',
      bodyDocument: kind.definitionSchema,
      replies: {
        200: { description: 'Changed', schema: shownSchema },
        201: { description: 'Made', schema: shownSchema },
        ...EDIT_REPLIES,
      },
      handler: async ({ principal, params: { name }, body, headers }: ApiRequest<{ name: string }>) => {
        const { tenant, who } = caller(principal);
        const stored = await kind.stored(tenant, name);
        const definition = readDefinition(kind.definitionSchema, body, stored?.definition);
        const put = await kind.put(tenant, name, definition, { expected: expected(headers), who });
        if (put.result !== 'ok') throw editProblem(what, name, put);
        await kind.changed();
        return kind.shown(caller(principal), name, put.created ? 201 : 200);
      },
    },
    {
      method: 'delete',
      path,
      permission: `${what}s.write`,
      summary: `Take a ${what} out of use; ${kind.leaves}`,
      params: nameParams,
      replies: { 204: { description: 'Out of use' }, ...EDIT_REPLIES },
      handler: async ({ principal, params: { name }, headers }: ApiRequest<{ name: string }>) => {
        const { tenant, who } = caller(principal);
        const removed = await kind.remove(tenant, name, { expected: expectedVersion(headers), who });
        if (removed.result !== 'ok') throw editProblem(what, name, removed);
        await kind.changed();
        return { status: 204 };
      },
    },
  ];
}

type NotDone = Exclude<SourcePut | TargetPut | SourceRemoved | TargetRemoved, { readonly result: 'ok' }>;

/** Why an edit was not made, as a problem. */
function editProblem(what: 'source' | 'target', name: string, not: NotDone): Problem {
  switch (not.result) {
    case 'address_taken':
      return new Problem(409, 'address_taken', `The address ${not.address} belongs to another source already.`);
    case 'feed_taken':
      return new Problem(
        409,
        'feed_taken',
        `The source "${not.by}" takes ${not.accepts ?? 'every event that no other feed names'} already.`,
      );
    case 'queue_taken':
      return new Problem(409, 'queue_taken', `The queue ${not.queue} is consumed by another source already.`);
    case 'broker_not_yours':
      return new Problem(
        403,
        'broker_not_yours',
        "A queue of the installation's own broker is named for you by the configuration file; or give the `url` of a broker of yours.",
      );
    case 'in_use':
      return new Problem(409, 'in_use', `Rule set ${not.rules}, which is in force, names the target "${name}".`);
    default:
      return editRefused(what, name, not);
  }
}
