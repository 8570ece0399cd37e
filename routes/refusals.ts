import type { Pool } from 'pg';
import { z } from 'zod';
import { listRefusals } from '../src/storage/refusals.js';
import { readCursor, writeCursor } from './cursor.js';
import { cursorSchema, limitSchema, pageOf, timeOut } from './fields.js';
import { caller } from './problem.js';
import type { ApiRequest, Route } from './route.js';

const refusalSchema = z.object({
  id: z.int(),
  ingress: z.enum(['smtp', 'hooks', 'events', 'amqp']),
  peer: z.string(),
  envelope: z.record(z.string(), z.string()).meta({ description: 'What was asked for' }),
  code: z.string(),
  why: z.string(),
  count: z.int(),
  first: timeOut,
  last: timeOut,
});

const listQuery = z.strictObject({ limit: limitSchema, cursor: cursorSchema.optional() });
const markSchema = z.object({ last: z.iso.datetime(), id: z.int() });

export function refusalRoutes({ pool }: { readonly pool: Pool }): Route[] {
  return [
    {
      method: 'get',
      path: '/v1/refusals',
      permission: 'refusals.read',
      summary:
        'What was refused in the last 7 days and why, newest first; whoever runs the installation sees what was nobody’s, too',
      query: listQuery,
      replies: { 200: { description: 'A page', schema: pageOf(refusalSchema) } },
      handler: async ({ principal, query }: ApiRequest<unknown, z.infer<typeof listQuery>>) => {
        const { tenant, permissions } = caller(principal);
        const before = query.cursor === undefined ? null : readCursor('refusals', query.cursor, markSchema);
        const nobodys = permissions.has('tenants.manage');
        const { refusals, next } = await listRefusals(pool, tenant.id, nobodys, query.limit, before);
        return { status: 200, body: { items: refusals, next: next && writeCursor('refusals', next) } };
      },
    },
  ];
}
