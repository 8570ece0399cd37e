import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

/** A TCP relay before a server: connections through it can be cut, held up, or told things the server never said. */
export interface Relay {
  readonly port: number;
  /** Breaks every connection, and refuses new ones until `open`. */
  cut(): Promise<void>;
  open(): Promise<void>;
  /** Nothing goes through in the direction of the server any more; it is kept, and sent by `flow`. */
  stall(): void;
  flow(): void;
  /** Sends bytes to every client as if the server had. */
  inject(bytes: Buffer): void;
  /** How many connections there are. */
  count(): number;
  close(): Promise<void>;
}

export async function startRelay(host: string, port: number, listening = true): Promise<Relay> {
  const pairs = new Set<{ readonly client: Socket; readonly server: Socket }>();
  let stalled = false;
  const create = () =>
    createServer((client) => {
      const server = connect(port, host);
      const pair = { client, server };
      pairs.add(pair);
      if (stalled) client.pause();
      client.on('data', (bytes) => server.write(bytes));
      server.on('data', (bytes) => client.write(bytes));
      for (const socket of [client, server]) {
        socket.on('error', () => undefined);
        socket.on('close', () => {
          pairs.delete(pair);
          client.destroy();
          server.destroy();
        });
      }
    });
  let relay = create();
  relay.listen(0, '127.0.0.1');
  await once(relay, 'listening');
  const own = (relay.address() as AddressInfo).port;
  const started: Relay = {
    port: own,
    async cut() {
      const closed = once(relay, 'close');
      relay.close();
      for (const { client, server } of pairs) {
        client.resetAndDestroy();
        server.destroy();
      }
      await closed;
    },
    async open() {
      relay = create();
      relay.listen(own, '127.0.0.1');
      await once(relay, 'listening');
    },
    stall() {
      stalled = true;
      for (const { client } of pairs) client.pause();
    },
    flow() {
      stalled = false;
      for (const { client } of pairs) client.resume();
    },
    inject(bytes) {
      for (const { client } of pairs) client.write(bytes);
    },
    count: () => pairs.size,
    async close() {
      if (relay.listening) await started.cut();
    },
  };
  if (!listening) await started.cut();
  return started;
}
