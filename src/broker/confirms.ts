/** What RabbitMQ said of one message. */
export type PublishResult =
  | { readonly result: 'confirmed' }
  /** A queue did not take it: it is full, or in trouble. */
  | { readonly result: 'nacked' }
  /** No queue is bound to where it went. */
  | { readonly result: 'returned' }
  /** RabbitMQ never takes this message: it is larger than the broker allows. */
  | { readonly result: 'refused'; readonly reason: string }
  /** Where it should go is missing, forbidden, or not what Waybill declares. */
  | { readonly result: 'unusable'; readonly reason: string }
  /** Broker away, blocked or too slow: it may or may not have arrived. */
  | { readonly result: 'interrupted'; readonly reason: string };

const CONFIRMED: PublishResult = { result: 'confirmed' };
const NACKED: PublishResult = { result: 'nacked' };
const RETURNED: PublishResult = { result: 'returned' };

/** The messages of one call: consecutive delivery tags, and what is known of each. */
export interface Batch<T> {
  readonly firstTag: number;
  readonly messages: readonly T[];
  readonly results: (PublishResult | undefined)[];
  /** Messages RabbitMQ has returned; the confirm that follows settles them. */
  readonly returned: Set<number>;
  /** Everything before this index is settled. */
  settledUpTo: number;
  open: number;
  /** Hands the results to the caller; null once it has them. */
  answer: ((results: PublishResult[]) => void) | null;
}

/**
 * The confirms of one channel: which message each delivery tag was, and what became of it. Tags count from 1 in the
 * order of publishing. Does no I/O.
 */
export class Confirms<T> {
  private nextTag = 1;
  /** In the order of their tags. */
  private batches: Batch<T>[] = [];

  /** Takes note of messages that are about to be published; `answer` is called once, with a result for each, in order. */
  begin(messages: readonly T[], answer: (results: PublishResult[]) => void): Batch<T> {
    const batch: Batch<T> = {
      firstTag: this.nextTag,
      messages,
      results: new Array<undefined>(messages.length).fill(undefined),
      returned: new Set(),
      settledUpTo: 0,
      open: messages.length,
      answer,
    };
    this.nextTag += messages.length;
    this.batches.push(batch);
    this.answerFinished();
    return batch;
  }

  /** basic.return: comes before the confirm of its message, and in the order of publishing. */
  returned(isIt: (message: T) => boolean): void {
    for (const batch of this.batches) {
      for (let i = batch.settledUpTo; i < batch.messages.length; i++) {
        if (batch.results[i] !== undefined || batch.returned.has(i) || !isIt(batch.messages[i] as T)) continue;
        batch.returned.add(i);
        return;
      }
    }
  }

  /** basic.ack or basic.nack; `multiple` means everything up to the tag. */
  confirmed(tag: number, multiple: boolean, verdict: 'ack' | 'nack'): void {
    const result = verdict === 'ack' ? CONFIRMED : NACKED;
    for (const batch of this.batches) {
      if (tag < batch.firstTag) break;
      const last = Math.min(tag - batch.firstTag, batch.messages.length - 1);
      const first = multiple ? batch.settledUpTo : tag - batch.firstTag;
      for (let i = first; i <= last; i++) settle(batch, i, batch.returned.has(i) ? RETURNED : result);
    }
    this.answerFinished();
  }

  /** The caller's time is over: it gets what is known. Until the confirms are in, `leftOver` says so. */
  abandon(batch: Batch<T>, result: PublishResult): void {
    batch.answer?.(batch.results.map((known) => known ?? result));
    batch.answer = null;
  }

  /** Whether messages are unconfirmed whose callers have stopped waiting. */
  leftOver(): boolean {
    return this.batches.some((batch) => batch.answer === null);
  }

  /** Everything that has no answer yet, in order. */
  open(): T[] {
    return this.batches.flatMap((batch) => batch.messages.filter((_, i) => batch.results[i] === undefined));
  }

  /** The channel is gone: everything open gets the answer given for it. Confirms that come later change nothing. */
  end(resultOf: (message: T) => PublishResult): void {
    for (const batch of this.batches) {
      for (let i = batch.settledUpTo; i < batch.messages.length; i++)
        settle(batch, i, resultOf(batch.messages[i] as T));
    }
    this.answerFinished();
  }

  private answerFinished(): void {
    if (!this.batches.some((batch) => batch.open === 0)) return;
    const finished = this.batches.filter((batch) => batch.open === 0);
    this.batches = this.batches.filter((batch) => batch.open > 0);
    for (const batch of finished) batch.answer?.(batch.results as PublishResult[]);
  }
}

function settle<T>(batch: Batch<T>, index: number, result: PublishResult): void {
  if (index >= batch.results.length || batch.results[index] !== undefined) return;
  batch.results[index] = result;
  batch.open--;
  while (batch.settledUpTo < batch.results.length && batch.results[batch.settledUpTo] !== undefined)
    batch.settledUpTo++;
}
