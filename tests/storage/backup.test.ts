import { execFileSync } from 'node:child_process';
import { randomBytes, randomUUID } from 'node:crypto';
import { cp, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { pathToFileURL } from 'node:url';
import fc from 'fast-check';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { END_MARK, FIRST_LINE, frameHead } from '../../src/storage/backup/format.js';
import { type CheckedBackup, openBackup } from '../../src/storage/backup/reader.js';
import { type Restored, type RestoreSettings, restoreBackup } from '../../src/storage/backup/restore.js';
import { BACKUP_LOCK } from '../../src/storage/backup/session.js';
import { fileSink, streamSink } from '../../src/storage/backup/sink.js';
import { LEFT_OUT } from '../../src/storage/backup/tables.js';
import { type Taken, type TakeSettings, takeBackup } from '../../src/storage/backup/take.js';
import { openGenerations } from '../../src/storage/generations.js';
import { loadInstallation } from '../../src/storage/installation.js';
import { createLeaseStore } from '../../src/storage/lease.js';
import { migrate } from '../../src/storage/migrate.js';
import { createPool } from '../../src/storage/pool.js';
import { insertTenant } from '../support/arrivals.js';
import { settableClock } from '../support/clock.js';
import { temporaryDirectory } from '../support/directory.js';
import { silent } from '../support/log.js';
import { emptyDatabase, freshDatabase, type TestDatabase } from '../support/postgres.js';
import { addUnseen } from '../support/unseen.js';
import { until } from '../support/until.js';

const never = new AbortController().signal;
const MIGRATIONS = new URL('../../src/storage/migrations/', import.meta.url);
const NOW = 1_800_000_000_000;

let directory: string;
beforeAll(async () => {
  directory = await temporaryDirectory();
});

let files = 0;
const newFile = () => join(directory, `backup-${++files}`);

async function take(
  url: string,
  file = newFile(),
  more: Partial<TakeSettings> = {},
): Promise<Taken & { file: string }> {
  const sink = await fileSink(file, { force: false });
  const settings = {
    url,
    applicationName: 'waybill backup',
    product: '9.9.9',
    signal: never,
    progress: () => undefined,
  };
  try {
    const taken = await takeBackup({ ...settings, ...more }, sink);
    await sink.finish();
    return { ...taken, file };
  } catch (error) {
    await sink.discard();
    throw error;
  }
}

/**
 * Ends the connections of an application to one database, and comes back when they have gone: of what this process does
 * nothing goes on meanwhile, so that it is caught where it is.
 */
function endSessions(url: string, applicationName: string): void {
  const script = `import pg from 'pg';
    const [url, name] = process.argv.slice(1);
    const client = new pg.Client({ connectionString: url });
    await client.connect();
    await client.query(
      'select pg_terminate_backend(pid, 10000) from pg_stat_activity where datname = current_database() and application_name = $1',
      [name],
    );
    await client.end();`;
  execFileSync(process.execPath, ['--input-type=module', '-e', script, url, applicationName]);
}

const open = (file: string, signal = never): Promise<CheckedBackup> =>
  openBackup(file, { signal, checking: () => undefined });

async function restore(url: string, file: string, more: Partial<RestoreSettings> = {}): Promise<Restored> {
  const backup = await open(file);
  try {
    return await restoreBackup(
      {
        url,
        applicationName: 'waybill restore',
        signal: never,
        replace: false,
        lostAfterMs: 200,
        now: () => NOW,
        progress: () => undefined,
        ...more,
      },
      backup,
    );
  } finally {
    await backup.close();
  }
}

const codeOf = (work: Promise<unknown>): Promise<unknown> =>
  work.then(
    () => expect.fail('it did not fail'),
    (error: unknown) => (error as { code?: unknown }).code ?? error,
  );

/** What every table holds, by name, in an order of its own; without what a restore changes on purpose. */
async function contents(url: string): Promise<Map<string, string[]>> {
  const client = new pg.Client({ connectionString: url, options: '-c search_path=waybill -c timezone=UTC' });
  await client.connect();
  try {
    const tables = await client.query<{ name: string }>(
      `select relname as name from pg_class where relnamespace = 'waybill'::regnamespace and relkind in ('r', 'p')
         and not relispartition order by 1`,
    );
    const all = new Map<string, string[]>();
    for (const { name } of tables.rows) {
      if (LEFT_OUT.has(name)) continue;
      const { rows } = await client.query<{ row: string }>(`select t::text as row from ${name} t order by 1`);
      all.set(
        name,
        rows.map(({ row }) => row),
      );
    }
    return all;
  } finally {
    await client.end();
  }
}

/** One tenant with a few messages in two generations, of which the third is current; and rows of every awkward kind. */
async function fill({ pool }: TestDatabase): Promise<void> {
  await loadInstallation(pool);
  const tenant = await insertTenant(pool, 'default');
  const { id } = tenant;
  await pool.query(
    `insert into source (tenant, name, kind, definition, managed_by) values ($1, 'feed', 'events', '{"a": [1, null]}', 'api')`,
    [id],
  );
  for (const generation of [1, 2, 3]) {
    if (generation > 1) await pool.query('select rotate_generation($1)', [generation - 1]);
    await pool.query(`insert into span (tenant, channel, first_sequence, generation) values ($1, 0, $2, $3)`, [
      id,
      10 * (generation - 1) + 1,
      generation,
    ]);
    if (generation < 3) await insertMessages(pool, id, generation);
  }
  await pool.query('update channel set last_sequence = 20 where tenant = $1 and channel = 0', [id]);
  await pool.query(
    `insert into rule_set (tenant, version, hash, text, managed_by, active, who, targets)
     values ($1, 1, 'x', E'tab\\t, line\\n, back\\\\slash, \\\\., "quotes", é ✓ \\u2028 end', 'api', true, 'anna', '{a,"b c",null}')`,
    [id],
  );
  await pool.query(`insert into audit (tenant, who, action, object, detail) values ($1, '', 'x', 'y', '{"n": 1.50}')`, [
    id,
  ]);
  await pool.query(`insert into person (tenant, name, role) values ($1, 'anna', 'owner')`, [id]);
  await pool.query(
    `insert into session (hash, tenant, person, csrf, expires_at) values ('\\x01', $1, 1, 'x', 'infinity')`,
    [id],
  );
  await pool.query(
    `insert into token (tenant, name, hash, permissions, created_by, expires_at) values ($1, 'ci', '\\x02', '{}', 'anna', 'infinity')`,
    [id],
  );
  const unseen = { source: 1, account: 'a', arrivedAt: new Date(NOW), value: '1.10', count: 2 };
  await addUnseen(pool, tenant, unseen);
  await pool.query('insert into unseen_count values ($1, 1, 7, 2, 1.50, 1)', [id]);
  await pool.query(`update lease set holder = gen_random_uuid(), term = 7 where tenant = $1`, [id]);
}

async function insertMessages(pool: pg.Pool, tenant: number, generation: number): Promise<void> {
  for (let i = 1; i <= 10; i++) {
    const sequence = 10 * (generation - 1) + i;
    const raw = Buffer.concat([Buffer.from([0, 9, 10, 13, 92, 255]), randomBytes(i === 10 ? 700_000 : 100)]);
    await pool.query(
      `insert into message (generation, tenant, channel, sequence, source, kind, account, type, value, event_time, arrived_at,
         peer, sha256, batch, raw)
       values ($1, $2, 0, $3, 1, 'event', 'a', null, '1.10', '2026-01-02 03:04:05.678901Z', now(), 'p', sha256($4), 1, $4)`,
      [generation, tenant, sequence, raw],
    );
    await pool.query(
      `insert into key (generation, tenant, fingerprint, channel, sequence, digest) values ($1, $2, $3, 0, $4, '\\x00')`,
      [generation, tenant, randomBytes(16), sequence],
    );
  }
}

describe('a backup', () => {
  let source: TestDatabase;
  let target: Pick<TestDatabase, 'url' | 'drop'>;
  beforeEach(async () => {
    source = await freshDatabase();
    target = await emptyDatabase();
    await fill(source);
  });
  afterEach(async () => {
    await source.drop();
    await target.drop();
  });

  const at = async <T extends pg.QueryResultRow>(url: string, sql: string): Promise<T[]> => {
    const pool = createPool({ url, max: 1, applicationName: 'test', log: silent });
    try {
      return (await pool.query<T>(sql)).rows;
    } finally {
      await pool.end();
    }
  };

  test('brings every value back, in another database, under a new epoch', async () => {
    const before = await contents(source.url);
    const { file, header, rows } = await take(source.url);
    expect(header).toMatchObject({ product: '9.9.9', epoch: 1, messages: 20 });
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    const restored = await restore(target.url, file);
    expect(restored).toEqual({ epoch: NOW / 1000, replaced: null, migrated: 0, tokens: 1, people: 1 });

    const after = await contents(target.url);
    expect(rows).toBe([...before.values()].reduce((sum, each) => sum + each.length, 0));
    // On purpose another: the epoch, who holds channels, the names of filters, how often the configuration has changed.
    const differs = ['installation', 'lease', 'generation', 'configuration', 'audit'];
    for (const [table, content] of before) {
      if (!differs.includes(table)) expect(after.get(table), table).toEqual(content);
    }
    expect([...after.keys()]).toEqual([...before.keys()]);
    const leases = `select holder is null as free, term from lease`;
    for (const row of await at(target.url, leases)) expect(row).toEqual({ free: true, term: 7 });
    const kept = `select id, encode(fingerprint_secret, 'hex') as secret from installation`;
    expect(await at(target.url, kept)).toEqual(await at(source.url, kept));
    const audit = await at(target.url, `select who, action, detail from audit where action = 'installation.restore'`);
    expect(audit).toEqual([
      {
        who: 'waybill restore',
        action: 'installation.restore',
        detail: { takenAt: header.takenAt, epoch: NOW / 1000 },
      },
    ]);
    expect(await at(target.url, 'select from session')).toEqual([]);
  });

  test('goes on where it was: generations, partitions and counters', async () => {
    await source.pool.query('drop table key_1');
    await source.pool.query('update generation set keys_dropped_at = now() where id = 1');
    const partitions = `select c.relname as name from pg_inherits i join pg_class c on c.oid = i.inhrelid
      where c.relkind = 'r' order by 1`;
    const { file } = await take(source.url);
    await restore(target.url, file);
    expect(await at(target.url, partitions)).toEqual(await at(source.url, partitions));
    expect(await at(target.url, 'select id, sealed_at, keys_dropped_at, opened_at from generation')).toEqual(
      await at(source.url, 'select id, sealed_at, keys_dropped_at, opened_at from generation'),
    );
    expect(await at(target.url, 'select rotate_generation(3) as opened')).toEqual([{ opened: 4 }]);
    const inserted = `insert into source (tenant, name, kind, definition, managed_by)
      select tenant, 'more', 'mail', '{}', 'api' from source returning id`;
    expect(await at(target.url, inserted)).toEqual([{ id: 2 }]);
    // A start has nothing to do.
    expect(await migrate({ url: target.url, applicationName: 'test', log: silent })).toBe(0);
  });

  test('shows one moment, although others write on, and keeps none of them waiting', async () => {
    let written = 0;
    const { file } = await take(source.url, newFile(), {
      progress: ({ table }) => {
        if (table !== 'message') return;
        written++;
        void source.pool.query(`update channel set last_sequence = last_sequence + 1`);
        void source.pool.query('update message set peer = peer || 1');
        void source.pool.query('select rotate_generation((select max(id) from generation))');
      },
    });
    expect(written).toBeGreaterThan(0);
    await until(async () => (await at(source.url, `select from message where peer <> 'p'`)).length > 0, 'the writing');
    await restore(target.url, file);
    expect(await at(target.url, 'select max(id) as last from generation')).toEqual([{ last: 3 }]);
    expect(await at(target.url, `select from message where peer <> 'p'`)).toEqual([]);
    expect(await at(target.url, 'select last_sequence from channel where channel = 0')).toEqual([
      { last_sequence: 20 },
    ]);
  });

  test('keeps the tables from being dropped under it, and the dropping from being waited for', async () => {
    const clock = settableClock(Date.now());
    const settings = { windowMs: 35 * DAY, futureMs: DAY, expectedKeys: 1000, cacheDirectory: null };
    const { tend } = await openGenerations({ pool: source.pool, settings, clock, log: silent });
    clock.advance(40 * DAY);
    const reader = await source.pool.connect();
    try {
      await reader.query(`select pg_advisory_lock_shared(${BACKUP_LOCK})`);
      await tend();
      expect(await at(source.url, 'select from generation where keys_dropped_at is not null')).toEqual([]);
      await reader.query(`select pg_advisory_unlock_shared(${BACKUP_LOCK})`);
    } finally {
      reader.release();
    }
    await tend();
    expect(await at(source.url, 'select from generation where keys_dropped_at is not null')).not.toEqual([]);
  });

  test('of a database without a Waybill is refused', async () => {
    expect(await codeOf(take(target.url))).toBe('nothing_to_back_up');
    await migrate({ url: target.url, applicationName: 'test', log: silent });
    expect(await codeOf(take(target.url))).toBe('nothing_to_back_up');
  });

  test('that is interrupted or fails leaves no file and frees the database', async () => {
    const stop = new AbortController();
    const file = newFile();
    const progress = ({ table }: { table: string }) => table === 'message' && stop.abort();
    expect(await codeOf(take(source.url, file, { signal: stop.signal, progress }))).toBe('interrupted');
    const failing = new Writable({ write: (_, __, done) => done(new Error('the pipe is gone')) });
    const settings = { url: source.url, applicationName: 'x', product: '1', signal: never, progress: () => undefined };
    expect(await codeOf(takeBackup(settings, streamSink(failing)))).toBe('file_unwritable');
    const cut = take(source.url, file, {
      progress: ({ table }) => table === 'message' && endSessions(source.url, 'waybill backup'),
    });
    expect(await codeOf(cut)).not.toBe('interrupted');
    expect((await readdir(directory)).filter((name) => name.startsWith(file.slice(directory.length + 1)))).toEqual([]);
  });

  test('overwrites nothing without being told to, and never with half a file', async () => {
    const { file } = await take(source.url);
    const first = await readFile(file);
    expect(await codeOf(fileSink(file, { force: false }))).toBe('file_exists');
    const sink = await fileSink(file, { force: true });
    await sink.write(Buffer.from('half'));
    expect(first.equals(await readFile(file))).toBe(true);
    // Nor do two write the same.
    expect(await codeOf(fileSink(`${file}`, { force: false }))).toBe('file_exists');
    await sink.discard();
    expect(first.equals(await readFile(file))).toBe(true);
    expect(await codeOf(fileSink(join(directory, 'no', 'such', 'place'), { force: false }))).toBe('file_unwritable');
  });

  test('is restored at its own tables and then brought up to date', async () => {
    const newer = join(directory, 'newer');
    await cp(MIGRATIONS, newer, { recursive: true });
    await writeFile(
      join(newer, '9999_more.sql'),
      `alter table source add column extra int not null default 5; alter table message add column extra text;
       create table something (id int); drop function check_leases(uuid, int[], smallint[], bigint[]);`,
    );
    const { file } = await take(source.url);
    expect(await restore(target.url, file, { migrations: pathToFileURL(`${newer}/`) })).toMatchObject({ migrated: 1 });
    expect(await at(target.url, 'select name, extra from source')).toEqual([{ name: 'feed', extra: 5 }]);
    expect(await at(target.url, 'select count(*)::int as n, count(extra)::int as e from message')).toEqual([
      { n: 20, e: 0 },
    ]);

    // And that one is too new for who does not know it.
    const newest = await take(target.url);
    expect(await codeOf(restore(target.url, newest.file, { replace: true }))).toBe('backup_newer');
    await writeFile(join(newer, '9999_more.sql'), 'select 1;');
    const edited = restore(target.url, newest.file, { replace: true, migrations: pathToFileURL(`${newer}/`) });
    expect(await codeOf(edited)).toBe('backup_differs');
    expect(await at(target.url, 'select extra from source')).toEqual([{ extra: 5 }]);
  });

  describe('put in the place of another', () => {
    let file: string;
    beforeEach(async () => {
      ({ file } = await take(source.url));
      await source.pool.query(`update source set name = 'later'`);
    });

    const names = () => at(source.url, 'select name from source');

    test('needs to be told so', async () => {
      const refused = restore(source.url, file);
      await expect(refused).rejects.toThrow(/20 messages.*--replace/);
      expect(await names()).toEqual([{ name: 'later' }]);
      const replaced = await restore(source.url, file, { replace: true });
      expect(replaced.replaced).toMatchObject({ epoch: 1, messages: 20 });
      expect(await names()).toEqual([{ name: 'feed' }]);
    });

    test('raises the epoch each time, whatever the clock and the backup say', async () => {
      const epoch = async (now: number) => (await restore(source.url, file, { replace: true, now: () => now })).epoch;
      expect(await epoch(NOW)).toBe(NOW / 1000);
      expect(await epoch(NOW)).toBe(NOW / 1000 + 1);
      // A clock that was put back.
      expect(await epoch(0)).toBe(NOW / 1000 + 2);
      const later = await take(source.url);
      expect((await restore(target.url, later.file, { now: () => 0 })).epoch).toBe(NOW / 1000 + 3);
    });

    test('changes nothing when it is interrupted or fails in the middle', async () => {
      const before = await contents(source.url);
      const stop = new AbortController();
      const atMessages = (then: () => unknown) => ({
        replace: true,
        progress: ({ table }: { table: string }) => table === 'message' && void then(),
      });
      const interrupted = restore(source.url, file, { ...atMessages(() => stop.abort()), signal: stop.signal });
      expect(await codeOf(interrupted)).toBe('interrupted');
      const restoring = `select from pg_stat_activity where datname = current_database() and application_name = 'waybill restore'`;
      await until(async () => (await source.pool.query(restoring)).rowCount === 0, 'the server to let go of it');
      const killed = restore(
        source.url,
        file,
        atMessages(() => endSessions(source.url, 'waybill restore')),
      );
      expect(await codeOf(killed)).toBe('database_failed');
      expect(await contents(source.url)).toEqual(before);
    });

    test('is refused while a Waybill is connected or beats, and not because of one that died', async () => {
      const store = createLeaseStore(source.pool, randomUUID(), 1);
      await store.register('tx:17', ['owner']);
      await restore(source.url, file, { replace: true });

      await store.beat();
      expect(await at(source.url, 'select name from process')).toEqual([]);
      const alive = createLeaseStore(source.pool, randomUUID(), NOW / 1000);
      await alive.register('tx:18', ['owner']);
      const beating = setInterval(() => void alive.beat(), 20);
      const patient = restore(source.url, file, { replace: true, lostAfterMs: 2_000 });
      await expect(patient).rejects.toThrow(/tx:18.*Stop/);
      clearInterval(beating);

      const connected = createPool({ url: source.url, max: 1, applicationName: 'waybill work', log: silent });
      await connected.query('select 1');
      expect(await codeOf(restore(source.url, file, { replace: true }))).toBe('waybill_running');
      await connected.end();
      await restore(source.url, file, { replace: true });
    });

    test('gives a process that knew the old epoch no channel', async () => {
      const old = createLeaseStore(source.pool, randomUUID(), 1);
      await restore(source.url, file, { replace: true });
      const wanted = (await old.leases()).map(({ tenant, channel, term }) => ({ tenant, channel, term }));
      expect(wanted).toHaveLength(4);
      expect(await old.take(wanted)).toEqual([]);
      const fresh = createLeaseStore(source.pool, randomUUID(), NOW / 1000);
      expect(await fresh.take(wanted)).toHaveLength(4);
    });

    test('is never asked by a filter of what came after it', async () => {
      const cacheDirectory = join(directory, 'filters');
      const settings = { windowMs: 35 * DAY, futureMs: DAY, expectedKeys: 1000, cacheDirectory };
      const openHere = () =>
        openGenerations({ pool: source.pool, settings, clock: settableClock(Date.now()), log: silent });
      const insert = (fingerprint: Buffer) =>
        source.pool.query(
          `insert into key (generation, tenant, fingerprint, channel, sequence, digest)
           select (select max(id) from generation), id, $1, 1, 1, '\\x00' from tenant`,
          [fingerprint],
        );
      // The third generation goes on and is sealed; its filter is cached here.
      const first = await openHere();
      await insert(Buffer.alloc(16, 1));
      await first.rotate();
      await first.tend();
      const cached = await readdir(cacheDirectory);
      expect(cached.length).toBe(3);

      // Restored, the third is open again, gets another key, and is sealed again.
      await restore(source.url, file, { replace: true });
      const second = await openHere();
      await insert(Buffer.alloc(16, 2));
      await second.rotate();
      await second.tend();
      expect(second.filters.missing()).toEqual([]);
      expect(second.filters.lookUps('\x02'.repeat(16))).toContain(3);
      expect((await readdir(cacheDirectory)).length).toBe(6);
      const named = await at<{ uid: string }>(source.url, 'select uid from generation');
      for (const { uid } of named) expect(cached).not.toContain(uid);
    });
  });

  test('says which database can not be trusted with it', async () => {
    const { file } = await take(source.url);
    const name = new URL(target.url).pathname.slice(1);
    await at(source.url, `alter database ${name} set synchronous_commit = off`);
    await expect(restore(target.url, file)).rejects.toMatchObject({
      name: 'UnsafeDatabase',
      setting: 'synchronous_commit',
    });
    await expect(restore('postgres://x@127.0.0.1:1/x', file)).rejects.toMatchObject({ name: 'DatabaseUnreachable' });
  });
});

const DAY = 86_400_000;

describe('a file that is no whole backup', () => {
  let source: TestDatabase;
  let target: TestDatabase;
  let file: string;
  let whole: Buffer;
  beforeAll(async () => {
    source = await freshDatabase();
    target = await freshDatabase();
    await loadInstallation(source.pool);
    await insertTenant(source.pool, 'default');
    await loadInstallation(target.pool);
    ({ file } = await take(source.url));
    whole = await readFile(file);
  });
  afterAll(async () => {
    await source.drop();
    await target.drop();
  });

  /** The code it is refused with, and that nothing was touched. */
  async function refusal(bytes: Uint8Array): Promise<unknown> {
    const path = newFile();
    await writeFile(path, bytes);
    const before = await contents(target.url);
    const code = await codeOf(restore(target.url, path, { replace: true }));
    expect(await contents(target.url)).toEqual(before);
    await rm(path);
    return code;
  }

  const quick = async (bytes: Uint8Array): Promise<unknown> => {
    const path = newFile();
    await writeFile(path, bytes);
    const code = await codeOf(open(path));
    await rm(path);
    return code;
  };

  test('has a code and a sentence for what is wrong with it', async () => {
    expect(await refusal(whole.subarray(0, whole.length - 100))).toBe('backup_cut_short');
    expect(await refusal(Buffer.alloc(0))).toBe('not_a_backup');
    expect(await refusal(Buffer.from('PGDMP, or something else'))).toBe('not_a_backup');
    const altered = Buffer.from(whole);
    altered[whole.length >> 1] = (altered[whole.length >> 1] ?? 0) ^ 1;
    expect(await refusal(altered)).toBe('backup_altered');
    const later = Buffer.concat([Buffer.from('waybill backup 2\n'), whole.subarray(FIRST_LINE.length)]);
    expect(await refusal(later)).toBe('backup_newer');
    expect(await codeOf(open(join(directory, 'nowhere')))).toBe('file_unreadable');
    expect(await codeOf(open(directory))).toBe('file_unreadable');
  });

  test('or that is let go of while it is read, says so', async () => {
    const stop = new AbortController();
    const reading = openBackup(file, { signal: stop.signal, checking: () => stop.abort() });
    expect(await codeOf(reading)).toBe('interrupted');
  });

  test('is refused wherever it was cut', async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(whole.length - 1), async (length) => {
        expect(await quick(whole.subarray(0, length))).toBe(length === 0 ? 'not_a_backup' : 'backup_cut_short');
      }),
      { numRuns: 60, examples: [[1], [FIRST_LINE.length - 1], [FIRST_LINE.length], [whole.length - 1]] },
    );
  });

  test('is refused whichever bit was turned, or byte added', async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(whole.length - 1), fc.nat(7), async (at, bit) => {
        const bytes = Buffer.from(whole);
        bytes[at] = (bytes[at] ?? 0) ^ (1 << bit);
        expect(await quick(bytes)).toMatch(/^(not_a_backup|backup_(altered|cut_short|newer))$/);
      }),
      { numRuns: 100 },
    );
    expect(await quick(Buffer.concat([whole, Buffer.from([0])]))).toBe('backup_cut_short');
  });

  test('is refused with a right checksum over wrong parts', async () => {
    const frame = (type: 'H' | 'T' | 'D' | 'E' | 'Z', bytes: string | Buffer) =>
      Buffer.concat([frameHead(type, bytes.length), Buffer.from(bytes)]);
    const { createHash } = await import('node:crypto');
    const sealed = (...frames: Buffer[]) => {
      const body = Buffer.concat([Buffer.from(FIRST_LINE), ...frames]);
      return Buffer.concat([body, createHash('sha256').update(body).digest(), END_MARK]);
    };
    const headLength = whole.readUInt32BE(FIRST_LINE.length + 1);
    const header = whole.subarray(FIRST_LINE.length, FIRST_LINE.length + 5 + headLength);
    const trailer = frame('Z', '{"tables":0,"rows":0,"bytes":0,"sequences":[]}');
    const wrong: Buffer[][] = [
      [],
      [trailer],
      [header],
      [header, header, trailer],
      [header, trailer],
      [header, trailer, trailer],
      [frame('H', 'null'), trailer],
      [frame('H', '{'), trailer],
      [header, frame('T', '{"table":"x\\"; drop table y","columns":["a"]}'), trailer],
      [header, frame('T', '{"table":"plan","columns":["a"]}'), frame('D', 'not deflated'), frame('E', '{}'), trailer],
      [header, frame('T', '{"table":"plan","columns":["a"]}'), frame('E', '{"rows":1,"bytes":0}'), trailer],
      [header, Buffer.from([0x44, 255, 255, 255, 255]), trailer],
      [header, Buffer.from('X\0\0\0\0'), trailer],
      [header, Buffer.from('Z\0')],
    ];
    for (const frames of wrong) expect(await quick(sealed(...frames))).toBe('backup_altered');
    // A whole one under another header than its own.
    const renamed = Buffer.from(header.toString().replace('"key"', '"yek"'));
    const rest = whole.subarray(FIRST_LINE.length + header.length, whole.length - 32 - END_MARK.length);
    expect(await refusal(sealed(renamed, rest))).toMatch(/^backup_altered|database_failed$/);
  });

  test('is noticed, too, when it is cut while it is read', async () => {
    const path = newFile();
    await writeFile(path, whole);
    const backup = await open(path);
    await truncate(path, whole.length - 200);
    const settings = {
      url: target.url,
      applicationName: 'waybill restore',
      signal: never,
      replace: true,
      lostAfterMs: 100,
      now: () => NOW,
      progress: () => undefined,
    };
    const before = await contents(target.url);
    expect(await codeOf(restoreBackup(settings, backup))).toBe('backup_cut_short');
    await backup.close();
    expect(await contents(target.url)).toEqual(before);
  });
});
