import { createHash } from 'node:crypto';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import pg from 'pg';

/* What a test does to generations and their filters behind the program's back. */

async function withClient<T>(url: string, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString: url, options: '-c search_path=waybill,public' });
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

/** Opens the next generation, as time would. Answers its number. */
export function rotateGeneration(url: string): Promise<number> {
  return withClient(url, async (client) => {
    const { rows } = await client.query<{ opened: number }>(
      'select rotate_generation((select id from generation where sealed_at is null)) as opened',
    );
    return rows[0]?.opened as number;
  });
}

export interface SavedFilter {
  readonly generation: number;
  readonly uid: string;
  readonly keys: number;
  /** Whether the bytes are those of the checksum. */
  readonly whole: boolean;
  /** Share of bits that are set. */
  readonly fill: number;
}

/** The filters of sealed generations as the database has them. */
export function savedFilters(url: string): Promise<SavedFilter[]> {
  return withClient(url, async (client) => {
    const { rows } = await client.query<{ id: number; uid: string; keys: string; checksum: Buffer; bytes: Buffer }>(
      `select g.id, g.uid, f.keys, f.checksum, (select string_agg(p.bytes, ''::bytea order by p.piece)
         from filter_piece p where p.generation = f.generation) as bytes
       from filter f join generation g on g.uid = f.generation order by g.id`,
    );
    return rows.map(({ id, uid, keys, checksum, bytes }) => ({
      generation: id,
      uid,
      keys: Number(keys),
      whole: createHash('sha256').update(bytes).digest().equals(checksum),
      fill: bytes.reduce((sum, byte) => sum + bitsSet(byte), 0) / (bytes.length * 8),
    }));
  });
}

const bitsSet = (byte: number): number => byte.toString(2).replaceAll('0', '').length;

/** Every bit of every saved filter is set, and the checksum says so: each key is "maybe seen". */
export function fillFilters(url: string): Promise<void> {
  return withClient(url, async (client) => {
    await client.query(`update filter_piece set bytes = decode(repeat('ff', length(bytes)), 'hex')`);
    await client.query(
      `update filter f set checksum = sha256((select string_agg(p.bytes, ''::bytea order by p.piece)
         from filter_piece p where p.generation = f.generation))`,
    );
  });
}

/**
 * Every bit of every saved filter is cleared, in the database and in the cache, and the checksum is not told: a filter
 * that believed this would say "definitely new" to everything.
 */
export async function emptyFilters(url: string, cacheDirectory: string): Promise<void> {
  await withClient(url, (client) =>
    client.query(`update filter_piece set bytes = decode(repeat('00', length(bytes)), 'hex')`),
  );
  for (const name of await readdir(cacheDirectory)) {
    const path = join(cacheDirectory, name);
    await writeFile(path, Buffer.alloc((await readFile(path)).length));
  }
}
