export interface RabbitmqNode {
  /** For AMQP_URL. */
  readonly url: string;
  /** Its HTTP API, with name and password. */
  readonly management: string;
  /** Runs `rabbitmqctl` with these arguments on the node; resolves to what it printed. */
  control(...args: string[]): Promise<string>;
  /** Takes some seconds, and leaves everything fit for the next start. */
  stop(): Promise<void>;
  /** At once, for a node whose directory goes with it. */
  kill(): Promise<void>;
}

export function startRabbitmq(settings: { directory: string; say: (line: string) => void }): Promise<RabbitmqNode>;
