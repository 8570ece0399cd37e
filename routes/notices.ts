/** At most so many ids are told at once; who has more to tell says that there is more. */
export const MOST_IDS = 200;

export type Listener = (ids: readonly string[]) => void;

/** Tells, within this process, which messages of a tenant have changed. Losing a notice loses nothing but time. */
export class Notices {
  readonly #listeners = new Map<number, Set<Listener>>();

  publish(tenant: number, ids: readonly string[]): void {
    for (const listener of this.#listeners.get(tenant) ?? []) listener(ids.slice(0, MOST_IDS));
  }

  /** Whether anybody would hear of a tenant's messages. */
  listening(tenant: number): boolean {
    return this.#listeners.has(tenant);
  }

  /** Answers how to stop listening. */
  subscribe(tenant: number, listener: Listener): () => void {
    const listeners = this.#listeners.get(tenant) ?? new Set();
    this.#listeners.set(tenant, listeners.add(listener));
    return () => {
      listeners.delete(listener);
      if (listeners.size === 0 && this.#listeners.get(tenant) === listeners) this.#listeners.delete(tenant);
    };
  }
}
