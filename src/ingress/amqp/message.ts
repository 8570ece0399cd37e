/** A message as its broker hands it over. Whether it came before is not looked at: a redelivery is nobody's fault. */
export interface QueueMessage {
  readonly content: Buffer;
  readonly fields: { readonly exchange: string; readonly routingKey: string };
  readonly properties: Properties;
}

/** AMQP 0-9-1's properties of a message, decoded; all of them are the sender's choice. */
export interface Properties {
  readonly contentType?: string | undefined;
  readonly contentEncoding?: string | undefined;
  readonly headers?: Readonly<Record<string, unknown>> | undefined;
  readonly deliveryMode?: number | undefined;
  readonly priority?: number | undefined;
  readonly correlationId?: string | undefined;
  readonly replyTo?: string | undefined;
  readonly expiration?: string | undefined;
  readonly messageId?: string | undefined;
  /** Seconds since 1970, as the protocol says. */
  readonly timestamp?: number | undefined;
  readonly type?: string | undefined;
  /** RabbitMQ lets only the sender's own name through. */
  readonly userId?: string | undefined;
  readonly appId?: string | undefined;
  /** The properties' bytes, where they could not be decoded; then there are no others. */
  readonly unreadable?: Buffer;
}
