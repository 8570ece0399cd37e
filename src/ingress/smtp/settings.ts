/** Everything about receiving mail that an operator may set. Sizes in bytes, times in milliseconds. */
export interface SmtpSettings {
  readonly host: string;
  /** 0 takes a free one. */
  readonly port: number;
  /** Our name in the greeting and in replies. */
  readonly hostname: string;
  /** PEM; STARTTLS is offered when it is there. */
  readonly tls: { readonly key: string | Buffer; readonly cert: string | Buffer } | null;
  /** Peers on the loopback interface may log in without TLS. */
  readonly loopbackLogin: boolean;
  /** The largest mail. Announced as SIZE and enforced while it comes in. */
  readonly maxMessageBytes: number;
  /** What all mails being received or stored may hold in memory together. */
  readonly maxBufferedBytes: number;
  /** What one mail may come to when it is stored once for each recipient's source and account. */
  readonly maxFanOutBytes: number;
  /** Recipients of one mail. */
  readonly maxRecipients: number;
  readonly maxConnections: number;
  /** A peer is an IPv4 address or an IPv6 network of 64 bits. */
  readonly maxConnectionsPerPeer: number;
  /** Mails a peer may begin; null for no limit. */
  readonly messagesPerMinute: number | null;
  /** Recipients a peer may name, known or not; null for no limit. */
  readonly recipientsPerMinute: number | null;
  /** A connection that sends nothing for so long is closed. */
  readonly idleMs: number;
  /** A connection that completes no mail for so long is closed, however busily it trickles. */
  readonly transactionMs: number;
  /** How long `close` waits for mails under way. */
  readonly drainMs: number;
  readonly trusted: {
    /** Addresses and networks (CIDR) of proxies: their connections begin with a PROXY line (version 1). */
    readonly proxies: readonly string[];
    /** Addresses and networks of mail servers that may name their client by XCLIENT. */
    readonly xclient: readonly string[];
  };
}
