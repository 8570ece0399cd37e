import { type Body, renderBody, voidBody } from '../delivery/body.js';
import { deciderText } from '../delivery/plan.js';
import type { Target } from '../delivery/target.js';
import type { Outgoing } from '../message/delivery.js';
import type { CanonicalMessage, StoredMessage } from '../message/message.js';
import type { Ready, Render } from '../owner/state.js';

/** Parts of a mail by their number; empty for what has none. Called only for targets that want them inline. */
export type InlineParts = (ready: Ready) => Promise<ReadonlyMap<number, Uint8Array>>;

/** Makes what goes on the wire; `baseUrl` is where consumers fetch parts. */
export function createRender(baseUrl: () => string, inlineParts: InlineParts): Render {
  return (target, ready, delivery) => {
    if (delivery.what === 'void') return outgoingOf(target, ready, delivery, noticeBody(target.name, ready, delivery));
    const { canonical, message, view, thread } = ready;
    const choice = target.definition;
    // In binary mode an event's bytes are its data, and its attributes came as headers.
    const rawIsData = message.kind === 'event' && message.meta !== null;
    const { decision: decider } = delivery;
    const source = { message: canonical, decider, thread, raw: message.raw, rawIsData, baseUrl: baseUrl() };
    if (!choice.inlineParts || view.parts.length === 0) {
      return outgoingOf(target, ready, delivery, renderBody(choice, source));
    }
    return inlineParts(ready).then((parts) => {
      const body = renderBody(choice, { ...source, partBytes: (n) => parts.get(n) });
      return outgoingOf(target, ready, delivery, body);
    });
  };
}

type Delivery = Parameters<Render>[2];

function noticeBody(target: string, { message, canonical }: Ready, delivery: Delivery): Body {
  const { epoch, channel, number, reason } = delivery;
  return voidBody({ tenant: canonical.tenant, target, epoch, channel, sequence: message.sequence, number, reason });
}

function outgoingOf(target: Target, { message, canonical, view }: Ready, delivery: Delivery, body: Body): Outgoing {
  return {
    tenant: canonical.tenant,
    target: target.name,
    epoch: delivery.epoch,
    channel: delivery.channel,
    sequence: message.sequence,
    number: delivery.number,
    what: delivery.what,
    reason: delivery.reason,
    type: message.type,
    account: message.account,
    source: canonical.source,
    rung: delivery.rung,
    defects: view.defects.length === 0 ? NONE : view.defects.map((defect) => defect.code),
    decision: deciderText(delivery.decision),
    late: delivery.late,
    replay: delivery.replay,
    receivedAt: message.arrivedAt,
    contentType: body.contentType,
    body: body.body,
    // Nobody else asks for it, and it would keep the mail's bytes for as long as the delivery is under way.
    mail: target.definition.kind === 'email' ? mailOf(message, canonical) : null,
    attempts: delivery.attempts,
  };
}

const NONE: readonly string[] = [];

function mailOf(message: StoredMessage, canonical: CanonicalMessage): Outgoing['mail'] {
  if (message.kind !== 'mail') return null;
  const { from } = canonical.envelope;
  return { sender: typeof from === 'string' ? from : '', raw: message.raw };
}
