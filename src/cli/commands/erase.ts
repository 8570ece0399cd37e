import type { Command } from 'commander';
import type { Context } from '../context.js';
import { Failed, UsageError } from '../failure.js';
import { count } from '../io.js';

interface Options {
  readonly account: string;
  readonly source?: string;
  readonly reason: string;
  readonly yes?: true;
}

interface Result {
  readonly pseudonym: string;
  readonly messages: number;
  readonly closed: number;
  readonly cancelling: number;
  readonly quarantined: number;
  readonly refusals: number;
  readonly left: number;
}

type Event =
  | { readonly event: 'progress'; readonly done: number; readonly total: number; readonly erased: number }
  | ({ readonly event: 'result' } & Result);

export function addErase(program: Command, context: Context): void {
  program
    .command('erase')
    .description("erase what an account's messages say, for good; their places, hashes and decisions stay")
    .requiredOption('--account <account>', 'whose')
    .option('--source <name>', 'only what came by this source')
    .requiredOption('--reason <text>', 'why; it is kept, so it should not name the account')
    .option('--yes', 'it is meant: it can not be undone')
    .action((options: Options) => erase(context, options));
}

async function erase(context: Context, { account, source, reason, yes }: Options): Promise<void> {
  if (!yes)
    throw new UsageError('It can not be undone, and what was sent is not called back. Say that it is meant by --yes.');
  const { out } = context;
  const progress = out.progress('messages looked at', undefined);
  let result: Result | null = null;
  try {
    const json = { account, reason, ...(source !== undefined && { source }) };
    for await (const event of context.client().lines('/v1/accounts/erase', json) as AsyncGenerator<Event>) {
      if (event.event === 'result') result = event;
      else progress.update(event.done);
    }
  } finally {
    progress.end();
  }
  if (!result) throw new Failed('cut_off', 'It was cut off before its end; ask for it again: it goes on where it was.');
  const told = result;
  await out.show(JSON.stringify(told), () => summary(told));
  if (told.left > 0) {
    const messages = `${count(told.left)} messages are not planned yet, and can not be erased before that`;
    throw new Failed('not_planned_yet', `${messages}: ask for it again.`);
  }
}

function summary(result: Result): string[] {
  return [
    `${count(result.messages)} messages erased; ${result.pseudonym} stands in the account's place`,
    ...told(result.closed, 'that waited for a person, or to be read, are closed'),
    ...told(result.cancelling, 'deliveries that waited are cancelled'),
    ...told(result.quarantined, 'entries of the quarantine erased'),
    ...told(result.refusals, 'refusals removed'),
  ];
}

function told(n: number, what: string): string[] {
  return n > 0 ? [`${count(n)} ${what}`] : [];
}
