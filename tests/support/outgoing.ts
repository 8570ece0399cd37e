import type { Outgoing } from '../../src/message/delivery.js';
import type { Render } from '../../src/owner/state.js';

/** What a target gets of a message: its bytes as they came. For the owner's tests, which are about the order of things. */
export function outgoingOf(
  tenant: string,
  target: Parameters<Render>[0],
  { message }: Parameters<Render>[1],
  delivery: Parameters<Render>[2],
): Outgoing {
  return {
    ...delivery,
    tenant,
    target: target.name,
    decision: JSON.stringify(delivery.decision),
    sequence: message.sequence,
    type: message.type,
    account: message.account,
    source: 'feed',
    defects: [],
    receivedAt: message.arrivedAt,
    contentType: 'application/json',
    body: message.raw,
    mail: null,
  };
}
