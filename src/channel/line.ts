import { Room } from './room.js';

/** Something that waits to be stored. */
export interface Lined {
  readonly tenant: number;
  readonly bytes: number;
  /** What it came with: the rows of one stand one after the other. */
  readonly request: object;
}

export interface LineBounds {
  readonly rows: number;
  readonly bytes: number;
}

/** Of one batch. */
export interface BatchBounds extends LineBounds {
  readonly requests: number;
}

/**
 * The line of what waits for a commit, fair to tenants in both directions: how much of one may stand in it (room.ts),
 * and who goes next. A batch is shared out evenly among the tenants that have something; what one does not need of its
 * share goes to the others. Within a tenant it is first come, first served.
 */
export class Line<T extends Lined> {
  readonly #rows: Room;
  /** Of what waits and of what is under way: both are in memory. */
  readonly #bytes: Room;
  /** Whoever has something in line; who was given a turn goes to the end. */
  readonly #queues = new Map<number, Queue<T>>();
  #passedOver = 0;

  constructor(bounds: LineBounds) {
    this.#rows = new Room(bounds.rows);
    this.#bytes = new Room(bounds.bytes);
  }

  /** Rows in line, and bytes of these and of what is under way. */
  get rows(): number {
    return this.#rows.used;
  }

  get bytes(): number {
    return this.#bytes.used;
  }

  /** Rows of the line that the last batch left there because they could not go. */
  get passedOver(): number {
    return this.#passedOver;
  }

  /** What was passed over may be able to go now. */
  lookAnew(): void {
    this.#passedOver = 0;
  }

  /**
   * Makes room for what one request brings, to be filled by `add`. False, and no room made, when there is none for one
   * of its tenants.
   */
  reserve(demands: readonly Demand[]): boolean {
    // One request may exceed the bounds alone: refused for ever it could never get in.
    const mustFit = this.rows > 0;
    const taken: Demand[] = [];
    for (const demand of demands) {
      if (mustFit && !this.#fits(demand)) {
        for (const each of taken) this.#giveBack(each);
        return false;
      }
      this.#rows.add(demand.tenant, demand.rows);
      this.#bytes.add(demand.tenant, demand.bytes);
      taken.push(demand);
    }
    return true;
  }

  #fits({ tenant, rows, bytes }: Demand): boolean {
    return this.#rows.fits(tenant, rows) && this.#bytes.fits(tenant, bytes);
  }

  #giveBack({ tenant, rows, bytes }: Demand): void {
    this.#rows.remove(tenant, rows);
    this.#bytes.remove(tenant, bytes);
  }

  /** The rows of a request that there is room for. */
  add(rows: readonly T[]): void {
    let queue: Queue<T> | undefined;
    let of: number | undefined;
    for (const row of rows) {
      if (queue === undefined || row.tenant !== of) {
        queue = this.#queues.get(row.tenant) ?? new Queue();
        this.#queues.set(row.tenant, queue);
        of = row.tenant;
      }
      queue.add(row);
    }
  }

  /**
   * Takes a batch out of the line; what `mayGo` refuses keeps its place. The bytes may be exceeded by one row. What was
   * taken counts against the room until `settled`.
   */
  take(bounds: BatchBounds, mayGo: (row: T) => boolean): T[] {
    const batch: T[] = [];
    let bytes = 0;
    let requests = 0;
    const isFull = () => batch.length >= bounds.rows || bytes >= bounds.bytes || requests >= bounds.requests;
    let turns = [...this.#queues];
    /** Whoever was served last stands last. */
    const served = new Map<number, Queue<T>>();
    while (turns.length > 0 && !isFull()) {
      const share = {
        rows: Math.max(1, Math.floor((bounds.rows - batch.length) / turns.length)),
        bytes: Math.max(1, Math.floor((bounds.bytes - bytes) / turns.length)),
        requests: Math.max(1, Math.floor((bounds.requests - requests) / turns.length)),
      };
      const more: typeof turns = [];
      for (const turn of turns) {
        if (isFull()) break;
        const [tenant, queue] = turn;
        const before = batch.length;
        const left = {
          rows: Math.min(share.rows, bounds.rows - batch.length),
          bytes: Math.min(share.bytes, bounds.bytes - bytes),
          requests: Math.min(share.requests, bounds.requests - requests),
        };
        const taken = queue.take(left, mayGo, batch);
        this.#rows.remove(tenant, batch.length - before);
        bytes += taken.bytes;
        requests += taken.requests;
        served.delete(tenant);
        served.set(tenant, queue);
        if (!queue.exhausted) more.push(turn);
      }
      turns = more;
    }
    this.#passedOver = 0;
    for (const [tenant, queue] of served) {
      this.#passedOver += queue.endTurn();
      this.#queues.delete(tenant);
      if (queue.length > 0) this.#queues.set(tenant, queue);
    }
    return batch;
  }

  /** What was taken out of the line is no longer in memory. */
  settled(rows: readonly T[]): void {
    const demands = demandsOf(
      rows,
      (row) => row.tenant,
      (row) => row.bytes,
    );
    for (const { tenant, bytes } of demands) this.#bytes.remove(tenant, bytes);
  }
}

/** One tenant's rows, in their order. During a turn they are looked at one after the other, each once. */
class Queue<T extends Lined> {
  #rows: T[] = [];
  /** Everything before it has been looked at in this turn. */
  #at = 0;
  #passedOver: T[] = [];

  get length(): number {
    return this.#rows.length;
  }

  get exhausted(): boolean {
    return this.#at === this.#rows.length;
  }

  add(row: T): void {
    this.#rows.push(row);
  }

  /** Moves rows that may go into the batch. Answers their bytes, and of how many requests they are. */
  take(bounds: BatchBounds, mayGo: (row: T) => boolean, batch: T[]): { bytes: number; requests: number } {
    const end = batch.length + bounds.rows;
    let bytes = 0;
    let requests = 0;
    let last: object | undefined;
    for (; this.#at < this.#rows.length && batch.length < end && bytes < bounds.bytes; this.#at++) {
      const row = this.#rows[this.#at] as T;
      if (row.request !== last && requests === bounds.requests) break;
      if (mayGo(row)) {
        batch.push(row);
        bytes += row.bytes;
        if (row.request !== last) requests++;
        last = row.request;
      } else {
        this.#passedOver.push(row);
      }
    }
    return { bytes, requests };
  }

  /** What was passed over stays in front of the rest. Answers how many those are. */
  endTurn(): number {
    const passedOver = this.#passedOver;
    const rest = this.#rows.slice(this.#at);
    this.#rows = passedOver.length > 0 ? passedOver.concat(rest) : rest;
    this.#at = 0;
    this.#passedOver = [];
    return passedOver.length;
  }
}

/** What a tenant's part of a request needs. */
export interface Demand {
  readonly tenant: number;
  readonly rows: number;
  readonly bytes: number;
}

/** What these need, tenant by tenant. Mostly they are all of one. */
export function demandsOf<I>(
  items: readonly I[],
  tenantOf: (item: I) => number,
  bytesOf: (item: I) => number,
): Demand[] {
  const demands: { tenant: number; rows: number; bytes: number }[] = [];
  let current: (typeof demands)[number] | undefined;
  for (const item of items) {
    const tenant = tenantOf(item);
    if (current?.tenant !== tenant) current = demands.find((each) => each.tenant === tenant);
    if (current === undefined) {
      current = { tenant, rows: 0, bytes: 0 };
      demands.push(current);
    }
    current.rows++;
    current.bytes += bytesOf(item);
  }
  return demands;
}
