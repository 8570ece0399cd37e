import { renderBody, voidBody } from '../delivery/body.js';
import { deciderText } from '../delivery/plan.js';
import type { Outgoing } from '../message/delivery.js';
import type { CanonicalMessage, StoredMessage } from '../message/message.js';
import type { Ready, Render } from '../owner/state.js';

/** Parts of a mail by their number; empty for what has none. Called only for targets that want them inline. */
export type InlineParts = (ready: Ready) => Promise<ReadonlyMap<number, Uint8Array>>;

/** Makes what goes on the wire; `baseUrl` is where consumers fetch parts. */
export function createRender(baseUrl: () => string, inlineParts: InlineParts): Render {
  return (target, ready, delivery) => {
    const { canonical, message } = ready;
    const base: Omit<Outgoing, 'contentType' | 'body'> = {
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
      defects: ready.view.defects.map((defect) => defect.code),
      decision: deciderText(delivery.decision),
      late: delivery.late,
      replay: delivery.replay,
      receivedAt: message.arrivedAt,
      mail: mailOf(message, canonical),
      attempts: delivery.attempts,
    };
    if (delivery.what === 'void') return { ...base, ...voidBody(base) };
    const choice = target.definition;
    // In binary mode an event's bytes are its data, and its attributes came as headers.
    const rawIsData = message.kind === 'event' && message.meta !== null;
    const source = { message: canonical, decider: delivery.decision, raw: message.raw, rawIsData, baseUrl: baseUrl() };
    if (!choice.inlineParts || ready.view.parts.length === 0) return { ...base, ...renderBody(choice, source) };
    return inlineParts(ready).then((parts) => ({
      ...base,
      ...renderBody(choice, { ...source, partBytes: (n) => parts.get(n) }),
    }));
  };
}

function mailOf(message: StoredMessage, canonical: CanonicalMessage): Outgoing['mail'] {
  if (message.kind !== 'mail') return null;
  const { from } = canonical.envelope;
  return { sender: typeof from === 'string' ? from : '', raw: message.raw };
}
