import type { Pool } from 'pg';
import { DIGEST_BYTES } from '../channel/identity.js';
import { textOf } from '../channel/sha256.js';
import type { Place } from '../message/id.js';
import type { Tenant } from '../message/tenant.js';
import type { Accept, Verdict } from '../message/verdict.js';
import { beginRelease, markReleased } from '../storage/released.js';

/**
 * Sequences what an entry holds that is not poison, as a new message. Its identity is its place in the quarantine,
 * so that however often it is released, and whatever dies in between, it is sequenced once.
 */
export function createRelease(deps: { readonly pool: Pool; readonly accept: Accept; readonly now: () => number }) {
  return async (tenant: Tenant, number: number, who: string): Promise<Place | 'not_held'> => {
    const held = await beginRelease(deps.pool, tenant.id, number);
    if (!held) return 'not_held';
    const [verdict] = await deps.accept([
      {
        ...held,
        tenant,
        arrivedAt: deps.now(),
        identity: Buffer.from(`released\0q-${number}`),
        digest: textOf(held.digest.subarray(0, DIGEST_BYTES)),
        onOtherContent: 'duplicate',
        released: true,
      },
    ]);
    const place = verdict && placeOf(verdict);
    if (!place) return 'not_held';
    await markReleased(deps.pool, tenant.id, number, who);
    return place;
  };
}

function placeOf(verdict: Verdict): Place | undefined {
  if (verdict.verdict === 'sequenced') return { channel: verdict.channel, sequence: verdict.sequence };
  // Released before, by somebody whose mark was lost.
  return verdict.verdict === 'duplicate' && verdict.basis === 'store' ? verdict.of : undefined;
}
