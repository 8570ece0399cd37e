import type { Clock } from '../message/clock.js';
import type { Part, Rung, View, WrittenView } from '../message/view.js';
import type { Level } from './features.js';
import { MAIL_LIMITS, type MailLimits } from './limits.js';
import type { Stage } from './stages.js';

export interface ContentLimits extends MailLimits {
  /** Milliseconds of processor time of one try. */
  readonly timeMs: number;
  /** Bytes a child may hold. */
  readonly memoryBytes: number;
  /** Bytes of a view as JSON. */
  readonly outputBytes: number;
  /** Bytes of safe HTML as JSON, pictures included. */
  readonly htmlBytes: number;
  /** Messages that wait for a child, and their bytes: those of the stream, and apart from them those of people. */
  readonly queue: number;
  readonly queueBytes: number;
}

export const CONTENT_LIMITS: ContentLimits = {
  ...MAIL_LIMITS,
  timeMs: 3_000,
  memoryBytes: 256 * 1024 * 1024,
  outputBytes: 4 * 1024 * 1024,
  htmlBytes: 12 * 1024 * 1024,
  queue: 1_000,
  queueBytes: 256 * 1024 * 1024,
};

/** Where the pool notes what happens to its children. Never content, which may be in the errors of parsers. */
export interface ContentLog {
  info(fields: object, text: string): void;
  warn(fields: object, text: string): void;
}

export interface ContentOptions {
  /** How many children; each takes a core when there is much to do. */
  readonly children: number;
  readonly limits?: Partial<ContentLimits>;
  readonly log: ContentLog;
  readonly clock: Clock;
  /** The compiled module a child runs; by default this build's own. */
  readonly entry?: URL;
}

export type FailureKind =
  /** The child died, or its parser failed. */
  | 'crashed'
  | 'killed_time'
  | 'killed_memory'
  | 'output_too_large'
  /** The message goes beyond a limit of the rung. Nothing died; a lower rung may take it at once. */
  | 'refused'
  /** No child could be had. Not the message's fault: it is tried again on the same rung. */
  | 'unavailable';

export interface Failure {
  readonly ok: false;
  readonly failure: FailureKind;
  /** What had begun; `queued` when no child had it. */
  readonly stage: Stage | 'queued';
  /** The leaf of the mail that the stage is about. */
  readonly leaf: number | null;
  /** A sentence for people. May quote content: not for logs. */
  readonly reason: string;
  /** Process id of the child that had it. */
  readonly child: number | null;
}

export type ParseResult =
  | {
      readonly ok: true;
      readonly view: View;
      /** The view as its child wrote it: to be kept, it need not be written anew. */
      readonly written?: WrittenView;
      readonly tookMs: number;
      readonly child: number | null;
    }
  | Failure;
export type PartResult = { readonly ok: true; readonly part: Part; readonly bytes: Buffer } | Failure;
export type HtmlResult =
  | {
      readonly ok: true;
      /** Null where the mail has no HTML that could be shown. For a sandboxed frame. */
      readonly html: string | null;
      /** How many things it would have fetched from elsewhere. */
      readonly blocked: number;
    }
  | Failure;

/** What a place of the pool is doing; children.ts explains. */
export type ChildState = 'starting' | 'idle' | 'busy' | 'leaving' | 'resting' | 'asleep' | 'ended';

/** Reads messages. Nothing here rejects but with ContentClosed. */
export interface Content {
  /** Makes a view of a mail on a rung. A suspect has failed before: it waits for the child that only such get. */
  parse(job: {
    readonly raw: Uint8Array;
    readonly rung: Rung;
    readonly level: Level;
    readonly suspect: boolean;
  }): Promise<ParseResult>;
  /** The nth part of a mail (`Part.n` of its view of that level) with its bytes. Goes before messages that wait. */
  part(job: { readonly raw: Uint8Array; readonly n: number; readonly level: Level }): Promise<PartResult>;
  /** The mail's HTML, made safe to look at. Goes before messages that wait. */
  safeHtml(job: { readonly raw: Uint8Array; readonly level: Level }): Promise<HtmlResult>;
  /** Who serves at present. */
  children(): readonly { readonly state: ChildState; readonly pid: number | null; readonly isolated: boolean }[];
  /** Ends all children; what is under way rejects with ContentClosed. Resolves when they are gone. */
  close(): Promise<void>;
}

/** The pool is closed: the process is about to end, and nothing is known of the message. */
export class ContentClosed extends Error {
  override readonly name = 'ContentClosed';
  constructor() {
    super('the content pool is closed');
  }
}

/** Children can't be started: the installation is broken or the machine is full. */
export class ContentUnavailable extends Error {
  override readonly name = 'ContentUnavailable';
}
