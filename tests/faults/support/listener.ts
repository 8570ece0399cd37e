import { once } from 'node:events';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';

/** A TCP port that can be closed and opened again under the same number. */
export interface Listener {
  readonly port: number;
  close(): Promise<void>;
  open(): Promise<void>;
}

export async function listen(onConnection: (client: Socket) => void): Promise<Listener> {
  let server: Server = createServer(onConnection);
  const listenOn = async (port: number): Promise<number> => {
    server.listen(port, '127.0.0.1');
    await once(server, 'listening');
    return (server.address() as AddressInfo).port;
  };
  const port = await listenOn(0);
  return {
    port,
    async close() {
      if (!server.listening) return;
      // Connections that are still open keep nobody waiting: their owner breaks them.
      server.close();
    },
    async open() {
      if (server.listening) return;
      server = createServer(onConnection);
      await listenOn(port);
    },
  };
}
