import type { Pool } from 'pg';
import { acceptanceText, type DecideHeld, type HeldDecided } from '../billing/backfill.js';
import type { Correct } from '../billing/correction.js';
import { accountHash, channelOf } from '../channel/partition.js';
import { messageId } from '../message/id.js';
import { writeAudit } from '../storage/audit.js';
import { acceptanceOf, heldAt } from '../storage/held.js';
import type { Say } from './ledger-messages.js';

/** Charges what a meter held, or voids it: each by a message of the account's own channel, so that a replay comes to the same. */
export function createDecideHeld(deps: {
  readonly pool: Pool;
  readonly say: Say;
  readonly correct: Correct;
}): DecideHeld {
  const { pool, say, correct } = deps;
  return async (tenant, { target, action, who, why }) => {
    const held = await heldAt(pool, tenant.id, target);
    if (!held) {
      const accepted = action === 'accept' ? await acceptanceOf(pool, tenant.id, target) : undefined;
      if (accepted === undefined) return { result: 'not_held' };
      return { result: 'ok', by: { channel: target.channel, sequence: accepted }, again: true };
    }
    const { account } = held;
    if (channelOf(accountHash(account), tenant.channels) !== target.channel) return { result: 'gone' };
    const decided = await (action === 'accept' ? accept() : discard());
    if (decided.result === 'ok' && !decided.again) {
      const detail = { why };
      await writeAudit(pool, { tenant: tenant.id, who, action: `held.${action}`, object: messageId(target), detail });
    }
    return decided;

    async function accept(): Promise<HeldDecided> {
      const id = messageId(target);
      const word = acceptanceText({ account, target: id, who, why });
      const { place, again } = await say(tenant, { ...word, account, identity: `accept\0${id}`, time: null });
      return { result: 'ok', by: place, again };
    }

    async function discard(): Promise<HeldDecided> {
      const wish = { account, action: 'void', target, who, why, set: new Map(), time: null, adjust: true } as const;
      const voided = await correct(tenant, wish);
      if (voided.result === 'ok') return { result: 'ok', by: voided.correction, again: voided.again };
      return { result: voided.result === 'gone' ? 'gone' : 'not_held' };
    }
  };
}
