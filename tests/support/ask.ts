import { request } from 'node:http';
import { text } from 'node:stream/consumers';
import { inject } from 'vitest';

/** Asks the run's global setup (servers.ts) for a server, which starts it when nobody asked before. */
export async function askFor<T>(server: 'postgres' | 'rabbitmq' | 'chromium' | 'program'): Promise<T> {
  const { status, body } = await get(inject('servers'), `/${server}`);
  if (status !== 200) throw new Error(`the tests' ${server} did not start: ${body}`);
  return JSON.parse(body) as T;
}

function get(socketPath: string, path: string): Promise<{ status: number | undefined; body: string }> {
  return new Promise((resolve, reject) => {
    // A connection of its own: a server that was being started may have kept the other side from seeing how long a kept one was idle,
    // and it is closed then just as it is used again.
    const outgoing = request({ socketPath, path, agent: false }, (response) => {
      text(response).then((body) => resolve({ status: response.statusCode, body }), reject);
    });
    outgoing.on('error', reject);
    outgoing.end();
  });
}
