import type { Decider, Lines } from '../delivery/plan.js';
import type { Target } from '../delivery/target.js';
import type { Kind, ParsedJson } from '../message/arrival.js';
import type { Outcome } from '../message/decision.js';
import type { Outgoing, Sender } from '../message/delivery.js';
import type { CanonicalMessage, StoredMessage } from '../message/message.js';
import type { Portion } from '../message/portion.js';
import type { Tenant } from '../message/tenant.js';
import type { ThreadPlace } from '../message/thread.js';
import type { LadderPlace, Rung, View, WrittenView } from '../message/view.js';
import type { AskedScore } from '../routing/learning/readiness.js';
import type { ThreadContent } from '../routing/thread/content.js';
import type { ThreadKeys } from '../routing/thread/keys.js';
import type { Held, ReaderState, WaitingLine } from './ports.js';

/** A channel this process reads, and everything it must remember of it between two rounds. */
export interface ChannelState {
  readonly held: Held;
  readonly tenant: Tenant;
  /** Every sequence up to here is planned. */
  planned: number;
  /** Every sequence up to here is being read, or planned. */
  taken: number;
  lastPlan: number;
  chain: Buffer;
  readonly lines: Lines;
  /** Deliveries that wait, by target id: nothing overtakes them. */
  readonly pending: Map<number, number>;
  readonly interrupted: Map<number, LadderPlace>;
  readonly aloneUpTo: number;
  /** Last sequence known to be stored. */
  known: number;
  /** On the monotonic clock, since nothing new of it is begun, so that it can be given to another owner; null: read on. */
  leavingSince: number | null;
}

/** The channels a process reads, by `channelKey`. */
export class ChannelStates extends Map<string, ChannelState> {
  readonly #tenants = new Map<number, Set<ChannelState>>();

  ofTenant(tenant: number): ChannelState[] {
    return [...(this.#tenants.get(tenant) ?? [])];
  }

  override set(key: string, state: ChannelState): this {
    this.delete(key);
    const ofTenant = this.#tenants.get(state.held.tenant) ?? new Set();
    this.#tenants.set(state.held.tenant, ofTenant.add(state));
    return super.set(key, state);
  }

  override delete(key: string): boolean {
    const state = this.get(key);
    if (state) this.#tenants.get(state.held.tenant)?.delete(state);
    return super.delete(key);
  }
}

export function channelKey(tenant: number, channel: number): string {
  return `${tenant}/${channel}`;
}

/** A target's deliveries of one channel. */
export function lineKey({ tenant, target, channel }: WaitingLine): string {
  return `${tenant}/${target}/${channel}`;
}

export function channelState(held: Held, tenant: Tenant, reader: ReaderState): ChannelState {
  return { held, tenant, ...reader, taken: reader.planned, known: reader.planned, leavingSince: null };
}

/** Counts deliveries of a line that began or ceased to wait. */
export function countPending(state: ChannelState, target: number, change: number): void {
  const count = (state.pending.get(target) ?? 0) + change;
  if (count > 0) state.pending.set(target, count);
  else state.pending.delete(target);
}

/** A message that was read and may be decided and sent. */
export interface Ready {
  readonly message: StoredMessage;
  readonly view: View;
  /** The view as its reader wrote it, where it has just been read. */
  readonly written?: WrittenView | undefined;
  readonly canonical: CanonicalMessage;
  /** Its place in its conversation; null where it stands alone, or has none yet. */
  readonly thread: ThreadPlace | null;
}

/** The configuration as the owner needs it; a snapshot, to be asked for anew each round. */
export interface OwnerDirectory {
  tenant(id: number): Tenant | undefined;
  sourceName(tenant: number, source: number): string;
  rules(tenant: number): ActiveRules;
  target(tenant: number, id: number): Target | undefined;
  targetNamed(tenant: number, name: string): Target | undefined;
  /** Every target there is, of all tenants. */
  targets(): readonly Target[];
  /** What chooses by probability where no rule does; null where no target asks for that, or none has learnt enough. */
  automatic(tenant: number): Automatic | null;
}

export interface Automatic {
  /** Version of what was learnt. */
  readonly model: number;
  /** Every target that asks for it and has learnt enough. */
  score(message: CanonicalMessage): readonly AskedScore[];
}

export interface ActiveRules {
  readonly version: number;
  decide(message: CanonicalMessage): { readonly rules: readonly string[]; readonly outcome: Outcome };
}

/** How messages of one target go out; null for those that are fetched (pull, or queue without a broker). */
export type SenderOf = (target: Target) => Sender | null;

/**
 * Makes what goes on the wire out of a message; at once unless something has to be fetched for it. Null where what it is
 * to be made of can't be had any more.
 */
export type Render = (
  target: Target,
  ready: Ready,
  delivery: {
    readonly channel: number;
    readonly epoch: number;
    readonly number: number;
    readonly what: 'message' | 'void';
    readonly reason: string | null;
    readonly rung: number;
    readonly decision: Decider;
    readonly late: boolean;
    readonly replay: boolean;
    readonly portion: Portion | null;
    readonly attempts: number;
  },
) => Outgoing | Promise<Outgoing | null>;

/** Turns a stored message and a view of it into the canonical message. */
export type Canonical = (
  message: StoredMessage,
  names: { readonly tenant: string; readonly source: string },
  view: View,
  parsed: ParsedJson | undefined,
) => CanonicalMessage;

/** What joins messages to conversations, as configuration says, and what is kept of them to compare others with. */
export interface ThreadPort {
  /** Whether a message can belong to a conversation at all: asked of every message. */
  mayBelong(message: Pick<StoredMessage, 'tenant' | 'source' | 'kind'>): boolean;
  /** Null for one that names nothing by which others could belong with it. */
  keysOf(ready: Ready): ThreadKeys | null;
  /** Of one that is not read yet, where that can be told. */
  keysOfUnread(message: StoredMessage): ThreadKeys | null;
  contentOf(ready: Ready): ThreadContent | null;
}

/** Reads content: events in place, mail in children. Never rejects. */
export interface ContentPort {
  /** The JSON of an event whose bytes say all, where it is whole. */
  parsedOf(message: StoredMessage): ParsedJson | undefined;
  /** Events and webhooks. */
  inPlace(message: StoredMessage, parsed: ParsedJson | undefined, rung: Rung): View;
  /** Mail; one at a time per slot. A suspect has failed before, and is read apart from fresh mail. */
  parse(raw: Uint8Array, place: LadderPlace, suspect: boolean): Promise<ParseOutcome>;
  /** How many mails are read at a time. */
  readonly slots: number;
  /** Milliseconds that one try may take. */
  readonly tryMs: number;
  /** What two mails that kill the same parser in the same way have in common. */
  crashHash(raw: Uint8Array): Buffer;
  /** Where a message is tried next that the death of the whole process interrupted. */
  afterInterruptions(kind: Kind, place: LadderPlace): LadderPlace;
  /** Whether a rung is the last: nothing is read there. */
  isPoison(kind: Kind, rung: Rung): boolean;
}

export type ParseOutcome =
  | {
      readonly ok: true;
      readonly view: View;
      /** The view as its reader wrote it. */
      readonly written?: WrittenView | undefined;
      readonly child: string | null;
    }
  /** The surroundings failed, not the message. */
  | { readonly ok: false; readonly ours: true; readonly stage: string; readonly reason: string }
  /** `next`: where it is to be tried now. */
  | {
      readonly ok: false;
      readonly ours: false;
      readonly stage: string;
      readonly reason: string;
      readonly next: LadderPlace;
      /** It failed by what its likes have, too (`crashHash`). */
      readonly ofContent: boolean;
      /** The process that tried it. */
      readonly child: string | null;
    };
