import { z } from 'zod';
import type { Principal } from '../../src/access/principal.js';
import type { LintProblem } from '../../src/routing/lint.js';
import type { RuleSet } from '../../src/routing/rule.js';
import {
  activateRuleSet,
  activeRuleSet,
  getRuleSet,
  listRuleSets,
  type StoredRuleSet,
} from '../../src/storage/rule-sets.js';
import { readCursor, writeCursor } from '../cursor.js';
import { cursorSchema, digits } from '../fields.js';
import { caller, notFound } from '../problem.js';
import type { ApiRequest, Reply, Route } from '../route.js';
import type { PageDeps } from './deps.js';
import { linesOf, shownDiff } from './diff.js';
import { address, given, readForm } from './form.js';
import { choiceText, confirmationOf, problemShown, problemsOf, toConfirm, versionShown, whyNot } from './rule-words.js';
import { matchesAmongNewest } from './rules-waiting.js';
import { type Site, seeOther } from './show.js';
import { count } from './words.js';

const PAGE = 20;

/** What of the rules was done last, for the page that follows. */
export const RULES_DONE = ['draft', 'active', 'same'] as const;

const listQuery = z.object({
  cursor: given(cursorSchema),
  done: given(z.enum(RULES_DONE)),
  version: given(digits(1, 2_147_483_647)),
});
type ListQuery = z.infer<typeof listQuery>;

const versionParams = z.object({ version: digits(1, 2_147_483_647) });

/** Version of the rules in force that the page showed; nothing for none. */
export const seenField = given(z.coerce.number().int().min(1)).transform((version) => version ?? null);
export const confirmedField = given(z.string().max(64));

const activateForm = z.object({ seen: seenField, confirmed: confirmedField });

/** The rules in force, all their versions, and putting one of those in force. */
export function rulePages(deps: PageDeps, site: Site): Route[] {
  return [
    {
      method: 'get',
      path: '/rules',
      permission: 'rules.read',
      summary: 'The rules in force, and their versions',
      query: listQuery,
      replies: { 200: { description: 'The page', type: 'text/html' } },
      handler: ({ principal, query }: ApiRequest<unknown, ListQuery>) => showList(deps, site, caller(principal), query),
    },
    {
      method: 'get',
      path: '/rules/:version',
      permission: 'rules.read',
      summary: 'One version of the rules, and what is different from those in force',
      params: versionParams,
      replies: { 200: { description: 'The page', type: 'text/html' } },
      handler: ({ principal, params }: ApiRequest<{ version: number }>) =>
        showVersion(deps, site, caller(principal), params.version, {}),
    },
    {
      method: 'get',
      path: '/rules/:version/activate',
      permission: 'rules.read',
      summary: 'Where a page that says why something was not done leads when it is opened again',
      params: versionParams,
      replies: { 303: { description: 'To the version' } },
      handler: async ({ params }: ApiRequest<{ version: number }>) => seeOther(`/rules/${params.version}`),
    },
    {
      method: 'post',
      path: '/rules/:version/activate',
      permission: 'rules.write',
      summary: 'Put a version in force',
      params: versionParams,
      body: 'form',
      replies: { 303: { description: 'In force' }, 412: { description: 'Other rules are in force by now' } },
      handler: ({ principal, params, body }: ApiRequest<{ version: number }>) =>
        activate(deps, site, caller(principal), params.version, readForm(activateForm, body)),
    },
  ];
}

/** What is said on the page of a version that was not put in force. */
interface Said {
  readonly failed?: string;
  readonly status?: number;
  /** They are to be confirmed. */
  readonly warnings?: readonly LintProblem[];
}

async function activate(
  deps: PageDeps,
  site: Site,
  by: Principal,
  version: number,
  { seen, confirmed }: z.infer<typeof activateForm>,
): Promise<Reply> {
  const rules = await getRuleSet(deps.pool, by.tenant.id, version);
  if (!rules) throw notFound('version of the rules');
  const found = await problemsOf(deps, by, rules.text);
  const error = found.find(({ severity }) => severity === 'error');
  if (error)
    return showVersion(deps, site, by, version, { failed: `In line ${error.line}: ${error.message}.`, status: 422 });
  const active = await activeRuleSet(deps.pool, by.tenant.id);
  const warnings = toConfirm(found, active ? await problemsOf(deps, by, active.text) : []);
  if (warnings.length > 0 && confirmed !== confirmationOf(rules.text, warnings)) {
    return showVersion(deps, site, by, version, { warnings, status: 422 });
  }
  const done = await activateRuleSet(deps.pool, by.tenant.id, version, { expected: seen, who: by.who });
  if (done.result !== 'ok') {
    const { why, status } = await whyNot(deps, by, done);
    return showVersion(deps, site, by, version, { failed: why, status });
  }
  await deps.configurationChanged();
  return seeOther(address('/rules', { done: 'active', version: String(version) }));
}

async function showList(deps: PageDeps, site: Site, by: Principal, query: ListQuery): Promise<Reply> {
  const { pool } = deps;
  const tenant = by.tenant.id;
  const now = deps.now();
  const before = query.cursor === undefined ? null : readCursor('rules', query.cursor, z.int());
  const active = await activeRuleSet(pool, tenant);
  const found = await listRuleSets(pool, tenant, { before, limit: PAGE + 1 });
  const versions = found.slice(0, PAGE);
  const last = versions.at(-1);
  const mayWrite = by.permissions.has('rules.write');
  const byFile = active?.managedBy === 'file';
  return site.show({ template: 'rules', title: 'Rules', part: 'rules', scripts: ['rules.js'] }, by, {
    active: active && { ...versionShown(active, now), ...(await rulesShown(deps, by, active)) },
    byFile,
    mayWrite,
    mayEdit: mayWrite && !byFile,
    versions: versions.map((one) => ({
      ...versionShown(one, now),
      difference: active && !one.active && `/rules/${one.version}#difference`,
      activate: mayWrite && !byFile && !one.active && activateLabel(one.version, active),
    })),
    seen: active?.version,
    newest: query.cursor !== undefined && '/rules',
    older: found.length > PAGE && last && address('/rules', { cursor: writeCursor('rules', last.version) }),
    done: query.done && (await doneShown(deps, by, query.done, query.version)),
  });
}

function activateLabel(version: number, active: StoredRuleSet | undefined): string {
  return active && version < active.version ? 'Roll back to it' : 'Put in force';
}

/** Of the rules in force as many as anybody reads on a page; the version's own page has the whole text. */
const RULES_SHOWN = 200;

const MODES: Readonly<Record<RuleSet['mode'], string>> = {
  'first-match': 'the first rule that matches decides',
  'all-match': 'every rule that matches counts',
};

async function rulesShown(deps: PageDeps, { tenant }: Principal, { text }: StoredRuleSet) {
  const outline = await deps.rules.outline(tenant.id, text, RULES_SHOWN);
  if (!outline) return {};
  return {
    mode: MODES[outline.mode],
    number: count(outline.count, 'rule', 'rules'),
    rules: outline.rules.map(({ name, description, enabled, choice, when }) => {
      return { name, description, disabled: !enabled, choice: choiceText(choice), when };
    }),
    more: outline.count > RULES_SHOWN && outline.count - RULES_SHOWN,
  };
}

async function doneShown(
  deps: PageDeps,
  by: Principal,
  done: (typeof RULES_DONE)[number],
  version: number | undefined,
) {
  switch (done) {
    case 'draft':
      return { did: `Kept as version ${version}. It is not in force.` };
    case 'same':
      return { did: 'That is what is in force already: nothing was saved.' };
    case 'active': {
      const waiting = by.permissions.has('messages.read') ? await matchesAmongNewest(deps, by) : null;
      return { did: `Version ${version} is in force.`, waiting };
    }
    default: {
      const never: never = done;
      throw new Error(`nothing of the name: ${String(never)}`);
    }
  }
}

async function showVersion(deps: PageDeps, site: Site, by: Principal, version: number, said: Said): Promise<Reply> {
  const rules = await getRuleSet(deps.pool, by.tenant.id, version);
  if (!rules) throw notFound('version of the rules');
  const active = await activeRuleSet(deps.pool, by.tenant.id);
  const byFile = active?.managedBy === 'file';
  const mayWrite = by.permissions.has('rules.write');
  const title = `Rules, version ${version}`;
  const page = { template: 'rule-version', title, part: 'rules', scripts: ['rules.js'] } as const;
  return site.show({ ...page, status: said.status ?? 200 }, by, {
    rules: versionShown(rules, deps.now()),
    heading: title,
    text: rules.text,
    byFile,
    failed: said.failed,
    warnings: said.warnings?.map(problemShown),
    confirmed: said.warnings && confirmationOf(rules.text, said.warnings),
    seen: active?.version,
    inForce: active && !rules.active && { version: active.version, href: `/rules/${active.version}` },
    difference: active && !rules.active && shownDiff(linesOf(active.text), linesOf(rules.text)),
    activate: mayWrite && !byFile && !rules.active && activateLabel(version, active),
    edit: address('/rules/edit', { version: String(version) }),
  });
}
