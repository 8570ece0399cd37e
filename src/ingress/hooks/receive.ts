import type { IncomingHttpHeaders } from 'node:http';
import { bytesDigest, deliveryIdentity } from '../../channel/identity.js';
import { unseenBelow } from '../../channel/maybe.js';
import type { Source, WebhookSource } from '../../channel/source.js';
import type { Arrival } from '../../message/arrival.js';
import type { Accept, Verdict } from '../../message/verdict.js';
import { verdictMembers } from '../http/result.js';
import { deliveryFacts, readDeliveryBody } from './delivery.js';
import { slackHandshake } from './handshake.js';
import { headersMeta } from './meta.js';
import { verify } from './verify.js';

export interface HookDelivery {
  readonly source: Source<WebhookSource>;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
  readonly peer: string;
  /** Milliseconds since 1970. */
  readonly arrivedAt: number;
}

export type HookAnswer =
  /** `body` is JSON: a result as for events, without an index. */
  | { readonly answer: 'verdict'; readonly status: 200 | 202 | 422; readonly body: string }
  | { readonly answer: 'challenge'; readonly challenge: string }
  | { readonly answer: 'refused'; readonly code: HookRefusal; readonly why: string };

export type HookRefusal = 'signature_invalid' | 'signature_expired' | 'handshake_refused';

/** Takes one delivery whose bearer token, if its scheme asks for one, has been checked. Rejects with Busy or Unavailable. */
export async function receiveHook(
  accept: Accept,
  randomBytes: (count: number) => Uint8Array,
  delivery: HookDelivery,
): Promise<HookAnswer> {
  const definition = delivery.source.definition;
  const refusal = refuseForged(definition, delivery);
  if (refusal !== null) return refusal;
  const view = readDeliveryBody(delivery.headers, delivery.body);
  const handshake = slackHandshake(definition, view);
  switch (handshake.handshake) {
    case 'answered':
      return { answer: 'challenge', challenge: handshake.challenge };
    case 'refused':
      return { answer: 'refused', code: 'handshake_refused', why: handshake.why };
    case 'none': {
      const arrival = makeArrival(delivery, view, randomBytes);
      const [verdict] = await accept([arrival]);
      return verdictAnswer(arrival.externalId, verdict as Verdict);
    }
    default: {
      const never: never = handshake;
      return never;
    }
  }
}

function refuseForged(definition: WebhookSource, delivery: HookDelivery): HookAnswer | null {
  const scheme = definition.verify;
  if (scheme.scheme === 'token' || scheme.scheme === 'none') return null;
  const verification = verify(scheme, definition.toleranceSeconds, delivery.headers, delivery.body, delivery.arrivedAt);
  return verification.genuine ? null : { answer: 'refused', code: verification.code, why: verification.why };
}

function makeArrival(
  { source, headers, body, peer, arrivedAt }: HookDelivery,
  view: unknown,
  randomBytes: (count: number) => Uint8Array,
): Arrival {
  const facts = deliveryFacts(source.definition, headers, body, view, () => randomBytes(16));
  const { verify: scheme } = source.definition;
  return {
    tenant: source.tenant,
    source,
    kind: 'webhook',
    account: facts.account ?? source.name,
    type: facts.type,
    externalId: facts.externalId,
    value: facts.value,
    eventTime: null,
    arrivedAt,
    peer,
    meta: headersMeta(headers, scheme.scheme === 'hmac' ? scheme.header : null),
    identity: deliveryIdentity(facts.key),
    digest: bytesDigest(body),
    // Providers change bytes between retries.
    onOtherContent: 'duplicate',
    maybeBelow: unseenBelow(source.definition.maybe),
    raw: body,
  };
}

function verdictAnswer(id: string | null, verdict: Verdict): HookAnswer {
  return { answer: 'verdict', status: hookStatus(verdict), body: `{${verdictMembers(id, verdict)}}` };
}

/** A provider that is told anything but 2xx sends again; only what was not taken may say so. */
function hookStatus(verdict: Verdict): 200 | 202 | 422 {
  switch (verdict.verdict) {
    case 'sequenced':
      return 202;
    case 'duplicate':
    case 'conflict':
    case 'expired':
      return 200;
    case 'rejected':
      return 422;
    default: {
      const never: never = verdict;
      return never;
    }
  }
}
