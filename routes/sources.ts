import type { Pool } from 'pg';
import { z } from 'zod';
import type { Principal } from '../src/access/principal.js';
import { type SourceDefinition, sourceDefinitionSchema } from '../src/channel/source.js';
import { getSource, listSources, putSource, removeSource } from '../src/storage/definitions.js';
import { editRoutes, etag, storedEntry, storedSchema } from './definitions.js';
import { caller, notFound } from './problem.js';
import type { Reply, Route } from './route.js';

export interface ConfigurationDeps {
  readonly pool: Pool;
  /** Sources, targets, rules or tenants have changed: this process reads them anew before the caller has its answer. */
  readonly configurationChanged: () => Promise<void>;
}

export function sourceRoutes({ pool, configurationChanged }: ConfigurationDeps): Route[] {
  const shown = async ({ tenant }: Principal, name: string, status = 200): Promise<Reply> => {
    const source = await getSource(pool, tenant.id, name);
    if (!source) throw notFound('source');
    return { status, body: storedEntry(source), headers: etag(source.version) };
  };
  return [
    {
      method: 'get',
      path: '/v1/sources',
      permission: 'sources.read',
      summary: 'All sources, by name',
      replies: { 200: { description: 'The sources', schema: z.object({ items: z.array(storedSchema) }) } },
      handler: async ({ principal }) => {
        const sources = await listSources(pool, caller(principal).tenant.id);
        return { status: 200, body: { items: sources.map(storedEntry) } };
      },
    },
    ...editRoutes<SourceDefinition>({
      what: 'source',
      leaves: 'its messages stay',
      definitionSchema: sourceDefinitionSchema,
      shownSchema: storedSchema,
      stored: (tenant, name) => getSource(pool, tenant.id, name),
      put: (tenant, name, definition, by) => putSource(pool, tenant, name, definition, by),
      remove: (tenant, name, by) => removeSource(pool, tenant.id, name, by),
      shown,
      changed: configurationChanged,
    }),
  ];
}
