import { z } from 'zod';
import type { Principal } from '../../src/access/principal.js';
import { type DeliveryKey, deliveryId, messageId } from '../../src/message/id.js';
import { attemptsOf, type DeliveryAttempt } from '../../src/storage/deliveries-read.js';
import { deliveryNamed, retryDelivery } from '../deliveries.js';
import { deliveryParams } from '../fields.js';
import { asProblem, caller } from '../problem.js';
import type { ApiRequest, Problem, Reply, Route } from '../route.js';
import type { PageDeps } from './deps.js';
import { address, backField } from './form.js';
import { portionWords } from './found.js';
import { type Site, seeOther } from './show.js';
import { type Badge, deliveryBadge, when, yetToCome } from './words.js';

const pageQuery = z.object({ back: backField });
type PageQuery = z.infer<typeof pageQuery>;
type Named = { readonly id: DeliveryKey };

/** One delivery with every try. */
export function deliveryPages(deps: PageDeps, site: Site): Route[] {
  return [
    {
      method: 'get',
      path: '/deliveries/:id',
      permission: 'deliveries.read',
      summary: 'One delivery and its tries',
      params: deliveryParams,
      query: pageQuery,
      replies: { 200: { description: 'The page', type: 'text/html' } },
      handler: ({ principal, params, query }: ApiRequest<Named, PageQuery>) =>
        showDelivery(deps, site, caller(principal), params.id, query, null),
    },
    {
      method: 'post',
      path: '/deliveries/:id/retry',
      permission: 'deliveries.retry',
      summary: 'Send the message to this target again',
      params: deliveryParams,
      query: pageQuery,
      body: 'form',
      replies: { 303: { description: 'It will be sent' }, 409: { description: 'It is still being tried' } },
      handler: ({ principal, params, query, headers }: ApiRequest<Named, PageQuery>) =>
        retry(deps, site, caller(principal), params.id, query, headers),
    },
  ];
}

async function retry(
  deps: PageDeps,
  site: Site,
  by: Principal,
  key: DeliveryKey,
  query: PageQuery,
  headers: ApiRequest['headers'],
): Promise<Reply> {
  try {
    const { decision } = await retryDelivery(deps, by, key, headers);
    return seeOther(address(`/messages/${messageId(decision)}`, { done: 'replay', back: query.back }));
  } catch (error) {
    const problem = asProblem(error);
    if (problem.status !== 409 && problem.status !== 410) throw error;
    return showDelivery(deps, site, by, key, query, problem);
  }
}

async function showDelivery(
  deps: PageDeps,
  site: Site,
  by: Principal,
  key: DeliveryKey,
  { back }: PageQuery,
  failed: Problem | null,
): Promise<Reply> {
  const one = await deliveryNamed(deps.pool, by.tenant.id, key);
  const attempts = await attemptsOf(deps.pool, by.tenant.id, one);
  const now = deps.now();
  const id = deliveryId(one);
  const page = {
    template: 'delivery',
    title: `Delivery ${id}`,
    part: 'targets',
    status: failed?.status ?? 200,
  } as const;
  return site.show(page, by, {
    id,
    back: back ?? `/targets/${one.target}`,
    failed: failed?.detail,
    number: one.number,
    target: one.target,
    message: one.message,
    badge: deliveryBadge(one.state),
    decision: one.decision,
    rung: one.rung,
    epoch: one.epoch,
    channel: one.channel,
    late: one.late,
    replay: one.replay,
    portion: portionWords(one.portion),
    void: one.void,
    reason: one.reason,
    code: one.code,
    created: when(one.created, now),
    settled: one.settled && when(one.settled, now),
    next: yetToCome(one.next, now),
    attempts: attempts.map((attempt) => attemptRow(attempt, now)),
    atOnce: attempts.length === 0 && one.state === 'delivered',
    retry: one.state !== 'pending' && by.permissions.has('deliveries.retry') && `/deliveries/${id}/retry`,
  });
}

const RESULTS: Readonly<Record<DeliveryAttempt['result'], Badge>> = {
  delivered: { label: 'delivered', tone: 'ok' },
  retry: { label: 'not taken', tone: 'wait' },
  refused: { label: 'refused', tone: 'bad' },
  pause: { label: 'paused the target', tone: 'bad' },
  interrupted: { label: 'interrupted', tone: 'plain' },
};

function attemptRow(attempt: DeliveryAttempt, now: number) {
  return {
    number: attempt.attempt,
    what: attempt.what === 'void' ? 'void notice' : 'message',
    at: when(attempt.started, now),
    took: `${attempt.tookMs.toLocaleString('en')} ms`,
    badge: RESULTS[attempt.result],
    code: attempt.code,
    reason: attempt.reason,
    answer: attempt.answer,
  };
}
