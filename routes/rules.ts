import type { Pool } from 'pg';
import { z } from 'zod';
import type { Principal } from '../src/access/principal.js';
import { nameSchema } from '../src/channel/source.js';
import { foundTypeSchema } from '../src/content/extract/definition.js';
import { parseMessageId } from '../src/message/id.js';
import type { CanonicalMessage } from '../src/message/message.js';
import { EMPTY_VIEW } from '../src/message/view.js';
import { explaining } from '../src/routing/explain.js';
import type { RuleProblem } from '../src/routing/parse.js';
import { LIMITS } from '../src/routing/rule.js';
import {
  activateRuleSet,
  activeRuleSet,
  type ExpectedRules,
  getRuleSet,
  listRuleSets,
  type RuleSetEntry,
  type RulesActivated,
  type RulesSaved,
  saveRuleSet,
} from '../src/storage/rule-sets.js';
import { readCursor, writeCursor } from './cursor.js';
import { EDIT_REPLIES, etag, expectedVersion } from './definitions.js';
import { cursorSchema, digits, limitSchema, pageOf, text, timeOut } from './fields.js';
import { type MessageDeps, readMessage } from './messages.js';
import { caller, notFound } from './problem.js';
import { type ApiRequest, Problem, type Route } from './route.js';
import type { ConfigurationDeps } from './sources.js';
import { Turns } from './turns.js';

const versionSchema = z.object({
  version: z.int(),
  hash: z.string().meta({ description: 'SHA-256 of the text' }),
  managedBy: z.enum(['file', 'api']),
  active: z.boolean(),
  who: z.string(),
  why: z.string().nullable(),
  createdAt: timeOut,
});
const ruleSetSchema = versionSchema.extend({ text: z.string() });

const listQuery = z.strictObject({ limit: limitSchema, cursor: cursorSchema.optional() });
const versionParams = z.object({ version: digits(1, 2_147_483_647) });

const putBody = z.strictObject({
  text: z.string().min(1).max(LIMITS.text).meta({ description: 'The whole rule set, YAML' }),
  why: text(500).optional(),
  activate: z.boolean().default(true),
});

const people = z.array(z.strictObject({ name: text(500).default(''), address: text(500) })).max(100);
/** What rules can ask of a message; what is left out is empty. */
const sampleSchema = z.strictObject({
  kind: z.enum(['mail', 'event', 'webhook', 'amqp']),
  source: nameSchema.default('sample'),
  account: text(512).default('sample'),
  type: text(512).nullable().default(null),
  value: text(512).nullable().default(null),
  externalId: text(512).nullable().default(null),
  time: text(40).nullable().default(null),
  peer: text(256).default('127.0.0.1'),
  envelope: z.record(z.string(), z.unknown()).default({}),
  headers: z
    .array(z.tuple([text(200), z.string().max(10_000)]))
    .max(1000)
    .default([]),
  subject: z.string().max(10_000).nullable().default(null),
  from: people.default([]),
  to: people.default([]),
  cc: people.default([]),
  text: z.string().nullable().default(null),
  html: z.string().nullable().default(null),
  data: z.unknown().optional(),
  found: z
    .array(z.strictObject({ type: foundTypeSchema, value: z.string().max(1000) }))
    .max(200)
    .default([])
    .meta({ description: 'What its source would find in it' }),
});

const testBody = z.strictObject({
  message: text(40).optional().meta({ description: 'Id of a message to try them on', example: '7-10234' }),
  sample: sampleSchema.optional().meta({ description: 'A message made up here instead' }),
  text: z
    .string()
    .min(1)
    .max(LIMITS.text)
    .optional()
    .meta({ description: 'Rules to try; without it and `version` those in force' }),
  version: z.int().min(1).optional(),
});
type TestBody = z.infer<typeof testBody>;

export const problemsReply = { description: 'The text is wrong: `problems` with line, column and what would be right' };

export function ruleRoutes(deps: ConfigurationDeps & MessageDeps & { readonly now: () => number }): Route[] {
  const { pool, configurationChanged } = deps;
  return [
    {
      method: 'get',
      path: '/v1/rules',
      permission: 'rules.read',
      summary: 'Versions of the rules, newest first',
      query: listQuery,
      replies: { 200: { description: 'A page', schema: pageOf(versionSchema) } },
      handler: async ({ principal, query }: ApiRequest<unknown, z.infer<typeof listQuery>>) => {
        const before = query.cursor === undefined ? null : readCursor('rules', query.cursor, z.int());
        const found = await listRuleSets(pool, caller(principal).tenant.id, { before, limit: query.limit + 1 });
        const items = found.slice(0, query.limit);
        const last = items[items.length - 1];
        const next = found.length > query.limit && last ? writeCursor('rules', last.version) : null;
        return { status: 200, body: { items: items.map(versionEntry), next } };
      },
    },
    {
      method: 'get',
      path: '/v1/rules/active',
      permission: 'rules.read',
      summary: 'The rules in force',
      replies: {
        200: { description: 'The rules', schema: ruleSetSchema },
        404: { description: 'There are none: everything waits in the inbox' },
      },
      handler: async ({ principal }) => {
        const rules = await activeRuleSet(pool, caller(principal).tenant.id);
        if (!rules) throw notFound('rule set in force');
        return { status: 200, body: { ...versionEntry(rules), text: rules.text }, headers: etag(rules.version) };
      },
    },
    {
      method: 'get',
      path: '/v1/rules/:version',
      permission: 'rules.read',
      summary: 'One version of the rules',
      params: versionParams,
      replies: { 200: { description: 'The rules', schema: ruleSetSchema } },
      handler: async ({ principal, params }: ApiRequest<{ version: number }>) => {
        const rules = await getRuleSet(pool, caller(principal).tenant.id, params.version);
        if (!rules) throw notFound('version of the rules');
        return { status: 200, body: { ...versionEntry(rules), text: rules.text } };
      },
    },
    {
      method: 'put',
      path: '/v1/rules',
      permission: 'rules.write',
      summary: 'Keep a new version of the rules, and put it in force unless `activate` is false',
      body: 'json',
      bodySchema: putBody,
      replies: {
        200: { description: 'Kept', schema: z.object({ version: z.int(), active: z.boolean() }) },
        ...EDIT_REPLIES,
        422: problemsReply,
      },
      handler: async ({ principal, body, headers }: ApiRequest<unknown, unknown, z.infer<typeof putBody>>) => {
        const { tenant, who } = caller(principal);
        const parsed = await deps.rules.parse(tenant.id, body.text);
        if (!parsed.ok) throw rulesInvalid(parsed.problems);
        const rules = { text: body.text, mentions: parsed.mentions, who, why: body.why ?? null };
        const how = { activate: body.activate, expected: expectedRules(expectedVersion(headers)) };
        const saved = await saveRuleSet(pool, tenant.id, rules, how);
        if (saved.result !== 'ok') throw rulesProblem(saved);
        await configurationChanged();
        return { status: 200, body: { version: saved.version, active: saved.active }, headers: etag(saved.version) };
      },
    },
    {
      method: 'post',
      path: '/v1/rules/:version/activate',
      permission: 'rules.write',
      summary: 'Put a version in force that was kept before',
      params: versionParams,
      replies: {
        200: { description: 'In force', schema: z.object({ version: z.int(), active: z.boolean() }) },
        ...EDIT_REPLIES,
        422: { description: 'It names targets that are no more' },
      },
      handler: async ({ principal, params, headers }: ApiRequest<{ version: number }>) => {
        const { tenant, who } = caller(principal);
        const by = { expected: expectedRules(expectedVersion(headers)), who };
        const done = await activateRuleSet(pool, tenant.id, params.version, by);
        if (done.result !== 'ok') throw rulesProblem(done);
        await configurationChanged();
        return { status: 200, body: { version: params.version, active: true } };
      },
    },
    {
      method: 'post',
      path: '/v1/rules/test',
      permission: 'rules.read',
      summary: 'What rules would make of a message, clause by clause; nothing is sent',
      body: 'json',
      bodySchema: testBody,
      replies: {
        200: {
          description: 'The outcome and why',
          schema: z.object({
            version: z.int().nullable(),
            outcome: z.record(z.string(), z.unknown()),
            rules: z.array(z.string()),
            steps: z.array(z.record(z.string(), z.unknown())),
          }),
        },
        404: { description: 'No such message or version, or no rules in force' },
        410: { description: 'The message’s content is gone' },
        422: problemsReply,
      },
      handler: async ({ principal, body }: ApiRequest<unknown, unknown, TestBody>) => {
        const { tenant } = caller(principal);
        const rules = await rulesToTest(pool, tenant.id, body);
        const read = await deps.rules.compile(tenant.id, rules.text);
        if (!read.ok) throw rulesInvalid(read.problems);
        const message = await messageToTest(deps, caller(principal), body);
        const explained = await new Turns().run(explaining(read.compiled, message));
        return { status: 200, body: { version: rules.version, ...explained } };
      },
    },
  ];
}

function versionEntry({
  version,
  hash,
  managedBy,
  active,
  who,
  why,
  createdAt,
}: RuleSetEntry): z.input<typeof versionSchema> {
  return { version, hash, managedBy, active, who, why, createdAt: createdAt.toISOString() };
}

function expectedRules(version: number | 'any'): ExpectedRules {
  return version;
}

export function rulesInvalid(problems: readonly RuleProblem[]): Problem {
  const [first] = problems;
  const detail = first ? `line ${first.line}, column ${first.column}: ${first.message}` : 'The rules are wrong.';
  return new Problem(422, 'rules_invalid', detail, { problems: problems.slice(0, 100) });
}

/** Why rules were not saved, or not put in force. */
export function rulesProblem(not: Exclude<RulesSaved | RulesActivated, { readonly result: 'ok' }>): Problem {
  switch (not.result) {
    case 'not_found':
      return notFound('version of the rules');
    case 'managed_by_file':
      return new Problem(
        409,
        'managed_by_file',
        'The configuration file names the rules: change them there, then `waybill apply`.',
      );
    case 'version_mismatch':
      return new Problem(412, 'version_mismatch', 'Other rules are in force by now: read them again.', {
        version: not.version,
      });
    case 'unknown_targets':
      return 'problems' in not
        ? rulesInvalid(not.problems)
        : new Problem(422, 'unknown_target', `These targets are no more: ${not.targets.join(', ')}.`, {
            targets: not.targets,
          });
    case 'unstorable':
      return new Problem(422, 'unstorable', 'A text in it holds NUL or half of a surrogate pair.');
    default: {
      const never: never = not;
      return never;
    }
  }
}

async function rulesToTest(
  pool: Pool,
  tenant: number,
  { text: given, version }: TestBody,
): Promise<{ version: number | null; text: string }> {
  if (given !== undefined) return { version: null, text: given };
  const stored = version === undefined ? await activeRuleSet(pool, tenant) : await getRuleSet(pool, tenant, version);
  if (!stored) throw notFound(version === undefined ? 'rule set in force' : 'version of the rules');
  return stored;
}

async function messageToTest(
  deps: MessageDeps & { readonly now: () => number },
  principal: Principal,
  body: TestBody,
): Promise<CanonicalMessage> {
  if ((body.message === undefined) === (body.sample === undefined)) {
    throw new Problem(422, 'invalid_body', 'Give either `message` or `sample`.');
  }
  if (body.sample !== undefined) return sampleMessage(principal, body.sample, deps.now());
  const place = parseMessageId(body.message ?? '');
  if (!place) throw notFound('message');
  return (await readMessage(deps, principal, place)).canonical;
}

function sampleMessage({ tenant }: Principal, sample: z.infer<typeof sampleSchema>, now: number): CanonicalMessage {
  const { headers, subject, from, to, cc, text: plain, html, data, found, ...own } = sample;
  return {
    ...own,
    id: '0-1',
    tenant: tenant.name,
    received: new Date(now).toISOString(),
    found: found.map((one) => ({ ...one, written: one.value, where: 'sample' })),
    view: {
      ...EMPTY_VIEW,
      headers: headers.map(([name, value]) => [name.toLowerCase(), value] as const),
      subject,
      from,
      to,
      cc,
      text: plain,
      html,
      data,
    },
  };
}
