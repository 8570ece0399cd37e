/**
 * Deliveries of one target that are being sent, by key. One that has ended still counts until the next look at the
 * database begins: a look that began before may have seen it waiting.
 */
export class UnderWay {
  readonly #keys = new Set<string>();
  readonly #ended = new Set<string>();

  /** A look at what waits begins: what has ended by now it sees as it stands. */
  look(): void {
    for (const key of this.#ended) this.#keys.delete(key);
    this.#ended.clear();
  }

  /** How many there are, with those that have ended since the last look. */
  get size(): number {
    return this.#keys.size;
  }

  /** Whether the last look may be wrong about it. */
  has(key: string): boolean {
    return this.#keys.has(key);
  }

  /** Whether it is being sent right now. */
  isRunning(key: string): boolean {
    return this.#keys.has(key) && !this.#ended.has(key);
  }

  /** Whether any that is meant is being sent right now. */
  someRunning(isMeant: (key: string) => boolean): boolean {
    for (const key of this.#keys) if (!this.#ended.has(key) && isMeant(key)) return true;
    return false;
  }

  begin(key: string): void {
    this.#keys.add(key);
    this.#ended.delete(key);
  }

  end(key: string): void {
    this.#ended.add(key);
  }
}
