/** A message's place in a conversation. */
export interface ThreadPlace {
  /** Of the thread, within its tenant. */
  readonly id: number;
  /** 1, 2, 3 … by time of receipt. */
  readonly number: number;
}
