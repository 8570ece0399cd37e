import type { Command } from 'commander';
import type { Context } from '../context.js';
import { Failed } from '../failure.js';
import { count, plain, table } from '../io.js';
import { wholeNumber } from '../options.js';

interface Gap {
  readonly message: string;
  readonly reason: string;
  readonly account: string | null;
  readonly time: string | null;
  readonly since: string;
  readonly asked: number;
}

interface Result {
  readonly ok: boolean;
  readonly swapped: boolean;
  readonly messages: number;
  readonly differences: number;
}

type Event =
  | { readonly event: 'progress'; readonly done: number; readonly total: number }
  | {
      readonly event: 'difference';
      readonly account: string;
      readonly meter: string;
      readonly hours: number;
      readonly eventsBefore: number;
      readonly eventsAfter: number;
    }
  | ({ readonly event: 'result' } & Result);

export function addLedger(program: Command, context: Context): void {
  const ledger = program.command('ledger').description('what the ledger could not count, and making it anew');
  ledger
    .command('gaps')
    .description('messages that may be usage and are not counted')
    .option('--limit <n>', 'how many', wholeNumber(1, 200), 50)
    .option('--ask', 'ask the channels for them again')
    .action((options: { limit: number; ask?: true }) => gaps(context, options));
  ledger
    .command('rebuild')
    .description('make the ledger anew from the first message, compare it, and put it in place if nothing differs')
    .option('--accept-differences', 'put it in place whatever differs')
    .action((options: { acceptDifferences?: true }) => rebuild(context, options.acceptDifferences ?? false));
  const held = ledger
    .command('held')
    .description('messages that meters hold, because their period was final when they came');
  held
    .command('list', { isDefault: true })
    .description('what is held, by channel and sequence')
    .option('--account <account>', 'of this account')
    .option('--limit <n>', 'how many', wholeNumber(1, 200), 50)
    .action((query: { account?: string; limit: number }) => listHeld(context, query));
  held
    .command('accept')
    .description('charge one: in the next statement, as an adjustment')
    .argument('<message>')
    .requiredOption('--why <text>', 'why')
    .action((message: string, { why }: { why: string }) => decideHeld(context, message, 'accept', why));
  held
    .command('discard')
    .description('do not charge one: it is void')
    .argument('<message>')
    .requiredOption('--why <text>', 'why')
    .action((message: string, { why }: { why: string }) => decideHeld(context, message, 'discard', why));
  program
    .command('statement')
    .description('the statement of an account: final, or as things stand')
    .argument('<account>')
    .argument('<period>', 'such as 2026-03')
    .option('--csv', 'its lines, as CSV')
    .action((account: string, period: string, { csv }: { csv?: true }) => statement(context, account, period, csv));
}

async function gaps({ client, out }: Context, { limit, ask }: { limit: number; ask?: true }): Promise<void> {
  const { text, body } = await client().call<{ items: readonly Gap[] }>('/v1/ledger/gaps', { query: { limit } });
  if (!ask || body.items.length === 0) {
    await out.show(text, () => gapLines(body.items));
    return;
  }
  const json = { messages: body.items.map(({ message }) => message) };
  const asked = await client().call<{ healed: number }>('/v1/ledger/gaps/ask', { method: 'POST', json });
  await out.show(asked.text, () => [`${count(asked.body.healed)} of ${count(body.items.length)} are counted now`]);
}

interface Held {
  readonly message: string;
  readonly account: string;
  readonly meters: readonly string[];
  readonly time: string;
  readonly period: string | null;
}

async function listHeld({ client, out }: Context, query: { account?: string; limit: number }): Promise<void> {
  const { text, body } = await client().call<{ items: readonly Held[] }>('/v1/ledger/held', { query });
  await out.show(text, () => {
    if (body.items.length === 0) return ['nothing is held'];
    const rows = body.items.map(({ message, account, meters, time, period }) => [
      ...[message, account, meters.join(', '), time, period],
    ]);
    return table(['message', 'account', 'meters', 'time', 'period'], rows);
  });
}

async function decideHeld({ client, out }: Context, message: string, what: string, why: string): Promise<void> {
  const path = `/v1/ledger/held/${encodeURIComponent(message)}/${what}`;
  const { text, body } = await client().call<{ id: string; again: boolean }>(path, { method: 'POST', json: { why } });
  await out.show(text, () => [body.again ? `said before, by ${body.id}` : `said as ${body.id}`]);
}

function gapLines(items: readonly Gap[]): string[] {
  if (items.length === 0) return ['everything is counted'];
  const rows = items.map((gap) => [gap.message, gap.reason, gap.account, gap.time, gap.since, gap.asked]);
  return table(['message', 'reason', 'account', 'time', 'since', 'asked'], rows);
}

async function rebuild({ client, out }: Context, acceptDifferences: boolean): Promise<void> {
  let progress: ReturnType<typeof out.progress> | undefined;
  let result: Result | null = null;
  try {
    for await (const event of client().lines('/v1/ledger/rebuild', { acceptDifferences }) as AsyncGenerator<Event>) {
      switch (event.event) {
        case 'progress':
          progress ??= out.progress('messages counted', event.total);
          progress.update(event.done);
          break;
        case 'difference':
          progress?.end();
          await out.show(JSON.stringify(event), () => [
            `${plain(event.account)}, ${event.meter}: ${count(event.hours)} hours differ, ${count(event.eventsBefore)} events before and ${count(event.eventsAfter)} now`,
          ]);
          break;
        case 'result':
          result = event;
          break;
        default: {
          const never: never = event;
          throw new Error(`no such line: ${JSON.stringify(never)}`);
        }
      }
    }
  } finally {
    progress?.end();
  }
  if (!result) throw new Failed('cut_off', 'It was cut off before its end, and nothing has changed; ask for it again.');
  const told = result;
  await out.show(JSON.stringify(told), () => [
    `${count(told.messages)} messages counted; ${told.differences === 0 ? 'nothing differs' : `${count(told.differences)} differences`}; the ${told.swapped ? 'new' : 'old'} ledger is in force`,
  ]);
  if (!told.swapped) {
    const next = 'Look into them, then say --accept-differences if the new one is right.';
    throw new Failed('ledger_differs', `The new ledger differs, and was not put in place. ${next}`);
  }
}

interface Answer {
  readonly state: string;
  readonly hash: string | null;
  readonly statement: {
    readonly currency: string | null;
    readonly total: string;
    readonly complete: boolean;
    readonly lines: readonly {
      readonly kind: string;
      readonly what: string;
      readonly dimensions: Readonly<Record<string, string>>;
      readonly period: string | null;
      readonly quantity: string;
      readonly unit: string | null;
      readonly amount: string | null;
    }[];
  };
}

async function statement({ client, out, io }: Context, account: string, period: string, csv?: true): Promise<void> {
  const path = `/v1/accounts/${encodeURIComponent(account)}/statements/${encodeURIComponent(period)}`;
  if (csv) {
    io.stdout.write(await client().text(path, 'text/csv'));
    return;
  }
  const { text, body } = await client().call<Answer>(path);
  await out.show(text, () => statementLines(body));
}

function statementLines({ state, hash, statement: { lines, total, currency, complete } }: Answer): string[] {
  const rows = lines.map(({ kind, what, dimensions, period, quantity, unit, amount }) => [
    kind,
    what,
    Object.entries(dimensions)
      .map(([name, value]) => `${name}=${value}`)
      .join(' '),
    period ?? '',
    quantity,
    unit ?? '',
    amount ?? 'unpriced',
  ]);
  return [
    ...table(['kind', 'what', 'dimensions', 'of', 'quantity', 'unit', 'amount'], rows),
    `total ${total}${currency === null ? '' : ` ${currency}`}, ${state}, ${complete ? 'complete' : 'gaps are open: waybill ledger gaps'}`,
    ...(hash === null ? [] : [`sha256 ${hash}`]),
  ];
}
