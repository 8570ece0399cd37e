import { randomUUID } from 'node:crypto';
import type { Command } from 'commander';
import type { Context } from '../context.js';
import { batchesOf, eventsIn, type Result, sendBatches, type Tally } from '../events.js';
import { Failed, UsageError } from '../failure.js';
import { readInput } from '../input.js';
import { count } from '../io.js';
import { wholeNumber } from '../options.js';
import { sampleEvent } from '../samples.js';

interface Options {
  readonly count?: number;
  readonly type?: string;
  readonly subject?: string;
  readonly batch?: number;
  readonly ndjson?: true;
}

const MOST_SAMPLES = 100_000_000;

export function addSendEvent(send: Command, context: Context): void {
  send
    .command('event')
    .description('send CloudEvents: a JSON object, an array or NDJSON; without a file, samples')
    .argument('[file]', 'where the events are; - is stdin')
    .option('--count <n>', 'of samples: how many', wholeNumber(1, MOST_SAMPLES))
    .option('--type <type>', 'of samples: their type; "payment.received" without it')
    .option('--subject <account>', 'of samples: whom they concern; a hundred customers in turn without it')
    .option('--batch <n>', 'events a request', wholeNumber(1, 100_000))
    .option('--ndjson', 'take each line for an event, even if the first one is not JSON')
    .action((file: string | undefined, options: Options) => sendEvents(context, file, options));
}

async function sendEvents(context: Context, file: string | undefined, options: Options): Promise<void> {
  const { type, subject } = options;
  const samplesWanted = options.count !== undefined || type !== undefined || subject !== undefined;
  if (file !== undefined && samplesWanted) {
    throw new UsageError('--count, --type and --subject are for samples; events of a file say these themselves');
  }
  const total = file === undefined ? (options.count ?? 1) : undefined;
  const events =
    file === undefined ? samples(context, options) : eventsIn(readInput(context.io, file), options.ndjson && 'ndjson');
  const tally = await sendBatches(context, batchesOf(events, options.batch), total);
  await context.out.show(tallyJson(tally), () => sentLines(tally));
  if (tally.inTrouble > 0) {
    throw new Failed('events_refused', `${count(tally.inTrouble)} of ${count(tally.sent)} events are not in.`);
  }
}

function* samples({ io }: Context, options: Options): Generator<Buffer> {
  const id = `sample-${randomUUID()}`;
  for (let n = 1; n <= (options.count ?? 1); n++) {
    const time = new Date(io.clock.now());
    yield Buffer.from(sampleEvent(id, n, time, options.type ?? 'payment.received', options.subject));
  }
}

export function tallyJson({ sent, verdicts, results, troubles }: Tally): string {
  return JSON.stringify({ sent, verdicts, results, troubles });
}

export function sentLines({ sent, verdicts, results, troubles }: Tally): string[] {
  const [only] = results;
  if (sent === 1 && only) return [verdictLine(only)];
  const counts = Object.entries(verdicts)
    .filter(([, number]) => number > 0)
    .map(([verdict, number]) => `${count(number)} ${verdict}`);
  const head = `${count(sent)} events${counts.length > 0 ? `: ${counts.join(', ')}` : ''}`;
  return [head, ...troubles.map((one) => `  event ${one.index + 1}: ${verdictLine(one)}`)];
}

/** `sequenced as 7-10234`, `duplicate of 7-10234`, `rejected (id_missing): …` */
export function verdictLine({ verdict, message, of, code, reason }: Omit<Result, 'index'>): string {
  switch (verdict) {
    case 'sequenced':
      return `sequenced as ${message}`;
    case 'duplicate':
      return of === undefined ? 'duplicate, by the filter alone' : `duplicate of ${of}`;
    case 'conflict':
      return `conflict with ${of}, held as ${message}`;
    case 'expired':
      return `expired, held as ${message}`;
    case 'rejected':
      return `rejected (${code}): ${reason}`;
    default: {
      const never: never = verdict;
      return never;
    }
  }
}
