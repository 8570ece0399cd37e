import type { Pool } from 'pg';
import { z } from 'zod';
import { sourceDefinitionSchema } from '../src/channel/source.js';
import { getSource, listSources, putSource, removeSource } from '../src/storage/definitions.js';
import {
  EDIT_REPLIES,
  editProblem,
  etag,
  expected,
  expectedVersion,
  readDefinition,
  storedEntry,
  storedSchema,
} from './definitions.js';
import { nameParams } from './fields.js';
import { caller, notFound } from './problem.js';
import type { ApiRequest, Route } from './route.js';

export interface ConfigurationDeps {
  readonly pool: Pool;
  /** Sources, targets, rules or tenants have changed: this process reads them anew before the caller has its answer. */
  readonly configurationChanged: () => Promise<void>;
}

export function sourceRoutes({ pool, configurationChanged }: ConfigurationDeps): Route[] {
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
    {
      method: 'get',
      path: '/v1/sources/:name',
      permission: 'sources.read',
      summary: 'One source',
      params: nameParams,
      replies: { 200: { description: 'The source', schema: storedSchema } },
      handler: async ({ principal, params }: ApiRequest<{ name: string }>) => {
        const source = await getSource(pool, caller(principal).tenant.id, params.name);
        if (!source) throw notFound('source');
        return { status: 200, body: storedEntry(source), headers: etag(source.version) };
      },
    },
    {
      method: 'put',
      path: '/v1/sources/:name',
      permission: 'sources.write',
      summary: 'Make or change a source',
      params: nameParams,
      body: 'json',
      bodyDocument: sourceDefinitionSchema,
      replies: {
        200: { description: 'Changed', schema: storedSchema },
        201: { description: 'Made', schema: storedSchema },
        ...EDIT_REPLIES,
      },
      handler: async ({ principal, params, body, headers }: ApiRequest<{ name: string }>) => {
        const { tenant, who } = caller(principal);
        const stored = await getSource(pool, tenant.id, params.name);
        const definition = readDefinition(sourceDefinitionSchema, body, stored?.definition);
        const put = await putSource(pool, tenant, params.name, definition, { expected: expected(headers), who });
        if (put.result !== 'ok') throw editProblem('source', params.name, put);
        await configurationChanged();
        return { status: put.created ? 201 : 200, body: storedEntry(put.source), headers: etag(put.source.version) };
      },
    },
    {
      method: 'delete',
      path: '/v1/sources/:name',
      permission: 'sources.write',
      summary: 'Take a source out of use; its messages stay',
      params: nameParams,
      replies: { 204: { description: 'Nothing comes in by it any more' }, ...EDIT_REPLIES },
      handler: async ({ principal, params, headers }: ApiRequest<{ name: string }>) => {
        const { tenant, who } = caller(principal);
        const removed = await removeSource(pool, tenant.id, params.name, { expected: expectedVersion(headers), who });
        if (removed.result !== 'ok') throw editProblem('source', params.name, removed);
        await configurationChanged();
        return { status: 204 };
      },
    },
  ];
}
