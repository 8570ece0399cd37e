import { randomBytes } from 'node:crypto';
import { askFor } from './ask.js';

export interface Broker {
  /** For AMQP_URL; its path names the vhost. */
  readonly url: string;
  /** Base URL of RabbitMQ's HTTP API, with name and password. */
  readonly management: string;
}

export interface Vhost extends Broker {
  readonly vhost: string;
  /** Calls the HTTP API: `await api('GET', '/queues/' + vhost)`. Resolves to the parsed answer, undefined when it is empty. */
  api(method: 'GET' | 'PUT' | 'POST' | 'DELETE', path: string, body?: unknown): Promise<unknown>;
  /** Removes the vhost with all in it; open connections to it are closed by the broker. */
  drop(): Promise<void>;
}

/** A vhost of one's own on the run's RabbitMQ, or on another one. Drop it in `afterAll`. */
export async function freshVhost(on?: Broker): Promise<Vhost> {
  const broker = on ?? (await askFor<Broker>('rabbitmq'));
  const vhost = `t-${randomBytes(6).toString('hex')}`;
  const api: Vhost['api'] = (method, path, body) => call(broker.management, method, path, body);
  await api('PUT', `/vhosts/${vhost}`);
  const user = new URL(broker.management).username;
  await api('PUT', `/permissions/${vhost}/${user}`, { configure: '.*', write: '.*', read: '.*' });
  return {
    vhost,
    url: `${broker.url}/${vhost}`,
    management: broker.management,
    api,
    drop: async () => {
      await api('DELETE', `/vhosts/${vhost}`);
    },
  };
}

async function call(management: string, method: string, path: string, body: unknown): Promise<unknown> {
  const { username, password, origin } = new URL(management);
  const answer = await fetch(`${origin}/api${path}`, {
    method,
    headers: {
      authorization: `Basic ${Buffer.from(`${decodeURIComponent(username)}:${decodeURIComponent(password)}`).toString('base64')}`,
      'content-type': 'application/json',
    },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  });
  const text = await answer.text();
  if (!answer.ok) throw new Error(`RabbitMQ answered ${method} ${path} with ${answer.status}: ${text}`);
  return text === '' ? undefined : JSON.parse(text);
}
