import type { Pool, PoolClient } from 'pg';
import type { Logger } from 'pino';
import { type Mark, NO_CHAIN } from '../delivery/chain.js';
import { signCheckpoint } from '../delivery/checkpoint.js';
import type { Clock } from '../message/clock.js';
import type { Tenant } from '../message/tenant.js';
import { arrayOf } from './array.js';
import { BACKUP_LOCK } from './backup/session.js';
import { hashesDigest, writeCheckpoint } from './checkpoints.js';
import type { Installation } from './installation.js';
import { cutContent, LOCK_MS, patiently } from './keeping.js';
import { inTransaction } from './pool.js';
import { dropWords } from './search.js';
import { forgetPage } from './threads-forget.js';
import { type Books, channelBooks, verifyChannel } from './verify-channel.js';

export interface RetentionDeps {
  readonly pool: Pool;
  readonly installation: Pick<Installation, 'id' | 'signingKey'>;
  readonly settings: { readonly contentMs: number };
  readonly clock: Clock;
  /** False after time has jumped: nothing is dropped for its age then. */
  readonly steady: () => boolean;
  readonly log: Logger;
  readonly observe: RetentionObserver;
  /** Fires when the process is asked to stop: it ends after the step it is at, and the next time goes on from there. */
  readonly stopping: AbortSignal;
}

export interface RetentionObserver {
  /** Open messages were moved on. */
  moved(messages: number): void;
  /** All content of a generation is gone. */
  dropped(): void;
  /** What was about to be dropped was not as it should be. */
  found(findings: number): void;
}

/** Dropping a table locks its parent: commits wait behind it while it waits itself, in ms. */
const DROP_LOCK_MS = 100;
/** Open messages looked up together, and moved in one transaction: some ten milliseconds of work. */
const OPEN_PAGE = 10_000;
const MOVED_ROWS = 200;
const MOVED_BYTES = 8 * 1024 * 1024;
/** Sentences kept of what was found wrong with a channel. */
const MOST_FINDINGS = 50;

/**
 * Drops the content of every generation that is old enough: in each channel, one after another, what is still open moves on
 * to the current generation, what is about to go is verified, and a signed checkpoint takes its place; then the
 * generation's tables are dropped whole. Each step is a short transaction and may be repeated, so it can be cut off
 * anywhere. Of several processes that call it one does it; the others resolve at once.
 */
export async function retain(deps: RetentionDeps): Promise<void> {
  if (!deps.steady()) return;
  const client = await deps.pool.connect();
  let broken = true;
  try {
    const { rows } = await client.query<{ ours: boolean }>(
      "select pg_try_advisory_lock(hashtext('waybill retention')) as ours",
    );
    if (rows[0]?.ours) {
      await dropOld(deps).catch((error: unknown) => {
        if (!(error instanceof Stopped)) throw error;
      });
      await client.query("select pg_advisory_unlock(hashtext('waybill retention'))");
    }
    broken = false;
  } finally {
    // The lock ends with the connection.
    client.release(broken);
  }
}

class Stopped extends Error {
  override readonly name = 'Stopped';
}

function checkStopping({ stopping }: RetentionDeps): void {
  if (stopping.aborted) throw new Stopped('asked to stop');
}

async function dropOld(deps: RetentionDeps): Promise<void> {
  for (const generation of await oldGenerations(deps)) {
    for (const { tenant, channel } of await channelsIn(deps.pool, generation)) {
      await retire(deps, generation, tenant, channel);
    }
    await forgetThreads(deps, generation);
    await deps.pool.query(
      `update generation set content_dropped_at = now() where id = $1 and content_dropped_at is null
       and not exists (select from span where generation = $1)`,
      [generation],
    );
  }
  for (const generation of await leftTables(deps.pool)) await dropTables(deps, generation);
}

/** Places in conversations whose messages are gone, of every channel that the generation was cut off of. */
async function forgetThreads(deps: RetentionDeps, generation: number): Promise<void> {
  const { rows } = await deps.pool.query<{ tenant: number; channel: number; through: number }>(
    'select tenant, channel, through from checkpoint where generation = $1 order by tenant, channel',
    [generation],
  );
  for (const { tenant, channel, through } of rows) {
    for (let after: number | null = 0; after !== null; ) {
      checkStopping(deps);
      const from: number = after;
      after = await patiently(() =>
        inTransaction(deps.pool, (client) => forgetPage(client, { tenant, channel, from, through })),
      );
    }
  }
}

/** Sealed ones whose last message is old enough by our clock and by the database's: one alone may be wrong. Their keys went before. */
async function oldGenerations({ pool, clock, settings }: RetentionDeps): Promise<number[]> {
  const { rows } = await pool.query<{ id: number }>(
    `select id from generation where sealed_at is not null and keys_dropped_at is not null and content_dropped_at is null
       and last_arrival < least($1, now() - make_interval(secs => $2)) order by id`,
    [new Date(clock.now() - settings.contentMs), settings.contentMs / 1000],
  );
  return rows.map(({ id }) => id);
}

async function channelsIn(pool: Pool, generation: number): Promise<{ tenant: Tenant; channel: number }[]> {
  const { rows } = await pool.query<{ tenant: Tenant; channel: number }>(
    `select distinct json_build_object('id', t.id, 'name', t.name, 'channels', t.channels)::jsonb as tenant, t.id, s.channel
     from span s join tenant t on t.id = s.tenant where s.generation = $1 order by t.id, s.channel`,
    [generation],
  );
  return rows;
}

/** Leaves of a channel's messages in a generation only what is open, moved on, and a checkpoint for the others. */
async function retire(deps: RetentionDeps, generation: number, tenant: Tenant, channel: number): Promise<void> {
  const through = await lastOf(deps.pool, generation, tenant.id, channel);
  for (;;) {
    await moveOpen(deps, { generation, tenant: tenant.id, channel, through });
    const books: Books = { pool: deps.pool, installation: deps.installation, tenant };
    const due = await verified(deps, books, channel, through);
    const cut = await patiently(() => cutOff(deps, { generation, tenant: tenant.id, channel, through }, due));
    if (cut === 'too_many_open') continue;
    await dropWords(deps.pool, { tenant: tenant.id, channel }, through, deps.stopping);
    if (due.findings.length > 0) {
      const first = due.findings.slice(0, 3);
      deps.log.error(
        { tenant: tenant.name, channel, generation, findings: due.findings.length, first },
        'what retention has dropped of a channel was not as it should be; its checkpoint says so',
      );
      deps.observe.found(due.findings.length);
    }
    return;
  }
}

/** The last sequence a channel gave in a generation, or before. */
async function lastOf(pool: Pool, generation: number, tenant: number, channel: number): Promise<number> {
  const { rows } = await pool.query<{ last: number }>(
    `select coalesce(min(s.first_sequence) - 1, c.last_sequence) as last from channel c
     left join span s on s.tenant = c.tenant and s.channel = c.channel and s.generation > $1 and not s.moved
     where c.tenant = $2 and c.channel = $3 group by c.last_sequence`,
    [generation, tenant, channel],
  );
  const [row] = rows;
  if (!row) throw new Error(`channel ${channel} of tenant ${tenant} has no row`);
  return row.last;
}

interface Due {
  readonly generation: number;
  readonly tenant: number;
  readonly channel: number;
  readonly through: number;
}

async function moveOpen(deps: RetentionDeps, due: Due): Promise<void> {
  for (;;) {
    const open = await openMessages(deps.pool, due, OPEN_PAGE);
    for (const batch of batchesOf(open)) {
      checkStopping(deps);
      const moved = await patiently(() => inTransaction(deps.pool, (client) => move(client, due, batch)));
      deps.observe.moved(moved);
    }
    if (open.length < OPEN_PAGE) return;
  }
}

interface OpenMessage {
  readonly sequence: number;
  /** Bytes. */
  readonly size: number;
}

/** Messages that somebody or something still waits for, of those that lie in the generation. */
async function openMessages(db: Pool | PoolClient, due: Due, most: number): Promise<OpenMessage[]> {
  const { rows } = await db.query<OpenMessage>(
    `select o.sequence, length(m.raw) as size from (
       select sequence from standing
         where tenant = $1 and channel = $2 and sequence <= $4 and state in ('waiting', 'parked', 'quarantined')
       union select sequence from delivery where tenant = $1 and channel = $2 and (state = 'pending' or void = 'due')
       union select sequence from decision where tenant = $1 and channel = $2 and plan is null
       union select q.sequence from plan p cross join json_array_elements(p.runs) r
         cross join generate_series((r->>'s')::bigint, (r->>'s')::bigint + (r->>'n')::bigint - 1) as q(sequence)
         where p.tenant = $1 and p.channel = $2 and p.open and p.first_sequence <= $4
       union select sequence from message where generation = $3 and tenant = $1 and channel = $2
         and sequence > (select planned from reader where tenant = $1 and channel = $2)
       union select sequence from message where generation = $3 and tenant = $1 and channel = $2 and sequence >
         (select through from ledger_mark where tenant = $1 and channel = $2
           and book = coalesce((select live from ledger where tenant = $1), 1))
       union select sequence from ledger_gap where tenant = $1 and channel = $2
       union select of_sequence from quarantine
         where tenant = $1 and state = 'held' and cause = 'conflict' and of_channel = $2
     ) o
     join message m on m.generation = $3 and m.tenant = $1 and m.channel = $2 and m.sequence = o.sequence
     order by o.sequence limit $5`,
    [due.tenant, due.channel, due.generation, due.through, most],
  );
  return rows;
}

function batchesOf(open: readonly OpenMessage[]): number[][] {
  const batches: number[][] = [];
  let bytes = 0;
  for (const { sequence, size } of open) {
    const batch = batches.at(-1);
    if (batch && batch.length < MOVED_ROWS && bytes + size <= MOVED_BYTES) {
      batch.push(sequence);
      bytes += size;
    } else {
      batches.push([sequence]);
      bytes = size;
    }
  }
  return batches;
}

async function move(client: PoolClient, due: Due, sequences: readonly number[]): Promise<number> {
  await client.query(`set local lock_timeout = ${LOCK_MS}`);
  const { rows } = await client.query<{ moved: number }>('select move_messages($1, $2, $3, $4) as moved', [
    due.generation,
    due.tenant,
    due.channel,
    arrayOf(sequences),
  ]);
  return rows[0]?.moved ?? 0;
}

interface Verified {
  readonly mark: Mark;
  readonly findings: readonly string[];
}

/** Looks at what is about to go for the last time: later nobody can. */
async function verified(deps: RetentionDeps, books: Books, channel: number, through: number): Promise<Verified> {
  const reading = verifyChannel(books, await channelBooks(books, channel), { of: 'due', to: through });
  for (;;) {
    checkStopping(deps);
    const next = await reading.next();
    if (!next.done) continue;
    const { mark, findings } = next.value;
    return {
      mark: mark ?? { plan: 0, planned: 0, chain: NO_CHAIN, extraChain: NO_CHAIN, plans: NO_CHAIN },
      findings: findings.slice(0, MOST_FINDINGS).map(({ detail }) => detail),
    };
  }
}

/**
 * From here on the channel's messages in the generation are gone. Whoever decides about one of them before sees it moved;
 * whoever does after is told that it is gone.
 */
function cutOff(deps: RetentionDeps, due: Due, { mark, findings }: Verified): Promise<'done' | 'too_many_open'> {
  const { installation, clock } = deps;
  const { generation, tenant, channel, through } = due;
  return inTransaction(deps.pool, async (client) => {
    await client.query(`set local lock_timeout = ${LOCK_MS}`);
    await cutContent(client);
    // The owner writes no plan meanwhile: what it would say of these messages comes before the checkpoint, or after.
    await client.query('select from lease where tenant = $1 and channel = $2 for update', [tenant, channel]);
    const left = await client.query('select from span where generation = $1 and tenant = $2 and channel = $3 limit 1', [
      generation,
      tenant,
      channel,
    ]);
    if (left.rows.length === 0) return 'done';
    const open = await openMessages(client, due, MOVED_ROWS + 1);
    if (open.length > MOVED_ROWS) return 'too_many_open';
    if (open.length > 0)
      deps.observe.moved(
        await move(
          client,
          due,
          open.map(({ sequence }) => sequence),
        ),
      );
    await keepHashes(client, due, mark);
    const hashes = await hashesDigest(client, tenant, channel);
    const checkpoint = { ...mark, generation, through, hashes, findings, madeAt: new Date(clock.now()) };
    const signature = signCheckpoint(
      { installation: installation.id, tenant, channel },
      checkpoint,
      installation.signingKey,
    );
    await writeCheckpoint(client, tenant, channel, { ...checkpoint, signature });
    await client.query(
      'update span set generation = 0, moved = false where generation = $1 and tenant = $2 and channel = $3',
      [generation, tenant, channel],
    );
    await client.query('select merge_spans($1, $2::smallint)', [tenant, channel]);
    return 'done';
  });
}

/** Extra plans after $4 speak of these; $5 is `through`. */
const MENTIONED = `mentioned as materialized (
    select distinct q.sequence from plan p cross join json_array_elements(p.runs) r
    cross join generate_series((r->>'s')::bigint, least($5::bigint, (r->>'s')::bigint + (r->>'n')::bigint - 1)) as q(sequence)
    where p.tenant = $1 and p.channel = $2 and p.kind = 'extra' and p.number > $4 and p.first_sequence <= $5)`;

/**
 * Keeps the hash of every message up to `through` that is still needed one by one: of those that are stored elsewhere and
 * whose plans no one can compute any more, and of those that go and that a plan after the mark speaks of.
 */
async function keepHashes(
  client: PoolClient,
  { generation, tenant, channel, through }: Due,
  mark: Mark,
): Promise<void> {
  const parameters = [tenant, channel, generation, mark.plan, through, mark.planned];
  await client.query(
    `with ${MENTIONED}
     delete from checkpoint_hash h where h.tenant = $1 and h.channel = $2 and h.sequence <= $6
       and h.sequence not in (select sequence from mentioned)
       and not exists (select from message m where m.generation = generation_of(h.tenant, h.channel, h.sequence)
         and m.generation <> $3 and m.tenant = h.tenant and m.channel = h.channel and m.sequence = h.sequence)`,
    parameters,
  );
  // What was kept before stays as it was signed.
  await client.query(
    `with ${MENTIONED}
     insert into checkpoint_hash (tenant, channel, sequence, sha256, stored)
       select m.tenant, m.channel, m.sequence, m.sha256, false from message m
         where m.generation = $3 and m.tenant = $1 and m.channel = $2 and m.sequence > $6 and m.sequence <= $5
       union all
       select m.tenant, m.channel, m.sequence, m.sha256, false from mentioned q join message m
         on m.generation = $3 and m.tenant = $1 and m.channel = $2 and m.sequence = q.sequence where q.sequence <= $6
       union all
       select m.tenant, m.channel, m.sequence, m.sha256, true from message m
         where m.generation = any (array(select id from generation where id > $3)) and m.tenant = $1 and m.channel = $2
           and m.sequence <= least($5, $6)
     on conflict (tenant, channel, sequence) do update set stored = excluded.stored`,
    parameters,
  );
}

/** False while a backup is being taken: it reads for long, and commits would wait behind us. The next time will do. */
async function dropTable(client: PoolClient, table: string): Promise<boolean> {
  const { rows } = await client.query<{ free: boolean }>(`select pg_try_advisory_xact_lock(${BACKUP_LOCK}) as free`);
  if (rows[0]?.free !== true) return false;
  await client.query(`set local lock_timeout = ${DROP_LOCK_MS}`);
  await client.query(`drop table if exists ${table}`);
  return true;
}

/** Generations whose content is gone and whose tables are still there. */
async function leftTables(pool: Pool): Promise<number[]> {
  const { rows } = await pool.query<{ id: number }>(
    `select id from generation where content_dropped_at is not null
       and (to_regclass('message_' || id) is not null or to_regclass('view_' || id) is not null) order by id`,
  );
  return rows.map(({ id }) => id);
}

async function dropTables(deps: RetentionDeps, generation: number): Promise<void> {
  // One at a time: who holds the one and waits for the other could wait for us.
  for (const table of ['view', 'message']) {
    const dropped = await patiently(() =>
      inTransaction(deps.pool, (client) => dropTable(client, `${table}_${generation}`)),
    );
    if (!dropped) return;
  }
  deps.log.info({ generation }, 'dropped the content of a generation that is older than what is kept');
  deps.observe.dropped();
}
