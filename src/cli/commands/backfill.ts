import type { Command } from 'commander';
import type { Context } from '../context.js';
import { batchesOf, eventsIn, sendBatches } from '../events.js';
import { Failed } from '../failure.js';
import { readInput } from '../input.js';
import { count, table } from '../io.js';
import { timeOrAgo, wholeNumber } from '../options.js';
import { sentLines, tallyJson } from './send-event.js';

interface Backfill {
  readonly id: number;
  readonly state: string;
  readonly from: string;
  readonly to: string;
  readonly account: string | null;
  readonly openedBy: string;
  readonly why: string;
  readonly openedAt: string;
  readonly sent: number;
  readonly overdue: boolean;
}

interface Figures extends Backfill {
  readonly read: number;
  readonly counted: number;
  readonly known: number;
  readonly uncountable: number;
  readonly unmetered: number;
}

const anId = wholeNumber(1, 2_147_483_647);

export function addBackfill(program: Command, context: Context): void {
  const ago = timeOrAgo(() => context.io.clock.now());
  const backfill = program
    .command('backfill')
    .description('events of the past: they count when their backfill is closed');
  backfill
    .command('list', { isDefault: true })
    .description('backfills, the newest first')
    .option('--account <account>', 'those with events of this account')
    .option('--limit <n>', 'how many', wholeNumber(1, 200), 50)
    .action((options: { account?: string; limit: number }) => list(context, options));
  backfill
    .command('open')
    .description('open one for events from one time on and before another')
    .requiredOption('--from <time>', 'of the first event that may be in it', ago)
    .requiredOption('--to <time>', 'events are earlier than this', ago)
    .requiredOption('--why <text>', 'why')
    .option('--account <account>', 'whose events alone it takes')
    .action((body: object) => change(context, '/v1/backfills', body));
  backfill
    .command('send')
    .description('send CloudEvents to one: a JSON object, an array or NDJSON')
    .argument('<id>', 'the backfill', anId)
    .argument('<file>', 'where the events are; - is stdin')
    .action((id: number, file: string) => send(context, id, file));
  backfill
    .command('show')
    .description('one, and what became of its events')
    .argument('<id>', 'the backfill', anId)
    .action(async (id: number) => show(context, await context.client().call<Figures>(`/v1/backfills/${id}`)));
  backfill
    .command('close')
    .description('have its events count')
    .argument('<id>', 'the backfill', anId)
    .option('--adjust', 'also in final periods: their next statements say the difference')
    .action((id: number, options: object) => change(context, `/v1/backfills/${id}/close`, options));
  backfill
    .command('revert')
    .description('take one back, also after it was closed')
    .argument('<id>', 'the backfill', anId)
    .requiredOption('--why <text>', 'why')
    .option('--adjust', 'also in final periods: their next statements say the difference')
    .action((id: number, options: object) => change(context, `/v1/backfills/${id}/revert`, options));
}

async function list({ client, out }: Context, query: { account?: string; limit: number }): Promise<void> {
  const { text, body } = await client().call<{ items: readonly Backfill[] }>('/v1/backfills', { query });
  await out.show(text, () => {
    if (body.items.length === 0) return ['there is no backfill'];
    const rows = body.items.map((one) => [
      ...[one.id, one.overdue ? `${one.state}, overdue` : one.state, one.from, one.to, one.account, one.sent],
      ...[one.openedBy, one.why],
    ]);
    return table(['backfill', 'state', 'from', 'to', 'account', 'sent', 'by', 'why'], rows);
  });
}

async function change(context: Context, path: string, json: object): Promise<void> {
  await show(context, await context.client().call<Figures>(path, { method: 'POST', json }));
}

async function show({ out }: Context, { text, body }: { text: string; body: Figures }): Promise<void> {
  const { id, state, sent, read, counted, known, uncountable, unmetered } = body;
  await out.show(text, () => [
    `backfill ${id} is ${state}; ${count(sent)} events sent, ${count(read)} read by the ledger: ${count(counted)} counted, ` +
      `${count(known)} known already, ${count(uncountable)} can't be counted, ${count(unmetered)} of no meter`,
  ]);
}

async function send(context: Context, id: number, file: string): Promise<void> {
  const events = batchesOf(eventsIn(readInput(context.io, file), undefined));
  const tally = await sendBatches(context, events, undefined, `/v1/backfills/${id}/events`);
  await context.out.show(tallyJson(tally), () => sentLines(tally));
  if (tally.inTrouble > 0)
    throw new Failed('events_refused', `${count(tally.inTrouble)} of ${count(tally.sent)} events are not in.`);
}
