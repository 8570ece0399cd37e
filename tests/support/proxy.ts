import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';

/** A way to a database that a test can cut, freeze and mend. */
export interface SeverableProxy {
  /** The database's URL by way of the proxy. */
  readonly url: string;
  /** Breaks all connections and takes no new ones. */
  cut(): Promise<void>;
  /** Takes connections again, on the same address. */
  mend(): Promise<void>;
  /** Keeps the connections and lets no byte through any more, like a network that is gone. */
  freeze(): void;
  close(): Promise<void>;
}

/**
 * Puts a proxy in front of a PostgreSQL that listens on a Unix socket, as the tests' does. It freezes by itself when so many
 * bytes have come for the database, whatever else the machine does then.
 */
export async function proxied(
  url: string,
  { freezesAfter = Number.POSITIVE_INFINITY }: { readonly freezesAfter?: number } = {},
): Promise<SeverableProxy> {
  const behind = new URL(url);
  const socketPath = `${behind.searchParams.get('host')}/.s.PGSQL.5432`;
  const sockets = new Set<Socket>();
  let asked = 0;
  const freeze = (): void => {
    for (const socket of sockets) socket.unpipe().pause();
  };
  const server = createServer((client) => {
    const upstream = connect(socketPath);
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.on('error', () => undefined);
      socket.on('close', () => {
        sockets.delete(socket);
        client.destroy();
        upstream.destroy();
      });
    }
    client.pipe(upstream);
    client.on('data', (bytes) => {
      asked += bytes.length;
      if (asked >= freezesAfter) freeze();
    });
    upstream.pipe(client);
  });
  const listen = async (port: number): Promise<number> => {
    server.listen(port, '127.0.0.1');
    await once(server, 'listening');
    const address = server.address();
    return typeof address === 'object' && address ? address.port : 0;
  };
  const cut = async (): Promise<void> => {
    if (!server.listening) return;
    const closed = once(server, 'close');
    server.close();
    for (const socket of sockets) socket.destroy();
    await closed;
  };
  const port = await listen(0);
  const front = new URL(url);
  front.searchParams.delete('host');
  front.hostname = '127.0.0.1';
  front.port = String(port);
  return {
    url: front.href,
    cut,
    mend: async () => {
      await listen(port);
    },
    freeze,
    close: cut,
  };
}
