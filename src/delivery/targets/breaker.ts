import type { Clock } from '../../message/clock.js';

/** Failures in a row after which a target is left alone for a while. */
const FAILURES = 5;
/** For how long, doubling with every probe that fails. */
const FIRST_REST_MS = 10_000;
const LONGEST_REST_MS = 300_000;
/** While one probe is under way, the others are asked to come back after this. */
const PROBING_MS = 1_000;

/**
 * Spares a target that is down, and us the waiting.
 *
 *   closed ──5 failures in a row──► open ──rest is over──► one probe ──taken──► closed
 *                                    ▲                        │
 *                                    └──────── failed ────────┘  (twice the rest)
 */
export class Breaker {
  private failures = 0;
  private rest = FIRST_REST_MS;
  /** Monotonic; null when closed. */
  private openUntil: number | null = null;
  private probing = false;

  constructor(private readonly clock: Clock) {}

  /** Asks for leave to try. 0: go ahead, and tell the outcome; else milliseconds to stay away. */
  ask(): number {
    const left = this.restMs();
    if (left > 0 || this.openUntil === null) return left;
    if (this.probing) return PROBING_MS;
    this.probing = true;
    return 0;
  }

  /** Milliseconds until a try makes sense; unlike `ask` it promises nothing. */
  restMs(): number {
    return this.openUntil === null ? 0 : Math.max(0, this.openUntil - this.clock.monotonic());
  }

  /** The target answered like something that works, whatever it thought of the message. */
  answered(): void {
    this.failures = 0;
    this.rest = FIRST_REST_MS;
    this.openUntil = null;
    this.probing = false;
  }

  failed(): void {
    this.failures++;
    const probe = this.probing;
    this.probing = false;
    if (!probe && this.failures < FAILURES) return;
    // Tries that began before it opened must not lengthen the rest.
    if (!probe && this.openUntil !== null) return;
    if (probe) this.rest = Math.min(this.rest * 2, LONGEST_REST_MS);
    this.openUntil = this.clock.monotonic() + this.rest;
  }
}
