import { setTimeout as pause } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import type { ChannelModel, ConsumeMessage } from 'amqplib';
import type { AmqpSource, Source } from '../../channel/source.js';
import { Intake, type IntakeDeps } from './intake.js';
import { type Consumption, consume, Refused, Taken } from './queue.js';

/** A connection to a broker that is made again whenever it is lost. */
export interface QueueLink {
  /** Null while there is none. */
  current(): ChannelModel | null;
  /** Why there is none. */
  problem(): string | null;
  /** Called whenever there is one (again). Answers how to stop that. */
  onUp(listener: () => void): () => void;
  close(): Promise<void>;
}

/** How a process is getting on with a source's queue. */
export type Standing =
  | { readonly state: 'consuming' }
  | { readonly state: 'standing_by' | 'down'; readonly reason: string };

export interface ConsumerDeps extends IntakeDeps {
  /** Whether something could be stored just now: what is taken in vain comes again, and some queues count that. */
  readonly storing: () => Promise<boolean>;
  /** Milliseconds before something that failed so many times in a row is tried again. */
  readonly wait: (failures: number) => number;
  /** In [0, 1). */
  readonly random: () => number;
  /** How long what is held may take to be stored when the source is stopped. */
  readonly drainMs: number;
  readonly report: (source: Source<AmqpSource>, standing: Standing) => void;
}

/** What follows from how it ended. */
type Next =
  | { readonly next: 'at_once' }
  | { readonly next: 'stand_by' }
  | { readonly next: 'again'; readonly reason: string };

/** How often whoever stands by looks whether the queue is free. */
const LOOK_MS = 1_000;
const LONGEST_WAIT_MS = 10_000;
/** What ran for so long did not fail at once. */
const STEADY_MS = 10_000;
/** After this time without trouble a window that had to be narrowed is widened. */
const WIDEN_AFTER_MS = 30_000;

const STANDING_BY = 'Another consumer reads the queue; this process takes over when it is gone.';

/**
 * Sees to it that one source's queue is consumed, by this process or another, until it is stopped:
 *
 *   connected ──► storing? ──► queue free? ──► consuming ──lost, deleted, timed out──► waits ──► connected
 *                                  │ no                └─room is short, or ample again──► with another window
 *                                  └──► stands by
 */
export class Consumer {
  #standing: Standing = { state: 'down', reason: 'It has just been started.' };
  /** How many messages may be held: the source's prefetch, less while they are too large for that. */
  #window: number;
  #failures = 0;
  readonly #stopping = new AbortController();
  readonly #stopped: Promise<void>;
  #overdue: Promise<void> = new Promise(() => undefined);
  readonly #running: Promise<void>;

  constructor(
    private readonly deps: ConsumerDeps,
    readonly source: Source<AmqpSource>,
    private readonly link: QueueLink,
  ) {
    this.#window = source.definition.prefetch;
    this.#stopped = new Promise((resolve) => {
      this.#stopping.signal.addEventListener('abort', () => resolve(), { once: true });
    });
    this.#running = this.#run();
  }

  get standing(): Standing {
    return this.#standing;
  }

  /** Takes no more, stores what it holds as far as time allows, and lets go of the rest. */
  async stop(): Promise<void> {
    this.#overdue = pause(this.deps.drainMs, undefined, { ref: false });
    this.#stopping.abort();
    await Promise.race([this.#running, this.#overdue]);
    await this.link.close();
  }

  async #run(): Promise<void> {
    while (!this.#stopping.signal.aborted) {
      const next = await this.#once();
      switch (next.next) {
        case 'at_once':
          break;
        case 'stand_by':
          this.#report({ state: 'standing_by', reason: STANDING_BY });
          await this.#pause(LOOK_MS * (0.75 + this.deps.random() / 2));
          break;
        case 'again':
          this.#failures++;
          this.#report({ state: 'down', reason: next.reason });
          await this.#pause(Math.min(this.deps.wait(this.#failures), LONGEST_WAIT_MS));
          break;
        default: {
          const never: never = next;
          return never;
        }
      }
    }
  }

  /** One go at consuming, to its end. Never rejects. */
  async #once(): Promise<Next> {
    const connection = this.link.current();
    if (connection === null) {
      this.#report({ state: 'down', reason: `No connection to the broker: ${this.link.problem()}` });
      await this.#connected();
      return { next: 'at_once' };
    }
    if (!(await this.deps.storing())) return { next: 'again', reason: 'Nothing can be stored just now.' };
    try {
      return await this.#consume(connection);
    } catch (error) {
      if (error instanceof Taken) return { next: 'stand_by' };
      if (error instanceof Refused) return { next: 'again', reason: error.message };
      return { next: 'again', reason: `The queue could not be opened (${messageOf(error)}).` };
    }
  }

  async #consume(connection: ChannelModel): Promise<Next> {
    const openedAt = this.deps.clock.monotonic();
    let reopen: () => void = () => undefined;
    const reopened = new Promise<void>((resolve) => {
      reopen = resolve;
    });
    let full = false;
    let over = false;
    const intake: Intake<ConsumeMessage> = new Intake(this.deps, this.source, {
      ack: (last) => consumption.ack(last),
      hindered: (reason) => {
        if (!over) this.#report(reason === null ? { state: 'consuming' } : { state: 'down', reason });
      },
      idle: () => {
        if (this.#isNarrow() && this.deps.clock.monotonic() - openedAt > WIDEN_AFTER_MS) {
          this.#window = Math.min(this.#window * 4, this.source.definition.prefetch);
          reopen();
        }
      },
    });
    const take = (message: ConsumeMessage) => {
      // What the broker sends before it hears of the stop is no longer this source's: it may belong to another one by now.
      if (this.#stopping.signal.aborted) return;
      // What is not taken after the first that found no room goes back: order comes before room.
      if (full || intake.take(message)) return;
      full = true;
      this.#window = Math.max(1, intake.count >> 1);
      reopen();
    };
    const consumption: Consumption = await consume(connection, this.source.definition.queue, this.#window, take);
    this.#report({ state: 'consuming' });

    const lost = await Promise.race([consumption.ended, reopened, this.#stopped]);
    over = true;
    if (this.deps.clock.monotonic() - openedAt > STEADY_MS) this.#failures = 0;
    if (typeof lost === 'string') this.#report({ state: 'down', reason: lost });
    else await consumption.cancel();
    await this.#settle(intake, consumption);
    return typeof lost === 'string' ? { next: 'again', reason: lost } : { next: 'at_once' };
  }

  /** Stores what is held, while its channel lives and stopping leaves time; then nothing of it is under way any more. */
  async #settle(intake: Intake<ConsumeMessage>, consumption: Consumption): Promise<void> {
    await Promise.race([intake.settled(), consumption.closed, this.#overdueOnceStopped()]);
    intake.abandon();
    await consumption.close();
    // Before the same messages come again, on whichever channel: they keep their order.
    await Promise.race([intake.settled(), this.#overdueOnceStopped()]);
  }

  async #overdueOnceStopped(): Promise<void> {
    await this.#stopped;
    await this.#overdue;
  }

  #isNarrow(): boolean {
    return this.#window < this.source.definition.prefetch;
  }

  /** Waits for a connection; not for ever, since the reason why there is none may change. */
  async #connected(): Promise<void> {
    const given = new AbortController();
    const off = this.link.onUp(() => given.abort());
    if (this.link.current() === null) await this.#pause(LOOK_MS, given.signal);
    off();
  }

  /** Ends early when the source is stopped, or for another reason. */
  async #pause(ms: number, early?: AbortSignal): Promise<void> {
    const signal = early ? AbortSignal.any([early, this.#stopping.signal]) : this.#stopping.signal;
    await pause(ms, undefined, { signal }).catch(() => undefined);
  }

  #report(standing: Standing): void {
    if (this.#stopping.signal.aborted || isDeepStrictEqual(standing, this.#standing)) return;
    this.#standing = standing;
    this.deps.report(this.source, standing);
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
