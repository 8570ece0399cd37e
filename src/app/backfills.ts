import { setTimeout as pause } from 'node:timers/promises';
import type { Pool } from 'pg';
import {
  type BackfillRefusal,
  type Backfills,
  backfillEventText,
  backfillWordText,
  type Ending,
  refusedBy,
} from '../billing/backfill.js';
import { LEDGER_SOURCE, LEDGER_TYPES } from '../billing/correction.js';
import { documentOf, namesNoAccount } from '../billing/event.js';
import { accountHash, channelOf } from '../channel/partition.js';
import type { Arrival } from '../message/arrival.js';
import type { Tenant } from '../message/tenant.js';
import type { Accept, Verdict } from '../message/verdict.js';
import {
  beginEnd,
  beginSend,
  endBackfill,
  getBackfill,
  noteSent,
  type SentAccount,
  unfinishedBackfills,
} from '../storage/backfills.js';
import { ledgerSource } from '../storage/ledger-source.js';
import type { Say } from './ledger-messages.js';

export interface BackfillChores extends Backfills {
  /** Goes on where a telling was cut off. */
  finish(): Promise<void>;
}

const UNFINISHED = 100;
/** How long the ledger may take to read what was sent last. */
const PATIENCE_MS = 10_000;
const POLL_MS = 250;

export function createBackfills(deps: {
  readonly pool: Pool;
  readonly accept: Accept;
  readonly say: Say;
}): BackfillChores {
  const { pool, accept, say } = deps;

  async function tell(tenant: Tenant, id: number, channels: readonly number[], ending: Ending): Promise<void> {
    const { action, who, why } = ending;
    for (const channel of channels) {
      const account = accountIn(channel, tenant.channels);
      const word = backfillWordText({ id: `backfill-${id}-${action}`, account, action, backfill: id, who, why });
      await say(tenant, { ...word, account, identity: `backfill\0${id}\0${action}\0${channel}`, time: null });
    }
    await endBackfill(pool, tenant.id, id, action);
  }

  const end: Backfills['end'] = async (tenant, id, ending) => {
    let begun = await beginEnd(pool, tenant, id, ending);
    for (let waited = 0; begun.result === 'behind' && waited < PATIENCE_MS; waited += POLL_MS) {
      await pause(POLL_MS);
      begun = await beginEnd(pool, tenant, id, ending);
    }
    if (begun.result !== 'ok') return begun;
    if (!begun.done) await tell(tenant, id, begun.channels, { ...ending, why: begun.why });
    return { result: 'ok' };
  };

  return {
    async send(tenant, id, arrivals) {
      const backfill = await getBackfill(pool, tenant.id, id);
      if (!backfill) return { result: 'not_found' };
      const range = { from: backfill.from.getTime(), to: backfill.to.getTime(), account: backfill.account };
      const refusals = arrivals.map((arrival) => {
        const message = { ...arrival, source: arrival.source.name };
        return refusedBy(range, arrival, !namesNoAccount(message, () => documentOf(message)));
      });
      const taken = arrivals.filter((_, i) => refusals[i] === null);
      const begun = await beginSend(pool, tenant.id, id, accountsOf(taken, tenant), taken.length);
      if (begun !== 'ok') return { result: begun };
      const source = await ledgerSource(pool, tenant.id);
      const said = taken.length === 0 ? [] : await accept(taken.map((arrival) => wrapped(id, source, arrival)));
      await noteSent(pool, tenant.id, id, lastOf(taken, said));
      let next = 0;
      const verdicts = refusals.map((code) => (code === null ? (said[next++] as Verdict) : refusal(code)));
      return { result: 'ok', verdicts };
    },
    end,
    async finish() {
      for (const { tenant, id, action, who } of await unfinishedBackfills(pool, UNFINISHED))
        await end(tenant, id, { action, who, why: '', adjust: true });
    },
  };
}

/** The event as a message of the ledger's own: told apart within its backfill alone, and never too old. */
function wrapped(backfill: number, source: Arrival['source'], arrival: Arrival): Arrival {
  return {
    ...arrival,
    source,
    type: LEDGER_TYPES.backfillEvent,
    value: null,
    meta: null,
    identity: Buffer.concat([Buffer.from(`backfill\0${backfill}\0${arrival.source.name}\0`), arrival.identity]),
    released: true,
    raw: Buffer.from(backfillEventText(backfill, arrival)),
  };
}

function accountsOf(arrivals: readonly Arrival[], { channels }: Tenant): SentAccount[] {
  const accounts = new Map<string, SentAccount>();
  for (const { account, eventTime } of arrivals) {
    const at = eventTime ?? '';
    const known = accounts.get(account);
    if (!known)
      accounts.set(account, { account, channel: channelOf(accountHash(account), channels), first: at, last: at });
    else if (Date.parse(at) < Date.parse(known.first)) accounts.set(account, { ...known, first: at });
    else if (Date.parse(at) > Date.parse(known.last)) accounts.set(account, { ...known, last: at });
  }
  return [...accounts.values()];
}

/** By account: the last sequence that is in the backfill. */
function lastOf(arrivals: readonly Arrival[], verdicts: readonly Verdict[]): Map<string, number> {
  const last = new Map<string, number>();
  for (const [i, { account }] of arrivals.entries()) {
    last.set(account, Math.max(last.get(account) ?? 0, sequenceOf(verdicts[i])));
  }
  return last;
}

/** Zero for what is in no channel. */
function sequenceOf(verdict: Verdict | undefined): number {
  if (verdict?.verdict === 'sequenced') return verdict.sequence;
  return verdict?.verdict === 'duplicate' && verdict.basis === 'store' ? verdict.of.sequence : 0;
}

/** Nobody's: the first name of the ledger's own that lies in a channel. */
function accountIn(channel: number, channels: number): string {
  for (let n = 0; ; n++) {
    const account = `${LEDGER_SOURCE}/${n}`;
    if (channelOf(accountHash(account), channels) === channel) return account;
  }
}

const REFUSALS: Readonly<Record<BackfillRefusal, { readonly reason: string; readonly pointer: string }>> = {
  account_missing: { reason: 'The event has no subject: say whose usage it is.', pointer: '/subject' },
  account_differs: { reason: 'The backfill is for another account; send it to one of its own.', pointer: '/subject' },
  time_missing: { reason: 'The event has no time: say when it happened.', pointer: '/time' },
  outside_range: {
    reason: 'The time is outside the range of the backfill; open another one for it.',
    pointer: '/time',
  },
};

function refusal(code: BackfillRefusal): Verdict {
  return { verdict: 'rejected', code, ...REFUSALS[code] };
}
