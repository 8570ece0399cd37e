import type { Pool } from 'pg';
import { z } from 'zod';
import type { Principal } from '../src/access/principal.js';
import { Room } from '../src/channel/room.js';
import type { CanonicalMessage } from '../src/message/message.js';
import { EMPTY_VIEW } from '../src/message/view.js';
import { type Compared, Comparison, MOST_EXAMPLES, needsOf } from '../src/routing/backtest.js';
import { canonicalMessage } from '../src/routing/canonical.js';
import type { CompiledRules } from '../src/routing/compile.js';
import { LINT_CODES } from '../src/routing/lint.js';
import { LIMITS } from '../src/routing/rule.js';
import { type KeptMessage, keptMessages } from '../src/storage/kept.js';
import { idsByName } from '../src/storage/names.js';
import { activeRuleSet, getRuleSet, targetPauses } from '../src/storage/rule-sets.js';
import { timeSchema } from './fields.js';
import { LINES_TYPE, type LinesDeps, lines } from './lines.js';
import type { MessageDeps } from './messages.js';
import { caller, notFound } from './problem.js';
import { type ApiRequest, Problem, type Route } from './route.js';
import { problemsReply, rulesInvalid } from './rules.js';
import { Turns } from './turns.js';

export type RuleTrialDeps = LinesDeps &
  Pick<MessageDeps, 'contentOf' | 'extractorsOf' | 'hostname' | 'rules'> & { readonly pool: Pool };

const lintBody = z.strictObject({
  text: z.string().max(LIMITS.text).meta({ description: 'The whole rule set, YAML' }),
});

const problemSchema = z.object({
  severity: z.enum(['error', 'warning']).meta({ description: 'With an error the rules can not be kept' }),
  code: z.enum(LINT_CODES).meta({ description: 'Stable; what programs go by' }),
  rule: z.string().nullable(),
  line: z.int(),
  column: z.int(),
  message: z.string(),
});

const version = z.int().min(1).max(2_147_483_647);

const backtestBody = z
  .strictObject({
    text: z.string().min(1).max(LIMITS.text).optional().meta({ description: 'The rules to try, YAML' }),
    version: version.optional().meta({ description: 'Or a version that is kept' }),
    against: z
      .union([version, z.literal('active')])
      .default('active')
      .meta({ description: 'What they are compared with; without any rules in force, everything waits' }),
    after: timeSchema.optional().meta({ description: 'Only what arrived then or later' }),
    before: timeSchema.optional().meta({ description: 'Only what arrived earlier' }),
    state: z.literal('waiting').optional().meta({ description: 'Only what waits in the inbox now' }),
    limit: z.int().min(1).max(1_000_000_000).optional().meta({ description: 'Only about the newest, so many' }),
  })
  .refine(({ text, version }) => (text === undefined) !== (version === undefined), {
    path: ['text'],
    message: 'give either `text` or `version`',
  });
type BacktestBody = z.infer<typeof backtestBody>;

const examples = z.array(z.string()).meta({ description: `Ids, about the newest; at most ${MOST_EXAMPLES}` });
const differenceSchema = z.object({
  added: z.int(),
  removed: z.int(),
  examples: z.object({ added: examples, removed: examples }),
});
const eventSchema = z.discriminatedUnion('event', [
  z.object({ event: z.literal('progress'), done: z.int(), total: z.int() }),
  z.object({
    event: z.literal('result'),
    messages: z.int().meta({ description: 'Messages that both were asked of' }),
    changed: z.int().meta({ description: 'How many of them come to something else' }),
    gone: z.int().meta({ description: 'Messages whose content is no longer kept' }),
    targets: z.array(differenceSchema.extend({ target: z.string() })),
    waiting: differenceSchema,
    closed: differenceSchema,
    rules: z.array(z.object({ rule: z.string(), hits: z.int().meta({ description: 'How often it decided' }) })),
  }),
]);
export type BacktestEvent =
  | { readonly event: 'progress'; readonly done: number; readonly total: number }
  | ({ readonly event: 'result'; readonly gone: number } & Compared);

/** Backtests that one process does at a time: a tenant has one of them, and two tenants one each. */
const MOST_AT_A_TIME = 2;
/** Of the whole process: whoever asks over the API and whoever asks on a page share it. */
const running = new Room(MOST_AT_A_TIME);

export function ruleTrialRoutes(deps: RuleTrialDeps): Route[] {
  return [
    {
      method: 'post',
      path: '/v1/rules/lint',
      permission: 'rules.read',
      summary: 'What is wrong with rules, or probably not meant; nothing is kept',
      body: 'json',
      bodySchema: lintBody,
      replies: {
        200: { description: 'In the order of the text', schema: z.object({ problems: z.array(problemSchema) }) },
      },
      handler: async ({ principal, body }: ApiRequest<unknown, unknown, z.infer<typeof lintBody>>) => {
        const { tenant } = caller(principal);
        const targets = await targetPauses(deps.pool, tenant.id);
        return { status: 200, body: { problems: await deps.rules.lint(tenant.id, body.text, targets) } };
      },
    },
    {
      method: 'post',
      path: '/v1/rules/backtest',
      permission: 'rules.read',
      summary: 'What rules would have made of the messages that are kept, compared with others; nothing is sent',
      body: 'json',
      bodySchema: backtestBody,
      replies: {
        200: {
          description: 'Lines while it goes on; the last one is the result. Without it, it was cut off',
          type: LINES_TYPE,
          schema: eventSchema,
        },
        404: { description: 'No such version' },
        422: problemsReply,
        429: { description: 'Others are going on already' },
      },
      handler: async (request: ApiRequest<unknown, unknown, BacktestBody>) => {
        return lines(deps, request, await startBacktest(deps, caller(request.principal), request.body));
      },
    },
  ];
}

/** Throws Problem: 404, 422 for rules that don't compile, 429 while others are going on. Ends when the generator is left. */
export async function startBacktest(
  deps: RuleTrialDeps,
  principal: Principal,
  wish: BacktestBody,
): Promise<AsyncGenerator<BacktestEvent>> {
  const { id } = principal.tenant;
  const rules = await rulesToTry(deps, id, wish);
  const against = await rulesAgainst(deps, id, wish.against);
  if (!running.take(id, 1)) {
    const detail = 'A backtest is going on already: wait for its end, or end it.';
    throw new Problem(429, 'backtest_running', detail, {}, { 'retry-after': '5' });
  }
  return withRoom(running, id, backtest(deps, principal, rules, against, wish));
}

async function* withRoom<T>(room: Room, tenant: number, events: AsyncGenerator<T>): AsyncGenerator<T> {
  try {
    yield* events;
  } finally {
    room.remove(tenant, 1);
  }
}

async function rulesToTry(
  deps: RuleTrialDeps,
  tenant: number,
  { text, version }: BacktestBody,
): Promise<CompiledRules> {
  return compiled(deps, tenant, text ?? (await storedText(deps.pool, tenant, version ?? 0)));
}

async function rulesAgainst(
  deps: RuleTrialDeps,
  tenant: number,
  against: BacktestBody['against'],
): Promise<CompiledRules> {
  if (against !== 'active') return compiled(deps, tenant, await storedText(deps.pool, tenant, against));
  return compiled(deps, tenant, (await activeRuleSet(deps.pool, tenant))?.text ?? 'rules: []\n');
}

async function storedText(pool: Pool, tenant: number, version: number): Promise<string> {
  const stored = await getRuleSet(pool, tenant, version);
  if (!stored) throw notFound('version of the rules');
  return stored.text;
}

async function compiled({ rules }: RuleTrialDeps, tenant: number, text: string): Promise<CompiledRules> {
  const read = await rules.compile(tenant, text);
  if (!read.ok) throw rulesInvalid(read.problems);
  return read.compiled;
}

const PROGRESS_MS = 500;
/** Stops when the generator is left. */
async function* backtest(
  deps: RuleTrialDeps,
  { tenant }: Principal,
  rules: CompiledRules,
  against: CompiledRules,
  wish: BacktestBody,
): AsyncGenerator<BacktestEvent> {
  const targets = await idsByName(deps.pool, tenant.id, 'target', 'present');
  const sources = await idsByName(deps.pool, tenant.id, 'source', 'all');
  const sourceNames = new Map([...sources].map(([name, id]) => [id, name]));
  const needs = needsOf(rules, against);
  const comparison = new Comparison(rules, against, new Set(targets.keys()));
  const { total, pages } = await keptMessages(deps.pool, tenant, wish, needs);
  let done = 0;
  let gone = 0;
  let toldAt = deps.now();
  const turns = new Turns();
  yield { event: 'progress', done, total };
  for await (const page of pages) {
    for (const entry of page.messages) {
      const kept = 'fetch' in entry ? await entry.fetch() : entry;
      if (kept) await turns.run(comparison.add(await canonicalOf(kept)));
    }
    done += page.looked;
    gone += page.gone;
    if (deps.now() - toldAt < PROGRESS_MS) continue;
    toldAt = deps.now();
    yield { event: 'progress', done: Math.min(done, total), total };
  }
  yield { event: 'result', gone, ...comparison.result() };

  async function canonicalOf({ message, view }: KeptMessage): Promise<CanonicalMessage> {
    const names = {
      tenant: tenant.name,
      source: sourceNames.get(message.source) ?? '',
      hostname: deps.hostname,
      extractors: deps.extractorsOf(message),
    };
    const read = view ?? (needs.raw === 'content' ? await deps.contentOf(message) : null);
    return canonicalMessage(message, names, read ?? EMPTY_VIEW);
  }
}
