import { type Body, renderBody, voidBody } from '../delivery/body.js';
import { deciderText } from '../delivery/plan.js';
import type { Outgoing } from '../message/delivery.js';
import type { StoredMessage } from '../message/message.js';
import type { Ready, Render } from '../owner/state.js';

/** Parts of a mail by their number; empty for what has none. Called only for targets that want them inline. */
export type InlineParts = (ready: Ready) => Promise<ReadonlyMap<number, Uint8Array>>;

/** Makes what goes on the wire; `baseUrl` is where consumers fetch parts. */
export function createRender(baseUrl: () => string, inlineParts: InlineParts): Render {
  return async (target, ready, delivery) => {
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
      mail: mailOf(message, canonical.envelope),
      attempts: delivery.attempts,
    };
    return { ...base, ...(await bodyOf(delivery, base)) };

    async function bodyOf({ what, decision }: typeof delivery, notice: typeof base): Promise<Body> {
      if (what === 'void') return voidBody(notice);
      const choice = target.definition;
      const source = { message: canonical, decider: decision, raw: message.raw, baseUrl: baseUrl() };
      if (!choice.inlineParts || ready.view.parts.length === 0) return renderBody(choice, source);
      const parts = await inlineParts(ready);
      return renderBody(choice, { ...source, partBytes: (n) => parts.get(n) });
    }
  };
}

function mailOf(message: StoredMessage, envelope: Readonly<Record<string, unknown>>): Outgoing['mail'] {
  if (message.kind !== 'mail') return null;
  return { sender: typeof envelope.from === 'string' ? envelope.from : '', raw: message.raw };
}
