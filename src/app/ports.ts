import { once } from 'node:events';
import { createServer } from 'node:net';

/**
 * Rejects with what listening would reject with (EADDRINUSE, EACCES …, and the port), before anything else is started
 * or created. Whoever takes the port in between is found when the real servers listen.
 */
export async function checkPorts(
  addresses: readonly { readonly host: string; readonly port: number }[],
): Promise<void> {
  for (const { host, port } of addresses) {
    const server = createServer().listen({ host, port });
    await once(server, 'listening');
    server.close();
    await once(server, 'close');
  }
}
