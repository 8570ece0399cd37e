import { setTimeout as wait } from 'node:timers/promises';
import type { Command } from 'commander';
import { Refused } from '../client.js';
import type { Context } from '../context.js';
import { Failed } from '../failure.js';
import { plain } from '../io.js';
import { wholeNumber } from '../options.js';

interface Options {
  readonly lines: number;
  readonly source?: string;
  readonly state?: string;
}

/** A message as lists give it. */
interface Summary {
  readonly id: string;
  readonly source: string;
  readonly kind: string;
  readonly account: string;
  readonly type: string | null;
  readonly received: string;
  readonly state: string;
  readonly version: number;
  readonly subject: string | null;
}

/** What the stream says: which messages came or changed. */
interface Change {
  readonly messages: readonly string[];
}

export function addTail(program: Command, context: Context): void {
  program
    .command('tail')
    .description('show messages as they come in and change state, until Ctrl-C')
    .option('-n, --lines <n>', 'how many of the latest to show first', wholeNumber(0, 200), 10)
    .option('--source <name>', 'only those of this source')
    .option('--state <state>', 'only those in this state: accepted, routed, waiting, closed …')
    .action((options: Options) => new Tail(context, options).run());
}

/** As many as are told of at once; the latest page holds nearly all of them. */
const PAGE = 200;
/** Messages further back, which somebody decided about, are asked for one by one. */
const MOST_SINGLE = 20;
/** Remembered so that a message is shown once for each state, though it is told of more often. */
const REMEMBERED = 10_000;
const RECONNECT_MS = 1_000;

class Tail {
  readonly #shown = new Map<string, string>();
  /** It has worked once. */
  #begun = false;

  constructor(
    private readonly context: Context,
    private readonly options: Options,
  ) {}

  async run(): Promise<void> {
    const { io, out } = this.context;
    while (!io.interrupted.aborted) {
      try {
        await this.#follow();
      } catch (error) {
        if (io.interrupted.aborted) return;
        // What fails at once will not come right by itself; what worked before will be back.
        if (!this.#begun || !(error instanceof Failed) || isFinal(error)) throw error;
        out.note(`waybill: ${error.message}`);
      }
      await wait(RECONNECT_MS, undefined, { signal: io.interrupted }).catch(() => undefined);
    }
  }

  /** One connection: what is there, then what is told. The stream is opened first, so that nothing falls in between. */
  async #follow(): Promise<void> {
    let caughtUp = false;
    for await (const change of this.context.client().events('/v1/stream')) {
      if (caughtUp) await this.#show(await this.#summaries((change as Change).messages));
      else await this.#show(await this.#latest(this.#begun ? PAGE : this.options.lines));
      caughtUp = true;
      this.#begun = true;
    }
  }

  async #latest(limit: number): Promise<readonly Summary[]> {
    if (limit === 0) return [];
    const { source, state } = this.options;
    const query = { limit, source, state };
    const { body } = await this.context.client().call<{ items: readonly Summary[] }>('/v1/messages', { query });
    return body.items.toReversed();
  }

  async #summaries(ids: readonly string[]): Promise<readonly Summary[]> {
    const wanted = new Set(ids);
    if (wanted.size === 0) return [];
    const latest = (await this.#latest(PAGE)).filter(({ id }) => wanted.has(id));
    const missing = [...wanted].filter((id) => !latest.some((one) => one.id === id)).slice(0, MOST_SINGLE);
    const older = await Promise.all(missing.map((id) => this.#one(id)));
    return [...older.flatMap((one) => one ?? []), ...latest];
  }

  async #one(id: string): Promise<Summary | undefined> {
    const path = `/v1/messages/${encodeURIComponent(id)}`;
    const { status, body } = await this.context.client().call<Summary>(path, { accept: [404, 410] });
    return status === 200 && this.#isWanted(body) ? body : undefined;
  }

  #isWanted({ source, state }: Summary): boolean {
    return (this.options.source ?? source) === source && (this.options.state ?? state) === state;
  }

  async #show(messages: readonly Summary[]): Promise<void> {
    for (const message of messages) {
      const stands = `${message.state} ${message.version}`;
      if (this.#shown.get(message.id) === stands) continue;
      this.#remember(message.id, stands);
      await this.context.out.show(JSON.stringify(message), () => [line(message)]);
    }
  }

  #remember(id: string, stands: string): void {
    this.#shown.delete(id);
    this.#shown.set(id, stands);
    const oldest = this.#shown.keys().next();
    if (this.#shown.size > REMEMBERED && !oldest.done) this.#shown.delete(oldest.value);
  }
}

/** Waybill has answered, and would answer the same again. */
function isFinal(error: Failed): boolean {
  return error instanceof Refused && error.status < 500 && error.retryAfter === null;
}

function line({ id, received, kind, source, account, state, type, subject }: Summary): string {
  const about = subject ?? type ?? '';
  const head = [received, id.padEnd(9), state.padEnd(8), kind.padEnd(7)];
  return [...head, ...[source, account, about].map(plain)].join(' ').trimEnd();
}
