import type { ServerResponse } from 'node:http';

export interface UnreadLimits {
  /** Bytes of all answers together that their clients have not read yet. */
  readonly maxBytes: number;
  /** How long a client may read nothing of its answer, in ms. */
  readonly idleMs: number;
}

/**
 * Answers that wait in memory because their clients do not read. One that reads nothing for long is let go; and when
 * there are too many bytes of them, those that have waited longest, who are the slowest.
 */
export class Unread {
  /** Bytes by answer, in the order in which they were given. */
  readonly #waiting = new Map<ServerResponse, number>();
  #bytes = 0;

  constructor(private readonly limits: UnreadLimits) {}

  get bytes(): number {
    return this.#bytes;
  }

  /** To be called once an answer has been written whole. Costs nothing where the socket took all of it. */
  follow(response: ServerResponse): void {
    const bytes = response.writableLength;
    if (bytes === 0 || response.destroyed) return;
    this.#waiting.set(response, bytes);
    this.#bytes += bytes;
    // Node's own timer: it starts anew with each byte that the client takes.
    response.setTimeout(this.limits.idleMs, () => response.destroy());
    response.once('finish', () => this.#forget(response)).once('close', () => this.#forget(response));
    for (const [slowest] of this.#waiting) {
      if (this.#bytes <= this.limits.maxBytes || slowest === response) return;
      this.#forget(slowest);
      slowest.destroy();
    }
  }

  #forget(response: ServerResponse): void {
    this.#bytes -= this.#waiting.get(response) ?? 0;
    this.#waiting.delete(response);
  }
}
