import type { Pool, PoolClient } from 'pg';
import type { Logger } from 'pino';
import {
  type AmqpSource,
  type EventsSource,
  type MailSource,
  type Source,
  type SourceDefinition,
  type SourceDirectory,
  sourceDefinitionSchema,
  type WebhookSource,
} from '../channel/source.js';
import { compileExtractors, type Extractor } from '../content/extract/extract.js';
import { compileSchema, type SchemaCheck } from '../content/schema.js';
import { type Target, targetDefinitionSchema } from '../delivery/target.js';
import type { CanonicalMessage } from '../message/message.js';
import type { Tenant } from '../message/tenant.js';
import { type CompiledRules, compileRuleSet } from '../routing/compile.js';
import type { Decided } from '../routing/conclude.js';
import { decide } from '../routing/decide.js';
import { featuresOf } from '../routing/learning/features.js';
import type { TargetMeasure } from '../routing/learning/measure.js';
import { type Model, type OpenModel, openModel } from '../routing/learning/model.js';
import { type AskedScore, whyNotReady } from '../routing/learning/readiness.js';
import { parseRuleSet } from '../routing/parse.js';
import { arrayOf } from './array.js';
import { inTransaction } from './pool.js';

/** The rules a tenant's messages are decided by. Version 0, without any rule, where it has none. */
export interface RulesInForce {
  readonly version: number;
  readonly text: string;
  readonly compiled: CompiledRules;
  decide(message: CanonicalMessage): Decided;
}

/** What was learnt last from a tenant's people, where a target is chosen by it. */
interface ModelInForce {
  readonly version: number;
  readonly measures: readonly TargetMeasure[];
  readonly opened: OpenModel;
}

/** What chooses targets of a tenant by probability. */
export interface AutomaticInForce {
  /** The model's version. */
  readonly model: number;
  score(message: CanonicalMessage): readonly AskedScore[];
}

/** Where mail to a bare `postmaster` goes. */
export interface Postmaster {
  readonly tenant: string;
  readonly source: string;
}

export interface DirectorySettings {
  /** Without it the first mail source of tenant `default`. */
  readonly postmaster: Postmaster | null;
  /** How often other processes' changes are looked for. */
  readonly pollMs?: number;
  readonly log: Logger;
}

/** What every process knows of tenants, sources, targets and rules, kept in step with the database. */
export interface Directory {
  /** Immutable, and replaced whole by every change: take it anew for each message or round of work. */
  current(): Snapshot;
  /** Looks for changes at once; true when there were any. Rejects when the database can't be asked. */
  refresh(): Promise<boolean>;
  /** Calls back after each replacement, until the returned function is called. */
  onChange(listener: (snapshot: Snapshot) => void): () => void;
  close(): Promise<void>;
}

/** Half of "within a second": a change waits for one poll at most, and then for its load. */
const POLL_MS = 500;

/** Loads the first snapshot, then looks for changes. */
export async function openDirectory(pool: Pool, settings: DirectorySettings): Promise<Directory> {
  return new PollingDirectory(pool, settings, await load(pool, settings, null));
}

class PollingDirectory implements Directory {
  readonly #listeners = new Set<(snapshot: Snapshot) => void>();
  #snapshot: Snapshot;
  #work: Promise<unknown> = Promise.resolve();
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(
    private readonly pool: Pool,
    private readonly settings: DirectorySettings,
    first: Snapshot,
  ) {
    this.#snapshot = first;
    this.#schedule();
  }

  current(): Snapshot {
    return this.#snapshot;
  }

  /** One after another: a look that is under way may have been too early for what the caller just changed. */
  refresh(): Promise<boolean> {
    const looked = this.#work.then(() => this.#look());
    this.#work = looked.catch(() => undefined);
    return looked;
  }

  onChange(listener: (snapshot: Snapshot) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    await this.#work;
  }

  async #look(): Promise<boolean> {
    if (this.#closed) return false;
    if ((await versionIn(this.pool)) === this.#snapshot.version) return false;
    this.#snapshot = await load(this.pool, this.settings, this.#snapshot);
    for (const listener of this.#listeners) listener(this.#snapshot);
    return true;
  }

  #schedule(): void {
    this.#timer = setTimeout(() => void this.#poll(), this.settings.pollMs ?? POLL_MS);
    // Nothing is lost when the process ends with a poll to come.
    this.#timer.unref();
  }

  async #poll(): Promise<void> {
    try {
      await this.refresh();
    } catch (error) {
      this.settings.log.warn({ err: error }, 'changes of configuration can not be looked for; the last known stays');
    }
    if (!this.#closed) this.#schedule();
  }
}

/** Everything at one version. Look-ups take the same time however much there is. */
export class Snapshot implements SourceDirectory {
  readonly #tenants = new Map<number, Tenant>();
  readonly #tenantsByName = new Map<string, Tenant>();
  readonly #mail = new Map<string, Source<MailSource>>();
  readonly #postmasters = new Map<string | null, Source<MailSource>>();
  readonly #webhooks = new Map<string, Source<WebhookSource>>();
  readonly #feeds = new Map<string, Feeds>();
  readonly #amqp: Source<AmqpSource>[] = [];
  readonly #sources = new Map<number, Source[]>();
  readonly #sourceNames = new Map<string, string>();
  readonly #schemas = new Map<string, SchemaCheck>();
  readonly #extractors = new Map<string, readonly Extractor[]>();
  readonly #threadKeys = new Map<string, string>();
  readonly #otherAccounts = new Set<string>();
  readonly #targets: readonly Target[];
  readonly #targetsById = new Map<string, Target>();
  readonly #targetsByName = new Map<string, Target>();
  readonly #targetNames = new Map<string, string>();
  readonly #rules: ReadonlyMap<number, RulesInForce>;
  readonly #models: ReadonlyMap<number, ModelInForce>;
  readonly #automatic = new Map<number, AutomaticInForce>();

  constructor(
    /** Rises with every change. */
    readonly version: number,
    content: Content,
    postmaster: Postmaster | null,
  ) {
    for (const tenant of content.tenants) {
      this.#tenants.set(tenant.id, tenant);
      this.#tenantsByName.set(tenant.name, tenant);
    }
    for (const { tenant, id, name } of content.sourceNames) this.#sourceNames.set(`${tenant}/${id}`, name);
    for (const { tenant, id, name } of content.targetNames) this.#targetNames.set(`${tenant}/${id}`, name);
    for (const source of content.sources) {
      this.#addSource(source, postmaster);
      const { definition, tenant, id } = source;
      const schema = definition.kind === 'mail' ? undefined : definition.schema;
      if (schema !== undefined) this.#schemas.set(`${tenant.id}/${id}`, compileSchema(schema));
      if (definition.kind !== 'mail' && definition.thread !== undefined)
        this.#threadKeys.set(`${tenant.id}/${id}`, definition.thread);
      if (definition.kind === 'mail' && definition.account.from !== 'recipient')
        this.#otherAccounts.add(`${tenant.id}/${id}`);
      const { extract = [] } = definition;
      if (extract.length > 0) this.#extractors.set(`${tenant.id}/${id}`, compileExtractors(extract));
    }
    this.#targets = content.targets;
    for (const target of content.targets) {
      this.#targetsById.set(`${target.tenant.id}/${target.id}`, target);
      this.#targetsByName.set(`${target.tenant.id}/${target.name}`, target);
    }
    this.#rules = content.rules;
    this.#models = content.models;
    for (const [tenant, model] of content.models) {
      const automatic = automaticOf(
        model,
        content.targets.filter((target) => target.tenant.id === tenant),
      );
      if (automatic) this.#automatic.set(tenant, automatic);
    }
  }

  /** All tenants, in the order they were made. */
  tenants(): readonly Tenant[] {
    return [...this.#tenants.values()];
  }

  tenant(id: number): Tenant | undefined {
    return this.#tenants.get(id);
  }

  tenantNamed(name: string): Tenant | undefined {
    return this.#tenantsByName.get(name);
  }

  mail(address: string): Source<MailSource> | undefined {
    const folded = address.toLowerCase();
    return this.#mail.get(folded) ?? this.#mail.get(folded.slice(folded.lastIndexOf('@')));
  }

  /** Where mail to the postmaster of `domain` goes that no source names; null: to a bare `postmaster`. */
  postmaster(domain: string | null): Source<MailSource> | undefined {
    return this.#postmasters.get(domain === null ? null : domain.toLowerCase());
  }

  webhook(tenant: string, source: string): Source<WebhookSource> | undefined {
    return this.#webhooks.get(`${tenant}/${source}`);
  }

  events(tenant: string, cloudEventSource: string): Source<EventsSource> | undefined {
    return this.#feeds.get(tenant)?.find(cloudEventSource);
  }

  /** Every source that consumes a queue, of all tenants. */
  amqp(): readonly Source<AmqpSource>[] {
    return this.#amqp;
  }

  sources(tenant: number): readonly Source[] {
    return this.#sources.get(tenant) ?? [];
  }

  /** What the data of a source must be; null where it does not say. */
  schema(tenant: number, source: number): SchemaCheck | null {
    return this.#schemas.get(`${tenant}/${source}`) ?? null;
  }

  /** What a source looks for in its messages. */
  extractors(tenant: number, source: number): readonly Extractor[] {
    // Asked for every message, and most installations look for nothing.
    return (this.#extractors.size > 0 && this.#extractors.get(`${tenant}/${source}`)) || NO_EXTRACTORS;
  }

  /** What joins messages of a source to one conversation, `account` or a JSON pointer; null where each stands alone. */
  threadKey(tenant: number, source: number): string | null {
    // Asked for every message, and most installations have none.
    return (this.#threadKeys.size > 0 && this.#threadKeys.get(`${tenant}/${source}`)) || null;
  }

  /** Whether a mail's account is the address it came to. */
  accountIsRecipient(tenant: number, source: number): boolean {
    return !this.#otherAccounts.has(`${tenant}/${source}`);
  }

  /** Also of one that was removed. */
  sourceName(tenant: number, source: number): string {
    return this.#sourceNames.get(`${tenant}/${source}`) ?? '';
  }

  /** Every target there is, of all tenants. */
  targets(): readonly Target[] {
    return this.#targets;
  }

  target(tenant: number, id: number): Target | undefined {
    return this.#targetsById.get(`${tenant}/${id}`);
  }

  targetNamed(tenant: number, name: string): Target | undefined {
    return this.#targetsByName.get(`${tenant}/${name}`);
  }

  /** Also of one that was removed. */
  targetName(tenant: number, target: number): string {
    return this.#targetNames.get(`${tenant}/${target}`) ?? '';
  }

  rules(tenant: number): RulesInForce {
    return this.#rules.get(tenant) ?? NO_RULES;
  }

  /** What chooses by probability; null where no target asks for that, or none has learnt enough. */
  automatic(tenant: number): AutomaticInForce | null {
    return this.#automatic.get(tenant) ?? null;
  }

  /** What automatic targets of a tenant are chosen by, whether they have learnt enough or not. */
  model(tenant: number): ModelInForce | undefined {
    return this.#models.get(tenant);
  }

  #addSource(source: Source, postmaster: Postmaster | null): void {
    const { tenant, name, definition } = source;
    const siblings = this.#sources.get(tenant.id);
    if (siblings) siblings.push(source);
    else this.#sources.set(tenant.id, [source]);
    switch (definition.kind) {
      case 'mail':
        this.#addMail({ ...source, definition }, postmaster);
        return;
      case 'webhook':
        this.#webhooks.set(`${tenant.name}/${name}`, { ...source, definition });
        return;
      case 'events':
        this.#addFeed({ ...source, definition });
        return;
      case 'amqp':
        this.#amqp.push({ ...source, definition });
        return;
      default:
        definition satisfies never;
    }
  }

  #addMail(source: Source<MailSource>, postmaster: Postmaster | null): void {
    for (const address of source.definition.addresses) {
      const folded = address.toLowerCase();
      setFirst(this.#mail, folded, source);
      setFirst(this.#postmasters, folded.slice(folded.lastIndexOf('@') + 1), source);
    }
    const { tenant, name } = source;
    if (postmaster ? tenant.name === postmaster.tenant && name === postmaster.source : tenant.name === 'default') {
      setFirst(this.#postmasters, null, source);
    }
  }

  #addFeed(source: Source<EventsSource>): void {
    const feeds = this.#feeds.get(source.tenant.name) ?? new Feeds();
    feeds.add(source);
    this.#feeds.set(source.tenant.name, feeds);
  }
}

/** The event feeds of one tenant: the exact value wins, then the longest beginning, then the feed that takes the rest. */
class Feeds {
  readonly #exact = new Map<string, Source<EventsSource>>();
  readonly #beginnings = new Map<string, Source<EventsSource>>();
  /** Lengths of the beginnings, longest first. */
  readonly #lengths: number[] = [];
  #rest: Source<EventsSource> | undefined;

  add(source: Source<EventsSource>): void {
    const { accepts } = source.definition;
    if (!accepts) this.#rest ??= source;
    for (const value of accepts ?? []) {
      if (value.endsWith('*')) this.#addBeginning(value.slice(0, -1), source);
      else setFirst(this.#exact, value, source);
    }
  }

  find(value: string): Source<EventsSource> | undefined {
    const exact = this.#exact.get(value);
    if (exact) return exact;
    for (const length of this.#lengths) {
      const found = length <= value.length && this.#beginnings.get(value.slice(0, length));
      if (found) return found;
    }
    return this.#rest;
  }

  #addBeginning(beginning: string, source: Source<EventsSource>): void {
    setFirst(this.#beginnings, beginning, source);
    if (this.#lengths.includes(beginning.length)) return;
    this.#lengths.push(beginning.length);
    this.#lengths.sort((a, b) => b - a);
  }
}

const NO_EXTRACTORS: readonly Extractor[] = [];

function setFirst<K, V>(map: Map<K, V>, key: K, value: V): void {
  if (!map.has(key)) map.set(key, value);
}

interface Name {
  readonly tenant: number;
  readonly id: number;
  readonly name: string;
}

/** What a snapshot is made of; sources and targets in the order they were made, without removed ones. */
interface Content {
  readonly tenants: readonly Tenant[];
  readonly sources: readonly Source[];
  readonly targets: readonly Target[];
  readonly rules: ReadonlyMap<number, RulesInForce>;
  /** Of tenants that have automatic targets. */
  readonly models: ReadonlyMap<number, ModelInForce>;
  /** Removed ones included. */
  readonly sourceNames: readonly Name[];
  readonly targetNames: readonly Name[];
}

const NO_RULES = rulesInForce(0, '', compileRuleSet({ mode: 'first-match', rules: [] }));

function rulesInForce(version: number, text: string, compiled: CompiledRules): RulesInForce {
  return { version, text, compiled, decide: (message) => decide(compiled, message) };
}

interface DefinitionRow extends Name {
  readonly definition: unknown;
  readonly removed: boolean;
}

interface TargetRow extends DefinitionRow {
  readonly paused: Target['paused'];
}

interface RulesRow {
  readonly tenant: number;
  readonly version: number;
  readonly text: string;
}

async function versionIn(db: Pool | PoolClient): Promise<number> {
  const { rows } = await db.query<{ version: number }>('select version from configuration');
  return rows[0]?.version ?? 0;
}

/** What is in force now. Rules that `known` has compiled are taken over. */
function load(pool: Pool, settings: DirectorySettings, known: Snapshot | null): Promise<Snapshot> {
  return inTransaction(pool, async (client) => {
    // All of it as of one moment, so that no change is seen by half.
    await client.query('set transaction isolation level repeatable read read only');
    const version = await versionIn(client);
    const { rows: tenants } = await client.query<Tenant>('select id, name, channels from tenant order by id');
    const { rows: sources } = await client.query<DefinitionRow>(
      'select tenant, id, name, definition, removed_at is not null as removed from source order by tenant, id',
    );
    const { rows: targets } = await client.query<TargetRow>(
      `select tenant, id, name, definition, removed_at is not null as removed,
         case when paused_at is not null then
           json_build_object('by', paused_by, 'code', paused_code, 'reason', paused_reason) end as paused
       from target order by tenant, id`,
    );
    const { rows: rules } = await client.query<RulesRow>('select tenant, version, text from rule_set where active');
    const content = {
      tenants,
      sources: readSources(sources, tenants, settings.log),
      targets: readTargets(targets, tenants, settings.log),
      rules: new Map(rules.map((row) => [row.tenant, readRules(row, known, settings.log)])),
      sourceNames: sources,
      targetNames: targets,
    };
    const models = await readModels(client, content.targets, known);
    return new Snapshot(version, { ...content, models }, settings.postmaster);
  });
}

function readSources(rows: readonly DefinitionRow[], tenants: readonly Tenant[], log: Logger): Source[] {
  return readEach(rows, tenants, log, 'source', ({ id, name, definition }, tenant): Source<SourceDefinition> => {
    return { id, name, tenant, definition: sourceDefinitionSchema.parse(definition) };
  });
}

function readTargets(rows: readonly TargetRow[], tenants: readonly Tenant[], log: Logger): Target[] {
  return readEach(rows, tenants, log, 'target', ({ id, name, definition, paused }, tenant): Target => {
    return { id, name, tenant, definition: targetDefinitionSchema.parse(definition), paused };
  });
}

/** One that can't be read (a newer version of Waybill wrote it) is left out, and the others go on. */
function readEach<R extends DefinitionRow, T>(
  rows: readonly R[],
  tenants: readonly Tenant[],
  log: Logger,
  what: 'source' | 'target',
  read: (row: R, tenant: Tenant) => T,
): T[] {
  const byId = new Map(tenants.map((tenant) => [tenant.id, tenant]));
  return rows.flatMap((row) => {
    const tenant = byId.get(row.tenant);
    if (row.removed || !tenant) return [];
    try {
      return [read(row, tenant)];
    } catch {
      // Without the error: it may show what the definition holds.
      log.error(
        { tenant: tenant.name, [what]: row.name },
        `this ${what} is out of use: its definition can not be read`,
      );
      return [];
    }
  });
}

/** Compiled once for each version. Rules that can't be read decide nothing, so that messages wait for a person. */
function readRules({ tenant, version, text }: RulesRow, known: Snapshot | null, log: Logger): RulesInForce {
  const before = known?.rules(tenant);
  if (before?.version === version) return before;
  const parsed = parseRuleSet(text);
  if (parsed.ok) return rulesInForce(version, text, compileRuleSet(parsed.ruleSet));
  log.error({ tenant, version }, 'the rules in force can not be read: all messages wait in the inbox');
  return { ...NO_RULES, version, text };
}

interface ModelRow {
  readonly tenant: number;
  readonly version: number;
  readonly measures: readonly TargetMeasure[];
}

/** Opened once for each version, and only where a target is chosen by it: a model is up to a few megabytes. */
async function readModels(
  client: PoolClient,
  targets: readonly Target[],
  known: Snapshot | null,
): Promise<Map<number, ModelInForce>> {
  const tenants = new Set(targets.filter(({ definition }) => definition.automatic).map(({ tenant }) => tenant.id));
  const models = new Map<number, ModelInForce>();
  if (tenants.size === 0) return models;
  const { rows } = await client.query<ModelRow>(
    `select m.tenant, m.version, m.measures from unnest($1::int[]) as w(tenant)
       cross join lateral (select * from learning_model where tenant = w.tenant order by version desc limit 1) m`,
    [arrayOf([...tenants])],
  );
  for (const { tenant, version, measures } of rows) {
    const before = known?.model(tenant);
    if (before?.version === version) {
      models.set(tenant, before);
      continue;
    }
    const { rows: bodies } = await client.query<{ body: Model }>(
      'select body from learning_model where tenant = $1 and version = $2',
      [tenant, version],
    );
    for (const { body } of bodies) models.set(tenant, { version, measures, opened: openModel(body) });
  }
  return models;
}

/** The targets that ask for it and have learnt enough; null where there are none. */
function automaticOf(model: ModelInForce, targets: readonly Target[]): AutomaticInForce | null {
  const thresholds = new Map<number, number>();
  for (const { id, definition } of targets) {
    const { automatic } = definition;
    if (!automatic) continue;
    const measure = model.measures.find(({ target }) => target === id);
    if (measure?.learnt && whyNotReady(automatic, measure) === null) thresholds.set(id, automatic.threshold);
  }
  if (thresholds.size === 0) return null;
  return {
    model: model.version,
    score: (message) =>
      model.opened.score(featuresOf(message)).flatMap(({ target, probability }) => {
        const threshold = thresholds.get(target);
        return threshold === undefined ? [] : [{ target, probability, threshold }];
      }),
  };
}
