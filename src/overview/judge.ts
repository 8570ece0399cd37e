/** What the judgement is made of. Times in milliseconds since 1970; null where it is not known or not the caller's business. */
export interface Condition {
  readonly now: number;
  readonly channels: {
    /** Those that no living process reads onward. */
    readonly unowned: readonly number[];
    /** Sequenced, and not planned yet; now, and five minutes ago. */
    readonly unread: number;
    readonly unreadBefore: number | null;
  };
  readonly targets: readonly TargetCondition[];
  readonly sources: readonly { readonly name: string; readonly reason: string | null }[];
  readonly inbox: { readonly oldest: number | null } | null;
  readonly filters: readonly {
    readonly generation: number;
    readonly keys: number;
    readonly fill: number;
    readonly falsePositives: number | null;
  }[];
  /** When the oldest came that was taken as a duplicate and has not been looked up. */
  readonly unseen: number | null;
  /** Entries of the last day that no rung could read, unlike any before: the newest first. */
  readonly newPoison: readonly string[];
  readonly surroundings: Surroundings;
  /** When figures were last written down. */
  readonly sampledAt: number | null;
}

export interface TargetCondition {
  readonly name: string;
  readonly paused: { readonly by: string; readonly reason: string; readonly since: number } | null;
  /** Of what is tried next, why it was not taken before. */
  readonly trouble: string | null;
  readonly waiting: number;
  readonly oldest: number | null;
  /** What waited five and ten minutes ago; null where nobody counted. */
  readonly before: { readonly five: number; readonly ten: number } | null;
}

/** What one process sees around it. A sentence where something is wrong. */
export interface Surroundings {
  readonly disk: string | null;
  readonly broker: { readonly state: 'up' | 'down' | 'blocked'; readonly problem: string | null } | null;
  readonly clocks: readonly string[];
  /** No more is taken of the tenant until the broker is back. */
  readonly backlogged: boolean;
}

export const FINDING_CODES = [
  'disk_low',
  'backlogged',
  'broker_down',
  'broker_alarm',
  'channel_unowned',
  'reading_behind',
  'target_paused',
  'target_failing',
  'lag_growing',
  'lag_old',
  'source_failing',
  'quarantine_new',
  'inbox_old',
  'filter_full',
  'filter_wrong',
  'unseen_old',
  'clock_off',
  'figures_missing',
] as const;
export type FindingCode = (typeof FINDING_CODES)[number];

/** One thing that is not well. */
export interface Finding {
  readonly code: FindingCode;
  /** `bad`: messages stand still or will be refused. `warn`: somebody should look. */
  readonly severity: 'bad' | 'warn';
  readonly sentence: string;
  /** The page behind it. */
  readonly href: string;
}

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
/** Fewer waiting than this are no trend. */
const MANY = 100;
/** What waits has grown when it is more by a fifth. */
const GROWN = 1.2;
const WAITS_LONG_MS = 15 * MINUTE;
const INBOX_LONG_MS = 24 * HOUR;
/** Accepted and not read: a second's work. */
const UNREAD_MANY = 10_000;
/** Filters are made for half of their bits set, and to be wrong once in a thousand. */
const FULL = 0.6;
const WRONG = 0.01;
/** Of so few keys one wrong answer is no measure. */
const KEYS_MEASURED = 10_000;
const UNSAMPLED_MS = MINUTE;
/** They are looked up every second. */
const UNSEEN_LONG_MS = 10 * MINUTE;

/** What is not well, the worst first; nothing when all is. */
export function judge(condition: Condition): Finding[] {
  const findings = [
    ...aroundUs(condition.surroundings),
    ...aboutChannels(condition),
    ...condition.targets.flatMap((target) => aboutTarget(target, condition.now)),
    ...condition.sources.map(aboutSource),
    ...aboutQuarantine(condition.newPoison),
    ...aboutInbox(condition),
    ...aboutFilters(condition.filters),
    ...aboutUnseen(condition),
    ...aboutFigures(condition),
  ];
  return [
    ...findings.filter(({ severity }) => severity === 'bad'),
    ...findings.filter((one) => one.severity === 'warn'),
  ];
}

/** The answer to "is it well?" in one sentence. */
export function verdictOn(findings: readonly Finding[]): string {
  if (findings.length === 0) return 'All is well.';
  const bad = findings.filter(({ severity }) => severity === 'bad').length;
  const warn = findings.length - bad;
  if (bad === 0)
    return warn === 1
      ? 'Messages flow. One thing should be looked at.'
      : `Messages flow. ${warn} things should be looked at.`;
  const also = warn === 0 ? '' : `, and ${warn === 1 ? 'one' : warn} more should be looked at`;
  return bad === 1 ? `One thing is not well${also}.` : `${bad} things are not well${also}.`;
}

function aroundUs({ disk, broker, clocks, backlogged }: Surroundings): Finding[] {
  const findings: Finding[] = [];
  const add = (code: FindingCode, severity: Finding['severity'], sentence: string, href: string) =>
    findings.push({ code, severity, sentence: sentenceOf(sentence), href });
  if (disk !== null) add('disk_low', 'bad', disk, '/readyz');
  if (backlogged) add('backlogged', 'bad', 'Senders are told to come back: too much waits for the broker', '/targets');
  if (broker?.state === 'down')
    add('broker_down', 'bad', `The broker can not be reached${because(broker)}`, '/targets');
  if (broker?.state === 'blocked') {
    add('broker_alarm', 'bad', `The broker has an alarm and takes nothing${because(broker)}`, '/targets');
  }
  for (const clock of clocks) add('clock_off', 'warn', clock, '/readyz');
  return findings;
}

function because({ problem }: { readonly problem: string | null }): string {
  return problem === null ? '' : `: ${problem}`;
}

function aboutChannels({ channels: { unowned, unread, unreadBefore } }: Condition): Finding[] {
  const href = '/overview#channels';
  const findings: Finding[] = [];
  if (unowned.length > 0) {
    const which = unowned.length === 1 ? `channel ${unowned[0]}` : `${unowned.length} channels (${some(unowned)})`;
    findings.push({ code: 'channel_unowned', severity: 'bad', sentence: `Nobody reads ${which} onward.`, href });
  }
  if (unread >= UNREAD_MANY && unreadBefore !== null && unread > unreadBefore * GROWN) {
    const sentence = `${number(unread)} accepted messages are not read yet, ${number(unread - unreadBefore)} more than five minutes ago.`;
    findings.push({ code: 'reading_behind', severity: 'bad', sentence, href });
  }
  return findings;
}

/** One finding a target: what explains the others. */
function aboutTarget(target: TargetCondition, now: number): Finding[] {
  const { name, paused, trouble, waiting, oldest } = target;
  const href = `/targets/${name}`;
  const age = oldest === null ? 0 : now - oldest;
  if (paused) {
    const sentence = `The target ${name} has been paused for ${lasting(now - paused.since)}, by ${paused.by}: ${paused.reason}`;
    return [{ code: 'target_paused', severity: 'bad', sentence: sentenceOf(sentence), href }];
  }
  const waits = `${number(waiting)} ${waiting === 1 ? 'message waits' : 'messages wait'} for ${name}`;
  if (trouble !== null && waiting > 0) {
    const sentence = `${waits}, which did not take what was tried last: ${trouble}`;
    return [{ code: 'target_failing', severity: 'bad', sentence: sentenceOf(sentence), href }];
  }
  if (isGrowing(target, age)) {
    const more = number(waiting - (target.before?.ten ?? 0));
    const sentence = `${waits}, ${more} more than ten minutes ago; the oldest for ${lasting(age)}.`;
    return [{ code: 'lag_growing', severity: 'bad', sentence, href }];
  }
  if (waiting > 0 && age > WAITS_LONG_MS) {
    return [{ code: 'lag_old', severity: 'warn', sentence: `${waits}, the oldest for ${lasting(age)}.`, href }];
  }
  return [];
}

/** More than before, and before that: a burst that is being worked off is not. */
function isGrowing({ waiting, before }: TargetCondition, age: number): boolean {
  if (before === null || waiting < MANY || age < MINUTE) return false;
  return waiting > before.five && before.five >= before.ten && waiting > before.ten * GROWN;
}

function aboutSource({ name, reason }: Condition['sources'][number]): Finding {
  const sentence = sentenceOf(`The queue of ${name} can not be consumed${reason === null ? '' : `: ${reason}`}`);
  return { code: 'source_failing', severity: 'bad', sentence, href: `/messages?source=${name}` };
}

function aboutQuarantine(entries: readonly string[]): Finding[] {
  const [first] = entries;
  if (first === undefined) return [];
  const only = entries.length === 1;
  const sentence = only
    ? `A message of a new kind could be read on no rung: ${first}.`
    : `${number(entries.length)} messages of new kinds could be read on no rung, the last of them ${first}.`;
  const href = only ? `/quarantine/${first}` : '/quarantine?cause=poison';
  return [{ code: 'quarantine_new', severity: 'warn', sentence, href }];
}

function aboutInbox({ inbox, now }: Condition): Finding[] {
  const age = inbox?.oldest == null ? 0 : now - inbox.oldest;
  if (age <= INBOX_LONG_MS) return [];
  const sentence = `A message has waited for a person for ${lasting(age)}.`;
  return [{ code: 'inbox_old', severity: 'warn', sentence, href: '/inbox' }];
}

function aboutFilters(filters: Condition['filters']): Finding[] {
  const href = '/overview#filters';
  const findings = filters
    .filter(({ fill }) => fill > FULL)
    .map(({ generation, fill }): Finding => {
      const sentence = `The filter of generation ${generation} is too full: ${percent(fill)} of its bits are set, and more keys than usual are looked up.`;
      return { code: 'filter_full', severity: 'warn', sentence, href };
    });
  // Measured over all of them together.
  const wrong = filters.find(({ falsePositives }) => falsePositives !== null && falsePositives > WRONG);
  const keys = filters.reduce((sum, one) => sum + one.keys, 0);
  if (wrong && keys >= KEYS_MEASURED) {
    const sentence = `The filters say "maybe seen" of ${percent(wrong.falsePositives ?? 0)} of the keys that are new: verdicts are right, and slower.`;
    findings.push({ code: 'filter_wrong', severity: 'warn', sentence, href });
  }
  return findings;
}

function aboutUnseen({ unseen, now }: Condition): Finding[] {
  if (unseen === null || now - unseen <= UNSEEN_LONG_MS) return [];
  const sentence = `Messages that were taken as duplicates by a filter have not been looked up for ${lasting(now - unseen)}: does a process with the role ingress run?`;
  return [{ code: 'unseen_old', severity: 'warn', sentence, href: '/overview#maybe' }];
}

function aboutFigures({ sampledAt, now }: Condition): Finding[] {
  if (sampledAt === null || now - sampledAt <= UNSAMPLED_MS) return [];
  const sentence = `Figures have not been written down for ${lasting(now - sampledAt)}: does a process with the role ledger run?`;
  return [{ code: 'figures_missing', severity: 'warn', sentence, href: '/readyz' }];
}

/** Sentences of other parts begin small and end open. */
function sentenceOf(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? '' : '.'}`;
}

function some(all: readonly number[]): string {
  return all.length > 8 ? `${all.slice(0, 8).join(', ')} …` : all.join(', ');
}

function number(value: number): string {
  return value.toLocaleString('en');
}

function percent(share: number): string {
  return `${(share * 100).toFixed(1)} %`;
}

const UNITS = [
  ['day', 24 * HOUR],
  ['hour', HOUR],
  ['minute', MINUTE],
  ['second', 1_000],
] as const;

/** A length of time in its greatest unit: `3 minutes`. */
function lasting(ms: number): string {
  const [unit, length] = UNITS.find(([, least]) => ms >= least) ?? ['second', 1_000];
  const count = Math.max(0, Math.floor(ms / length));
  return `${count} ${unit}${count === 1 ? '' : 's'}`;
}
