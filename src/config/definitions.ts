import { dirname, isAbsolute, join } from 'node:path';
import type { z } from 'zod';
import { type BillingDefinition, meterSchema, rateCardSchema, subscriptionSchema } from '../billing/definitions.js';
import { type Clash, clashes } from '../channel/claims.js';
import { nameSchema, type SourceDefinition, sourceDefinitionSchema } from '../channel/source.js';
import { targetDefinitionSchema } from '../delivery/target.js';
import type { NamedBilling, NamedDefinition, TenantDefinitions } from '../routing/definitions.js';
import { parseRuleSet, type RuleProblem, unknownTargets } from '../routing/parse.js';
import { LIMITS } from '../routing/rule.js';
import { valueAt } from './complaint.js';
import { FileUnreadable, type ReadFile, readText } from './files.js';
import type { Problem } from './problem.js';
import type { Whereabouts } from './whereabouts.js';
import type { Path } from './yaml.js';

/** Its definitions stand at the top of the file. */
const DEFAULT_TENANT = 'default';

export interface FoundDefinitions {
  /** Those that are well-formed. */
  readonly tenants: readonly TenantDefinitions[];
  readonly problems: readonly Problem[];
  /** Targets that rules name and the file does not. Only the database knows those that were made over the API. */
  readonly doubts: readonly Problem[];
}

/** What the file names for each tenant. What the schema complains about already is left out without another word. */
export function readDefinitions(
  value: unknown,
  file: string,
  where: Whereabouts,
  readFile: ReadFile,
): FoundDefinitions {
  const problems: Problem[] = [];
  const doubts: Problem[] = [];
  const tenants = [
    readTenant(DEFAULT_TENANT, []),
    ...keysAt(['tenants']).flatMap((name) =>
      isName(['tenants', name], name) ? [readTenant(name, ['tenants', name])] : [],
    ),
  ];
  problems.push(...clashProblems(tenants, where), ...postmasterProblems(value, tenants, where));
  return { tenants, problems, doubts };

  function readTenant(tenant: string, path: Path): TenantDefinitions {
    const channelsPath = [...path, 'channels'];
    const count = valueAt(value, channelsPath);
    return {
      tenant,
      channels: typeof count === 'number' ? { count, at: where.place(channelsPath) } : null,
      sources: readNamed([...path, 'sources'], sourceDefinitionSchema),
      targets: readNamed([...path, 'targets'], targetDefinitionSchema),
      billing: [
        ...readBilling('meter', [...path, 'meters'], meterSchema),
        ...readBilling('rate-card', [...path, 'rateCards'], rateCardSchema),
        ...readBilling('subscription', [...path, 'subscriptions'], subscriptionSchema),
      ],
      rules: readRules(path),
    };
  }

  function readBilling(kind: NamedBilling['kind'], path: Path, schema: z.ZodType<BillingDefinition>): NamedBilling[] {
    return readNamed(path, schema).map((named) => ({ kind, ...named }));
  }

  function readNamed<S extends z.ZodType>(path: Path, schema: S): NamedDefinition<z.output<S>>[] {
    return keysAt(path).flatMap((name) => {
      const known = isName([...path, name], name);
      const parsed = schema.safeParse(valueAt(value, [...path, name]));
      if (!known || !parsed.success) return [];
      return [{ name, definition: parsed.data, at: where.keyPlace([...path, name]) }];
    });
  }

  function readRules(tenant: Path): TenantDefinitions['rules'] {
    const path = [...tenant, 'rulesFile'];
    const named = valueAt(value, path);
    if (typeof named !== 'string') return null;
    const rulesFile = isAbsolute(named) ? named : join(dirname(file), named);
    try {
      const text = readText(readFile, rulesFile, LIMITS.text);
      const parsed = parseRuleSet(text);
      const unknown = unknownTargets(parsed.mentions, new Set(keysAt([...tenant, 'targets'])));
      doubts.push(...unknown.map((problem) => targetDoubt(problem, rulesFile)));
      if (parsed.ok) return { text, mentions: parsed.mentions, file: rulesFile };
      problems.push(...parsed.problems.map((problem) => ruleProblem(problem, rulesFile)));
    } catch (error) {
      if (!(error instanceof FileUnreadable)) throw error;
      problems.push(where.problem(path, 'file_unreadable', `the file ${rulesFile} ${error.message}`));
    }
    return null;
  }

  function isName(path: Path, name: string): boolean {
    const named = nameSchema.safeParse(name);
    const taken = path[0] === 'tenants' && path.length === 2 && name === DEFAULT_TENANT;
    if (named.success && !taken) return true;
    const message = taken
      ? 'must be another name: what tenant "default" has stands at the top of the file'
      : `must be a name of ${named.error?.issues[0]?.message}`;
    problems.push({ ...where.problem(path, 'value_invalid', message), place: where.keyPlace(path) });
    return false;
  }

  function keysAt(path: Path): string[] {
    const map = valueAt(value, path);
    return typeof map === 'object' && map !== null && !Array.isArray(map) ? Object.keys(map) : [];
  }
}

function ruleProblem(problem: RuleProblem, file: string): Problem {
  const { line, column, path, message, didYouMean } = problem;
  const found = { severity: 'error', code: 'rules_invalid', place: { file, line, column }, path, message } as const;
  return didYouMean === undefined ? found : { ...found, suggestion: didYouMean };
}

function targetDoubt(problem: RuleProblem, file: string): Problem {
  const message = 'the configuration file names no target of this name; it has to be one that was made over the API';
  return { ...ruleProblem({ ...problem, message }, file), severity: 'warning', code: 'reference_unknown' };
}

interface SourceInFile {
  readonly tenant: string;
  readonly name: string;
  readonly definition: SourceDefinition;
}

function clashProblems(tenants: readonly TenantDefinitions[], where: Whereabouts): Problem[] {
  const sources = tenants.flatMap(({ tenant, sources }) =>
    sources.map(({ name, definition }) => ({ tenant, name, definition })),
  );
  return clashes(sources).map((clash) => clashProblem(clash, where));
}

function clashProblem({ kind, what, index, first, second }: Clash<SourceInFile>, where: Whereabouts): Problem {
  const { line } = where.keyPlace(pathOf(first));
  const holder = `${first.tenant === second.tenant ? '' : `tenant "${first.tenant}", `}source "${first.name}" (line ${line})`;
  if (kind === 'address') {
    const path = [...pathOf(second), 'addresses', index];
    return where.problem(path, 'address_repeated', `the mail address ${what} belongs to ${holder} already`);
  }
  if (kind === 'queue') {
    return where.problem([...pathOf(second), 'queue'], 'queue_repeated', `is consumed by ${holder} already`);
  }
  if (what === null) {
    const message = `takes all events that no other feed names, as ${holder} does already; say what one of them accepts`;
    return where.problem(pathOf(second), 'feed_ambiguous', message);
  }
  return where.problem([...pathOf(second), 'accepts', index], 'feed_ambiguous', `is accepted by ${holder} already`);
}

function pathOf({ tenant, name }: SourceInFile): Path {
  return tenant === DEFAULT_TENANT ? ['sources', name] : ['tenants', tenant, 'sources', name];
}

/** A warning only: the source may be one that was made over the API. */
function postmasterProblems(value: unknown, tenants: readonly TenantDefinitions[], where: Whereabouts): Problem[] {
  const path = ['smtp', 'postmaster', 'source'];
  const source = valueAt(value, path);
  if (typeof source !== 'string') return [];
  const tenant = valueAt(value, ['smtp', 'postmaster', 'tenant']) ?? DEFAULT_TENANT;
  const sources = tenants.find((candidate) => candidate.tenant === tenant)?.sources ?? [];
  if (sources.some(({ name, definition }) => name === source && definition.kind === 'mail')) return [];
  const message = `this file has no mail source of this name for tenant "${tenant}"; until there is one, such mail is refused`;
  return [where.problem(path, 'reference_unknown', message, 'warning')];
}
