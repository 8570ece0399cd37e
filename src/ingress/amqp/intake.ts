import { setTimeout as pause } from 'node:timers/promises';
import type { Room } from '../../channel/room.js';
import type { AmqpSource, Source } from '../../channel/source.js';
import type { Quarantine, Undecodable } from '../../channel/undecodable.js';
import type { Arrival } from '../../message/arrival.js';
import type { Clock } from '../../message/clock.js';
import { type Accept, Busy, Unavailable } from '../../message/verdict.js';
import { type DecodeDeps, decode, rejectedMessage } from './decode.js';
import type { QueueMessage } from './message.js';
import { tableSize } from './table.js';

export interface IntakeDeps extends DecodeDeps {
  readonly accept: Accept;
  readonly quarantine: Quarantine;
  /** What all sources hold in memory, in bytes. */
  readonly room: Room;
  readonly clock: Clock;
  readonly nextTurn: () => Promise<void>;
}

/** Whoever handed the messages in. */
export interface Supplier<M> {
  /** This message and all before it are stored. */
  readonly ack: (last: M) => void;
  /** Why nothing can be stored just now; null when it can be again. */
  readonly hindered: (reason: string | null) => void;
  /** Everything that was held is stored. */
  readonly idle: () => void;
}

/** Bounds of what is accepted together. What is over waits for the next time. */
const BATCH_MESSAGES = 1000;
const BATCH_BYTES = 8 * 1024 * 1024;
const ACCEPT_ARRIVALS = 1000;
/** Messages that are read before the event loop has its turn. */
const A_TURN = 250;
/** Milliseconds before storing is tried again. */
const FIRST_WAIT_MS = 250;
const LONGEST_WAIT_MS = 5_000;
/** A failure or two are nothing to tell of: whoever is too fast is held back like that all the time. */
const TOLD_AFTER = 2;

interface Held<M> {
  readonly message: M;
  readonly bytes: number;
}

/**
 * What came by a queue and is not acked yet. One batch at a time, so that order is kept; while it is being stored, the
 * next one gathers:
 *
 *   take → waiting → batch → decoded → accepted, the rest into the quarantine → acked together
 *
 * What can't be stored just now stays here, unacked, and is tried again until it can be, or is abandoned.
 */
export class Intake<M extends QueueMessage> {
  #waiting: Held<M>[] = [];
  #bytes = 0;
  #count = 0;
  #working: Promise<void> | null = null;
  readonly #abandoned = new AbortController();

  constructor(
    private readonly deps: IntakeDeps,
    private readonly source: Source<AmqpSource>,
    private readonly supplier: Supplier<M>,
  ) {}

  /** Messages taken and not acked. */
  get count(): number {
    return this.#count;
  }

  /** False, and not taken, when there is no room in memory for it. One alone always finds room. */
  take(message: M): boolean {
    const { tenant } = this.source;
    const bytes = sizeOf(message);
    if (this.#count === 0) this.deps.room.add(tenant.id, bytes);
    else if (!this.deps.room.take(tenant.id, bytes, this.#bytes)) return false;
    this.#waiting.push({ message, bytes });
    this.#bytes += bytes;
    this.#count++;
    this.#working ??= this.#work();
    return true;
  }

  /** Resolves when nothing is held any more, stored or abandoned. Never rejects. */
  async settled(): Promise<void> {
    await this.#working;
  }

  /** Forgets what is held: its channel is gone, and it will come again. What is under way may still be stored. */
  abandon(): void {
    this.#abandoned.abort();
  }

  async #work(): Promise<void> {
    // What comes in the same turn of the event loop goes together.
    await this.deps.nextTurn();
    while (this.#waiting.length > 0 && !this.#abandoned.signal.aborted) {
      const batch = this.#nextBatch();
      await this.#store(batch);
      this.#release(batch);
    }
    this.#release(this.#waiting.splice(0));
    this.#working = null;
    if (!this.#abandoned.signal.aborted) this.supplier.idle();
  }

  #nextBatch(): Held<M>[] {
    let bytes = 0;
    let end = 0;
    for (const held of this.#waiting) {
      bytes += held.bytes;
      if (end > 0 && bytes > BATCH_BYTES) break;
      if (++end === BATCH_MESSAGES) break;
    }
    return this.#waiting.splice(0, end);
  }

  #release(batch: readonly Held<M>[]): void {
    for (const { bytes } of batch) {
      this.deps.room.remove(this.source.tenant.id, bytes);
      this.#bytes -= bytes;
    }
    this.#count -= batch.length;
  }

  /** Stores a batch and acks it; abandoned on the way, it does neither. Never rejects. */
  async #store(batch: readonly Held<M>[]): Promise<void> {
    const read = await this.#read(batch);
    for (let at = 0; at < read.arrivals.length; at += ACCEPT_ARRIVALS) {
      const part = read.arrivals.slice(at, at + ACCEPT_ARRIVALS);
      const verdicts = await this.#untilDone(() => this.deps.accept(part.map(({ arrival }) => arrival)));
      if (verdicts === ABANDONED) return;
      verdicts.forEach((verdict, i) => {
        if (verdict.verdict === 'rejected') read.reject((part[i] as Read<M>).message, verdict.reason);
      });
    }
    const { undecodable } = read;
    if (undecodable.length > 0 && (await this.#untilDone(() => this.deps.quarantine(undecodable))) === ABANDONED)
      return;
    const last = batch.at(-1);
    if (last && !this.#abandoned.signal.aborted) this.supplier.ack(last.message);
  }

  async #read(batch: readonly Held<M>[]): Promise<ReadBatch<M>> {
    const arrivedAt = this.deps.clock.now();
    const read = new ReadBatch<M>(this.source, arrivedAt);
    for (const [index, { message }] of batch.entries()) {
      if (index > 0 && index % A_TURN === 0) await this.deps.nextTurn();
      const decoded = decode(this.deps, this.source, message, arrivedAt);
      read.add(message, decoded instanceof Promise ? await decoded : decoded);
    }
    return read;
  }

  /** Does it again until it is done. Doing again is safe: what was stored already is a duplicate. */
  async #untilDone<T>(step: () => Promise<T>): Promise<T | typeof ABANDONED> {
    for (let tries = 0; ; tries++) {
      if (this.#abandoned.signal.aborted) return ABANDONED;
      try {
        const done = await step();
        if (tries > TOLD_AFTER) this.supplier.hindered(null);
        return done;
      } catch (error) {
        if (tries >= TOLD_AFTER) this.supplier.hindered(reasonOf(error));
        await pause(waitAfter(error, tries), undefined, { signal: this.#abandoned.signal }).catch(() => undefined);
      }
    }
  }
}

const ABANDONED = Symbol('abandoned');

interface Read<M> {
  readonly message: M;
  readonly arrival: Arrival;
}

/** What a batch holds, in order: arrivals, each with its message, and the messages that go into the quarantine. */
class ReadBatch<M extends QueueMessage> {
  readonly arrivals: Read<M>[] = [];
  readonly undecodable: Undecodable[] = [];
  readonly #refused = new Set<M>();

  constructor(
    private readonly source: Source<AmqpSource>,
    private readonly arrivedAt: number,
  ) {}

  add(message: M, { arrivals, undecodable }: { arrivals: readonly Arrival[]; undecodable: Undecodable | null }): void {
    for (const arrival of arrivals) this.arrivals.push({ message, arrival });
    if (undecodable) this.#keep(message, undecodable);
  }

  /** The channel would not take an arrival of it. */
  reject(message: M, reason: string): void {
    if (!this.#refused.has(message)) {
      this.#keep(message, rejectedMessage(this.source, message, this.arrivedAt, reason));
    }
  }

  #keep(message: M, undecodable: Undecodable): void {
    this.#refused.add(message);
    this.undecodable.push(undecodable);
  }
}

/** What a message takes in memory, roughly. */
function sizeOf({ content, properties }: QueueMessage): number {
  return content.length + tableSize(properties as Readonly<Record<string, unknown>>);
}

function reasonOf(error: unknown): string {
  if (error instanceof Busy) return 'Too much is waiting to be stored; its messages wait in their queue.';
  // Other errors may quote what was to be stored.
  return `Its messages can not be stored (${error instanceof Unavailable ? error.message : 'storing failed'}).`;
}

function waitAfter(error: unknown, tries: number): number {
  if (error instanceof Busy) return error.retryAfterSeconds * 1000;
  return Math.min(FIRST_WAIT_MS * 2 ** Math.min(tries, 16), LONGEST_WAIT_MS);
}
