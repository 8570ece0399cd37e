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

/** How far down a message has come. */
export interface LadderPlace {
  readonly rung: Rung;
  /** Leaves of a mail, by their numbers, that stopped earlier tries: they are not looked into. */
  readonly blamed: readonly number[];
  /** Children that died of it. */
  readonly deaths: number;
  /** How often the whole process died while it was tried on this rung. */
  readonly interruptions: number;
}

export const TOP: LadderPlace = { rung: 0, blamed: [], deaths: 0, interruptions: 0 };

export interface Address {
  readonly name: string;
  readonly address: string;
}

/** A part of a mail that is not its body text. Bytes are read on demand from the raw message. */
export interface Part {
  /** 1, 2, 3 … in the order of the message, those set aside counted; what is wrapped in another part comes after them. */
  readonly n: number;
  /** As IMAP numbers it: `2.1`; within another part that part's path, a slash, and its own. */
  readonly path: string;
  readonly name: string | null;
  readonly type: string;
  readonly size: number;
  /** Hex. */
  readonly sha256: string;
  readonly inline: boolean;
  readonly contentId: string | null;
  /** The header and the text of a mail that is a part of this one. Its own parts are listed with the others. */
  readonly message?: NestedMessage;
}

export interface NestedMessage {
  readonly subject: string | null;
  readonly from: readonly Address[];
  readonly to: readonly Address[];
  readonly cc: readonly Address[];
  readonly date: string | null;
  readonly messageId: string | null;
  readonly text: string | null;
}

/** Something of a message that a view leaves out. It is whole in the raw message. */
export interface SetAside {
  /** A part's path, a JSON pointer, or what it is: `html`, `body`. */
  readonly where: string;
  /** Of a part that has a number. */
  readonly n: number | null;
  readonly name: string | null;
  readonly type: string | null;
  /** Bytes as they stand in the message, with their transfer encoding. */
  readonly size: number;
  /** Hex, of the same bytes. */
  readonly sha256: string;
  /** A sentence. */
  readonly why: string;
}

/** What rules can ask for and a rung may leave unread. */
export type ViewField = 'headers' | 'text' | 'html' | 'parts' | 'data';

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
  readonly setAside: readonly SetAside[];
  /** Fields of which something was not read: that they lack something proves nothing. */
  readonly unread: readonly ViewField[];
  /** Leaves of a mail that were not looked into for what they did before; parts are numbered without what they wrap. */
  readonly blamed: readonly number[];
  /**
   * The JSON of an event's `data` or a webhook's body; of a mail with calendars or delivery reports `{calendars, reports}`.
   * Undefined where there is none. May hold LosslessNumbers.
   */
  readonly data?: unknown;
}

/** A view as its reader wrote it down. */
export interface WrittenView {
  /** In UTF-8. */
  readonly json: Buffer;
  /** What it is found by: folded, each once, with blanks between them (`wordsOfView`). */
  readonly words: string;
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
  setAside: [],
  unread: [],
  blamed: [],
};
