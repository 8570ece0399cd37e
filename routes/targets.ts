import type { Pool } from 'pg';
import { z } from 'zod';
import type { Principal } from '../src/access/principal.js';
import { type TargetDefinition, targetDefinitionSchema } from '../src/delivery/target.js';
import { writeAudit } from '../src/storage/audit.js';
import { type Recovery, recover } from '../src/storage/decisions.js';
import {
  getTarget,
  listTargets,
  pauseTarget,
  putTarget,
  removeTarget,
  resumeTarget,
  type StoredTarget,
} from '../src/storage/definitions.js';
import { PENDING_COUNTED, type TargetHealth, targetHealth } from '../src/storage/target-health.js';
import type { DecisionDeps } from './decisions.js';
import { editRoutes, etag, storedEntry, storedSchema } from './definitions.js';
import { nameParams, text, timeOut, timeSchema } from './fields.js';
import { caller, notFound } from './problem.js';
import type { ApiRequest, Reply, Route } from './route.js';
import type { ConfigurationDeps } from './sources.js';

const healthSchema = z.object({
  state: z.enum(['ok', 'waiting', 'failing', 'paused']).meta({
    description: '`waiting`: something is on its way; `failing`: what is tried next has been tried before',
  }),
  pending: z.int().meta({ description: `Deliveries that wait, counted up to ${PENDING_COUNTED}` }),
  code: z.string().nullable(),
  reason: z.string().nullable(),
  lastTaken: timeOut.nullable().meta({ description: 'When it last took something' }),
});

const targetSchema = storedSchema.extend({
  paused: z.object({ by: z.string(), code: z.string(), reason: z.string(), since: timeOut }).nullable(),
  health: healthSchema,
});

/** A target as it is given out. */
function targetEntry(target: StoredTarget, health: TargetHealth | undefined): z.input<typeof targetSchema> {
  const { paused } = target;
  return {
    ...storedEntry(target),
    paused: paused && { ...paused, since: paused.since.toISOString() },
    health: {
      state: stateOf(target, health),
      pending: health?.pending ?? 0,
      code: paused?.code ?? health?.code ?? null,
      reason: paused?.reason ?? health?.reason ?? null,
      lastTaken: target.lastTakenAt?.toISOString() ?? null,
    },
  };
}

function stateOf(target: StoredTarget, health: TargetHealth | undefined): z.infer<typeof healthSchema>['state'] {
  if (target.paused) return 'paused';
  if (!health || health.pending === 0) return 'ok';
  return health.attempts > 0 ? 'failing' : 'waiting';
}

/** All targets of the caller with their health. */
export async function targetsWithHealth(pool: Pool, { tenant }: Principal): Promise<z.input<typeof targetSchema>[]> {
  const targets = await listTargets(pool, tenant.id);
  const health = await targetHealth(
    pool,
    tenant.id,
    targets.map(({ id }) => id),
  );
  return targets.map((target) => targetEntry(target, health.get(target.id)));
}

/** One target with its health. Throws Problem: 404. */
export async function targetWithHealth(
  pool: Pool,
  { tenant }: Principal,
  name: string,
): Promise<z.input<typeof targetSchema>> {
  const target = await getTarget(pool, tenant.id, name);
  if (!target) throw notFound('target');
  return targetEntry(target, (await targetHealth(pool, tenant.id, [target.id])).get(target.id));
}

const pauseBody = z.strictObject({ reason: text(500).default('paused by a person') });
const recoverBody = z.strictObject({ since: timeSchema.meta({ description: 'What failed then or later' }) });

export function targetRoutes(deps: ConfigurationDeps & DecisionDeps): Route[] {
  const { pool, configurationChanged } = deps;
  const shown = async (principal: Principal, name: string, status = 200): Promise<Reply> => {
    const body = await targetWithHealth(pool, principal, name);
    return { status, body, headers: etag(body.version) };
  };
  return [
    {
      method: 'get',
      path: '/v1/targets',
      permission: 'targets.read',
      summary: 'All targets with their health, by name',
      replies: { 200: { description: 'The targets', schema: z.object({ items: z.array(targetSchema) }) } },
      handler: async ({ principal }) => ({
        status: 200,
        body: { items: await targetsWithHealth(pool, caller(principal)) },
      }),
    },
    ...editRoutes<TargetDefinition>({
      what: 'target',
      leaves: 'its deliveries and numbers stay',
      definitionSchema: targetDefinitionSchema,
      shownSchema: targetSchema,
      stored: (tenant, name) => getTarget(pool, tenant.id, name),
      put: (tenant, name, definition, by) => putTarget(pool, tenant, name, definition, by),
      remove: (tenant, name, by) => removeTarget(pool, tenant.id, name, by),
      shown,
      changed: configurationChanged,
    }),
    {
      method: 'post',
      path: '/v1/targets/:name/pause',
      permission: 'targets.operate',
      summary: 'Send it nothing; its deliveries wait',
      params: nameParams,
      body: 'json',
      bodySchema: pauseBody,
      replies: { 200: { description: 'Paused, now or before', schema: targetSchema } },
      handler: async ({
        principal,
        params,
        body,
      }: ApiRequest<{ name: string }, unknown, z.infer<typeof pauseBody>>) => {
        const { tenant, who } = caller(principal);
        const { result } = await pauseTarget(pool, tenant.id, params.name, who, body.reason);
        if (result === 'not_found') throw notFound('target');
        await configurationChanged();
        return shown(caller(principal), params.name);
      },
    },
    {
      method: 'post',
      path: '/v1/targets/:name/resume',
      permission: 'targets.operate',
      summary: 'Let it go on',
      params: nameParams,
      replies: { 200: { description: 'Running', schema: targetSchema } },
      handler: async ({ principal, params }: ApiRequest<{ name: string }>) => {
        const { tenant, who } = caller(principal);
        const { result } = await resumeTarget(pool, tenant.id, params.name, who);
        if (result === 'not_found') throw notFound('target');
        await configurationChanged();
        return shown(caller(principal), params.name);
      },
    },
    {
      method: 'post',
      path: '/v1/targets/:name/recover',
      permission: 'targets.operate',
      summary: 'Send again, in order, what failed since a time and nobody has dealt with',
      params: nameParams,
      body: 'json',
      bodySchema: recoverBody,
      replies: {
        202: {
          description: 'Will be sent',
          schema: z.object({
            recovered: z.int(),
            more: z.boolean().meta({ description: 'There is more: call it again' }),
          }),
        },
      },
      handler: async ({
        principal,
        params,
        body,
      }: ApiRequest<{ name: string }, unknown, z.infer<typeof recoverBody>>) => {
        const { recovered, more } = await recoverTarget(deps, caller(principal), params.name, body.since);
        return { status: 202, body: { recovered, more } };
      },
    },
  ];
}

/** Sends again what failed at a target since then. Throws Problem: 404. */
export async function recoverTarget(
  { pool, wake }: DecisionDeps,
  { tenant, who }: Principal,
  name: string,
  since: Date,
): Promise<Recovery> {
  const target = await getTarget(pool, tenant.id, name);
  if (!target) throw notFound('target');
  const recovery = await recover(pool, tenant.id, target.id, since, who);
  const detail = { since: since.toISOString(), recovered: recovery.recovered };
  await writeAudit(pool, { tenant: tenant.id, who, action: 'target.recover', object: name, detail });
  for (const channel of recovery.channels) wake(tenant.id, channel);
  return recovery;
}
