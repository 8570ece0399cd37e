import { type EventEmitter, once } from 'node:events';
import { setTimeout as pause } from 'node:timers/promises';
import { connect } from 'amqplib';
import type { Receipt } from '../../support/checker.js';
import { type PulledDelivery, pullReceipt, receiptOf } from '../../support/consumers.js';
import { openMailbox } from '../../support/mailbox.js';
import type { Seeded } from '../../support/seeded.js';
import type { Waybill } from '../../support/waybill.js';

/* Target applications that outlive their broker and their Waybill: they come back, and note all they get. */

export interface SlowableReceiver extends Receiver {
  /** From now on it takes so long over each message, and has one at a time; 0 ends that. */
  slowDown(ms: number): void;
}

export interface Receiver {
  /** Everything it got and did not turn away, once for each time. */
  readonly receipts: readonly Receipt[];
  close(): Promise<void>;
}

const AGAIN_MS = 50;
const PREFETCH = 200;

/** Consumes a queue, over as many connections as it takes. */
export function consumeSteadily(url: string, queue: string, target: string): SlowableReceiver {
  const receipts: Receipt[] = [];
  const ended = new AbortController();
  let slow = new AbortController();
  let delayMs = 0;

  async function consume(): Promise<void> {
    const connection = await connect(url);
    const closed = closing(connection);
    try {
      const channel = await connection.createChannel();
      const gone = closing(channel);
      await channel.prefetch(delayMs > 0 ? 1 : PREFETCH);
      await channel.consume(queue, (message) => {
        if (!message) return;
        receipts.push(receiptOf(message, target));
        const ack = () => {
          try {
            channel.ack(message);
          } catch {
            // The channel has gone; the broker gives it out again.
          }
        };
        if (delayMs > 0) setTimeout(ack, delayMs);
        else ack();
      });
      await Promise.race([closed, gone, once(ended.signal, 'abort'), once(slow.signal, 'abort')]);
    } finally {
      await connection.close().catch(() => undefined);
    }
  }

  const loop = (async () => {
    while (!ended.signal.aborted) {
      // Not declared yet, or the broker is away.
      await consume().catch(() => undefined);
      await pause(AGAIN_MS, undefined, { signal: ended.signal }).catch(() => undefined);
    }
  })();
  return {
    receipts,
    slowDown(ms) {
      delayMs = ms;
      slow.abort();
      slow = new AbortController();
    },
    async close() {
      ended.abort();
      await loop;
    },
  };
}

/** Not `once`: an error comes before the close, and says nothing more. */
function closing(emitter: EventEmitter): Promise<void> {
  emitter.on('error', () => undefined);
  return new Promise((resolve) => {
    emitter.on('close', () => resolve());
  });
}

/** Pulls again and again from whatever process serves the API; now and then it gives back, or forgets what it has. */
export function pullSteadily(web: () => Waybill | null, target: string, random: Seeded): Receiver {
  const receipts: Receipt[] = [];
  const ended = new AbortController();

  async function pullOnce(): Promise<boolean> {
    const waybill = web();
    if (!waybill) return false;
    const pulled = await waybill.call('POST', `/v1/targets/${target}/pull`, { json: { max: 50 } });
    if (pulled.status !== 200) return false;
    const { lease, deliveries } = pulled.json as { lease: string; deliveries: PulledDelivery[] };
    for (const delivery of deliveries) receipts.push(pullReceipt(delivery, 'default', target));
    if (deliveries.length === 0) return false;
    const ids = deliveries.map(({ id }) => id);
    const luck = random.below(20);
    if (luck === 0) return true;
    await waybill.call('POST', `/v1/targets/${target}/${luck === 1 ? 'nack' : 'ack'}`, { json: { lease, ids } });
    return true;
  }

  const loop = (async () => {
    while (!ended.signal.aborted) {
      const more = await pullOnce().catch(() => false);
      if (!more) await pause(AGAIN_MS, undefined, { signal: ended.signal }).catch(() => undefined);
    }
  })();
  return {
    receipts,
    async close() {
      ended.abort();
      await loop;
    },
  };
}

/** An SMTP server for an e-mail target. `refuses` answers some 451. */
export async function receiveMails(
  target: string,
  refuses: (receipt: Receipt) => boolean,
): Promise<Receiver & { readonly port: number }> {
  const receipts: Receipt[] = [];
  const mailbox = await openMailbox((mail) => {
    const receipt = mailReceipt(mail.toString('latin1'), target);
    return !refuses(receipt) && receipts.push(receipt) > 0;
  });
  return { receipts, ...mailbox };
}

function mailReceipt(mail: string, target: string): Receipt {
  const head = mail.slice(0, mail.indexOf('\r\n\r\n')).replace(/\r\n[ \t]+/g, '');
  const field = (name: string) => {
    const found = new RegExp(`^${name}:\\s*(.*)$`, 'im').exec(head)?.[1] ?? '';
    return decodeURIComponent(found.trim());
  };
  return {
    tenant: field('waybill-tenant'),
    target,
    epoch: Number(field('waybill-epoch')),
    channel: Number(field('waybill-channel')),
    number: Number(field('waybill-delivery')),
    sequence: Number(field('waybill-sequence')),
    what: 'message',
    externalId: null,
  };
}
