import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Pool } from 'pg';
import type { Logger } from 'pino';
import { type FilterShape, FingerprintFilter, filterShape } from '../channel/filter.js';
import { FilterSet } from '../channel/filter-set.js';
import { textOf } from '../channel/sha256.js';
import type { Clock } from '../message/clock.js';
import { BACKUP_LOCK } from './backup/session.js';
import { inTransaction } from './pool.js';

export interface GenerationSettings {
  /** The de-duplication window; a generation is a fifth of it. */
  readonly windowMs: number;
  /** How far in the future an event's own time may lie: its duplicates may come that much later. */
  readonly futureMs: number;
  readonly expectedKeys: number;
  /** Where sealed filters are cached; null keeps no cache. */
  readonly cacheDirectory: string | null;
}

export interface Generations {
  readonly filters: FilterSet;
  /** Looks at the generations once: turns, seals, loads, drops what the time asks for. */
  tend(): Promise<void>;
  /** Opens a new generation now, whatever the age of the current one. */
  rotate(): Promise<number>;
}

const GENERATIONS_IN_WINDOW = 5;
/** Least time that keys are kept beyond the window. */
const DAY = 86_400_000;
/** Dropping keys locks their parent table: while it waits for a long reader, every commit waits behind it. */
const DROP_LOCK_MS = 1_000;
/** Keys read at a time while a filter is built: about 10 ms of work between two turns of the event loop. */
const PAGE = 5_000;
const PIECE_BYTES = 1 << 20;

interface GenerationRow {
  readonly id: number;
  readonly uid: string;
  readonly opened_at: Date;
  readonly sealed_at: Date | null;
  readonly last_arrival: Date | null;
}

/**
 * Keeps the generations of the window and their filters. A filter that is not here yet is built beside the traffic:
 * until then its generation is looked up, so verdicts are right from the first message on.
 */
export async function openGenerations(deps: {
  readonly pool: Pool;
  readonly settings: GenerationSettings;
  readonly clock: Clock;
  /** False after time has jumped: nothing is dropped for its age then. Without it time is taken as it is. */
  readonly steady?: () => boolean;
  readonly log: Logger;
}): Promise<Generations> {
  const { pool, settings, clock, steady = () => true, log } = deps;
  const rows = await liveGenerations(pool);
  const current = rows.find((row) => row.sealed_at === null);
  if (!current) throw new Error('the database has no current generation; run the migrations');
  const filters = new FilterSet(current.id, settings.expectedKeys, clock);
  filters.advance(rows.map((row) => row.id));

  async function tend(): Promise<void> {
    // First of all: until a generation is in the set, its keys would be taken for new.
    const before = await follow();
    await apart('opening a generation', () => turn(before));
    for (const row of await follow()) {
      await apart(`loading the filter of generation ${row.id}`, () => load(row));
    }
    await dropOld();
  }

  /** Has the filters stand for exactly the generations that have keys. */
  async function follow(): Promise<GenerationRow[]> {
    const live = await liveGenerations(pool);
    filters.advance(live.map((row) => row.id));
    return live;
  }

  /** What fails here must not keep the rest from being done; the next round tries it again. */
  async function apart(what: string, work: () => Promise<unknown>): Promise<void> {
    try {
      await work();
    } catch (error) {
      log.warn({ err: error }, `${what} failed; it is tried again`);
    }
  }

  async function load(row: GenerationRow): Promise<void> {
    if (row.sealed_at === null) await fillCurrent(row.id);
    else if (filters.missing().includes(row.id)) filters.seal(row.id, await sealedFilter(row));
  }

  async function turn(live: readonly GenerationRow[]): Promise<void> {
    const current = live.find((row) => row.sealed_at === null);
    if (!current || clock.now() - current.opened_at.getTime() < settings.windowMs / GENERATIONS_IN_WINDOW) return;
    await rotate();
  }

  async function rotate(): Promise<number> {
    const { rows } = await pool.query<{ id: number | null }>('select rotate_generation($1) as id', [filters.current]);
    const opened = rows[0]?.id;
    if (opened !== null && opened !== undefined) log.info({ generation: opened }, 'opened a new generation');
    await follow();
    return filters.current;
  }

  let filled = 0;
  async function fillCurrent(generation: number): Promise<void> {
    if (filled === generation) return;
    await eachKey(pool, generation, (fingerprint) => filters.remember([fingerprint]));
    if (filters.current !== generation) return;
    filled = generation;
    filters.ready();
  }

  async function sealedFilter(row: GenerationRow): Promise<FingerprintFilter> {
    return (await fromCache(row)) ?? (await fromStore(row)) ?? (await build(row));
  }

  async function fromCache(row: GenerationRow): Promise<FingerprintFilter | null> {
    if (settings.cacheDirectory === null) return null;
    const saved = await pool.query<FilterRow>(FILTER, [row.uid]);
    const head = saved.rows[0];
    if (!head) return null;
    const bytes = await readFile(join(settings.cacheDirectory, row.uid)).catch(absent);
    return bytes && checked(head, bytes) ? new FingerprintFilter(head, bytes, head.keys) : null;
  }

  async function fromStore(row: GenerationRow): Promise<FingerprintFilter | null> {
    const saved = await pool.query<FilterRow>(FILTER, [row.uid]);
    const head = saved.rows[0];
    if (!head) return null;
    const pieces = await pool.query<{ bytes: Buffer }>(
      'select bytes from filter_piece where generation = $1 order by piece',
      [row.uid],
    );
    const bytes = Buffer.concat(pieces.rows.map((piece) => piece.bytes));
    if (!checked(head, bytes)) {
      log.warn({ generation: row.id }, 'the stored filter does not match its checksum; building it anew');
      return null;
    }
    await cache(row, bytes);
    return new FingerprintFilter(head, bytes, head.keys);
  }

  async function build(row: GenerationRow): Promise<FingerprintFilter> {
    const begun = clock.monotonic();
    const { rows } = await pool.query<{ keys: number }>('select count(*) as keys from key where generation = $1', [
      row.id,
    ]);
    const filter = new FingerprintFilter(filterShape(rows[0]?.keys ?? 0));
    await eachKey(pool, row.id, (fingerprint) => filter.add(fingerprint));
    await save(row, filter);
    await cache(row, filter.bytes);
    log.info({ generation: row.id, keys: filter.keys, ms: Math.round(clock.monotonic() - begun) }, 'built a filter');
    return filter;
  }

  async function save(row: GenerationRow, filter: FingerprintFilter): Promise<void> {
    await inTransaction(pool, async (client) => {
      await client.query('delete from filter where generation = $1', [row.uid]);
      const { rowCount } = await client.query(
        `insert into filter (generation, bits, hashes, keys, checksum) values ($1, $2, $3, $4, $5)
         on conflict do nothing`,
        [row.uid, filter.shape.bits, filter.shape.hashes, filter.keys, checksum(filter.bytes)],
      );
      // Another process built the same at the same time.
      if (rowCount === 0) return;
      for (let piece = 0; piece * PIECE_BYTES < filter.bytes.length; piece++) {
        const bytes = Buffer.from(filter.bytes.subarray(piece * PIECE_BYTES, (piece + 1) * PIECE_BYTES));
        await client.query('insert into filter_piece values ($1, $2, $3)', [row.uid, piece, bytes]);
      }
      await client.query('update generation set keys = $2 where id = $1', [row.id, filter.keys]);
    });
  }

  /** Only a copy: a cache that can't be written costs the next start a read of the database. */
  async function cache(row: GenerationRow, bytes: Uint8Array): Promise<void> {
    if (settings.cacheDirectory === null) return;
    try {
      await mkdir(settings.cacheDirectory, { recursive: true });
      const path = join(settings.cacheDirectory, row.uid);
      await writeFile(`${path}.new`, bytes);
      await rename(`${path}.new`, path);
    } catch (error) {
      log.warn({ err: error }, 'a filter could not be cached');
    }
  }

  async function dropOld(): Promise<void> {
    if (!steady()) return;
    const keptMs = settings.windowMs + Math.max(DAY, settings.futureMs);
    // What was taken as a duplicate while the keys were there has yet to be looked up in them.
    const { rows } = await pool.query<GenerationRow>(
      `select id, uid, opened_at, sealed_at, last_arrival from generation g
       where sealed_at is not null and keys_dropped_at is null and last_arrival < $1
         and not exists (select from unseen u where u.arrived_at < g.last_arrival + make_interval(secs => $2))`,
      [new Date(clock.now() - keptMs), keptMs / 1000],
    );
    for (const row of rows) await apart(`dropping the keys of generation ${row.id}`, () => drop(row));
    if (rows.length > 0 && settings.cacheDirectory !== null) await sweepCache(pool, settings.cacheDirectory);
  }

  async function drop(row: GenerationRow): Promise<void> {
    const dropped = await inTransaction(pool, async (client) => {
      // A backup reads for minutes: waiting for it would hold up the commits a second in every two.
      const { rows } = await client.query<{ free: boolean }>(
        `select pg_try_advisory_xact_lock(${BACKUP_LOCK}) as free`,
      );
      if (rows[0]?.free !== true) return false;
      await client.query(`set local lock_timeout = ${DROP_LOCK_MS}`);
      await client.query("select pg_advisory_xact_lock(hashtext('waybill generation'))");
      await client.query(`drop table if exists key_${row.id}`);
      await client.query('update generation set keys_dropped_at = now() where id = $1', [row.id]);
      await client.query('delete from filter where generation = $1', [row.uid]);
      return true;
    });
    if (!dropped) return;
    filters.drop(row.id);
    log.info({ generation: row.id }, 'dropped the keys of a generation that left the window');
  }

  return { filters, tend, rotate };
}

interface FilterRow extends FilterShape {
  readonly keys: number;
  readonly checksum: Buffer;
}

const FILTER = 'select bits, hashes, keys, checksum from filter where generation = $1';

function checksum(bytes: Uint8Array): Buffer {
  return createHash('sha256').update(bytes).digest();
}

function checked(head: FilterRow, bytes: Uint8Array): boolean {
  return bytes.length === Math.ceil(head.bits / 8) && checksum(bytes).equals(head.checksum);
}

function absent(): null {
  return null;
}

async function liveGenerations(pool: Pool): Promise<GenerationRow[]> {
  const { rows } = await pool.query<GenerationRow>(
    `select id, uid, opened_at, sealed_at, last_arrival from generation where keys_dropped_at is null order by id`,
  );
  return rows;
}

/** Calls for every key of a generation that was stored when the reading passed it, a page at a time. */
async function eachKey(pool: Pool, generation: number, call: (fingerprint: string) => void): Promise<void> {
  let tenant = 0;
  let after: Buffer = Buffer.alloc(0);
  for (;;) {
    const { rows } = await pool.query<{ tenant: number; last: Buffer; keys: Buffer }>(
      `select max(tenant) as tenant, string_agg(fingerprint, ''::bytea order by tenant, fingerprint) as keys
       from (select tenant, fingerprint from key where generation = $1 and (tenant, fingerprint) > ($2, $3)
         order by tenant, fingerprint limit $4) page`,
      [generation, tenant, after, PAGE],
    );
    const page = rows[0];
    if (!page?.keys) return;
    const keys = textOf(page.keys);
    for (let at = 0; at < keys.length; at += 16) call(keys.slice(at, at + 16));
    tenant = page.tenant;
    after = page.keys.subarray(page.keys.length - 16);
    if (page.keys.length < PAGE * 16) return;
  }
}

async function sweepCache(pool: Pool, directory: string): Promise<void> {
  const { rows } = await pool.query<{ uid: string }>('select uid from generation where keys_dropped_at is null');
  const live = new Set(rows.map((row) => row.uid));
  for (const name of await readdir(directory)) {
    if (!live.has(name)) await rm(join(directory, name), { force: true });
  }
}
