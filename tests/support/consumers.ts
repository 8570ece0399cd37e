import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { type Channel, type ChannelModel, type ConsumeMessage, connect } from 'amqplib';
import { onTestFinished } from 'vitest';
import type { Receipt } from './checker.js';
import type { Vhost } from './rabbitmq.js';
import { until } from './until.js';
import type { Waybill } from './waybill.js';

/* Target applications, as their authors would write them: they note what they get and share no code with the program. */

const VOID = 'waybill.delivery.void';

export interface QueueConsumer {
  readonly receipts: readonly Receipt[];
  /** Bodies, as they came. */
  readonly bodies: readonly Buffer[];
  /** Those whose number came for the first time: what a consumer that drops repeats works on. Each comes at least once. */
  readonly once: readonly (Receipt & { readonly body: Buffer })[];
  close(): Promise<void>;
}

export interface QueueOptions {
  readonly tenant?: string;
  readonly target?: string;
  readonly queue?: string;
  /** What to do with a message: by default `ack`. `reject` never wants it again. */
  readonly answer?: (receipt: Receipt) => 'ack' | 'reject';
}

/** Consumes a target's queue as soon as it is there, and acknowledges what it has noted. It ends with the test. */
export async function consumeQueue(vhost: Vhost, options: QueueOptions = {}): Promise<QueueConsumer> {
  const { tenant = 'default', target = 'erp', answer = () => 'ack' } = options;
  const queue = options.queue ?? `waybill.${tenant}.${target}`;
  await until(() => hasQueue(vhost, queue), `the queue ${queue} to be declared`, 30_000);
  const receipts: Receipt[] = [];
  const bodies: Buffer[] = [];
  const once: (Receipt & { body: Buffer })[] = [];
  const seen = new Set<string>();
  const connection: ChannelModel = await connect(vhost.url);
  connection.on('error', () => undefined);
  const channel: Channel = await connection.createChannel();
  channel.on('error', () => undefined);
  await channel.prefetch(200);
  await channel.consume(queue, (message) => {
    if (!message) return;
    const receipt = receiptOf(message, target);
    receipts.push(receipt);
    bodies.push(message.content);
    const name = nameOf(receipt);
    if (!seen.has(name)) once.push({ ...receipt, body: message.content });
    seen.add(name);
    if (answer(receipt) === 'ack') channel.ack(message);
    else channel.nack(message, false, false);
  });
  let closed = false;
  const close = async () => {
    if (closed) return;
    closed = true;
    await connection.close().catch(() => undefined);
  };
  onTestFinished(close);
  return { receipts, bodies, once, close };
}

/** Which delivery it is, or the notice of which. */
function nameOf({ epoch, channel, number, what }: Receipt): string {
  return `${epoch}/${channel}-${number} ${what}`;
}

/** The first receipt of each number: what a consumer that drops repeats works on. */
export function firsts(receipts: readonly Receipt[]): Receipt[] {
  return [...new Map(receipts.toReversed().map((receipt) => [nameOf(receipt), receipt])).values()].toReversed();
}

async function hasQueue(vhost: Vhost, queue: string): Promise<boolean> {
  const queues = (await vhost.api('GET', `/queues/${vhost.vhost}?columns=name`)) as { name: string }[];
  return queues.some(({ name }) => name === queue);
}

export function receiptOf({ properties, content, fields }: ConsumeMessage, target: string): Receipt {
  const headers = properties.headers ?? {};
  return {
    tenant: String(headers['waybill-tenant']),
    target,
    epoch: headers['waybill-epoch'],
    channel: headers['waybill-channel'],
    number: headers['waybill-delivery'],
    sequence: headers['waybill-sequence'],
    what: properties.type === VOID ? 'void' : 'message',
    externalId: externalIdOf(properties.contentType, content.toString()),
    redelivered: fields.redelivered,
  };
}

/** The sender's id, out of the data where it says its own key, else out of the envelope: never from headers. */
function externalIdOf(contentType: unknown, body: string): string | null {
  if (contentType !== 'application/vnd.waybill.message+json') return null;
  const message = JSON.parse(body) as { data?: { key?: unknown } | null; envelope?: { externalId?: unknown } };
  const id = message.data?.key ?? message.envelope?.externalId;
  return typeof id === 'string' ? id : null;
}

export interface HookReceipt extends Receipt {
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
  /** Milliseconds of the monotonic clock. */
  readonly at: number;
}

export interface HookReceiver {
  readonly url: string;
  /** What was answered with a 2xx. */
  readonly taken: readonly HookReceipt[];
  /** Every request, whatever was answered. */
  readonly asked: readonly HookReceipt[];
  close(): Promise<void>;
}

/** A webhook server on a free port. `answer` gives the status, or null to let the request hang. It ends with the test. */
export async function receiveHooks(answer: (receipt: HookReceipt) => number | null = () => 204): Promise<HookReceiver> {
  const taken: HookReceipt[] = [];
  const asked: HookReceipt[] = [];
  const server = createServer((request, response: ServerResponse) => {
    void text(request).then((body) => {
      const receipt = hookReceipt(request.headers, body);
      asked.push(receipt);
      const status = answer(receipt);
      if (status === null) return;
      if (status < 300) taken.push(receipt);
      response.writeHead(status).end();
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const close = async () => {
    if (!server.listening) return;
    server.close();
    server.closeAllConnections();
    await once(server, 'close');
  };
  onTestFinished(close);
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`, taken, asked, close };
}

function hookReceipt(headers: IncomingHttpHeaders, body: string): HookReceipt {
  const field = (name: string) => decodeURIComponent(String(headers[name]));
  // <tenant>:<epoch>:<target>:<channel>-<delivery>
  const [tenant = '', epoch = '', target = '', place = ''] = field('webhook-id').split(':');
  const [channel = '', number = ''] = place.split('-');
  return {
    tenant,
    target,
    epoch: Number(epoch),
    channel: Number(channel),
    number: Number(number),
    sequence: Number(field('waybill-sequence')),
    what: headers['waybill-type'] === VOID ? 'void' : 'message',
    externalId: externalIdOf(headers['content-type'], body),
    headers,
    body,
    at: performance.now(),
  };
}

/** Pulls whatever a target has now and acknowledges it, until there is nothing more. */
export async function pullAll(
  waybill: Waybill,
  target: string,
  { token, tenant = 'default' }: { readonly token?: string; readonly tenant?: string } = {},
): Promise<Receipt[]> {
  const receipts: Receipt[] = [];
  const as = token === undefined ? {} : { token };
  for (;;) {
    const pulled = await waybill.call('POST', `/v1/targets/${target}/pull`, { ...as, json: { max: 500 } });
    if (pulled.status !== 200) throw new Error(`pull answered ${pulled.status}: ${pulled.bytes}`);
    const { lease, deliveries } = pulled.json as { lease: string; deliveries: PulledDelivery[] };
    if (deliveries.length === 0) return receipts;
    const acked = await waybill.call('POST', `/v1/targets/${target}/ack`, {
      ...as,
      json: { lease, ids: deliveries.map(({ id }) => id) },
    });
    const { results } = acked.json as { results: { id: string; result: string }[] };
    deliveries.forEach((delivery, i) => {
      if (results[i]?.result === 'acked') receipts.push(pullReceipt(delivery, tenant, target));
    });
  }
}

export interface PulledDelivery {
  readonly id: string;
  readonly type: string | null;
  readonly headers: Readonly<Record<string, unknown>>;
  readonly contentType: string;
  readonly body: unknown;
}

export function pullReceipt(
  { headers, type, contentType, body }: PulledDelivery,
  tenant: string,
  target: string,
): Receipt {
  return {
    tenant: String(headers['waybill-tenant'] ?? tenant),
    target,
    epoch: Number(headers['waybill-epoch']),
    channel: Number(headers['waybill-channel']),
    number: Number(headers['waybill-delivery']),
    sequence: Number(headers['waybill-sequence']),
    what: type === VOID ? 'void' : 'message',
    externalId: externalIdOf(contentType, JSON.stringify(body)),
  };
}
