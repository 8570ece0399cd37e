import { readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import pg from 'pg';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { MigrationFailed, MigrationRefused, migrate } from '../../src/storage/migrate.js';
import { temporaryDirectory } from '../support/directory.js';
import { silent } from '../support/log.js';
import { emptyDatabase } from '../support/postgres.js';
import { builtProgram } from '../support/program.js';

describe('migrate', () => {
  let database: Awaited<ReturnType<typeof emptyDatabase>>;
  let files: string;

  beforeEach(async () => {
    database = await emptyDatabase();
    files = await temporaryDirectory();
    await put('0001_first.sql', 'create table first (a int);');
  });

  afterEach(async () => {
    await database.drop();
  });

  const put = (name: string, sql: string) => writeFile(join(files, name), sql);

  const run = () =>
    migrate({
      url: database.url,
      applicationName: 'test',
      log: silent,
      directory: pathToFileURL(`${files}/`),
    });

  async function tables(): Promise<string[]> {
    const client = new pg.Client({ connectionString: database.url });
    await client.connect();
    try {
      const { rows } = await client.query<{ name: string }>(
        `select schemaname || '.' || tablename as name from pg_tables where schemaname in ('waybill', 'public') order by 1`,
      );
      return rows.map((row) => row.name);
    } finally {
      await client.end();
    }
  }

  test('applies what is new, in order, into its own schema, once', async () => {
    await put('0002_second.sql', 'alter table first rename to renamed; create table second (b int);');
    expect(await run()).toBe(2);
    expect(await run()).toBe(0);
    await put('0003_third.sql', 'drop table second;');
    expect(await run()).toBe(1);
    expect(await tables()).toEqual(['waybill.migration', 'waybill.renamed']);
  });

  test('takes no notice of other files', async () => {
    await put('notes.txt', 'not SQL');
    await put('0002_draft.sql.bak', 'not SQL');
    expect(await run()).toBe(1);
  });

  test('several processes at once apply each migration once', async () => {
    await put('0002_second.sql', 'create table second (b int); insert into second values (1);');
    const applied = await Promise.all([run(), run(), run(), run()]);
    expect(applied.sort()).toEqual([0, 0, 0, 2]);
  });

  test('one that fails is named, and nothing of the run stays', async () => {
    await put('0002_wrong.sql', 'create table second (b int); select nonsense;');
    const failure = await run().catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(MigrationFailed);
    expect(failure).toHaveProperty('message', expect.stringMatching(/0002_wrong\.sql.*nonsense/));
    expect(await tables()).toEqual([]);
  });

  test('refuses a migration that was edited after it was applied', async () => {
    await run();
    await put('0001_first.sql', 'create table first (a bigint);');
    const refusal = await run().catch((error: unknown) => error);
    expect(refusal).toBeInstanceOf(MigrationRefused);
    expect(refusal).toHaveProperty('message', expect.stringContaining('0001_first.sql was changed'));
  });

  test('does not take other line ends for an edit', async () => {
    await put('0002_lines.sql', 'select 1;\nselect 2;\n');
    await run();
    await put('0002_lines.sql', 'select 1;\r\nselect 2;\r\n');
    expect(await run()).toBe(0);
  });

  test('refuses a database that a newer version has written', async () => {
    await put('0002_newer.sql', 'create table newer (a int);');
    await run();
    await rm(join(files, '0002_newer.sql'));
    const refusal = await run().catch((error: unknown) => error);
    expect(refusal).toBeInstanceOf(MigrationRefused);
    expect(refusal).toHaveProperty('message', expect.stringContaining('0002_newer.sql'));
  });

  test('the product brings its own, from the sources and as built', async () => {
    const own = { url: database.url, applicationName: 'test', log: silent };
    const names = await readdir(new URL('../../src/storage/migrations/', import.meta.url));
    const program = await builtProgram();
    const built = pathToFileURL(join(program, '../../dist/src/storage/migrations/'));
    expect(await readdir(built)).toEqual(names);
    expect(await migrate(own)).toBe(names.length);
    expect(await migrate({ ...own, directory: built })).toBe(0);
  });
});
