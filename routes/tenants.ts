import { z } from 'zod';
import { nameSchema } from '../src/channel/source.js';
import { firstOwnerLink } from '../src/storage/access.js';
import { createTenant, findTenant, listTenants } from '../src/storage/tenants.js';
import { nameParams } from './fields.js';
import { ownOrigin } from './origin.js';
import type { PeopleDeps } from './people.js';
import { caller, notFound } from './problem.js';
import { type ApiRequest, Problem, type Route } from './route.js';
import type { ConfigurationDeps } from './sources.js';

const tenantSchema = z.object({ name: z.string(), channels: z.int() });
const createBody = z.strictObject({
  name: nameSchema,
  channels: z.int().min(1).max(1024).default(16).meta({ description: 'Ordered partitions; never changed afterwards' }),
});

/** Tenants are the installation's: only who runs it may see them. */
export function tenantRoutes({
  pool,
  random,
  now,
  publicUrl,
  configurationChanged,
}: ConfigurationDeps & PeopleDeps): Route[] {
  return [
    {
      method: 'get',
      path: '/v1/tenants',
      permission: 'tenants.manage',
      summary: 'All tenants, by name',
      replies: { 200: { description: 'The tenants', schema: z.object({ items: z.array(tenantSchema) }) } },
      handler: async () => {
        const tenants = await listTenants(pool);
        return { status: 200, body: { items: tenants.map(({ name, channels }) => ({ name, channels })) } };
      },
    },
    {
      method: 'get',
      path: '/v1/tenants/:name',
      permission: 'tenants.manage',
      summary: 'One tenant',
      params: nameParams,
      replies: { 200: { description: 'The tenant', schema: tenantSchema } },
      handler: async ({ params }: ApiRequest<{ name: string }>) => {
        const tenant = await findTenant(pool, params.name);
        if (!tenant) throw notFound('tenant');
        return { status: 200, body: { name: tenant.name, channels: tenant.channels } };
      },
    },
    {
      method: 'post',
      path: '/v1/tenants',
      permission: 'tenants.manage',
      summary: 'Make a tenant; the answer has its owner’s one-time sign-in link',
      body: 'json',
      bodySchema: createBody,
      replies: {
        201: { description: 'Made', schema: tenantSchema.extend({ signIn: z.url().nullable() }) },
        409: { description: 'The name is taken' },
      },
      handler: async ({ principal, body, incoming }: ApiRequest<unknown, unknown, z.infer<typeof createBody>>) => {
        const created = await createTenant(pool, body.name, body.channels, caller(principal).who);
        if (created.result === 'name_taken')
          throw new Problem(409, 'name_taken', `There is a tenant "${body.name}" already.`);
        const link = await firstOwnerLink(pool, created.tenant.id, random, new Date(now()));
        await configurationChanged();
        const signIn = link === undefined ? null : `${ownOrigin(publicUrl, incoming)}/sign-in/${link}`;
        return { status: 201, body: { ...body, signIn } };
      },
    },
  ];
}
