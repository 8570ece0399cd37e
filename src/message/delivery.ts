/** One delivery ready to go out: everything a target's adapter needs and nothing it must look up. */
export interface Outgoing {
  readonly tenant: string;
  readonly target: string;
  readonly epoch: number;
  readonly channel: number;
  readonly sequence: number;
  /** Gap-free from 1 per (epoch, target, channel). */
  readonly number: number;
  /** `message`, or the notice that this number will carry none. */
  readonly what: 'message' | 'void';
  /** Why the number is void; null for messages. */
  readonly reason: string | null;
  readonly type: string | null;
  readonly account: string;
  readonly source: string;
  readonly rung: number;
  readonly defects: readonly string[];
  /** Short text of who decided: `rules 3: invoices` or `person anna v2`. */
  readonly decision: string;
  readonly late: boolean;
  readonly replay: boolean;
  /** Only a portion of the message: as `portionText` says it, and the name of the file that is all of it, where it has one. */
  readonly only?: { readonly text: string; readonly name: string | null };
  /** Arrival, milliseconds since 1970. */
  readonly receivedAt: number;
  readonly contentType: string;
  readonly body: Uint8Array;
  /** For e-mail targets: the raw message of a mail and its envelope sender (`''` is the null sender); null for events and webhooks. */
  readonly mail: { readonly sender: string; readonly raw: Uint8Array } | null;
  /** How often this delivery was tried before. */
  readonly attempts: number;
}

/** What became of one try. Each has exactly one consequence (DESIGN 2.5). */
export type SendResult =
  | { readonly result: 'delivered'; readonly answer: string | null }
  /** Not taken this time: stays pending, tried again after the schedule, or after `afterMs` where the target named a time. */
  | {
      readonly result: 'retry';
      readonly code: string;
      readonly reason: string;
      readonly afterMs?: number;
      readonly answer?: string;
    }
  /** Refused for good: failed, and its number is void. */
  | { readonly result: 'refused'; readonly code: string; readonly reason: string; readonly answer?: string }
  /** The target as a whole can't take anything (401, 403, 404, 410, unroutable): paused with an alarm, the delivery stays pending. */
  | { readonly result: 'pause'; readonly code: string; readonly reason: string; readonly answer?: string }
  /**
   * Our surroundings failed (broker away), or it was not even tried (breaker open): stays pending, costs no attempt.
   * `afterMs` says when trying again makes sense.
   */
  | { readonly result: 'interrupted'; readonly reason: string; readonly afterMs?: number };

/**
 * A target's adapter. Results come in the order given, one each, and `send` never rejects.
 * Order: entries of the same channel go out in the order given; after the first one of a channel that is not
 * `delivered`, none of that channel's later entries in the same call is sent: they answer `interrupted`.
 * (Targets of order `none` get one entry a call.)
 */
export interface Sender {
  send(batch: readonly Outgoing[]): Promise<SendResult[]>;
  /**
   * Milliseconds for which there is no point in sending: the broker is away, or the target failed again and again.
   * 0 when there is. Whoever has much to send asks first, since every entry sent all the same is only interrupted.
   */
  resting?(): number;
  /** Settles what is under way and releases connections. */
  close(): Promise<void>;
}

export type DeliveryState = 'pending' | 'delivered' | 'failed' | 'cancelled';
