import type { CanonicalMessage } from '../../src/message/message.js';
import { EMPTY_VIEW, type View } from '../../src/message/view.js';

type Fields = Partial<Omit<CanonicalMessage, 'view'>> & { readonly view?: Partial<View> };

/** A canonical message with only what the test names. */
export function message(fields: Fields = {}): CanonicalMessage {
  return {
    id: '7-10234',
    tenant: 'default',
    source: 'billing',
    kind: 'event',
    account: 'cust-1',
    type: 'order.placed',
    value: null,
    externalId: null,
    time: null,
    received: '2026-01-01T00:00:00.000Z',
    peer: '192.0.2.1',
    envelope: {},
    found: [],
    ...fields,
    view: { ...EMPTY_VIEW, ...fields.view },
  };
}

export function withData(data: unknown): CanonicalMessage {
  return message({ view: { data } });
}

export function mail(view: Partial<View>): CanonicalMessage {
  return message({ kind: 'mail', type: null, view });
}
