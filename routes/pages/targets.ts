import { z } from 'zod';
import type { Principal } from '../../src/access/principal.js';
import { deliveryId } from '../../src/message/id.js';
import { pauseTarget, resumeTarget } from '../../src/storage/definitions.js';
import type { DeliveryEntry } from '../../src/storage/deliveries-read.js';
import { PENDING_COUNTED } from '../../src/storage/target-health.js';
import { deliveryPage } from '../deliveries.js';
import { DELIVERY_STATES } from '../entries.js';
import { cursorSchema, nameParams } from '../fields.js';
import { targetLearning } from '../learning.js';
import { caller, notFound } from '../problem.js';
import type { ApiRequest, Reply, Route } from '../route.js';
import { recoverTarget, targetsWithHealth, targetWithHealth } from '../targets.js';
import type { PageDeps } from './deps.js';
import { address, given, readForm, reasonField } from './form.js';
import { showJson } from './json.js';
import { showLearning } from './learning.js';
import { mayRetry } from './message.js';
import { countText, type Site, seeOther } from './show.js';
import { type Badge, count, deliveryBadge, when, yetToCome } from './words.js';

const PAGE = 50;
const HOUR_MS = 3_600_000;

const targetQuery = z.object({
  state: given(z.enum(DELIVERY_STATES)),
  cursor: given(cursorSchema),
  done: given(z.enum(['pause', 'resume', 'recover'])),
  recovered: given(z.coerce.number().int().min(0)),
  more: given(z.literal('1')),
});
type TargetQuery = z.infer<typeof targetQuery>;
type Named = { readonly name: string };

const pauseForm = z.object({ reason: reasonField });
const recoverForm = z.object({ hours: z.coerce.number().int().min(1).max(9600) });

/** Targets, how they do, and what they got. */
export function targetPages(deps: PageDeps, site: Site): Route[] {
  const done = { 303: { description: 'Done' } };
  return [
    {
      method: 'get',
      path: '/targets',
      permission: 'targets.read',
      summary: 'All targets with their health',
      replies: { 200: { description: 'The page', type: 'text/html' } },
      handler: ({ principal }) => showTargets(deps, site, caller(principal)),
    },
    {
      method: 'get',
      path: '/targets/:name',
      permission: 'targets.read',
      summary: 'One target: health, deliveries, and what can be done',
      params: nameParams,
      query: targetQuery,
      replies: { 200: { description: 'The page', type: 'text/html' } },
      handler: ({ principal, params, query }: ApiRequest<Named, TargetQuery>) =>
        showTarget(deps, site, caller(principal), params.name, query),
    },
    {
      method: 'post',
      path: '/targets/:name/pause',
      permission: 'targets.operate',
      summary: 'Send it nothing; its deliveries wait',
      params: nameParams,
      body: 'form',
      replies: done,
      handler: async ({ principal, params, body }: ApiRequest<Named>) => {
        const { reason = 'paused by a person' } = readForm(pauseForm, body);
        const { tenant, who } = caller(principal);
        const { result } = await pauseTarget(deps.pool, tenant.id, params.name, who, reason);
        if (result === 'not_found') throw notFound('target');
        await deps.configurationChanged();
        return seeOther(address(`/targets/${params.name}`, { done: 'pause' }));
      },
    },
    {
      method: 'post',
      path: '/targets/:name/resume',
      permission: 'targets.operate',
      summary: 'Let it go on',
      params: nameParams,
      body: 'form',
      replies: done,
      handler: async ({ principal, params }: ApiRequest<Named>) => {
        const { tenant, who } = caller(principal);
        const { result } = await resumeTarget(deps.pool, tenant.id, params.name, who);
        if (result === 'not_found') throw notFound('target');
        await deps.configurationChanged();
        return seeOther(address(`/targets/${params.name}`, { done: 'resume' }));
      },
    },
    {
      method: 'post',
      path: '/targets/:name/recover',
      permission: 'targets.operate',
      summary: 'Send again what failed',
      params: nameParams,
      body: 'form',
      replies: done,
      handler: async ({ principal, params, body }: ApiRequest<Named>) => {
        const since = new Date(deps.now() - readForm(recoverForm, body).hours * HOUR_MS);
        const { recovered, more } = await recoverTarget(deps, caller(principal), params.name, since);
        const outcome = { done: 'recover', recovered: String(recovered), more: more ? '1' : undefined };
        return seeOther(address(`/targets/${params.name}`, outcome));
      },
    },
  ];
}

type TargetEntry = Awaited<ReturnType<typeof targetWithHealth>>;

const HEALTH: Readonly<Record<TargetEntry['health']['state'], Badge>> = {
  ok: { label: 'ok', tone: 'ok' },
  waiting: { label: 'waiting', tone: 'wait' },
  failing: { label: 'failing', tone: 'bad' },
  paused: { label: 'paused', tone: 'bad' },
};

/** A target's health in words. */
function healthOf({ health, paused }: TargetEntry, now: number) {
  return {
    badge: HEALTH[health.state],
    pending: countText(health.pending, PENDING_COUNTED),
    lastTaken: health.lastTaken === null ? null : when(new Date(health.lastTaken), now),
    reason: health.reason,
    code: health.code,
    paused: paused && {
      by: paused.by,
      reason: paused.reason,
      code: paused.code,
      since: when(new Date(paused.since), now),
    },
  };
}

async function showTargets(deps: PageDeps, site: Site, by: Principal): Promise<Reply> {
  const targets = await targetsWithHealth(deps.pool, by);
  const now = deps.now();
  return site.show({ template: 'targets', title: 'Targets', part: 'targets' }, by, {
    targets: targets.map((target) => ({
      name: target.name,
      href: `/targets/${target.name}`,
      kind: target.kind,
      ...healthOf(target, now),
    })),
  });
}

async function showTarget(
  deps: PageDeps,
  site: Site,
  by: Principal,
  name: string,
  { state, cursor, done, recovered, more }: TargetQuery,
): Promise<Reply> {
  const target = await targetWithHealth(deps.pool, by, name);
  const now = deps.now();
  const mayList = by.permissions.has('deliveries.read');
  const wanted = { target: name, state, cursor, limit: PAGE };
  const { deliveries, next } = mayList ? await deliveryPage(deps.pool, by, wanted) : { deliveries: [], next: null };
  const here = (query: Record<string, string | undefined>) => address(`/targets/${name}`, query);
  return site.show({ template: 'target', title: name, part: 'targets' }, by, {
    name,
    kind: target.kind,
    managedByFile: target.managedBy === 'file',
    ...healthOf(target, now),
    definition: showJson(target.definition),
    learning: showLearning(await targetLearning(deps.pool, by, name), now),
    mayOperate: by.permissions.has('targets.operate'),
    mayList,
    tabs: [undefined, ...DELIVERY_STATES].map((one) => ({
      label: one ?? 'all',
      href: here({ state: one }),
      current: one === state,
    })),
    rows: deliveries.map((one) => deliveryRow(one, by, here({ state }), now)),
    newest: cursor !== undefined && here({ state }),
    older: next !== null && here({ state, cursor: next }),
    nothingYet: deliveries.length === 0 && next !== null,
    empty: deliveries.length === 0 && next === null,
    state,
    done: done && { did: doneText(done, recovered ?? 0, more !== undefined) },
  });
}

function doneText(done: 'pause' | 'resume' | 'recover', recovered: number, more: boolean): string {
  if (done === 'pause') return 'Paused: it gets nothing, and its deliveries wait.';
  if (done === 'resume') return 'Resumed.';
  if (recovered === 0) return 'Nothing failed in that time that nobody has dealt with.';
  const sent = `${count(recovered, 'message goes', 'messages go')} to it again, in order.`;
  return more ? `${sent} There is more: recover once more.` : sent;
}

/** A delivery as lists show it. */
function deliveryRow(one: DeliveryEntry, { permissions }: Principal, back: string, now: number) {
  const id = deliveryId(one);
  return {
    id,
    href: address(`/deliveries/${id}`, { back }),
    number: one.number,
    channel: one.channel,
    message: one.message,
    messageHref: address(`/messages/${one.message}`, { back }),
    badge: deliveryBadge(one.state),
    void: one.void && `void notice ${one.void}`,
    replay: one.replay,
    late: one.late,
    decision: one.decision,
    attempts: count(one.attempts, 'try', 'tries'),
    reason: one.reason,
    code: one.code,
    created: when(one.created, now),
    next: one.attempts > 0 && yetToCome(one.next, now),
    retry: mayRetry(one.state) && permissions.has('deliveries.retry') && address(`/deliveries/${id}/retry`, { back }),
  };
}
