import { z } from 'zod';
import { type ApiRequest, Problem, type Route } from './route.js';

/** What came of reading the configuration again. */
export type Reapplied =
  | {
      readonly ok: true;
      readonly tenants: readonly {
        readonly tenant: string;
        readonly changes: readonly { readonly kind: string; readonly name: string; readonly what: string }[];
      }[];
    }
  /** Lines for people, each with its file, line and column. Nothing was changed. */
  | { readonly ok: false; readonly problems: readonly string[] };

const changesSchema = z.object({
  tenants: z.array(
    z.object({
      tenant: z.string(),
      changes: z.array(
        z.object({
          kind: z.string(),
          name: z.string(),
          what: z.enum(['added', 'changed', 'removed', 'unchanged', 'released']),
        }),
      ),
    }),
  ),
});

const applyQuery = z.strictObject({
  dryRun: z.enum(['true', 'false']).default('false').meta({ description: 'Say what would change, and change nothing' }),
});

/** `POST /v1/apply`: the process reads its configuration file again, as `waybill apply` asks it to. */
export function applyRoutes(deps: { readonly reapply: (who: string, dryRun: boolean) => Promise<Reapplied> }): Route[] {
  return [
    {
      method: 'post',
      path: '/v1/apply',
      permission: 'tenants.manage',
      summary:
        'Read sources, targets and rules from the configuration file again; the old ones stay when they do not hold',
      query: applyQuery,
      replies: { 200: { description: 'What changed, or would change, by tenant', schema: changesSchema } },
      handler: async ({ principal, query }: ApiRequest<unknown, z.infer<typeof applyQuery>>) => {
        const applied = await deps.reapply(principal?.who ?? 'nobody', query.dryRun === 'true');
        if (applied.ok) return { status: 200, body: { tenants: applied.tenants } };
        throw new Problem(422, 'configuration_invalid', `nothing was changed:\n${applied.problems.join('\n')}`, {
          problems: applied.problems,
        });
      },
    },
  ];
}
