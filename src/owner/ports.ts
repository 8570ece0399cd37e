import type { Decider, Run } from '../delivery/plan.js';
import type { SendResult } from '../message/delivery.js';
import type { Place } from '../message/id.js';
import type { StoredMessage } from '../message/message.js';
import type { Portion } from '../message/portion.js';
import type { ThreadPlace } from '../message/thread.js';
import type { LadderPlace, Rung, View, WrittenView } from '../message/view.js';
import type { ThreadContent } from '../routing/thread/content.js';
import type { Earlier } from '../routing/thread/follow.js';
import type { ThreadKeys } from '../routing/thread/keys.js';

/** A channel this process holds, and the term it holds it by: every write names both and fails when they are no longer so. */
export interface Held {
  readonly tenant: number;
  readonly channel: number;
  readonly term: number;
}

/** This process is no longer the owner: nothing was written, and it must not go on with the channel. */
export class FencedOut extends Error {
  override readonly name = 'FencedOut';
  constructor(readonly channels: readonly Held[]) {
    super(`the lease of ${channels.map((c) => `${c.tenant}/${c.channel}`).join(', ')} belongs to another process now`);
  }
}

/** A decision was taken back, or a parked message settled, while it was being planned: nothing was written; read and plan anew. */
export class DecisionMoved extends Error {
  override readonly name = 'DecisionMoved';
  constructor() {
    super('a decision was taken back, or a message settled, while it was being planned');
  }
}

/** Where a channel's reader stands, as its new owner finds it. */
export interface ReaderState {
  readonly planned: number;
  readonly lastPlan: number;
  readonly chain: Buffer;
  /** Last delivery number by target id, in the present epoch. */
  readonly lines: Map<number, number>;
  /** Deliveries that wait, by target id: those lines are blocked for sending at once. */
  readonly pending: Map<number, number>;
  /** Messages whose try an earlier owner left open, and where they were tried: they are parked and tried alone. */
  readonly interrupted: Map<number, LadderPlace>;
  /** A batch of events was interrupted: its members are tried one by one up to this sequence. */
  readonly aloneUpTo: number;
}

/** One plan to be written. */
export interface NewPlan {
  readonly held: Held;
  readonly number: number;
  readonly kind: 'stream' | 'extra';
  readonly firstSequence: number;
  readonly lastSequence: number;
  readonly runs: readonly Run[];
  /** Present for `stream`: the running hash after it. Extra plans' is made as they are written, where the hashes are. */
  readonly chain: Buffer | null;
  /** Something of it is sent at once. */
  readonly open: boolean;
  /** Everything else that must be true at the same moment. */
  readonly pending: readonly NewDelivery[];
  readonly standings: readonly NewStanding[];
  readonly views: readonly NewView[];
  /** Where conversations go with messages that have a place in one. */
  readonly threads: readonly ThreadCourse[];
  /** Attempts of single mails that ended with it; they stay as their history. */
  readonly attempts: readonly EndedAttempt[];
  /** Attempts of batches of events that went through; they leave none. */
  readonly doneBatches: readonly number[];
  /** People's decisions it carries out, as they were read: one that has changed since undoes the whole writing. */
  readonly decisions: readonly Pick<DueDecision, 'sequence' | 'version' | 'targets'>[];
  /** Messages it carries on that stand as parked: one that does so no longer undoes the whole writing. */
  readonly resumed: readonly number[];
  readonly cancelled: readonly { readonly target: number; readonly epoch: number; readonly number: number }[];
  readonly poison: readonly number[];
}

export interface NewDelivery {
  readonly target: number;
  readonly number: number;
  readonly sequence: number;
  readonly rung: number;
  readonly decision: Decider;
  readonly late: boolean;
  readonly replay: boolean;
  /** Only this of the message; null for all of it. */
  readonly portion: Portion | null;
}

export interface NewStanding {
  readonly sequence: number;
  readonly state: 'waiting' | 'routed' | 'closed' | 'parked' | 'quarantined';
  /** Version of the decision that led there; the rules' is 1. */
  readonly version: number;
  readonly reason: string | null;
  /** Of what is parked: where it is to be tried. */
  readonly place: LadderPlace | null;
}

export interface NewView {
  readonly sequence: number;
  readonly view: View;
  /** The same as its reader wrote it, where it has just been read. */
  readonly written?: WrittenView | undefined;
}

export interface ThreadCourse {
  readonly sequence: number;
  readonly targets: readonly number[];
  /** `set` by the stream; a person's decisions `add` to it and `remove` from it. */
  readonly how: 'set' | 'add' | 'remove';
}

/** A message that is to have its place in a conversation. */
export interface NewInThread {
  readonly held: Held;
  readonly sequence: number;
  readonly keys: ThreadKeys;
  readonly content: ThreadContent | null;
  /** What came before it counts. */
  readonly asks: boolean;
}

export interface PlacedInThread extends ThreadPlace {
  /** Messages before it, newest first, as many as are asked; none for one that does not ask. */
  readonly before: readonly Earlier[];
}

/** A try that is about to begin. */
export interface NewAttempt {
  readonly held: Held;
  readonly first: number;
  readonly last: number;
  readonly rung: Rung;
  readonly blamed: readonly number[];
  /** The stage that begins. */
  readonly stage: string;
  readonly try: number;
  /** Of a mail. */
  readonly crashHash: Buffer | null;
  /** Milliseconds it may take; null where nothing holds it up. */
  readonly tryMs: number | null;
}

/** What a mail's like has come to: the same bytes under other headers. */
export interface Crash {
  readonly tenant: number;
  readonly hash: Buffer;
  readonly place: LadderPlace;
}

export interface EndedAttempt {
  readonly id: number;
  /** `not_tried`: its like failed while it waited. */
  readonly outcome: 'processed' | 'failed' | 'interrupted' | 'not_tried';
  readonly reason: string | null;
  /** The child that tried it. */
  readonly child: string | null;
}

/** What became of the deliveries a plan sent at once: all delivered but these, which wait from now on. */
export interface PlanOutcome {
  readonly held: Held;
  readonly plan: number;
  /** Ids of the targets it was sent to at once. */
  readonly targets: readonly number[];
  readonly unsent: readonly NewDelivery[];
}

/** A delivery that waits, as the dispatcher takes it. */
export interface DueDelivery {
  readonly tenant: number;
  readonly target: number;
  readonly channel: number;
  readonly epoch: number;
  readonly number: number;
  readonly sequence: number;
  readonly plan: number;
  readonly rung: number;
  readonly decision: Decider;
  readonly late: boolean;
  readonly replay: boolean;
  readonly portion: Portion | null;
  readonly what: 'message' | 'void';
  readonly attempts: number;
  /** Bytes of its message as it came; 0 where that is gone. */
  readonly size: number;
  /** Milliseconds since 1970; null before the first. */
  readonly firstAttemptAt: number | null;
  readonly reason: string | null;
  /** When its target last took anything, and when a pause of it last ended; null for never. */
  readonly targetTakenAt: number | null;
  readonly targetResumedAt: number | null;
}

/** What follows from one try of a waiting delivery. */
export interface Settled {
  readonly due: DueDelivery;
  readonly result: SendResult;
  readonly startedAt: number;
  readonly tookMs: number;
  readonly becomes:
    | { readonly state: 'delivered' }
    | { readonly state: 'pending'; readonly nextAt: number }
    | { readonly state: 'failed'; readonly code: string; readonly reason: string; readonly voided: boolean };
}

/** A person's decision whose hold is over. */
export interface DueDecision {
  readonly tenant: number;
  readonly channel: number;
  readonly sequence: number;
  readonly version: number;
  readonly who: string;
  readonly action: 'assign' | 'unassign' | 'replay';
  readonly targets: readonly number[];
  /** Only this of the message is sent; null for all of it. */
  readonly portion: Portion | null;
}

/** Some sequences of a channel, both ends included. */
export interface SequenceRange {
  readonly tenant: number;
  readonly channel: number;
  readonly first: number;
  readonly last: number;
}

/** A target's deliveries of one channel. */
export interface WaitingLine {
  readonly tenant: number;
  readonly target: number;
  readonly channel: number;
}

export interface ParkedMessage {
  readonly sequence: number;
  readonly version: number;
  readonly place: LadderPlace;
  /** A person chose the rung, which counts more than what became of its likes before that. */
  readonly byHand: boolean;
}

/** A message that no rung could read, as it stands in quarantine now. */
export interface Quarantined {
  readonly tenant: number;
  /** Of its entry. */
  readonly number: number;
  readonly crashHash: Buffer | null;
  /** None of its likes was there before. */
  readonly first: boolean;
}

/** A message with its stored view, where it has one. */
export interface MessageWithView {
  readonly message: StoredMessage;
  readonly view: View | null;
  readonly thread: ThreadPlace | null;
}

/** A channel as its last owner left it. */
export interface BegunChannel {
  readonly held: Held;
  readonly reader: ReaderState;
  /** Deliveries that its last owner may have sent, and that are sent again. */
  readonly adopted: number;
}

/** Everything the owner keeps in the database. Every write is fenced: it rejects with FencedOut when a lease is lost. */
export interface OwnerStore {
  /**
   * Takes over what the last owners of channels left, and reads where they are: deliveries of plans whose outcome nobody
   * wrote become pending, in order, and tries that were left open are marked as interrupted. All of them or none.
   */
  begin(held: readonly Held[]): Promise<BegunChannel[]>;
  /**
   * Messages of some ranges, in order of channel and sequence: of each channel as many as come within so many bytes and
   * mails, at least one, and perhaps fewer than there are of a range.
   */
  read(
    ranges: readonly SequenceRange[],
    most: { readonly bytes: number; readonly mails: number },
  ): Promise<StoredMessage[]>;
  /** Some messages of a tenant, with the views they were last given, in order of channel and sequence. */
  readWithViews(tenant: number, places: readonly Place[]): Promise<MessageWithView[]>;
  /** Last sequence by channel, for the channels held. */
  lastSequences(held: readonly Held[]): Promise<Map<string, number>>;
  /**
   * Gives messages their numbers in their conversations, in the order given; one that has its number keeps it. The leases are
   * looked at. In the order given.
   */
  placeInThreads(messages: readonly NewInThread[]): Promise<PlacedInThread[]>;
  beginAttempts(attempts: readonly NewAttempt[]): Promise<number[]>;
  endAttempts(held: Held, attempts: readonly EndedAttempt[]): Promise<void>;
  /** Removes those that have not ended: they count against nobody. */
  forgetAttempts(attempts: readonly number[]): Promise<void>;
  /** Writes plans and the outcomes of earlier ones, in one transaction. Answers what they put into quarantine. */
  writePlans(plans: readonly NewPlan[], outcomes: readonly PlanOutcome[]): Promise<readonly Quarantined[]>;
  /** Deliveries of a target that may be tried now, in line order, at most so many. */
  due(
    target: { readonly tenant: number; readonly id: number; readonly inLine: boolean },
    held: readonly Held[],
    max: number,
  ): Promise<DueDelivery[]>;
  /** Writes down what became of deliveries of these channels: of all of them or, as FencedOut, of none. */
  settle(held: readonly Held[], settled: readonly Settled[]): Promise<void>;
  pauseTarget(tenant: number, target: number, code: string, reason: string): Promise<void>;
  /** Decisions of any of the channels whose hold is over, at most so many: each tenant's oldest first, in turns. */
  dueDecisions(held: readonly Held[], max: number): Promise<DueDecision[]>;
  /** Pending deliveries of a message that nobody is sending: by target and number. */
  pendingOf(held: Held, sequence: number): Promise<{ target: number; epoch: number; number: number }[]>;
  /** Lines of the channels held in which a delivery or a notice waits, whoever wrote it. */
  waitingLines(held: readonly Held[]): Promise<WaitingLine[]>;
  countWaiting(line: WaitingLine): Promise<number>;
  /** Places of any of the channels that are parked and may be tried, at most so many: each tenant's oldest first, in turns. */
  parked(held: readonly Held[], max: number): Promise<{ tenant: number; channel: number; sequence: number }[]>;
  /** One of them as it stands now; null when it is no longer parked. */
  parkedOne(held: Held, sequence: number): Promise<ParkedMessage | null>;
  /** Has it tried at another place from now on. */
  /** It is not tried for so many milliseconds. */
  park(held: Held, parked: Omit<ParkedMessage, 'version'>, reason: string, restMs: number): Promise<void>;
}
