import type { Rung, View } from '../../message/view.js';
import type { MailLimits } from '../limits.js';

/** What a child is about to do; it leaves word of it that survives its death. */
export const STAGES = ['begun', 'headers', 'structure', 'body', 'attachments', 'text', 'html', 'answer'] as const;
export type Stage = (typeof STAGES)[number];

export interface RungTools {
  /** The rung's number in the ladder. */
  readonly rung: Rung;
  readonly limits: MailLimits;
  /** Called before a stage begins; `detail` is the number of an attachment. */
  readonly stage: (stage: Stage, detail?: number) => void;
}

/** One rung: what it makes of a mail's raw bytes. It may throw, die or never end; its child is there for that. */
export interface RungReader {
  read(raw: Buffer, tools: RungTools): View | Promise<View>;
}

/** The mail goes beyond a limit of this rung. No crash: a lower rung may take it at once. */
export class Refused extends Error {
  override readonly name = 'Refused';
}
