/** A connection that a proxy has stopped at one moment of its conversation. */
export interface Stopped {
  /** It goes on as if nothing had been; what was held is passed on, also when the client has died meanwhile. */
  pass(): void;
  /** Breaks the connection on both sides. What was held never gets there. */
  cut(): void;
}

/** A wish to stop the next conversation that comes to a moment. */
export interface Wish<T> {
  readonly moment: string;
  readonly matches: (asked: T) => boolean;
  readonly reached: (stopped: Stopped & { readonly asked: T }) => void;
}

/** Wishes in the order in which they were made, each granted once. */
export class Wishes<T> {
  #open: Wish<T>[] = [];

  /** Resolves when a conversation has been stopped there. A `signal` takes the wish back. */
  make(moment: string, matches: (asked: T) => boolean, signal: AbortSignal): Promise<Stopped & { readonly asked: T }> {
    return new Promise((resolve, reject) => {
      const takeBack = () => {
        this.#open = this.#open.filter((each) => each !== wish);
        reject(signal.reason);
      };
      const wish: Wish<T> = {
        moment,
        matches,
        reached: (stopped) => {
          signal.removeEventListener('abort', takeBack);
          resolve(stopped);
        },
      };
      this.#open.push(wish);
      signal.addEventListener('abort', takeBack);
    });
  }

  /** The first wish of one of these moments that matches; it is granted by that. */
  take(moments: readonly string[], asked: T): Wish<T> | undefined {
    const wish = this.#open.find((each) => moments.includes(each.moment) && each.matches(asked));
    if (wish) this.#open = this.#open.filter((each) => each !== wish);
    return wish;
  }
}
