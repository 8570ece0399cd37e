import type { Pool } from 'pg';
import { readBackfillSays } from '../billing/backfill.js';
import {
  amendedDocument,
  type Correct,
  correctionBody,
  type Instead,
  isCorrectable,
  LEDGER_SOURCE,
  readCorrection,
} from '../billing/correction.js';
import { documentOf } from '../billing/event.js';
import { accountHash, channelOf } from '../channel/partition.js';
import { readJson } from '../content/json/read.js';
import { messageId } from '../message/id.js';
import { correctionOf, entryAt, finalPeriodAt } from '../storage/corrections.js';
import { metersOf } from '../storage/ledger.js';
import { findMessage } from '../storage/messages.js';
import { sourceNameOf } from '../storage/names.js';
import type { Say } from './ledger-messages.js';

/** Appends a correction to the account's channel, after a look at what it names. What it changes, the ledger alone decides. */
export function createCorrect(deps: { readonly pool: Pool; readonly say: Say }): Correct {
  const { pool, say } = deps;
  return async (tenant, wish) => {
    const { account, action, target, who, why, set } = wish;
    const found = await findMessage(pool, tenant.id, target);
    if (found === undefined) return { result: 'unknown' };
    const counted = await entryAt(pool, tenant.id, target);
    const message = typeof found === 'object' ? found.message : null;
    const whose = message?.account ?? counted?.account ?? null;
    if (whose !== null && whose !== account) return { result: 'other_account' };
    // Of one that was erased under another name: nothing can be said to its channel any more.
    if (channelOf(accountHash(account), tenant.channels) !== target.channel) return { result: 'gone' };
    if (!message && (action === 'amend' || !counted)) return { result: 'gone' };
    const source = message === null ? '' : await sourceNameOf(pool, tenant.id, message.source);
    if (message && !isCorrectable(source, message.type)) return { result: 'not_usage' };
    const at = counted?.at ?? message?.eventTime ?? new Date(message?.arrivedAt ?? 0).toISOString();
    const id = messageId(target);
    const first = await correctionOf(pool, tenant.id, target);
    if (first && !(action === 'void' && first.action === 'void'))
      return { result: 'corrected_already', by: first.place };
    if (!wish.adjust) {
      for (const time of [at, wish.time]) {
        const period = time === null ? null : await finalPeriodAt(pool, tenant.id, account, time);
        if (period !== null) return { result: 'period_final', period };
      }
    }
    if (action === 'void') {
      const { type, text } = correctionBody({ id: `void-${id}`, account, target: id, who, why, instead: null });
      const said = await say(tenant, { account, type, identity: `void\0${id}`, time: at, text });
      return { result: 'ok', correction: said.place, again: said.again };
    }
    if (!message) return { result: 'gone' };
    const amends = source === LEDGER_SOURCE ? standsFor(message.type, message.raw) : null;
    const document = amendedDocument(amends?.document ?? documentOf({ ...message, source, meta: message.meta }), set);
    if (document === undefined) return { result: 'not_settable' };
    const instead = { type: amends ? amends.type : message.type, source: amends?.source ?? source, document };
    const [spoilt] = (await metersOf(pool, tenant.id)).measure(
      { ...message, kind: 'event', type: instead.type, source: instead.source },
      { channel: target.channel, sequence: target.sequence },
      parsed(document),
    ).problems;
    if (spoilt) return { result: 'not_countable', meter: spoilt.meter.name, code: spoilt.code };
    const { type, text } = correctionBody({ id: `amend-${id}`, account, target: id, who, why, instead });
    const said = await say(tenant, {
      account,
      type,
      identity: `amend\0${id}\0${document}`,
      time: wish.time ?? at,
      text,
    });
    return { result: 'ok', correction: said.place, again: said.again };
  };
}

/** The event that a message of the ledger's own stands for: what it amends to, or what it fills in. */
function standsFor(type: string | null, raw: Uint8Array): Instead | null {
  const says = readBackfillSays(type, raw);
  if (says?.what === 'event') return says.instead;
  return readCorrection(type, raw)?.instead ?? null;
}

/** Digits kept, as the ledger will read it. */
function parsed(document: string): unknown {
  const bytes = Buffer.from(document);
  const read = readJson(bytes, 0, bytes.length);
  return read.ok ? read.json.value : undefined;
}
