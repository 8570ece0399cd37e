/** What a child is about to do; it leaves word of it that survives its death. */
export const STAGES = [
  'begun',
  'headers',
  'structure',
  'checks',
  'body',
  'reflow',
  'html_text',
  'file',
  'tnef',
  'calendar',
  'nested',
  'report',
  'first_text',
  'safe_html',
  'words',
  'answer',
] as const;
export type Stage = (typeof STAGES)[number];

export interface ReadTools<Limits> {
  readonly limits: Limits;
  /** Called before a stage begins; `leaf` is the number of the leaf it is about. */
  readonly stage: (stage: Stage, leaf?: number) => void;
}

/** The mail goes beyond a limit that only a lower rung can hold. No crash: that rung takes it at once. */
export class Refused extends Error {
  override readonly name = 'Refused';
}
