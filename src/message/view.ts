/** One thing wrong with a message's content. */
export interface Defect {
  /** From the closed list of `content/defects.ts`. */
  readonly code: string;
  readonly severity: 'note' | 'warning' | 'error';
  /** Header name, part number or JSON pointer. */
  readonly where: string;
  /** What was done about it. */
  readonly action: string;
}

/** A rung of the de-featuring ladder by its number; 0 is everything. */
export type Rung = number;

export interface Address {
  readonly name: string;
  readonly address: string;
}

/** A part of a mail that is not its body text. Bytes are read on demand from the raw message. */
export interface Part {
  /** 1, 2, 3 … in the order of the message. */
  readonly n: number;
  readonly name: string | null;
  readonly type: string;
  readonly size: number;
  /** Hex. */
  readonly sha256: string;
  readonly inline: boolean;
  readonly contentId: string | null;
}

/**
 * What a rung makes of a message. The same for every kind: events and webhooks have `data`, mail has the rest.
 * Plain JSON throughout: it is stored and sent between processes as it stands.
 */
export interface View {
  readonly rung: Rung;
  /** In order, as many times as they came; names in lower case. Values decoded and unfolded. */
  readonly headers: readonly (readonly [name: string, value: string])[];
  readonly subject: string | null;
  readonly from: readonly Address[];
  readonly to: readonly Address[];
  readonly cc: readonly Address[];
  readonly replyTo: readonly Address[];
  readonly date: string | null;
  readonly messageId: string | null;
  readonly inReplyTo: readonly string[];
  readonly references: readonly string[];
  readonly text: string | null;
  readonly html: string | null;
  readonly parts: readonly Part[];
  readonly defects: readonly Defect[];
  /** The JSON of an event's `data` or a webhook's body; undefined where there is none. May hold LosslessNumbers. */
  readonly data?: unknown;
}

export const EMPTY_VIEW: View = {
  rung: 0,
  headers: [],
  subject: null,
  from: [],
  to: [],
  cc: [],
  replyTo: [],
  date: null,
  messageId: null,
  inReplyTo: [],
  references: [],
  text: null,
  html: null,
  parts: [],
  defects: [],
};
