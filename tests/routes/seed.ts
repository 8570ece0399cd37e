import { createHash, randomBytes } from 'node:crypto';
import type { Pool } from 'pg';
import type { Say } from '../../src/app/ledger-messages.js';
import { accountHash, channelOf } from '../../src/channel/partition.js';
import type { Decider, Mode, Run } from '../../src/delivery/plan.js';
import type { Place } from '../../src/message/id.js';
import type { Tenant } from '../../src/message/tenant.js';
import type { Accept, Verdict } from '../../src/message/verdict.js';
import type { View } from '../../src/message/view.js';
import type { ThreadContent } from '../../src/routing/thread/content.js';
import { ledgerSource } from '../../src/storage/ledger-source.js';

/* Rows as the channel and its owner write them, put there directly. */

export async function addSource(
  pool: Pool,
  tenant: Tenant,
  name: string,
  kind: 'mail' | 'webhook' | 'events' = 'events',
): Promise<number> {
  const definition = {
    mail: { kind, addresses: [`@${tenant.name}-${name}.example.com`] },
    webhook: { kind, verify: { scheme: 'none' } },
    events: { kind },
  }[kind];
  const { rows } = await pool.query(
    `insert into source (tenant, name, kind, definition, managed_by) values ($1, $2, $3, $4, 'api') returning id`,
    [tenant.id, name, kind, definition],
  );
  return rows[0].id;
}

export async function addTarget(pool: Pool, tenant: Tenant, name: string): Promise<number> {
  const { rows } = await pool.query(
    `insert into target (tenant, name, kind, definition, managed_by) values ($1, $2, 'pull', '{"kind":"pull"}', 'api') returning id`,
    [tenant.id, name],
  );
  return rows[0].id;
}

export interface Seed {
  readonly source: number;
  readonly channel?: number;
  readonly kind?: 'mail' | 'event' | 'webhook';
  readonly account?: string;
  readonly type?: string;
  readonly raw?: string;
  /** Null: the raw bytes say all. */
  readonly meta?: null;
  readonly arrivedAt?: Date;
  readonly view?: View;
  /** Given a place of its own in the numbering, with nothing kept of it. */
  readonly dropped?: boolean;
}

/** Sequences a message. */
export async function addMessage(pool: Pool, tenant: Tenant, seed: Seed): Promise<Place> {
  const channel = seed.channel ?? 0;
  const { rows } = await pool.query<{ last_sequence: number }>(
    'update channel set last_sequence = last_sequence + 1, generation = 1 where tenant = $1 and channel = $2 returning last_sequence',
    [tenant.id, channel],
  );
  const sequence = rows[0]?.last_sequence ?? 0;
  await pool.query(
    'insert into span (tenant, channel, first_sequence, generation) values ($1, $2, 1, 1) on conflict do nothing',
    [tenant.id, channel],
  );
  if (seed.dropped) return { channel, sequence };
  const raw = Buffer.from(seed.raw ?? '{"data":{"amount":1}}');
  await pool.query(
    `insert into message (generation, tenant, channel, sequence, source, kind, account, type, external_id, arrived_at, peer, meta, sha256, batch, raw)
     values (1, $1, $2, $3, $4, $5, $6, $7, 'x-1', $8, 'token ci', $11, $9, 1, $10)`,
    [
      tenant.id,
      channel,
      sequence,
      seed.source,
      seed.kind ?? 'event',
      seed.account ?? 'acme',
      seed.type ?? 'order.placed',
      seed.arrivedAt ?? new Date(),
      createHash('sha256').update(raw).digest(),
      raw,
      seed.meta === null ? null : '{"from":"a@example.com"}',
    ],
  );
  if (seed.view) {
    await pool.query(
      'insert into view (generation, tenant, channel, sequence, rung, body) values (1, $1, $2, $3, $4, $5)',
      [tenant.id, channel, sequence, seed.view.rung, JSON.stringify(seed.view)],
    );
  }
  return { channel, sequence };
}

export interface PlanSeed {
  readonly kind?: 'stream' | 'extra';
  readonly open?: boolean;
  readonly at?: Date;
  readonly targets?: Run['t'];
  readonly mode?: Mode;
  readonly n?: number;
  readonly by?: Decider;
  readonly updated?: NonNullable<Run['u']>;
}

const RULES_DECIDED: Decider = { by: 'rules', set: 1, rules: ['orders'] };

/** Plans one message, or `n` from it on, as one run. */
export async function plan(
  pool: Pool,
  tenant: Tenant,
  { channel, sequence }: Place,
  seed: PlanSeed = {},
): Promise<number> {
  const n = seed.n ?? 1;
  const mode = seed.mode ?? ((seed.targets?.length ?? 0) > 0 ? 'deliver' : 'wait');
  const run: Run = { s: sequence, n, r: 0, m: mode, d: seed.by ?? RULES_DECIDED, t: seed.targets ?? [] };
  const said = seed.updated ? { ...run, u: seed.updated } : run;
  const stream = (seed.kind ?? 'stream') === 'stream';
  const { rows } = await pool.query<{ last_plan: number }>(
    `update reader set last_plan = last_plan + 1, planned = case when $3 then $4 else planned end
      where tenant = $1 and channel = $2 returning last_plan`,
    [tenant.id, channel, stream, sequence + n - 1],
  );
  const number = rows[0]?.last_plan ?? 0;
  await pool.query(
    `insert into plan (tenant, channel, number, epoch, kind, first_sequence, last_sequence, runs, targets, chain, open, planned_at, closed_at)
     values ($1, $2, $3, 1, $4, $5, $6, $7, $8, decode(repeat('00', 32), 'hex'), $9, $10, case when $9 then null else $10::timestamptz end)`,
    [
      tenant.id,
      channel,
      number,
      seed.kind ?? 'stream',
      sequence,
      sequence + n - 1,
      JSON.stringify([said]),
      run.t.map(([target]) => target),
      seed.open ?? false,
      seed.at ?? new Date(),
    ],
  );
  if (mode === 'wait') await stand(pool, tenant, { channel, sequence }, 'waiting');
  return number;
}

export async function stand(pool: Pool, tenant: Tenant, { channel, sequence }: Place, state: string): Promise<void> {
  await pool.query(
    `insert into standing (tenant, channel, sequence, state, version) values ($1, $2, $3, $4, 1)
     on conflict (tenant, channel, sequence) do update set state = excluded.state`,
    [tenant.id, channel, sequence, state],
  );
}

export interface DeliverySeed {
  readonly target: number;
  readonly number: number;
  readonly plan: number;
  readonly state: 'pending' | 'delivered' | 'failed' | 'cancelled';
  readonly at?: Date;
}

export async function addDelivery(
  pool: Pool,
  tenant: Tenant,
  { channel, sequence }: Place,
  seed: DeliverySeed,
): Promise<void> {
  await pool.query(
    `insert into delivery (tenant, target, channel, epoch, number, sequence, plan, rung, decision, state, settled_at, created_at)
     values ($1, $2, $3, 1, $4, $5, $6, 0, $9, $7, case when $7 = 'pending' then null else $8::timestamptz end, $8)`,
    [
      tenant.id,
      seed.target,
      channel,
      seed.number,
      sequence,
      seed.plan,
      seed.state,
      seed.at ?? new Date(),
      JSON.stringify(RULES_DECIDED),
    ],
  );
}

export async function quarantined(
  pool: Pool,
  tenant: Tenant,
  source: number,
  cause: 'conflict' | 'expired' | 'poison',
  of?: Place,
  seed: { readonly kind?: 'mail' | 'event'; readonly raw?: string; readonly crash?: string } = {},
): Promise<number> {
  const { rows } = await pool.query<{ number: number }>(
    `with n as (update tenant set quarantined = quarantined + 1 where id = $1 returning quarantined)
     insert into quarantine (tenant, number, cause, of_channel, of_sequence, source, kind, account, arrived_at, peer,
       fingerprint, digest, sha256, raw, crash_hash, last_at)
     select $1, quarantined, $2, $3, $4, $5, $7, 'acme', now(), 'token ci', sha256($8), sha256($6), sha256($6), $6,
       decode($9, 'hex'), now() from n
     returning number`,
    [
      tenant.id,
      cause,
      of?.channel ?? null,
      of?.sequence ?? null,
      source,
      Buffer.from(seed.raw ?? `{"n":${Math.random()}}`),
      seed.kind ?? 'event',
      randomBytes(16),
      seed.crash ?? null,
    ],
  );
  return rows[0]?.number ?? 0;
}

export interface InThread {
  readonly thread: number;
  readonly number: number;
  /** Hashes, as they are kept. */
  readonly content?: ThreadContent;
  readonly targets?: readonly number[];
}

/** A conversation without messages. */
export async function addThread(pool: Pool, tenant: Tenant): Promise<number> {
  const { rows } = await pool.query<{ id: number }>('insert into thread (tenant) values ($1) returning id', [
    tenant.id,
  ]);
  return rows[0]?.id ?? 0;
}

/** Gives a message its place in a conversation. */
export async function placeIn(
  pool: Pool,
  tenant: Tenant,
  { channel, sequence }: Place,
  { thread, number, content, targets = [] }: InThread,
): Promise<void> {
  await pool.query(
    `insert into thread_message (tenant, channel, sequence, thread, number, party, content, targets)
     values ($1, $2, $3, $4, $5, decode(repeat('00', 16), 'hex'), $6, $7)`,
    [tenant.id, channel, sequence, thread, number, content ? JSON.stringify(content) : null, targets],
  );
  await pool.query('update thread set last_number = greatest(last_number, $3) where tenant = $1 and id = $2', [
    tenant.id,
    thread,
    number,
  ]);
}

/** Takes what a backfill is sent, as a channel would. */
export function filling(pool: Pool): Accept {
  const said = new Map<string, Place>();
  return async (arrivals) => {
    const verdicts: Verdict[] = [];
    for (const { tenant, source, account, type, raw, identity, eventTime } of arrivals) {
      const key = `${tenant.id} ${Buffer.from(identity).toString('base64')}`;
      const known = said.get(key);
      if (known) {
        verdicts.push({ verdict: 'duplicate', of: known, basis: 'store', differs: false });
        continue;
      }
      const channel = channelOf(accountHash(account), tenant.channels);
      const arrivedAt = new Date(eventTime ?? 0);
      const text = Buffer.from(raw).toString();
      const place = await addMessage(pool, tenant, {
        ...{ source: source.id, channel, account, type: type ?? '', raw: text, meta: null, arrivedAt },
      });
      await plan(pool, tenant, place, { mode: 'close' });
      said.set(key, place);
      verdicts.push({ verdict: 'sequenced', ...place });
    }
    return verdicts;
  };
}

/** What the ledger says, sequenced and planned as accepter and owner would do it. */
export function saying(pool: Pool): Say {
  const said = new Map<string, Place>();
  return async (tenant, { account, type, identity, time, text }) => {
    const known = said.get(`${tenant.id} ${identity}`);
    if (known) return { place: known, again: true };
    const { id: source } = await ledgerSource(pool, tenant.id);
    const channel = channelOf(accountHash(account), tenant.channels);
    const place = await addMessage(pool, tenant, {
      source,
      channel,
      account,
      type,
      raw: text,
      meta: null,
      ...(time !== null && { arrivedAt: new Date(time) }),
    });
    await plan(pool, tenant, place, { mode: 'close' });
    said.set(`${tenant.id} ${identity}`, place);
    return { place, again: false };
  };
}
