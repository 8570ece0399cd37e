import { z } from 'zod';
import type { Principal } from '../../src/access/principal.js';
import { parseMessageId } from '../../src/message/id.js';
import type { CanonicalMessage } from '../../src/message/message.js';
import { deciding } from '../../src/routing/decide.js';
import { explaining } from '../../src/routing/explain.js';
import { NO_RULES } from '../../src/routing/insert.js';
import { LIKENESSES, type Likeness, likenessesOf, ruleLike, usualLikenesses } from '../../src/routing/like.js';
import type { LintProblem } from '../../src/routing/lint.js';
import { type Choice, LIMITS } from '../../src/routing/rule.js';
import { decisionsOf } from '../../src/storage/decisions.js';
import { activeRuleSet, getRuleSet, type StoredRuleSet, saveRuleSet } from '../../src/storage/rule-sets.js';
import { digits, text } from '../fields.js';
import { LINES_TYPE, lines } from '../lines.js';
import { readMessage, targetNames } from '../messages.js';
import { asProblem, caller, notFound } from '../problem.js';
import type { ApiRequest, Problem, Reply, Route } from '../route.js';
import { type BacktestEvent, startBacktest } from '../rule-trials.js';
import { Turns } from '../turns.js';
import type { PageDeps } from './deps.js';
import { linesOf, shownDiff } from './diff.js';
import { showRules } from './explained.js';
import { address, given, listOf, readForm } from './form.js';
import { targetChoices } from './inbox.js';
import { type BacktestRange, backtestShown, beginningOf, RANGES } from './rule-backtest.js';
import { confirmationOf, outcomeText, problemShown, problemsOf, toConfirm, whyNot } from './rule-words.js';
import { confirmedField, type RULES_DONE, seenField } from './rules.js';
import { type Site, seeOther } from './show.js';

const editQuery = z.object({
  version: given(digits(1, 2_147_483_647)),
  /** A message to make a rule of, by what, and what the rule chooses. */
  like: given(text(40)),
  by: listOf(z.enum(LIKENESSES), LIKENESSES.length),
  targets: listOf(text(63), LIMITS.targets),
  close: given(z.string().trim().pipe(text(LIMITS.string))),
});
type EditQuery = z.infer<typeof editQuery>;

/** Browsers send lines as networks do. */
const ruleText = z
  .string()
  .transform((written) => written.replace(/\r\n?/g, '\n'))
  .pipe(z.string().max(LIMITS.text));

const shared = {
  text: ruleText,
  why: given(z.string().trim().pipe(text(500))),
  seen: seenField,
  message: given(z.string().trim().max(40)),
  range: z.enum(RANGES).default('week'),
};
const tryForm = z.object({ ...shared, do: z.enum(['check', 'try', 'backtest']).default('check') });
const saveForm = z.object({ ...shared, do: z.enum(['draft', 'activate']), confirmed: confirmedField });

/** What stands in the form. */
interface Draft {
  readonly text: string;
  readonly why?: string | undefined;
  readonly seen: number | null;
  readonly message?: string | undefined;
  readonly range: BacktestRange;
  /** The line that is to be seen first. */
  readonly begin?: number;
}

/** What the page says about it beside what is wrong with it. */
interface Said {
  readonly failed?: string;
  readonly status?: number;
  /** To be confirmed before it goes live. */
  readonly warnings?: readonly LintProblem[];
  readonly tried?: object;
  readonly tested?: object;
}

/** Writing rules: checked, tried on one message and on those that are kept, and saved. */
export function ruleEditorPages(deps: PageDeps, site: Site): Route[] {
  const replies = { 200: { description: 'The page', type: 'text/html' } };
  return [
    {
      method: 'get',
      path: '/rules/edit',
      permission: 'rules.read',
      summary: 'Write rules: from those in force, from a version, or with a rule made of a message',
      query: editQuery,
      replies,
      handler: async ({ principal, query }: ApiRequest<unknown, EditQuery>) => {
        const by = caller(principal);
        return showEditor(deps, site, by, query, await firstDraft(deps, by, query), {});
      },
    },
    {
      method: 'post',
      path: '/rules/edit',
      permission: 'rules.read',
      summary: 'Check rules, or try them on one message or on those that are kept; nothing is saved',
      query: editQuery,
      body: 'form',
      replies,
      handler: (request: ApiRequest<unknown, EditQuery>) => {
        const form = readForm(tryForm, request.body);
        return tryOut(deps, site, request, form);
      },
    },
    {
      method: 'get',
      path: '/rules/save',
      permission: 'rules.read',
      summary: 'Where a page that says why something was not done leads when it is opened again',
      query: editQuery,
      replies: { 303: { description: 'To the editor' } },
      handler: async ({ query }: ApiRequest<unknown, EditQuery>) => seeOther(addressOf('/rules/edit', query)),
    },
    {
      method: 'post',
      path: '/rules/save',
      permission: 'rules.write',
      summary: 'Keep rules as a draft, or put them in force',
      query: editQuery,
      body: 'form',
      replies: { 303: { description: 'Saved' }, 412: { description: 'Other rules are in force by now' } },
      handler: ({ principal, query, body }: ApiRequest<unknown, EditQuery>) =>
        save(deps, site, caller(principal), query, readForm(saveForm, body)),
    },
  ];
}

function addressOf(path: string, { version, like, by, targets, close }: EditQuery): string {
  return address(path, { version: version?.toString(), like, by, targets, close });
}

async function firstDraft(deps: PageDeps, by: Principal, query: EditQuery): Promise<Draft> {
  const active = await activeRuleSet(deps.pool, by.tenant.id);
  const from = query.version === undefined ? active : await getRuleSet(deps.pool, by.tenant.id, query.version);
  if (query.version !== undefined && !from) throw notFound('version of the rules');
  const draft = { text: from?.text ?? NO_RULES, seen: active?.version ?? null, range: 'week' } as const;
  if (query.like === undefined) return draft;
  const message = await messageNamed(deps, by, query.like);
  const { written, begin } = await withRuleLike(
    deps,
    by,
    message,
    draft.text,
    await likenessOf(deps, by, query, message),
  );
  return { ...draft, text: written, begin, message: query.like };
}

async function messageNamed(deps: PageDeps, by: Principal, id: string): Promise<CanonicalMessage> {
  const place = parseMessageId(id);
  if (!place || !by.permissions.has('messages.read')) throw notFound('message');
  return (await readMessage(deps, by, place)).canonical;
}

interface LikeWish {
  readonly by: readonly Likeness[];
  readonly choice: Choice;
}

/** What a rule made of a message asks for and chooses, where nobody has said so: what a person decided about the message. */
async function likenessOf(
  { pool }: PageDeps,
  { tenant }: Principal,
  { like, by, targets, close }: EditQuery,
  message: CanonicalMessage,
): Promise<LikeWish> {
  const wished = by.length > 0 ? by : usualLikenesses(message);
  if (targets.length > 0) return { by: wished, choice: { targets: [...new Set(targets)] } };
  if (close !== undefined) return { by: wished, choice: { close } };
  const place = parseMessageId(like ?? '');
  const decisions = place ? await decisionsOf(pool, tenant.id, place) : [];
  const last = decisions.findLast(({ action }) => action === 'assign' || action === 'close');
  if (last?.action === 'close' && last.reason !== null) {
    return { by: wished, choice: { close: last.reason.slice(0, LIMITS.string).toWellFormed() } };
  }
  const names = await targetNames(pool, tenant.id);
  return { by: wished, choice: { targets: (last?.targets ?? []).flatMap((id) => names.get(id) ?? []) } };
}

/** The rule goes in front of the one that decides about the message now, where there is one: it would never be asked after it. */
async function withRuleLike(
  deps: PageDeps,
  { tenant }: Principal,
  message: CanonicalMessage,
  text: string,
  { by, choice }: LikeWish,
) {
  const read = await deps.rules.compile(tenant.id, text);
  const rules = read.ok ? read.ruleSet.rules : [];
  const now = read.ok ? (await new Turns().run(deciding(read.compiled, message))).rules[0] : undefined;
  const before = rules.find(({ name }) => name === now);
  const rule = ruleLike(message, by, choice, new Set(rules.map(({ name }) => name)));
  const asked = before ? { ...rule, priority: before.priority } : rule;
  const written = await deps.rules.insert(tenant.id, text, asked, before?.name ?? null);
  return { written, begin: linesOf(written).findIndex((line) => line.endsWith(`- name: ${rule.name}`)) + 1 };
}

async function tryOut(
  deps: PageDeps,
  site: Site,
  request: ApiRequest<unknown, EditQuery>,
  form: z.infer<typeof tryForm>,
): Promise<Reply> {
  const { query, headers } = request;
  const by = caller(request.principal);
  switch (form.do) {
    case 'check':
      return showEditor(deps, site, by, query, form, {});
    case 'try':
      return showEditor(deps, site, by, query, form, { tried: await tried(deps, by, form) });
    case 'backtest': {
      if (headers.accept?.includes(LINES_TYPE)) {
        return lines(deps, request, streamedBacktest(deps, site, by, await backtestOf(deps, by, form)));
      }
      return showEditor(deps, site, by, query, form, { tested: await wholeBacktest(deps, by, form) });
    }
    default: {
      const never: never = form.do;
      throw new Error(`nothing of the name: ${String(never)}`);
    }
  }
}

/** What the rules would make of one message, beside what those in force do. */
async function tried(deps: PageDeps, by: Principal, { text: written, message: id }: Draft): Promise<object> {
  if (id === undefined) return { problem: 'Say which message: its id is on its page, for example 7-10234.' };
  const read = await deps.rules.compile(by.tenant.id, written);
  if (!read.ok) return { problem: NOT_COMPILED };
  try {
    const message = await messageNamed(deps, by, id);
    const explained = await new Turns().run(explaining(read.compiled, message));
    const active = await activeRuleSet(deps.pool, by.tenant.id);
    return {
      id,
      outcome: outcomeText(explained.outcome),
      now: active && (await outcomeNow(deps, by, active, message)),
      ...showRules({ version: active?.version ?? 0, ...explained }),
    };
  } catch (error) {
    const problem = asProblem(error);
    if (!isAbsence(problem)) throw error;
    return { problem: problem.detail };
  }
}

function isAbsence({ status }: Problem): boolean {
  return status === 404 || status === 410;
}

const NOT_COMPILED = 'Nothing was asked: the rules don’t hold together yet. Mend what stands under Problems first.';

async function outcomeNow(
  { rules }: PageDeps,
  { tenant }: Principal,
  { text: inForce }: StoredRuleSet,
  message: CanonicalMessage,
): Promise<string | undefined> {
  const read = await rules.compile(tenant.id, inForce);
  return read.ok ? outcomeText((await new Turns().run(deciding(read.compiled, message))).outcome) : undefined;
}

/** For pages that show how far it is: progress, and at last the result as the page has it. */
async function* streamedBacktest(
  deps: PageDeps,
  site: Site,
  by: Principal,
  events: AsyncGenerator<BacktestEvent>,
): AsyncGenerator<object> {
  for await (const event of events) {
    if (event.event === 'progress') yield event;
    else
      yield { event: 'page', html: await site.fragment('backtest', { tested: await backtestShown(deps, by, event) }) };
  }
}

/** Of pages that wait for the result: some seconds' worth. */
const MOST_AT_ONCE = 200_000;

async function wholeBacktest(deps: PageDeps, by: Principal, draft: Draft): Promise<object> {
  if (!(await deps.rules.compile(by.tenant.id, draft.text)).ok) return { problem: NOT_COMPILED };
  try {
    for await (const event of await backtestOf(deps, by, draft, MOST_AT_ONCE)) {
      if (event.event === 'progress') continue;
      const cut = event.messages + event.gone >= MOST_AT_ONCE && MOST_AT_ONCE.toLocaleString('en');
      return { ...(await backtestShown(deps, by, event)), cut };
    }
  } catch (error) {
    const problem = asProblem(error);
    if (problem.status !== 429) throw error;
    return { problem: problem.detail };
  }
  return { problem: 'It ended before all messages were looked at: try again.' };
}

function backtestOf(
  deps: PageDeps,
  by: Principal,
  { text: written, range }: Draft,
  limit?: number,
): Promise<AsyncGenerator<BacktestEvent>> {
  const state = range === 'waiting' ? 'waiting' : undefined;
  return startBacktest(deps, by, {
    text: written,
    against: 'active',
    after: beginningOf(range, deps.now()),
    state,
    limit,
  });
}

async function save(
  deps: PageDeps,
  site: Site,
  by: Principal,
  query: EditQuery,
  form: z.infer<typeof saveForm>,
): Promise<Reply> {
  const again = (said: Said, seen = form.seen) => showEditor(deps, site, by, query, { ...form, seen }, said);
  const parsed = await deps.rules.parse(by.tenant.id, form.text);
  const found = await problemsOf(deps, by, form.text);
  if (!parsed.ok || found.some(({ severity }) => severity === 'error')) {
    return again({ failed: 'The rules don’t hold together: see Problems. Those in force stay.', status: 422 });
  }
  if (form.why === undefined) return again({ failed: 'Say why, for those who come after you.', status: 422 });
  const active = await activeRuleSet(deps.pool, by.tenant.id);
  if (active?.text === form.text) return seeOther(done('same', active.version));
  const activate = form.do === 'activate';
  const warnings = activate ? toConfirm(found, active ? await problemsOf(deps, by, active.text) : []) : [];
  if (warnings.length > 0 && form.confirmed !== confirmationOf(form.text, warnings))
    return again({ warnings, status: 422 });
  const rules = { text: form.text, mentions: parsed.mentions, who: by.who, why: form.why };
  const saved = await saveRuleSet(deps.pool, by.tenant.id, rules, { activate, expected: form.seen });
  if (saved.result !== 'ok') {
    const { why, status } = await whyNot(deps, by, saved);
    // Whoever presses again has been shown what is in force now.
    return again({ failed: why, status }, active?.version ?? null);
  }
  await deps.configurationChanged();
  return seeOther(done(saved.active ? 'active' : 'draft', saved.version));
}

function done(what: (typeof RULES_DONE)[number], version: number): string {
  return address('/rules', { done: what, version: String(version) });
}

/** Nothing where the message has gone meanwhile: what was written about it is kept. */
async function likeForm(deps: PageDeps, by: Principal, query: EditQuery) {
  if (query.like === undefined) return undefined;
  const message = await messageNamed(deps, by, query.like).catch((error: unknown) => {
    if (isAbsence(asProblem(error))) return undefined;
    throw error;
  });
  if (!message) return undefined;
  const wish = await likenessOf(deps, by, query, message);
  const chosen = 'targets' in wish.choice ? wish.choice.targets : [];
  const choices = await targetChoices(deps, by, chosen);
  return {
    id: query.like,
    version: query.version,
    by: likenessesOf(message).map((name) => ({ name, chosen: wish.by.includes(name) })),
    // Keys are for deciding about messages: here nothing is decided.
    targets: choices.map((one) => ({ ...one, digit: null })),
    close: 'close' in wish.choice ? wish.choice.close : undefined,
    nothingChosen: 'targets' in wish.choice && chosen.length === 0,
  };
}

const RANGE_LABELS: Readonly<Record<BacktestRange, string>> = {
  today: 'today',
  week: 'the last 7 days',
  month: 'the last 30 days',
  all: 'everything that is kept',
  waiting: 'what waits in the inbox',
};

async function showEditor(
  deps: PageDeps,
  site: Site,
  by: Principal,
  query: EditQuery,
  draft: Draft,
  said: Said,
): Promise<Reply> {
  const active = await activeRuleSet(deps.pool, by.tenant.id);
  const found = await problemsOf(deps, by, draft.text);
  const byFile = active?.managedBy === 'file';
  const page = { template: 'rule-editor', title: 'Change the rules', part: 'rules', scripts: ['rules.js'] } as const;
  return site.show({ ...page, status: said.status ?? 200 }, by, {
    heading: byFile || !by.permissions.has('rules.write') ? 'Try a change of the rules' : page.title,
    action: addressOf('/rules/edit', query),
    saveAction: addressOf('/rules/save', query),
    maySave: by.permissions.has('rules.write') && !byFile,
    mayTry: by.permissions.has('messages.read'),
    byFile,
    text: draft.text,
    begin: draft.begin,
    why: draft.why,
    seen: draft.seen,
    message: draft.message,
    ranges: RANGES.map((name) => ({ name, label: RANGE_LABELS[name], selected: name === draft.range })),
    problems: found.map(problemShown),
    summary: summaryOf(found),
    failed: said.failed,
    warnings: said.warnings?.map(problemShown),
    confirmed: said.warnings && confirmationOf(draft.text, said.warnings),
    tried: said.tried,
    tested: said.tested,
    like: await likeForm(deps, by, query),
    inForce: active && { version: active.version, href: `/rules/${active.version}` },
    difference: active && shownDiff(linesOf(active.text), linesOf(draft.text)),
  });
}

function summaryOf(found: readonly LintProblem[]): string {
  const errors = found.filter(({ severity }) => severity === 'error').length;
  const warnings = found.length - errors;
  if (found.length === 0) return 'Nothing is wrong with it.';
  return [counted(errors, 'problem'), counted(warnings, 'warning')].filter((one) => one !== '').join(', ');
}

function counted(number: number, what: string): string {
  return number === 0 ? '' : `${number} ${what}${number === 1 ? '' : 's'}`;
}
