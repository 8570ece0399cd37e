import { MESSAGE_TYPE } from '../../src/delivery/body.js';
import type { Outgoing } from '../../src/message/delivery.js';

/** A delivery of tenant `acme` to target `crm`, channel 7, with the number given; everything else as a small event has it. */
export function outgoing(number: number, changes: Partial<Outgoing> = {}): Outgoing {
  return {
    tenant: 'acme',
    target: 'crm',
    epoch: 1_767_225_600,
    channel: 7,
    sequence: 10_000 + number,
    number,
    what: 'message',
    reason: null,
    type: 'com.example.invoice.created',
    account: 'customer-17',
    source: 'billing',
    rung: 0,
    defects: [],
    decision: 'rules 3: invoices',
    late: false,
    replay: false,
    receivedAt: Date.UTC(2026, 0, 1, 12),
    contentType: MESSAGE_TYPE,
    body: Buffer.from(JSON.stringify({ id: `7-${10_000 + number}`, data: { amount: number } })),
    mail: null,
    attempts: 0,
    ...changes,
  };
}
