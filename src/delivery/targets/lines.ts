import type { Outgoing, SendResult } from '../../message/delivery.js';

/** At most so many at a time; the others wait their turn. */
export class Slots {
  private free: number;
  private readonly waiting: (() => void)[] = [];
  private readonly underWay = new Set<Promise<unknown>>();

  constructor(count: number) {
    this.free = count;
  }

  async run<T>(work: () => Promise<T>): Promise<T> {
    if (this.free > 0) this.free--;
    else await new Promise<void>((resolve) => this.waiting.push(resolve));
    const result = work();
    this.underWay.add(result);
    try {
      return await result;
    } finally {
      this.underWay.delete(result);
      const next = this.waiting.shift();
      if (next) next();
      else this.free++;
    }
  }

  /** Resolves when nothing is under way and nobody waits. */
  async settled(): Promise<void> {
    while (this.underWay.size > 0 || this.waiting.length > 0) await Promise.allSettled(this.underWay);
  }
}

const LINED_UP: SendResult = { result: 'interrupted', reason: 'an earlier delivery of its channel was not taken' };

/**
 * Sends one by one within each channel, the channels beside each other. After the first one of a channel that is not
 * delivered, that channel's later ones are not sent. `sendOne` never rejects.
 */
export async function sendInLines(
  batch: readonly Outgoing[],
  slots: Slots,
  sendOne: (outgoing: Outgoing) => Promise<SendResult>,
): Promise<SendResult[]> {
  const results = new Array<SendResult>(batch.length).fill(LINED_UP);
  await Promise.all(
    [...linesOf(batch)].map(async (line) => {
      for (const index of line) {
        const result = await slots.run(() => sendOne(batch[index] as Outgoing));
        results[index] = result;
        if (result.result !== 'delivered') return;
      }
    }),
  );
  return results;
}

/** Keeps results of a batch that was sent all at once to the same rule: nothing counts after a channel's first failure. */
export function inLines(batch: readonly Outgoing[], results: readonly SendResult[]): SendResult[] {
  const stopped = new Set<number>();
  return results.map((result, i) => {
    const { channel } = batch[i] as Outgoing;
    if (stopped.has(channel)) return LINED_UP;
    if (result.result !== 'delivered') stopped.add(channel);
    return result;
  });
}

/** Indexes by channel, each in the order given. */
function linesOf(batch: readonly Outgoing[]): Iterable<number[]> {
  const lines = new Map<number, number[]>();
  batch.forEach(({ channel }, index) => {
    const line = lines.get(channel);
    if (line) line.push(index);
    else lines.set(channel, [index]);
  });
  return lines.values();
}
