/** A stretch of a channel to look through, both ends included. Positions count up with time: sequences, plan numbers. */
export interface Stretch {
  readonly channel: number;
  readonly from: number;
  readonly to: number;
}

export interface Found {
  readonly channel: number;
  readonly position: number;
  /** Milliseconds since 1970: what the whole list is ordered by. */
  readonly at: number;
}

/** Looks through stretches and answers what it found there, in any order. */
export type Look<T extends Found> = (stretches: readonly Stretch[]) => Promise<readonly T[]>;

export interface Bounds {
  /** Where each channel starts, that position included; channels that are left out are not looked at. */
  readonly start: ReadonlyMap<number, number>;
  /** Where each channel ends, that position included. Where nothing is said: 1. */
  readonly floor?: ReadonlyMap<number, number>;
  /** How much of a channel is looked through at first; doubled while nothing is found. */
  readonly step: number;
  /** How many positions may be looked through in all, found or not. */
  readonly budget: number;
}

const LONGEST_STRETCH = 4096;

/**
 * Walks several channels from their newest end and gives what it finds newest first. Channels have an index each and
 * the whole has none, so this is a merge; and filters have none either, so the work is bounded: when the budget is spent,
 * the walk ends early and `positions` says where to go on. Going on from there gives everything exactly once.
 */
export class NewestFirst<T extends Found> {
  readonly #frontier: Map<number, number>;
  readonly #buffers = new Map<number, T[]>();
  readonly #steps = new Map<number, number>();
  #spent = 0;

  constructor(
    private readonly bounds: Bounds,
    private readonly look: Look<T>,
  ) {
    this.#frontier = new Map(bounds.start);
  }

  /** The newest that has not been taken; undefined when there is none, or when the budget is spent. */
  async peek(): Promise<T | undefined> {
    for (let dry = this.#dry(); dry.length > 0; dry = this.#dry()) await this.#fill(dry);
    return this.#newest();
  }

  take(found: T): void {
    this.#buffers.get(found.channel)?.shift();
  }

  /** Where each channel goes on, that position included; those that are finished are left out. */
  positions(): Map<number, number> {
    const positions = new Map<number, number>();
    for (const [channel, frontier] of this.#frontier) {
      const next = this.#buffers.get(channel)?.[0]?.position ?? frontier;
      if (next >= this.#floorOf(channel)) positions.set(channel, next);
    }
    return positions;
  }

  /** Channels that may hold something newer than what is in hand. */
  #dry(): number[] {
    if (this.#spent >= this.bounds.budget) return [];
    return [...this.#frontier]
      .filter(([channel, frontier]) => frontier >= this.#floorOf(channel) && !this.#buffers.get(channel)?.length)
      .map(([channel]) => channel);
  }

  async #fill(channels: readonly number[]): Promise<void> {
    const stretches = channels.map((channel) => this.#nextStretch(channel));
    const found = await this.look(stretches);
    for (const one of [...found].sort((a, b) => b.position - a.position)) {
      const buffer = this.#buffers.get(one.channel);
      if (buffer) buffer.push(one);
      else this.#buffers.set(one.channel, [one]);
    }
    for (const { channel, from, to } of stretches) {
      this.#frontier.set(channel, from - 1);
      this.#spent += to - from + 1;
    }
  }

  #nextStretch(channel: number): Stretch {
    const to = this.#frontier.get(channel) ?? 0;
    const step = this.#steps.get(channel) ?? this.bounds.step;
    this.#steps.set(channel, Math.min(step * 2, LONGEST_STRETCH));
    return { channel, from: Math.max(this.#floorOf(channel), to - step + 1), to };
  }

  #floorOf(channel: number): number {
    return this.bounds.floor?.get(channel) ?? 1;
  }

  #newest(): T | undefined {
    let newest: T | undefined;
    for (const buffer of this.#buffers.values()) {
      const [head] = buffer;
      if (head && (!newest || head.at > newest.at)) newest = head;
    }
    return newest;
  }
}
