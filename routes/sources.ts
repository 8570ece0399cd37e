import type { Pool } from 'pg';
import { z } from 'zod';
import type { Principal } from '../src/access/principal.js';
import { type SourceDefinition, sourceDefinitionSchema } from '../src/channel/source.js';
import { getSource, listSources, putSource, removeSource, type StoredSource } from '../src/storage/definitions.js';
import { type SourceHealth, sourceHealth } from '../src/storage/source-health.js';
import { editRoutes, etag, storedEntry, storedSchema } from './definitions.js';
import { timeOut } from './fields.js';
import { caller, notFound } from './problem.js';
import type { Reply, Route } from './route.js';

export interface ConfigurationDeps {
  readonly pool: Pool;
  /** Sources, targets, rules or tenants have changed: this process reads them anew before the caller has its answer. */
  readonly configurationChanged: () => Promise<void>;
}

const healthSchema = z
  .object({
    state: z.enum(['ok', 'waiting', 'failing']).meta({
      description: '`waiting`: another consumer reads the queue; `failing`: nobody of Waybill can',
    }),
    reason: z.string().nullable(),
    since: timeOut.nullable(),
  })
  .meta({ description: 'How its queue is being consumed; null for sources that have none' });

const sourceSchema = storedSchema.extend({ health: healthSchema.nullable() });

/** A source as it is given out. */
function sourceEntry(source: StoredSource, health: SourceHealth | undefined): z.input<typeof sourceSchema> {
  const { state, reason, since } = health ?? UNATTENDED;
  const consumed = source.definition.kind === 'amqp';
  return {
    ...storedEntry(source),
    health: consumed ? { state, reason, since: since?.toISOString() ?? null } : null,
  };
}

const UNATTENDED: SourceHealth = {
  state: 'failing',
  reason: 'No process consumes its queue yet; one with the role ingress begins within a second or two.',
  since: null,
};

const NO_HEALTH: ReadonlyMap<number, SourceHealth> = new Map();

async function withHealth(
  pool: Pool,
  tenant: number,
  sources: readonly StoredSource[],
): Promise<z.input<typeof sourceSchema>[]> {
  const consumed = sources.filter(({ definition }) => definition.kind === 'amqp').map(({ id }) => id);
  const health = consumed.length === 0 ? NO_HEALTH : await sourceHealth(pool, tenant, consumed);
  return sources.map((source) => sourceEntry(source, health.get(source.id)));
}

/** All sources of the caller with their health. */
export async function sourcesWithHealth(pool: Pool, { tenant }: Principal): Promise<z.input<typeof sourceSchema>[]> {
  return withHealth(pool, tenant.id, await listSources(pool, tenant.id));
}

export function sourceRoutes({ pool, configurationChanged }: ConfigurationDeps): Route[] {
  const shown = async ({ tenant }: Principal, name: string, status = 200): Promise<Reply> => {
    const source = await getSource(pool, tenant.id, name);
    if (!source) throw notFound('source');
    const [body] = await withHealth(pool, tenant.id, [source]);
    return { status, body, headers: etag(source.version) };
  };
  return [
    {
      method: 'get',
      path: '/v1/sources',
      permission: 'sources.read',
      summary: 'All sources with their health, by name',
      replies: { 200: { description: 'The sources', schema: z.object({ items: z.array(sourceSchema) }) } },
      handler: async ({ principal }) => ({
        status: 200,
        body: { items: await sourcesWithHealth(pool, caller(principal)) },
      }),
    },
    ...editRoutes<SourceDefinition>({
      what: 'source',
      leaves: 'its messages stay',
      definitionSchema: sourceDefinitionSchema,
      shownSchema: sourceSchema,
      stored: (tenant, name) => getSource(pool, tenant.id, name),
      put: (tenant, name, definition, by) => putSource(pool, tenant, name, definition, by),
      remove: (tenant, name, by) => removeSource(pool, tenant.id, name, by),
      shown,
      changed: configurationChanged,
    }),
  ];
}
