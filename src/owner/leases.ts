import type { Clock } from '../message/clock.js';
import type { Held } from './ports.js';

export interface Lease {
  readonly tenant: number;
  readonly channel: number;
  readonly holder: string | null;
  readonly term: number;
  /** Whether the holder is among the processes, dead ones too. */
  readonly present: boolean;
}

/** A process as it shows itself: each beat is one more than the last. */
export interface ProcessBeat {
  readonly id: string;
  /** Whether it reads channels onward. */
  readonly owns: boolean;
  readonly beat: number;
}

export interface LeaseStore {
  register(name: string, roles: readonly string[]): Promise<void>;
  beat(): Promise<void>;
  /** For whoever knows that no other process can be alive on this database. */
  forgetOthers(): Promise<void>;
  /** Every process that has not left, dead ones too. */
  processes(): Promise<ProcessBeat[]>;
  leases(): Promise<Lease[]>;
  /** Another text once any lease has been made, taken or given back: says cheaply that nothing has moved. */
  version(): Promise<string>;
  /** Takes those leases whose term is still the given one; answers what was taken, with the new terms. */
  take(wanted: readonly Held[]): Promise<Held[]>;
  /** Gives those leases back of which this process is still the holder: whoever wants them takes them at once. */
  give(held: readonly Held[]): Promise<void>;
  /** Says that this process takes no channels any more: others share out among themselves what is free. */
  retire(): Promise<void>;
  /** Gives everything back. */
  leave(): Promise<void>;
  /** Removes rows of processes that died long ago. */
  sweep(): Promise<void>;
}

export interface LeaseSettings {
  /** How often a process shows that it lives. */
  readonly beatMs: number;
  /** How long another's beat must stand still, on the observer's own clock, before its leases may be taken. */
  readonly lostAfterMs: number;
}

/** What is known of the processes there are. */
export interface Presence {
  /** Those whose beat was seen to move. One that was never seen before may be dead, and is not among them yet. */
  readonly living: readonly ProcessBeat[];
  /** Whether a process has shown no life for the whole time: what it holds may be taken. */
  readonly isLost: (id: string) => boolean;
}

/**
 * Watches the beats of processes on this process's own monotonic clock: neither a jump of the wall clock nor a
 * slow database makes a living owner look dead before its beat has stood still for the whole time.
 *
 *   unknown ──beat moves──► living ──stands still──► lost ──beat moves──► living
 *      └───────────────── stands still ───────────────►┘
 */
export class BeatWatch {
  readonly #seen = new Map<string, { beat: number; since: number; state: 'unknown' | 'living' | 'lost' }>();
  #looked = Number.NEGATIVE_INFINITY;

  constructor(
    private readonly clock: Clock,
    private readonly settings: LeaseSettings,
  ) {}

  look(processes: readonly ProcessBeat[]): Presence {
    const now = this.clock.monotonic();
    // Whoever did not look for so long can't tell: the database may have been away for the others as well.
    const blind = now - this.#looked > this.settings.lostAfterMs / 2;
    this.#looked = now;
    const ids = new Set(processes.map(({ id }) => id));
    for (const [id, seen] of this.#seen) {
      if (!ids.has(id)) this.#seen.delete(id);
      else if (blind) seen.since = now;
    }
    for (const process of processes) this.#note(process, now);
    return {
      living: processes.filter(({ id }) => this.#seen.get(id)?.state === 'living'),
      // One that came after this look is not known, and so not lost.
      isLost: (id) => this.#seen.get(id)?.state === 'lost',
    };
  }

  #note({ id, beat }: ProcessBeat, now: number): void {
    const seen = this.#seen.get(id);
    if (!seen) this.#seen.set(id, { beat, since: now, state: 'unknown' });
    else if (seen.beat !== beat) this.#seen.set(id, { beat, since: now, state: 'living' });
    else if (now - seen.since >= this.settings.lostAfterMs) seen.state = 'lost';
  }
}
