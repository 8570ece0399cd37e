import { type Command, InvalidArgumentError, Option } from 'commander';
import { parse, stringify } from 'lossless-json';
import type { Context } from '../context.js';
import { Failed, UsageError } from '../failure.js';
import { plain, plainLines, table } from '../io.js';
import { timeOrIn, wholeNumber } from '../options.js';

interface Entry {
  readonly id: string;
  readonly cause: string;
  readonly state: string;
  readonly reason: string | null;
  readonly of: string | null;
  readonly crash: string | null;
  readonly source: string;
  readonly kind: string;
  readonly account: string;
  readonly type: string | null;
  readonly received: string;
  readonly peer: string;
  readonly count: number;
  readonly size: number;
}

interface Rung {
  readonly rung: number;
  readonly name: string;
  readonly means: string;
}

interface Attempt {
  readonly rung: number;
  readonly name: string;
  readonly stage: string;
  readonly try: number;
  readonly blamed: readonly number[];
  readonly started: string;
  readonly outcome: string | null;
  readonly reason: string | null;
}

interface RungView extends Rung {
  readonly view?: unknown;
  readonly failed?: { readonly failure: string; readonly stage: string; readonly reason: string };
}

interface Filter {
  readonly state?: string;
  readonly cause?: string;
  readonly crash?: string;
  readonly limit: number;
}

/** What every decision is about: entries by their ids, or all held ones of a crash hash. */
interface About {
  readonly crash?: string;
}

interface Wish extends About {
  readonly rung?: number | string;
  readonly until?: string;
  readonly reason?: string;
}

type Action = 'requeue' | 'release' | 'delay' | 'discard';

const ID = 'such as q-12';

export function addQuarantine(program: Command, context: Context): void {
  const quarantine = program
    .command('quarantine')
    .description('what was taken out of the stream; read it again, release or discard it');
  quarantine
    .command('list', { isDefault: true })
    .description('entries, newest first')
    .addOption(new Option('--state <state>', 'held without it').choices(['held', 'released', 'discarded']))
    .addOption(new Option('--cause <cause>', 'only these').choices(['conflict', 'expired', 'undecodable', 'poison']))
    .addOption(crashOption('only those that fail as one another'))
    .option('--limit <n>', 'how many', wholeNumber(1, 200), 50)
    .action(async ({ state, cause, crash, limit }: Filter) => {
      const query = { state, cause, crash, limit };
      const { text, body } = await context.client().call<{ items: readonly Entry[] }>('/v1/quarantine', { query });
      await context.out.show(text, () => entryLines(body.items));
    });
  quarantine
    .command('show')
    .description('an entry with the tries of reading it; or what a rung makes of it')
    .argument('<id>', ID)
    .option('--rung <rung>', 'by name or number', rungArgument)
    .action((id: string, { rung }: { rung?: number | string }) =>
      rung === undefined ? showEntry(context, id) : showView(context, id, rung),
    );
  decision(quarantine, context, 'requeue', 'read poison again, whatever became of others like it')
    .option('--rung <rung>', 'by name or number; from the top without it', rungArgument)
    .option('--reason <text>', 'why, for others to read');
  decision(quarantine, context, 'release', 'let it go on as it is; poison goes on with its envelope alone');
  decision(quarantine, context, 'delay', 'read poison again, later')
    .requiredOption('--until <time>', 'such as 2026-01-31T12:00:00Z, or 12h', timeOrIn(context.io.clock.now))
    .option('--rung <rung>', 'by name or number; from the top without it', rungArgument)
    .option('--reason <text>', 'why, for others to read');
  decision(quarantine, context, 'discard', 'it is not wanted; its bytes stay').option(
    '--reason <text>',
    'why, for others to read',
  );
}

function decision(quarantine: Command, context: Context, action: Action, says: string): Command {
  return quarantine
    .command(action)
    .description(says)
    .argument('[ids...]', ID)
    .addOption(crashOption('all held entries of this crash hash, instead of ids'))
    .action((ids: readonly string[], wish: Wish) => decide(context, action, ids, wish));
}

function crashOption(says: string): Option {
  return new Option('--crash <hash>', says).argParser((text: string) => {
    if (/^[0-9a-f]{64}$/.test(text)) return text;
    throw new InvalidArgumentError('It must be the 64 hexadecimal digits that "waybill quarantine show" gives.');
  });
}

/** Names are Waybill's to judge: its ladder is configured. */
function rungArgument(text: string): number | string {
  if (/^\d{1,4}$/.test(text)) return Number(text);
  if (/^[a-z_]{1,40}$/.test(text)) return text;
  throw new InvalidArgumentError('It must be a rung, such as files or 6.');
}

function path(id: string): string {
  return `/v1/quarantine/${encodeURIComponent(id)}`;
}

async function decide(context: Context, action: Action, ids: readonly string[], wish: Wish): Promise<void> {
  const { crash, ...rest } = wish;
  if (crash === undefined && ids.length === 0) throw new UsageError('Say which: ids such as q-12, or --crash.');
  if (crash !== undefined && ids.length > 0) throw new UsageError('Give either ids or --crash.');
  if (crash !== undefined) await decideAll(context, { action, crash, ...rest });
  else await decideEach(context, action, ids, rest);
}

async function decideAll(context: Context, json: object): Promise<void> {
  const { text, body } = await context
    .client()
    .call<{ done: number; skipped: number }>('/v1/quarantine/bulk', { method: 'POST', json, timeoutMs: BULK_MS });
  await context.out.show(text, () => [
    `${body.done} done${body.skipped === 0 ? '' : `, ${body.skipped} left: somebody else decided about them`}`,
  ]);
}

/** However many there are, all of them are one request. */
const BULK_MS = 600_000;

/** One after another; what can't be done keeps none of the others. */
async function decideEach(
  context: Context,
  action: Action,
  ids: readonly string[],
  wish: Omit<Wish, 'crash'>,
): Promise<void> {
  const done: { id: string; state: string; message?: string }[] = [];
  const failures: { id: string; error: Failed }[] = [];
  for (const id of ids) {
    try {
      const call = { method: 'POST', ...(action !== 'release' && { json: wish }) } as const;
      done.push((await context.client().call<(typeof done)[number]>(`${path(id)}/${action}`, call)).body);
    } catch (error) {
      if (!(error instanceof Failed) || error.code === 'interrupted') throw error;
      failures.push({ id, error });
    }
  }
  await context.out.show(JSON.stringify({ items: done }), () => done.map((one) => plain(doneLine(action, one))));
  const [first] = failures;
  if (!first) return;
  if (ids.length === 1) throw first.error;
  const details = failures.map(({ id, error }) => `${id}: ${error.message}`);
  throw new Failed(first.error.code, `${failures.length} of ${ids.length} could not be done.`, details);
}

function doneLine(action: Action, { id, message }: { readonly id: string; readonly message?: string }): string {
  switch (action) {
    case 'requeue':
      return `${id} will be read again`;
    case 'delay':
      return `${id} will be read again, later`;
    case 'release':
      return `${id} goes on as ${message}`;
    case 'discard':
      return `${id} is discarded`;
    default: {
      const never: never = action;
      return never;
    }
  }
}

async function showEntry(context: Context, id: string): Promise<void> {
  const entry = await context.client().call<Entry & { rungs: readonly Rung[] }>(path(id));
  const attempts = await context.client().call<{ items: readonly Attempt[] }>(`${path(id)}/attempts`);
  const json = `{"entry":${entry.text},"attempts":${JSON.stringify(attempts.body.items)}}`;
  await context.out.show(json, () => [
    ...factLines(entry.body),
    ...attempts.body.items.map(attemptLine),
    ...entry.body.rungs.map(({ rung, name, means }) => plain(`rung ${rung}, ${name}: ${means}`)),
  ]);
}

function factLines({ id, cause, state, reason, of, crash, ...one }: Entry): string[] {
  const times = one.count > 1 ? `, ${one.count} times` : '';
  return [
    `${id} is ${state}: ${cause}${reason === null ? '' : `: ${reason}`}${of === null ? '' : ` (${of})`}`,
    `received ${one.received} from ${one.peer}${times}, ${one.size} bytes`,
    `${one.kind} of ${one.source} for ${one.account}${one.type === null ? '' : `, ${one.type}`}`,
    ...(crash === null ? [] : [`crash hash ${crash}`]),
  ].map(plain);
}

function attemptLine({ rung, name, stage, try: number, blamed, started, outcome, reason }: Attempt): string {
  const without = blamed.length === 0 ? '' : ` without part ${blamed.join(', ')}`;
  const ended = `${outcome ?? 'under way'}${reason === null ? '' : `: ${reason}`}`;
  return plain(`try ${number} on rung ${rung}, ${name}${without} (${stage}), ${started}: ${ended}`);
}

async function showView(context: Context, id: string, rung: number | string): Promise<void> {
  const { text, body } = await context.client().call<RungView>(`${path(id)}/views/${rung}`);
  await context.out.show(text, () => [
    plain(`${id} on rung ${body.rung}, ${body.name}: ${body.means}`),
    ...(body.failed
      ? [plain(`it can not be read there: ${body.failed.failure} at ${body.failed.stage}: ${body.failed.reason}`)]
      : plainLines(stringify((parse(text) as RungView).view, undefined, 2) ?? '')),
  ]);
}

function entryLines(entries: readonly Entry[]): string[] {
  const rows = entries.map(({ id, cause, state, kind, source, account, received, crash, reason, type }) => [
    ...[id, cause, state, kind, source, account, received, crash?.slice(0, 12) ?? '', reason ?? type],
  ]);
  return table(['entry', 'cause', 'state', 'kind', 'source', 'account', 'received', 'crash', 'about'], rows);
}
