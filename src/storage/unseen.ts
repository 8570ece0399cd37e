import type { Pool, PoolClient } from 'pg';
import { type Batch, type Candidate, candidate } from '../channel/batch.js';
import { DIGEST_BYTES } from '../channel/identity.js';
import { textOf } from '../channel/sha256.js';
import type { Arrival, Kind } from '../message/arrival.js';
import type { Tenant } from '../message/tenant.js';
import { storeBatch } from './accept.js';
import { arrayOf, textArray } from './array.js';
import { inTransaction } from './pool.js';

/** What became of a message that was taken as a duplicate unseen. */
export interface SeenNow {
  readonly candidate: Candidate;
  /** `original`: the filter was wrong, and it is a message now. */
  readonly became: 'original' | 'duplicate' | 'conflict';
  /** Of an original its own, of the others their original's. */
  readonly sequence: number;
  /** How often it came. */
  readonly count: number;
}

export interface UnseenDeps {
  readonly pool: Pool;
  /** In whose name it is accepted. */
  readonly process: string;
  readonly secret: Uint8Array;
  /** A positive random integer below 2^48. */
  readonly randomId: () => number;
}

/** Bounds of what is looked up in one transaction: it holds the locks of accepting. */
const PAGE_ROWS = 500;
const PAGE_BYTES = 8 * 1024 * 1024;
/** Beside the lanes in which the process accepts (channel/accept.ts). */
const LANE = 2;

/**
 * Looks the oldest up that are kept, in every generation that has keys, and accepts those that no key is there for. That and
 * their going is one transaction: cut off anywhere, nothing has happened. Empty when there is nothing to do, or somebody
 * else does it. Rejects with StoreError when it lost against other writers.
 */
export async function lookUpUnseen(deps: UnseenDeps): Promise<readonly SeenNow[]> {
  const { rows } = await deps.pool.query('select from unseen limit 1');
  if (rows.length === 0) return [];
  return inTransaction(deps.pool, async (client) => {
    const lock = await client.query<{ ours: boolean }>(
      "select pg_try_advisory_xact_lock(hashtext('waybill unseen')) as ours",
    );
    if (!lock.rows[0]?.ours) return [];
    const page = await oldestKept(client, deps.secret);
    if (page.length === 0) return [];
    const generations = await generationsWithKeys(client);
    const seen: Became[] = [];
    // The first of a key may store it; what has it, too, is decided after that.
    for (const part of firstOfEachKey(page)) {
      if (part.length === 0) continue;
      const batch = batchOf(part, generations, deps.randomId());
      seen.push(...becameOf(part, await storeBatch(client, deps.process, batch)));
    }
    await forget(client, page);
    await count(client, seen);
    await countCopies(client, seen);
    return seen.map(({ quarantine: _, ...each }) => each);
  });
}

interface KeptRow extends Omit<Arrival, 'tenant' | 'arrivedAt' | 'digest' | 'sha256' | 'onOtherContent'> {
  readonly number: number;
  readonly tenant: Tenant;
  readonly kind: Kind;
  readonly arrivedAt: Date;
  readonly strict: boolean;
  readonly content: Buffer;
  readonly sha256: Buffer;
  readonly count: number;
}

/** The same again may come meanwhile: it waits for the lock, and is kept anew. */
async function oldestKept(client: PoolClient, secret: Uint8Array): Promise<Kept[]> {
  const { rows } = await client.query<KeptRow>(
    `select u.number, json_build_object('id', t.id, 'name', t.name, 'channels', t.channels) as tenant,
       json_build_object('id', s.id, 'name', s.name) as source, u.kind, u.account, u.type, u.external_id as "externalId",
       u.value, to_char(u.event_time at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as "eventTime",
       u.arrived_at as "arrivedAt", u.peer, u.meta::text as meta, u.identity, u.digest as content, u.strict, u.raw, u.sha256,
       u.count
     from (select number, sum(octet_length(raw)) over (order by number) - octet_length(raw) as before
       from (select number, raw from unseen order by number limit $1) o) p
     join unseen u on u.number = p.number
     join tenant t on t.id = u.tenant
     join source s on s.tenant = u.tenant and s.id = u.source
     where p.before < $2 order by u.number for update of u`,
    [PAGE_ROWS, PAGE_BYTES],
  );
  return rows.map((row) => keptOf(row, secret));
}

interface Kept {
  readonly number: number;
  readonly candidate: Candidate;
  readonly count: number;
}

/** Its time was judged when it came. */
const ANY_TIME = { pastMs: Number.POSITIVE_INFINITY, futureMs: Number.POSITIVE_INFINITY };

function keptOf({ number, count, strict, content, sha256, arrivedAt, ...row }: KeptRow, secret: Uint8Array): Kept {
  const arrival: Arrival = {
    ...row,
    arrivedAt: arrivedAt.getTime(),
    digest: textOf(content.subarray(0, DIGEST_BYTES)),
    sha256: textOf(sha256),
    onOtherContent: strict ? 'conflict' : 'duplicate',
  };
  return { number, candidate: candidate(arrival, secret, ANY_TIME), count };
}

/** Parts rows into those that are the first of their key, and others with the same key and other content. */
function firstOfEachKey(page: readonly Kept[]): [first: Kept[], again: Kept[]] {
  const first: Kept[] = [];
  const again: Kept[] = [];
  const keys = new Set<string>();
  for (const kept of page) {
    const { key } = kept.candidate;
    (keys.has(key) ? again : first).push(kept);
    keys.add(key);
  }
  return [first, again];
}

async function generationsWithKeys(client: PoolClient): Promise<number[]> {
  const { rows } = await client.query<{ id: number }>(
    'select id from generation where keys_dropped_at is null order by id',
  );
  return rows.map(({ id }) => id);
}

function batchOf(page: readonly Kept[], generations: readonly number[], id: number): Batch {
  return {
    id,
    lane: LANE,
    repeated: false,
    rows: page.map((kept) => kept.candidate),
    generation: generations.at(-1) ?? 0,
    lookUps: page.flatMap((_, row) => generations.map((generation) => [row, generation] as const)),
    repeats: [],
    unseen: [],
  };
}

interface Became extends SeenNow {
  /** n of its `q-<n>`, 0 without one. */
  readonly quarantine: number;
}

function becameOf(page: readonly Kept[], { starts, exceptions }: Awaited<ReturnType<typeof storeBatch>>): Became[] {
  const known = new Map(exceptions.map((exception) => [exception.row, exception]));
  const last = new Map(starts.map((start) => [`${start.tenant}/${start.channel}`, start.lastSequence]));
  return page.map(({ candidate, count }, row) => {
    const exception = known.get(row);
    if (exception) {
      const became = exception.verdict === 'conflict' ? 'conflict' : 'duplicate';
      return { candidate, became, sequence: exception.sequence, count, quarantine: exception.quarantine };
    }
    const channel = `${candidate.arrival.tenant.id}/${candidate.channel}`;
    const sequence = (last.get(channel) ?? 0) + 1;
    last.set(channel, sequence);
    return { candidate, became: 'original', sequence, count, quarantine: 0 };
  });
}

async function forget(client: PoolClient, page: readonly Kept[]): Promise<void> {
  await client.query('delete from unseen where number = any ($1)', [arrayOf(page.map(({ number }) => number))]);
}

async function count(client: PoolClient, seen: readonly Became[]): Promise<void> {
  await client.query(
    `insert into unseen_count as c (tenant, source, checked, originals, original_value, conflicts)
     select s.tenant, s.source, sum(s.count), count(*) filter (where s.became = 'original'),
       coalesce(sum(abs(trim_scale(s.value::numeric))) filter (where s.became = 'original'), 0),
       coalesce(sum(s.count) filter (where s.became = 'conflict'), 0)
     from unnest($1::int[], $2::int[], $3::int[], $4::text[], $5::text[]) as s(tenant, source, count, value, became)
     group by s.tenant, s.source order by s.tenant, s.source
     on conflict (tenant, source) do update set checked = c.checked + excluded.checked,
       originals = c.originals + excluded.originals, original_value = c.original_value + excluded.original_value,
       conflicts = c.conflicts + excluded.conflicts`,
    [
      arrayOf(seen.map(({ candidate }) => candidate.arrival.tenant.id)),
      arrayOf(seen.map(({ candidate }) => candidate.arrival.source.id)),
      arrayOf(seen.map((each) => each.count)),
      textArray(seen.map(({ candidate }) => candidate.arrival.value)),
      textArray(seen.map(({ became }) => became)),
    ],
  );
}

/** What came several times was accepted once; its other copies are counted as they would have been. */
async function countCopies(client: PoolClient, seen: readonly Became[]): Promise<void> {
  const several = seen.filter((each) => each.count > 1);
  if (several.length === 0) return;
  const parameters = [
    arrayOf(several.map(({ candidate }) => candidate.arrival.tenant.id)),
    arrayOf(several.map(({ candidate }) => candidate.channel)),
    arrayOf(several.map((each) => each.count - 1)),
    arrayOf(several.map(({ quarantine }) => quarantine)),
  ];
  // Accepting them has locked the channels.
  await client.query(
    `update channel c set duplicates = c.duplicates + s.duplicates, conflicts = c.conflicts + s.conflicts
     from (select tenant, channel, coalesce(sum(copies) filter (where quarantine = 0), 0) as duplicates,
         coalesce(sum(copies) filter (where quarantine > 0), 0) as conflicts
       from unnest($1::int[], $2::smallint[], $3::int[], $4::bigint[]) as s(tenant, channel, copies, quarantine)
       group by tenant, channel) s
     where c.tenant = s.tenant and c.channel = s.channel`,
    parameters,
  );
  await client.query(
    `update quarantine q set count = q.count + s.copies
     from unnest($1::int[], $2::smallint[], $3::int[], $4::bigint[]) as s(tenant, channel, copies, quarantine)
     where q.tenant = s.tenant and q.number = s.quarantine`,
    parameters,
  );
}
