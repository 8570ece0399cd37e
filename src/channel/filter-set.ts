import type { Clock } from '../message/clock.js';
import type { Filters } from './accept.js';
import type { FingerprintFilter } from './filter.js';
import { GrowingFilter } from './filter.js';
import { FilterBank } from './filter-bank.js';

/** How a generation's filter stands. Without a ready one the generation is simply looked up. */
export interface FilterStatus {
  readonly generation: number;
  readonly sealed: boolean;
  readonly ready: boolean;
  readonly keys: number;
  readonly bytes: number;
  /** Share of bits set, 0 to 1. */
  readonly fill: number;
}

/** How long the current generation is looked up after another process was first with a key, in ms. */
const DISTRUST_MS = 10_000;

/**
 * One filter for each generation in the window. Sealed ones never change; the current one grows with every commit of
 * this process. What other processes write it learns only by the store's refusal, and then asks the store for a while.
 */
export class FilterSet implements Filters {
  #current: { readonly generation: number; readonly filter: GrowingFilter; ready: boolean };
  readonly #sealed = new Map<number, FingerprintFilter | null>();
  /** All filters there are. Made anew once they have changed. */
  #bank: FilterBank | null = null;
  #distrustUntil = Number.NEGATIVE_INFINITY;
  #asked = 0;
  #maybe = 0;
  #found = 0;

  constructor(
    generation: number,
    private readonly expectedKeys: number,
    private readonly clock: Clock,
  ) {
    this.#current = { generation, filter: new GrowingFilter(expectedKeys), ready: false };
  }

  get current(): number {
    return this.#current.generation;
  }

  lookUps(fingerprint: string): readonly number[] {
    this.#asked++;
    const generations = this.#filters().mayHave(fingerprint);
    for (const [generation, filter] of this.#sealed) if (filter === null) generations.push(generation);
    const { current } = this;
    if (this.#mustAskCurrent() && !generations.includes(current)) generations.push(current);
    if (generations.length > 0) this.#maybe++;
    return generations.sort((a, b) => a - b);
  }

  saysMaybe(fingerprint: string): boolean {
    return this.#filters().mayHave(fingerprint).length > 0;
  }

  #filters(): FilterBank {
    if (this.#bank !== null) return this.#bank;
    const { generation, filter: current } = this.#current;
    const sealed = [...this.#sealed].flatMap(([of, filter]) => (filter ? [{ generation: of, filter }] : []));
    this.#bank = new FilterBank([...sealed, ...current.parts.map((filter) => ({ generation, filter }))]);
    return this.#bank;
  }

  #mustAskCurrent(): boolean {
    return !this.#current.ready || this.clock.monotonic() < this.#distrustUntil;
  }

  remember(fingerprints: readonly string[]): void {
    const { filter } = this.#current;
    const parts = filter.parts.length;
    try {
      // Duplicates of a key must not make the filter grow.
      for (const fingerprint of fingerprints) if (!filter.has(fingerprint)) filter.add(fingerprint);
    } finally {
      // Also where it grew once and there was no memory to grow again.
      if (filter.parts.length > parts) this.#bank = null;
    }
  }

  found(keys: number): void {
    this.#found += keys;
  }

  distrust(): void {
    this.#distrustUntil = this.clock.monotonic() + DISTRUST_MS;
  }

  /** The current generation's stored keys have all been added. */
  ready(): void {
    this.#current.ready = true;
  }

  /** A sealed generation of the window: with its filter, or null until it is ready. */
  seal(generation: number, filter: FingerprintFilter | null): void {
    this.#sealed.set(generation, filter);
    this.#bank = null;
  }

  /** The window has left a generation behind. */
  drop(generation: number): void {
    this.#sealed.delete(generation);
    this.#bank = null;
  }

  /**
   * Takes over the generations that have keys, oldest first, the current one last: all of them, so that none is skipped
   * by a process that missed several rotations. Sealed ones without a filter here are looked up until it is there.
   * A list from before the last rotation changes nothing that came later.
   */
  advance(live: readonly number[]): void {
    const sealed = live.slice(0, -1);
    const current = live[live.length - 1];
    if (current === undefined || current < this.#current.generation) return;
    this.#bank = null;
    for (const generation of sealed) if (!this.#sealed.has(generation)) this.#sealed.set(generation, null);
    for (const generation of this.#sealed.keys()) if (!sealed.includes(generation)) this.#sealed.delete(generation);
    if (current === this.#current.generation) return;
    this.#current = { generation: current, filter: new GrowingFilter(this.expectedKeys), ready: false };
  }

  /** Generations whose filters are still to be loaded. */
  missing(): number[] {
    return [...this.#sealed].filter(([, filter]) => filter === null).map(([generation]) => generation);
  }

  status(): FilterStatus[] {
    const { generation, filter, ready } = this.#current;
    const current = { generation, sealed: false, ready, keys: filter.keys, bytes: filter.bytes, fill: filter.fill };
    const sealed = [...this.#sealed].map(([id, each]) => ({
      generation: id,
      sealed: true,
      ready: each !== null,
      keys: each?.keys ?? 0,
      bytes: each?.bytes.length ?? 0,
      fill: each?.fill ?? 0,
    }));
    return [...sealed, current];
  }

  /** Keys asked for, those that were "maybe", and those of them that the store really had. */
  measured(): { asked: number; maybe: number; found: number } {
    return { asked: this.#asked, maybe: this.#maybe, found: this.#found };
  }
}
