import type { Pool } from 'pg';
import { LEDGER_SOURCE } from '../billing/correction.js';
import { bytesDigest } from '../channel/identity.js';
import type { Arrival } from '../message/arrival.js';
import type { Place } from '../message/id.js';
import type { Tenant } from '../message/tenant.js';
import { type Accept, Unavailable } from '../message/verdict.js';
import { ledgerSource } from '../storage/ledger-source.js';

/** What the ledger has to say about an account. The same `identity` is sequenced once, however often it is said. */
export interface LedgerSays {
  readonly account: string;
  readonly type: string;
  readonly identity: string;
  /** RFC 3339; null where it is about no time. */
  readonly time: string | null;
  /** The whole event, JSON text. */
  readonly text: string;
}

export type Say = (tenant: Tenant, says: LedgerSays) => Promise<{ readonly place: Place; readonly again: boolean }>;

/** Appends messages of the ledger's own to the channels of their accounts, as any other message is. */
export function createSay(deps: { readonly pool: Pool; readonly accept: Accept; readonly now: () => number }): Say {
  return async (tenant, { account, type, identity, time, text }) => {
    const raw = Buffer.from(text);
    const arrival: Arrival = {
      tenant,
      source: await ledgerSource(deps.pool, tenant.id),
      kind: 'event',
      account,
      type,
      externalId: null,
      value: null,
      eventTime: time,
      arrivedAt: deps.now(),
      peer: LEDGER_SOURCE,
      meta: null,
      identity: Buffer.from(identity),
      digest: bytesDigest(raw),
      onOtherContent: 'duplicate',
      // However old what it corrects is.
      released: true,
      raw,
    };
    const [verdict] = await deps.accept([arrival]);
    if (verdict?.verdict === 'sequenced') {
      return { place: { channel: verdict.channel, sequence: verdict.sequence }, again: false };
    }
    if (verdict?.verdict === 'duplicate' && verdict.basis === 'store') return { place: verdict.of, again: true };
    throw new Unavailable('what the ledger had to say was not stored; try again');
  };
}
