import type { Command } from 'commander';
import type { Context } from '../context.js';
import { Failed } from '../failure.js';
import { readInput, wholeOf } from '../input.js';
import { count, plain, table } from '../io.js';
import { timeOrAgo, wholeNumber } from '../options.js';
import { type Step, stepsLines } from '../story.js';

interface Version {
  readonly version: number;
  readonly managedBy: string;
  readonly active: boolean;
  readonly who: string;
  readonly why: string | null;
  readonly createdAt: string;
}

interface LintProblem {
  readonly severity: 'error' | 'warning';
  readonly line: number;
  readonly column: number;
  readonly message: string;
}

interface Tested {
  readonly outcome:
    | { readonly do: 'deliver'; readonly targets: readonly string[] }
    | { readonly do: 'close'; readonly reason: string }
    | { readonly do: 'wait' };
  readonly steps: readonly Step[];
}

interface Difference {
  readonly added: number;
  readonly removed: number;
  readonly examples: { readonly added: readonly string[]; readonly removed: readonly string[] };
}

interface Backtested {
  readonly messages: number;
  readonly changed: number;
  readonly gone: number;
  readonly targets: readonly ({ readonly target: string } & Difference)[];
  readonly waiting: Difference;
  readonly closed: Difference;
  readonly rules: readonly { readonly rule: string; readonly hits: number }[];
}

type BacktestEvent =
  | { readonly event: 'progress'; readonly done: number; readonly total: number }
  | ({ readonly event: 'result' } & Backtested);

interface BacktestOptions {
  readonly against?: number;
  readonly after?: string;
  readonly before?: string;
  readonly waiting?: true;
  readonly limit?: number;
}

export function addRules(program: Command, context: Context): void {
  const rules = program.command('rules').description('the rules and their versions; look at others before they hold');
  const version = wholeNumber(1, 2_147_483_647);
  const time = timeOrAgo(context.io.clock.now);
  rules
    .command('list', { isDefault: true })
    .description('versions, newest first')
    .option('--limit <n>', 'how many', wholeNumber(1, 200), 50)
    .action(async ({ limit }: { limit: number }) => {
      const query = { limit };
      const { text, body } = await context.client().call<{ items: readonly Version[] }>('/v1/rules', { query });
      await context.out.show(text, () => versionLines(body.items));
    });
  rules
    .command('activate')
    .description('put a version in force that was kept before')
    .argument('<version>', 'as "rules list" numbers them', version)
    .action(async (number: number) => {
      const { text } = await context.client().call(`/v1/rules/${number}/activate`, { method: 'POST' });
      await context.out.show(text, () => [`version ${number} is in force`]);
    });
  rules
    .command('lint')
    .description('what is wrong with rules, or probably not meant')
    .argument('<file>', '- is stdin')
    .action((file: string) => lintFile(context, file));
  rules
    .command('test')
    .description('what rules would make of one message, clause by clause; nothing is sent')
    .argument('<file>', '- is stdin')
    .argument('<message>', 'such as 7-10234')
    .action((file: string, message: string) => testFile(context, file, message));
  rules
    .command('backtest')
    .description('what rules would have made of the messages that are kept; nothing is sent')
    .argument('<file>', '- is stdin')
    .option('--against <version>', 'compare with this version; without it with those in force', version)
    .option('--after <time>', 'what arrived since then, such as 2026-01-31T12:00:00Z or 30d', time)
    .option('--before <time>', 'what arrived earlier', time)
    .option('--waiting', 'what waits in the inbox alone')
    .option('--limit <n>', 'about the newest, so many', wholeNumber(1, 1_000_000_000))
    .action((file: string, options: BacktestOptions) => backtestFile(context, file, options));
}

async function textOf(context: Context, file: string): Promise<string> {
  return (await wholeOf(readInput(context.io, file))).toString('utf8');
}

function versionLines(versions: readonly Version[]): string[] {
  if (versions.length === 0) return ['there are no rules: everything waits in the inbox'];
  return table(
    ['VERSION', 'IN FORCE', 'SINCE', 'WHO', 'WHY'],
    versions.map(({ version, active, managedBy, createdAt, who, why }) => {
      const inForce = active ? (managedBy === 'file' ? 'yes, by the file' : 'yes') : '';
      return [version, inForce, createdAt, who, why];
    }),
  );
}

async function lintFile(context: Context, file: string): Promise<void> {
  const json = { text: await textOf(context, file) };
  const { text, body } = await context
    .client()
    .call<{ problems: readonly LintProblem[] }>('/v1/rules/lint', { method: 'POST', json });
  const { problems } = body;
  await context.out.show(text, () => (problems.length === 0 ? ['nothing is wrong'] : problemLines(file, problems)));
  const errors = problems.filter(({ severity }) => severity === 'error').length;
  if (errors > 0) throw new Failed('rules_invalid', `These rules can not be kept: ${count(errors)} errors.`);
}

function problemLines(file: string, problems: readonly LintProblem[]): string[] {
  const name = file === '-' ? 'stdin' : file;
  return problems.map(({ severity, line, column, message }) =>
    plain(`${name}:${line}:${column}: ${severity}: ${message}`),
  );
}

async function testFile(context: Context, file: string, message: string): Promise<void> {
  const json = { text: await textOf(context, file), message };
  const { text, body } = await context.client().call<Tested>('/v1/rules/test', { method: 'POST', json });
  await context.out.show(text, () => [plain(outcomeLine(body.outcome)), ...stepsLines(body)]);
}

function outcomeLine(outcome: Tested['outcome']): string {
  switch (outcome.do) {
    case 'deliver':
      return `it would go to ${outcome.targets.join(', ')}`;
    case 'close':
      return `it would be closed: ${outcome.reason}`;
    case 'wait':
      return 'it would wait in the inbox';
    default: {
      const never: never = outcome;
      throw new Error(`no such outcome: ${JSON.stringify(never)}`);
    }
  }
}

async function backtestFile(context: Context, file: string, options: BacktestOptions): Promise<void> {
  const { out } = context;
  const { waiting, ...rest } = options;
  const json = { text: await textOf(context, file), ...rest, ...(waiting && { state: 'waiting' }) };
  const events = context.client().lines('/v1/rules/backtest', json) as AsyncGenerator<BacktestEvent>;
  let progress: ReturnType<typeof out.progress> | undefined;
  let result: Backtested | undefined;
  try {
    for await (const event of events) {
      if (event.event === 'result') {
        result = event;
        continue;
      }
      progress ??= out.progress('messages compared', event.total === 0 ? undefined : event.total);
      progress.update(event.done);
    }
  } finally {
    progress?.end();
  }
  if (!result) throw new Failed('cut_off', 'The backtest was cut off before its end; ask for it again.');
  const told = result;
  await out.show(JSON.stringify(told), () => resultLines(told));
}

function resultLines({ messages, changed, gone, targets, waiting, closed, rules }: Backtested): string[] {
  const numbers = [...targets, { target: 'waiting in the inbox', ...waiting }, { target: 'closed', ...closed }]
    .filter(({ added, removed }) => added + removed > 0)
    .flatMap(({ target, ...difference }) => differenceLines(target, difference));
  const never = rules.filter(({ hits }) => hits === 0).map(({ rule }) => rule);
  return [
    `${count(messages)} messages, of which ${count(changed)} would come to something else`,
    ...(gone > 0 ? [`${count(gone)} more are no longer kept`] : []),
    ...numbers,
    ...(never.length > 0 ? [plain(`never hit: ${never.join(', ')}`)] : []),
  ];
}

/** `+12 erp, such as 7-10234, 3-11 …` */
function differenceLines(what: string, { added, removed, examples }: Difference): string[] {
  const line = (sign: string, n: number, ids: readonly string[]) =>
    n === 0 ? [] : [plain(`${sign}${count(n)} ${what}: ${shown(ids, n)}`)];
  return [...line('+', added, examples.added), ...line('−', removed, examples.removed)];
}

const SHOWN_IDS = 5;

function shown(ids: readonly string[], n: number): string {
  return `${ids.slice(0, SHOWN_IDS).join(', ')}${n > SHOWN_IDS ? ' …' : ''}`;
}
