import { type Body, renderBody, voidBody } from '../delivery/body.js';
import { deciderText } from '../delivery/plan.js';
import type { Target } from '../delivery/target.js';
import type { Outgoing } from '../message/delivery.js';
import type { CanonicalMessage, StoredMessage } from '../message/message.js';
import { type Portion, portionText } from '../message/portion.js';
import type { View } from '../message/view.js';
import type { Ready, Render } from '../owner/state.js';

/** Parts of a mail by their number; empty for what has none. Called only for targets that want them inline. */
export type InlineParts = (ready: Ready) => Promise<ReadonlyMap<number, Uint8Array>>;

/** The bytes of one part; null where the mail has none of that number, or it can't be read. Rejects where nothing can be just now. */
export type OnePart = (ready: Ready, n: number) => Promise<Uint8Array | null>;

/** Makes what goes on the wire; `baseUrl` is where consumers fetch parts. */
export function createRender(baseUrl: () => string, inlineParts: InlineParts, onePart: OnePart): Render {
  return (target, ready, delivery) => {
    if (delivery.what === 'void') return outgoingOf(target, ready, delivery, noticeBody(target.name, ready, delivery));
    const { canonical, message, view, thread } = ready;
    const { portion } = delivery;
    const choice = target.definition;
    // In binary mode an event's bytes are its data, and its attributes came as headers.
    const rawIsData = message.kind === 'event' && message.meta !== null;
    const known = {
      message: canonical,
      decider: delivery.decision,
      target: target.id,
      thread,
      raw: message.raw,
      rawIsData,
    };
    const source = { ...known, baseUrl: baseUrl(), portion };
    const n = portion?.part;
    if (n !== undefined) {
      return onePart(ready, n).then((bytes) => {
        if (bytes === null) return null;
        return outgoingOf(target, ready, delivery, renderBody(choice, { ...source, partBytes: () => bytes }));
      });
    }
    if (portion || !choice.inlineParts || view.parts.length === 0) {
      return outgoingOf(target, ready, delivery, renderBody(choice, source));
    }
    return inlineParts(ready).then((parts) => {
      const body = renderBody(choice, { ...source, partBytes: (each) => parts.get(each) });
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
    decision: deciderText(delivery.decision, target.id),
    late: delivery.late,
    replay: delivery.replay,
    ...(delivery.portion && delivery.what === 'message' && { only: onlyOf(target, delivery.portion, view) }),
    receivedAt: message.arrivedAt,
    contentType: body.contentType,
    body: body.body,
    // Nobody else asks for it, and it would keep the mail's bytes for as long as the delivery is under way.
    mail: target.definition.kind === 'email' ? mailOf(message, canonical) : null,
    attempts: delivery.attempts,
  };
}

const NONE: readonly string[] = [];

/** The file's name counts where the body is that file. */
function onlyOf({ definition }: Target, portion: Portion, { parts }: View): NonNullable<Outgoing['only']> {
  const isFile = definition.body !== 'message' && portion.part !== undefined;
  const name = isFile ? parts.find(({ n }) => n === portion.part)?.name : null;
  return { text: portionText(portion), name: name ?? null };
}

function mailOf(message: StoredMessage, canonical: CanonicalMessage): Outgoing['mail'] {
  if (message.kind !== 'mail') return null;
  const { from } = canonical.envelope;
  return { sender: typeof from === 'string' ? from : '', raw: message.raw };
}
