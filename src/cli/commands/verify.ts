import type { Command } from 'commander';
import type { Context } from '../context.js';
import { Failed, UsageError } from '../failure.js';
import { count, type Progress, plain } from '../io.js';
import { timeOrAgo, wholeNumber } from '../options.js';

interface Options {
  readonly channel?: number;
  readonly from?: number;
  readonly to?: number;
  readonly since?: string;
}

interface Finding {
  readonly code: string;
  readonly detail: string;
}

interface Result {
  readonly ok: boolean;
  readonly channels: number;
  readonly messages: number;
  readonly erased: number;
  readonly plans: number;
  readonly keys: number;
  readonly findings: number;
  readonly checkpoints: number;
  readonly signer: string;
}

type Event =
  | { readonly event: 'progress'; readonly doing: 'messages' | 'keys'; readonly done: number; readonly total: number }
  | ({ readonly event: 'finding' } & Finding)
  | ({ readonly event: 'result' } & Result);

export function addVerify(program: Command, context: Context): void {
  const sequence = wholeNumber(1, Number.MAX_SAFE_INTEGER);
  program
    .command('verify')
    .description('read all messages and plans again, and say what is missing, altered or re-ordered')
    .option('--channel <n>', 'one channel', wholeNumber(0, 1023))
    .option('--from <sequence>', 'from this sequence of the channel on', sequence)
    .option('--to <sequence>', 'up to this one', sequence)
    .option(
      '--since <time>',
      'what arrived since then, such as 2026-01-31T12:00:00Z or 12h',
      timeOrAgo(context.io.clock.now),
    )
    .action((options: Options) => verify(context, options));
}

async function verify(context: Context, options: Options): Promise<void> {
  if (options.channel === undefined && (options.from !== undefined || options.to !== undefined)) {
    throw new UsageError('Sequences are of a channel: say which by --channel.');
  }
  const { out } = context;
  const progress = new Steps(out);
  let result: Result | null = null;
  try {
    for await (const event of context.client().lines('/v1/verify', options) as AsyncGenerator<Event>) {
      switch (event.event) {
        case 'progress':
          progress.update(event);
          break;
        case 'finding':
          progress.end();
          await out.show(JSON.stringify(event), () => [`${event.code}: ${plain(event.detail)}`]);
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
    progress.end();
  }
  if (!result) throw new Failed('cut_off', 'The verification was cut off before its end; ask for it again.');
  const told = result;
  await out.show(JSON.stringify(told), () => summary(told));
  if (!told.ok) throw new Failed('verify_failed', `${count(told.findings)} found that should not be so.`);
}

/** Progress of one kind of work after the other. */
class Steps {
  #doing = '';
  #progress: Progress | undefined;

  constructor(private readonly out: Context['out']) {}

  update({ doing, done, total }: Extract<Event, { event: 'progress' }>): void {
    if (doing !== this.#doing) {
      this.end();
      this.#doing = doing;
      this.#progress = this.out.progress(`${doing} verified`, total === 0 ? undefined : total);
    }
    this.#progress?.update(done);
  }

  end(): void {
    this.#progress?.end();
  }
}

function summary({ ok, channels, messages, erased, plans, keys, checkpoints, signer }: Result): string[] {
  const holds = ok ? 'all of it holds' : 'not all of it holds';
  return [
    `${count(messages)} messages, ${count(plans)} plans and ${count(keys)} keys of ${channels} channels: ${holds}`,
    ...(erased > 0 ? [`of ${count(erased)} messages an erased account left only the hash`] : []),
    ...(checkpoints > 0 ? [`what ${checkpoints} channels have dropped is held by checkpoints`] : []),
    `checkpoints are signed with ${signer}`,
  ];
}
