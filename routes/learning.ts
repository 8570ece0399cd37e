import type { Pool } from 'pg';
import { z } from 'zod';
import type { Principal } from '../src/access/principal.js';
import { messageId, type Place } from '../src/message/id.js';
import { atThreshold, measuredDecisions } from '../src/routing/learning/measure.js';
import { type AutomaticSetting, whyNotReady } from '../src/routing/learning/readiness.js';
import { getTarget, listTargets } from '../src/storage/definitions.js';
import { type ModelHead, newestModel } from '../src/storage/learning.js';
import { scoreEntry, scoreShape, scoresOf } from './automatic.js';
import { messageParams, nameParams, timeOut } from './fields.js';
import { type MessageDeps, type ReadMessage, readMessage } from './messages.js';
import { caller, notFound } from './problem.js';
import type { ApiRequest, Route } from './route.js';

const modelSchema = z.object({
  version: z.int(),
  madeAt: timeOut,
  decisions: z.int().meta({ description: 'Messages it was learnt from' }),
});

const suggestionsSchema = z.object({
  message: z.string(),
  model: modelSchema.nullable().meta({ description: 'Null while nothing was learnt' }),
  items: z.array(
    z.object({
      ...scoreShape,
      base: z.number().meta({ description: 'The probability without any evidence' }),
      threshold: z.number().nullable().meta({ description: 'Of a target that is chosen by probability' }),
    }),
  ),
});
type Suggestions = z.input<typeof suggestionsSchema>;

/** What was learnt of a target, beside what it asks for. */
const learningSchema = z.object({
  target: z.string(),
  automatic: z.object({ threshold: z.number(), decisions: z.int() }).nullable(),
  on: z.boolean(),
  why: z.string().meta({ description: 'Why it is off, or what it takes' }),
  model: modelSchema.nullable(),
  chosen: z.int().meta({ description: 'Decisions that chose it' }),
  refused: z.int().meta({ description: 'Decisions that did not' }),
  measured: z
    .object({
      decisions: z.int().meta({ description: 'The newest decisions, judged by what the older ones had taught' }),
      thresholds: z.array(
        z.object({
          threshold: z.number(),
          sent: z.int(),
          right: z.int(),
          wanted: z.int(),
          precision: z.number().nullable(),
          recall: z.number().nullable(),
        }),
      ),
    })
    .nullable()
    .meta({ description: 'Null where the older decisions alone were not enough to learn from' }),
});
export type TargetLearning = z.input<typeof learningSchema>;

export function learningRoutes(deps: MessageDeps): Route[] {
  return [
    {
      method: 'get',
      path: '/v1/messages/:id/suggestions',
      permission: 'messages.read',
      summary:
        'To which targets people would probably send it, by what they decided before, with the words that counted',
      params: messageParams,
      replies: {
        200: { description: 'Targets, the most probable first', schema: suggestionsSchema },
        410: { description: 'Its content is gone (`content_gone`, `content_erased`)' },
      },
      handler: async ({ principal, params }: ApiRequest<{ id: Place }>) => {
        const read = await readMessage(deps, caller(principal), params.id);
        return { status: 200, body: await suggestionsFor(deps, caller(principal), read) };
      },
    },
    {
      method: 'get',
      path: '/v1/targets/:name/learning',
      permission: 'targets.read',
      summary: 'What was learnt of a target from people’s decisions, how well, and whether it is chosen by that',
      params: nameParams,
      replies: { 200: { description: 'What was learnt', schema: learningSchema } },
      handler: async ({ principal, params }: ApiRequest<{ name: string }>) => ({
        status: 200,
        body: await targetLearning(deps.pool, caller(principal), params.name),
      }),
    },
  ];
}

/** Targets there are, by the probability that people would send them this message. */
export async function suggestionsFor(
  deps: Pick<MessageDeps, 'pool' | 'hostname' | 'extractorsOf'>,
  by: Principal,
  read: ReadMessage,
): Promise<Suggestions> {
  const tenant = by.tenant.id;
  const head = await newestModel(deps.pool, tenant);
  const message = messageId(read.standing);
  if (!head) return { message, model: null, items: [] };
  const targets = new Map((await listTargets(deps.pool, tenant)).map((target) => [target.id, target]));
  const scores = await scoresOf(deps, by, read, head.version);
  const items = scores.flatMap((score) => {
    const target = targets.get(score.target);
    if (!target) return [];
    return [{ ...scoreEntry(score), target: target.name, threshold: target.definition.automatic?.threshold ?? null }];
  });
  return { message, model: modelEntry(head), items: items.sort((a, b) => b.probability - a.probability) };
}

function modelEntry({ version, madeAt, decisions }: ModelHead) {
  return { version, madeAt: madeAt.toISOString(), decisions };
}

/** What is shown of thresholds to choose from, besides the target's own. */
const THRESHOLDS = [0.5, 0.6, 0.7, 0.8, 0.9, 0.95];

/** Throws Problem: 404. */
export async function targetLearning(pool: Pool, { tenant }: Principal, name: string): Promise<TargetLearning> {
  const target = await getTarget(pool, tenant.id, name);
  if (!target) throw notFound('target');
  const head = await newestModel(pool, tenant.id);
  const measure = head?.measures.find((one) => one.target === target.id);
  const automatic = target.definition.automatic ?? null;
  const measured = measure?.measured ?? null;
  const own = automatic ? [automatic.threshold] : [];
  return {
    target: name,
    automatic: automatic && { ...automatic },
    ...stateOf(automatic, measure),
    model: head ? modelEntry(head) : null,
    chosen: measure?.yes ?? 0,
    refused: measure?.no ?? 0,
    measured: measured && {
      decisions: measuredDecisions(measured),
      thresholds: [...new Set([...THRESHOLDS, ...own])]
        .sort((a, b) => a - b)
        .map((threshold) => atThreshold(measured, threshold)),
    },
  };
}

function stateOf(
  automatic: AutomaticSetting | null,
  measure: ModelHead['measures'][number] | undefined,
): { on: boolean; why: string } {
  if (!automatic) return { on: false, why: 'its definition does not ask for it: give it `automatic` with a threshold' };
  const missing = whyNotReady(automatic, measure);
  if (missing !== null) return { on: false, why: missing };
  if (!measure?.learnt) return { on: false, why: 'others are chosen so much more often that it was not learnt' };
  return { on: true, why: `gets what exceeds ${automatic.threshold} when no rule matches` };
}
