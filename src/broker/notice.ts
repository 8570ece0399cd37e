/** What happens to a connection that an operator may want to know. Holds no credentials. */
export type BrokerNotice =
  | { readonly event: 'up'; readonly where: string; readonly use: LinkUse }
  | {
      readonly event: 'down';
      readonly where: string;
      readonly use: LinkUse;
      readonly reason: string;
      readonly retryMs: number;
    }
  | { readonly event: 'blocked'; readonly where: string; readonly use: LinkUse; readonly reason: string }
  | { readonly event: 'unblocked'; readonly where: string; readonly use: LinkUse }
  /** A dead letter that no delivery of Waybill's belongs to; it was taken off the queue. */
  | { readonly event: 'dead_unknown'; readonly messageId: string | null }
  /** Noting a dead letter failed; it stays on the queue and comes again. */
  | { readonly event: 'dead_deferred'; readonly reason: string };

export type LinkUse = 'publishing' | 'consuming';
export type Notify = (notice: BrokerNotice) => void;
