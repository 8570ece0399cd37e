/** Something that was refused before it became a message: kept for seven days, so that a person can ask why. */
export interface Refusal {
  /** Null where it isn't known whose it would have been. */
  readonly tenant: number | null;
  readonly ingress: 'smtp' | 'hooks' | 'events' | 'amqp';
  readonly peer: string;
  /** What was asked for: recipient, source name, event id … short strings, no secrets, no content. */
  readonly envelope: Readonly<Record<string, string>>;
  /** Stable, lower_snake_case. */
  readonly code: string;
  /** A sentence. */
  readonly why: string;
}

/** Notes a refusal; never fails and never waits (aggregated in memory, written behind). */
export type Refuse = (refusal: Refusal) => void;
