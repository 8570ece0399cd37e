import { hash } from 'node:crypto';
import type { Pool } from 'pg';
import { backfillEventText, backfillWordText } from '../../src/billing/backfill.js';
import { correctionBody, LEDGER_TYPES } from '../../src/billing/correction.js';
import { type MeterDefinition, meterSchema } from '../../src/billing/definitions.js';
import { accountHash, channelOf } from '../../src/channel/partition.js';
import type { Run } from '../../src/delivery/plan.js';
import type { Tenant } from '../../src/message/tenant.js';
import { putBilling } from '../../src/storage/billing.js';
import { loadInstallation } from '../../src/storage/installation.js';
import { ledgerSource } from '../../src/storage/ledger-source.js';
import { insertTenant } from './arrivals.js';

/*
 * A tenant whose channels are filled by hand: messages and plans stand in the tables as accepter and owner would have left
 * them, in any number, so that the ledger alone is at work.
 */

export interface UsageEvent {
  readonly account: string;
  readonly type?: string;
  /** JSON text. */
  readonly data: string;
  /** RFC 3339, to the microsecond. */
  readonly time: string;
  readonly id?: string;
}

export interface Place {
  readonly channel: number;
  readonly sequence: number;
}

/** How a sequence stands in its plan. */
export type Mode = Pick<Run, 'm' | 'r'>;

export const READ_WHOLE: Mode = { m: 'deliver', r: 0 };

export interface FilledEvent {
  readonly id: string;
  readonly data: string;
  readonly time: string;
}

export interface UsageBooks {
  readonly tenant: Tenant;
  readonly source: number;
  meter(
    name: string,
    definition: Omit<MeterDefinition, 'dimensions' | 'filter' | 'late'> & Partial<MeterDefinition>,
  ): Promise<void>;
  /** Sequences events, in their order. */
  store(events: readonly UsageEvent[]): Promise<Place[]>;
  correct(
    account: string,
    target: Place,
    instead: { data: string; time: string; type?: string } | null,
  ): Promise<Place>;
  /** An event of a backfill; its id is what tells it apart. */
  fill(account: string, backfill: number, event: FilledEvent): Promise<Place>;
  fillAll(account: string, backfill: number, events: readonly FilledEvent[]): Promise<Place[]>;
  /** Tells the channel of an account that a backfill counts, or counts no more. */
  word(account: string, backfill: number, action: 'close' | 'revert'): Promise<Place>;
  /** Any other message of the ledger's own. */
  say(account: string, told: { type: string; text: string }): Promise<Place>;
  /** A plan of the stream for the next sequences of a channel. */
  plan(channel: number, modes: readonly Mode[]): Promise<void>;
  /** A plan beside the stream about one message. */
  extra(place: Place, mode: Mode): Promise<void>;
  /** Plans for everything that is stored, read whole, at most so many in each. */
  planAll(most?: number): Promise<void>;
}

export async function usageBooks(pool: Pool, name: string, channels = 2): Promise<UsageBooks> {
  await loadInstallation(pool);
  const tenant = await insertTenant(pool, name, channels);
  const { rows } = await pool.query<{ id: number }>(
    `insert into source (tenant, name, kind, definition, managed_by) values ($1, 'feed', 'events', '{"kind":"events"}', 'api')
     returning id`,
    [tenant.id],
  );
  const source = rows[0]?.id as number;
  const own = await ledgerSource(pool, tenant.id);
  await pool.query(
    'insert into span (tenant, channel, first_sequence, generation) select $1, generate_series(0, $2 - 1), 1, 1',
    [tenant.id, channels],
  );
  const last = new Map<number, number>();
  const planned = new Map<number, { sequence: number; plan: number }>();

  async function write(
    messages: readonly { account: string; type: string; raw: string; time: string; source: number }[],
  ): Promise<Place[]> {
    const places = messages.map(({ account }) => {
      const channel = channelOf(accountHash(account), channels);
      const sequence = (last.get(channel) ?? 0) + 1;
      last.set(channel, sequence);
      return { channel, sequence };
    });
    await pool.query(
      `insert into message (generation, tenant, channel, sequence, source, kind, account, type, external_id, event_time,
         arrived_at, peer, sha256, batch, raw)
       select 1, $1, i.channel, i.sequence, i.source, 'event', i.account, i.type, 'e', i.time, now(), 'test',
         decode(i.sha256, 'hex'), 1, convert_to(i.raw, 'UTF8')
       from unnest($2::smallint[], $3::bigint[], $4::int[], $5::text[], $6::text[], $7::timestamptz[], $8::text[], $9::text[])
         as i(channel, sequence, source, account, type, time, sha256, raw)`,
      [
        tenant.id,
        places.map(({ channel }) => channel),
        places.map(({ sequence }) => sequence),
        messages.map((message) => message.source),
        messages.map(({ account }) => account),
        messages.map(({ type }) => type),
        messages.map(({ time }) => time),
        messages.map(({ raw }) => hash('sha256', raw, 'hex')),
        messages.map(({ raw }) => raw),
      ],
    );
    await pool.query(
      `update channel c set last_sequence = i.last, generation = 1 from unnest($2::smallint[], $3::bigint[]) as i(channel, last)
       where c.tenant = $1 and c.channel = i.channel`,
      [tenant.id, [...last.keys()], [...last.values()]],
    );
    return places;
  }

  async function writePlan(kind: 'stream' | 'extra', channel: number, runs: readonly Run[]): Promise<void> {
    const stood = planned.get(channel) ?? { sequence: 0, plan: 0 };
    const plan = stood.plan + 1;
    const final = Math.max(...runs.map(({ s, n }) => s + n - 1));
    await pool.query(
      `insert into plan (tenant, channel, number, epoch, kind, first_sequence, last_sequence, runs, targets, chain, open)
       values ($1, $2, $3, 1, $4, $5, $6, $7, '{}', '', false)`,
      [tenant.id, channel, plan, kind, Math.min(...runs.map(({ s }) => s)), final, JSON.stringify(runs)],
    );
    const sequence = kind === 'stream' ? final : stood.sequence;
    planned.set(channel, { sequence, plan });
    await pool.query('update reader set planned = $3, last_plan = $4 where tenant = $1 and channel = $2', [
      tenant.id,
      channel,
      sequence,
      plan,
    ]);
  }

  const runOf = (s: number, { m, r }: Mode): Run => ({ s, n: 1, r, m, d: { by: 'rules', set: 0, rules: [] }, t: [] });

  const books: UsageBooks = {
    tenant,
    source,
    async meter(meter, definition) {
      const put = await putBilling(pool, tenant, 'meter', meter, meterSchema.parse(definition), {
        expected: 'absent',
        who: 'test',
      });
      if (put.result !== 'ok') throw new Error(JSON.stringify(put));
    },
    store: (events) =>
      write(
        events.map(({ account, type = 'usage', data, time, id = 'e' }) => ({
          account,
          type,
          time,
          source,
          raw: `{"specversion":"1.0","id":"${id}","source":"/s","type":"${type}","subject":${JSON.stringify(account)},"data":${data}}`,
        })),
      ),
    async correct(account, target, instead) {
      const { type, text } = correctionBody({
        id: `c${Math.random()}`,
        account,
        target: `${target.channel}-${target.sequence}`,
        who: 'anna',
        why: 'wrong',
        instead: instead && {
          type: instead.type ?? 'usage',
          source: 'feed',
          document: `{"subject":${JSON.stringify(account)},"data":${instead.data}}`,
        },
      });
      const time = instead?.time ?? '2026-03-01T00:00:00Z';
      const [place] = await write([{ account, type, raw: text, time, source: own.id }]);
      return place as Place;
    },
    async fill(account, backfill, event) {
      const [place] = await books.fillAll(account, backfill, [event]);
      return place as Place;
    },
    fillAll: (account, backfill, events) =>
      write(
        events.map(({ id, data, time }) => {
          const raw = `{"specversion":"1.0","id":"${id}","source":"/s","type":"usage","subject":${JSON.stringify(account)},"data":${data}}`;
          const text = backfillEventText(backfill, {
            ...{ tenant, kind: 'event', account, type: 'usage', externalId: id, value: null, eventTime: time },
            ...{ arrivedAt: 0, peer: 'test', meta: null, identity: Buffer.from(id), digest: '\0'.repeat(16) },
            ...{ onOtherContent: 'conflict', raw: Buffer.from(raw), source: { id: source, name: 'feed' } },
          });
          return { account, type: LEDGER_TYPES.backfillEvent, raw: text, time, source: own.id };
        }),
      ),
    word: (account, backfill, action) =>
      books.say(
        account,
        backfillWordText({ id: `${action}-${backfill}`, account, action, backfill, who: 'anna', why: 'x' }),
      ),
    async say(account, { type, text }) {
      const [place] = await write([{ account, type, raw: text, time: '2026-03-01T00:00:00Z', source: own.id }]);
      return place as Place;
    },
    plan: (channel, modes) => {
      const first = (planned.get(channel)?.sequence ?? 0) + 1;
      return writePlan(
        'stream',
        channel,
        modes.map((mode, i) => runOf(first + i, mode)),
      );
    },
    extra: ({ channel, sequence }, mode) => writePlan('extra', channel, [runOf(sequence, mode)]),
    async planAll(most = 1_000) {
      for (const [channel, sequence] of last) {
        for (let first = (planned.get(channel)?.sequence ?? 0) + 1; first <= sequence; first += most) {
          const n = Math.min(most, sequence - first + 1);
          await writePlan('stream', channel, [{ ...runOf(first, READ_WHOLE), n }]);
        }
      }
    },
  };
  return books;
}
