import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { type AddressInfo, createServer, type Server } from 'node:net';
import { inspect } from 'node:util';
import fc from 'fast-check';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import {
  checkServer,
  classify,
  createPool,
  inTransaction,
  refuseUnsafe,
  TransactionAborted,
  UnsafeDatabase,
  unhurried,
} from '../../src/storage/pool.js';
import { silent } from '../support/log.js';
import { freshDatabase, type TestDatabase } from '../support/postgres.js';
import { proxied, type SeverableProxy } from '../support/proxy.js';
import { until } from '../support/until.js';

let database: TestDatabase;
const open: { end(): Promise<void> }[] = [];

beforeAll(async () => {
  database = await freshDatabase({ max: 4 });
  await database.pool.query('create table thing (id int primary key, n int8 check (n < 100))');
});
afterEach(async () => {
  await Promise.all(open.splice(0).map((one) => one.end()));
  await database.pool.query('truncate thing');
});
afterAll(() => database.drop());

function anotherPool(url: string, settings: { max?: number; statementTimeoutMs?: number } = {}): pg.Pool {
  const pool = createPool({ url, max: 1, applicationName: 'another', log: silent, ...settings });
  open.push(pool);
  return pool;
}

const failureOf = (work: Promise<unknown>): Promise<unknown> =>
  work.then(
    () => expect.fail('it did not fail'),
    (error: unknown) => error,
  );

/** `once` would take the error that comes first for a failure. */
const endOf = (client: pg.ClientBase): Promise<unknown> => new Promise((resolve) => client.once('end', resolve));

describe('what rows hold', () => {
  test('each type as documented', async () => {
    const { rows } = await database.pool.query(
      `select 1::int2 as int2, 9007199254740991::int8 as int8, -1::int8 as negative, null::int8 as nothing,
              array[1, null, 3]::int8[] as int8s, array[]::int8[] as none, 1.10::numeric as numeric, 0.5::float8 as float8,
              timestamptz '2026-01-02 03:04:05.678901+02' as at, '{"a":1}'::json as json, '\\x00ff'::bytea as bytea`,
    );
    expect(rows[0]).toEqual({
      int2: 1,
      int8: 9007199254740991,
      negative: -1,
      nothing: null,
      int8s: [1, null, 3],
      none: [],
      numeric: '1.10',
      float8: 0.5,
      at: new Date('2026-01-02T01:04:05.678Z'),
      json: { a: 1 },
      bytea: Buffer.from([0, 255]),
    });
  });

  test('every safe int8 comes back as it went in', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.maxSafeInteger(), { minLength: 1, maxLength: 50 }), async (numbers) => {
        const { rows } = await database.pool.query('select $1::int8[] as all, ($1::int8[])[1] as first', [numbers]);
        expect(rows[0]).toEqual({ all: numbers, first: numbers[0] });
      }),
      { numRuns: 20 },
    );
  });

  test('an int8 that a number cannot hold is an error, never a wrong number', async () => {
    const failure = await failureOf(database.pool.query('select 9007199254740993::int8'));
    expect(failure).toBeInstanceOf(RangeError);
  });
});

describe('inTransaction', () => {
  const count = async () => (await database.pool.query('select count(*) as n from thing')).rows[0].n;

  test('commits, and gives back what was returned', async () => {
    const result = await inTransaction(database.pool, async (client) => {
      await client.query('insert into thing values (1, 1)');
      return 'done';
    });
    expect(result).toBe('done');
    expect(await count()).toBe(1);
  });

  test('lets what is not to hurry go on for longer than others may, though not for ever', async () => {
    const pool = anotherPool(database.url, { statementTimeoutMs: 50 });
    await inTransaction(pool, async (client) => {
      const ask = await unhurried(client);
      await ask('select pg_sleep(0.2)', []);
      expect((await ask('show statement_timeout', [])).rows).toEqual([{ statement_timeout: '12h' }]);
    });
    expect((await pool.query('show statement_timeout')).rows).toEqual([{ statement_timeout: '50ms' }]);
  });

  test('undoes everything when its work fails, and keeps the connection', async () => {
    const before = database.pool.totalCount;
    const failure = await failureOf(
      inTransaction(database.pool, async (client) => {
        await client.query('insert into thing values (1, 1)');
        throw new RangeError('no');
      }),
    );
    expect(failure).toBeInstanceOf(RangeError);
    expect(await count()).toBe(0);
    expect(database.pool.totalCount).toBe(before);
  });

  test('says so when its work went on after a failed statement', async () => {
    const failure = await failureOf(
      inTransaction(database.pool, async (client) => {
        await client.query('insert into thing values (1, 1000)').catch(() => undefined);
      }),
    );
    expect(failure).toBeInstanceOf(TransactionAborted);
    expect(classify(failure)).toBe('fault');
  });

  test('a transaction left idle is ended by the server after 2 s; the next one gets a new connection', async () => {
    const pool = anotherPool(database.url);
    const failure = await failureOf(
      inTransaction(pool, async (client) => {
        await client.query('insert into thing values (1, 1)');
        await endOf(client);
        await client.query('select 1');
      }),
    );
    expect(classify(failure)).toBe('unavailable');
    expect(await inTransaction(pool, async (client) => (await client.query('select 1 as one')).rows)).toEqual([
      { one: 1 },
    ]);
    expect(await count()).toBe(0);
  });
});

describe('classify', () => {
  test('data: what the values themselves are refused for', async () => {
    await database.pool.query('insert into thing values (1, 1)');
    const statements = [
      'insert into thing values (1, 1)',
      'insert into thing values (2, 100)',
      'insert into thing values (null, 1)',
      `select 'x'::int`,
      `select '2026-02-30'::date`,
    ];
    for (const sql of statements) expect(classify(await failureOf(database.pool.query(sql)))).toBe('data');
    expect(classify(await failureOf(database.pool.query('select $1::text', ['\0'])))).toBe('data');
  });

  test('repeat: deadlocks and lost races of serializable transactions', async () => {
    await database.pool.query('insert into thing values (1, 1), (2, 1)');
    const crossing = (first: number, second: number, bothHold: Promise<void>, holds: () => void) =>
      inTransaction(database.pool, async (client) => {
        await client.query('update thing set n = 2 where id = $1', [first]);
        holds();
        await bothHold;
        await client.query('update thing set n = 3 where id = $1', [second]);
      });
    let holding = 0;
    let release = () => {};
    const bothHold = new Promise<void>((resolve) => {
      release = resolve;
    });
    const holds = () => {
      holding += 1;
      if (holding === 2) release();
    };
    const results = await Promise.allSettled([crossing(1, 2, bothHold, holds), crossing(2, 1, bothHold, holds)]);
    const lost = results.flatMap((result) => (result.status === 'rejected' ? [result.reason] : []));
    expect(lost.map(classify)).toEqual(['repeat']);
  });

  test('fault: what is wrong with the program', async () => {
    expect(classify(await failureOf(database.pool.query('select nonsense')))).toBe('fault');
    expect(classify(new TypeError('x is not a function'))).toBe('fault');
    expect(classify('not even an error')).toBe('fault');
    expect(classify(new Error('something else'))).toBe('fault');
  });

  test('unavailable: a statement that takes too long is cancelled by the server', async () => {
    const pool = anotherPool(database.url, { statementTimeoutMs: 50 });
    const failure = await failureOf(pool.query('select pg_sleep(10)'));
    expect(failure).toMatchObject({ code: '57014' });
    expect(classify(failure)).toBe('unavailable');
  });

  test('unavailable: nobody listens there', async () => {
    for (const url of [
      'postgres://x@127.0.0.1:1/x',
      'postgres://x@localhost/x?host=/nowhere',
      'postgres://x@localhost:1/x',
    ]) {
      expect(classify(await failureOf(anotherPool(url).query('select 1')))).toBe('unavailable');
    }
  });

  test('unavailable: each plain error by which pg says that a connection is lost', async () => {
    const closing = await serverThat((socket) => socket.destroy());
    const silentServer = await serverThat(() => undefined);
    const busy = anotherPool(database.url);
    const held = await busy.connect();
    const ended = new pg.Client({ connectionString: database.url });
    await ended.connect();
    const ending = failureOf(ended.query('select pg_sleep(10)'));
    await ended.end();

    const killed = new pg.Client({ connectionString: database.url });
    killed.on('error', () => undefined);
    await killed.connect();
    const { rows } = await killed.query('select pg_backend_pid() as pid');
    const gone = endOf(killed);
    await database.pool.query('select pg_terminate_backend($1)', [rows[0].pid]);
    await gone;

    const failures = await Promise.all([
      failureOf(anotherPool(closing).query('select 1')),
      failureOf(anotherPool(silentServer).query('select 1')),
      failureOf(busy.query('select 1')),
      failureOf(connectAlone(silentServer)),
      ending,
      failureOf(ended.query('select 1')),
      failureOf(killed.query('select 1')),
    ]);
    held.release();
    expect(failures.map((failure) => (failure as Error).message)).toEqual([
      'Connection terminated unexpectedly',
      'Connection terminated due to connection timeout',
      'timeout exceeded when trying to connect',
      'timeout expired',
      'Connection terminated',
      'Client was closed and is not queryable',
      'Client has encountered a connection error and is not queryable',
    ]);
    expect(failures.map(classify)).toEqual(failures.map(() => 'unavailable'));
  });
});

/** A client without a pool, which words its time-out differently. */
async function connectAlone(url: string): Promise<void> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 50 });
  client.on('error', () => undefined);
  await client.connect();
}

async function serverThat(treats: (socket: import('node:net').Socket) => void): Promise<string> {
  const server: Server = createServer((socket) => {
    socket.on('error', () => undefined);
    treats(socket);
    open.push({ end: async () => void socket.destroy() });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  open.push({ end: async () => void server.close() });
  return `postgres://x@127.0.0.1:${(server.address() as AddressInfo).port}/x`;
}

describe('a database that goes away', () => {
  let proxy: SeverableProxy;
  afterEach(() => proxy.close());

  test('is an error for those under way, and is used again when it is back', async () => {
    proxy = await proxied(database.url);
    const pool = anotherPool(proxy.url);
    const under = failureOf(pool.query('select pg_sleep(10)'));
    await until(() => pool.totalCount > pool.idleCount + pool.waitingCount, 'the statement to be sent');
    await proxy.cut();
    expect(classify(await under)).toBe('unavailable');
    expect(classify(await failureOf(pool.query('select 1')))).toBe('unavailable');
    await proxy.mend();
    expect((await pool.query('select 1 as one')).rows).toEqual([{ one: 1 }]);
  });

  test('without a word is given up some time after the limit of the statement', async () => {
    proxy = await proxied(database.url);
    const pool = anotherPool(proxy.url, { statementTimeoutMs: 1_000 });
    await pool.query('select 1');
    proxy.freeze();
    const failure = await failureOf(inTransaction(pool, (client) => client.query('select 1')));
    expect(failure).toHaveProperty('message', 'Query read timeout');
    expect(classify(failure)).toBe('unavailable');
    expect(pool.totalCount).toBe(0);
  });
});

describe('connections', () => {
  test('have the schema in front, also when the URL brings options of its own', async () => {
    const url = new URL(database.url);
    url.searchParams.set('options', '-c search_path=public -c work_mem=3MB');
    const { rows } = await anotherPool(url.href).query(
      `select current_setting('search_path') as path, current_setting('work_mem') as memory, current_setting('application_name') as name`,
    );
    expect(rows).toEqual([{ path: 'waybill', memory: '3MB', name: 'another' }]);
  });
});

describe('a URL', () => {
  test('may leave out the host that an option names', async () => {
    const url = database.url.replace('@localhost/', '@/');
    expect((await anotherPool(url).query('select 1 as one')).rows).toEqual([{ one: 1 }]);
  });

  test('that is none is refused without quoting the password', () => {
    let refusal: unknown;
    try {
      createPool({ url: 'postgres://user:secret@host:port/x', max: 1, applicationName: 'x', log: silent });
    } catch (error) {
      refusal = error;
    }
    expect(refusal).toBeInstanceOf(TypeError);
    expect(inspect(refusal, { showHidden: true })).not.toContain('secret');
  });
});

describe('checkServer', () => {
  test('takes the embedded server', async () => {
    await expect(checkServer(database.pool)).resolves.toBeUndefined();
  });

  test('refuses a session that commits without waiting for the disk', async () => {
    const url = new URL(database.url);
    url.searchParams.set('options', '-c synchronous_commit=off');
    const refusal = await failureOf(checkServer(anotherPool(url.href)));
    expect(refusal).toBeInstanceOf(UnsafeDatabase);
    expect(refusal).toMatchObject({
      setting: 'synchronous_commit',
      message: expect.stringContaining('synchronous_commit = on'),
    });
  });

  test('sees what is set for the database or the role alone', async () => {
    const { url } = database;
    const name = new URL(url).pathname.slice(1);
    const role = `r_${randomBytes(8).toString('hex')}`;
    await database.pool.query(`create role ${role} login`);
    try {
      await database.pool.query(`alter role ${role} set synchronous_commit = off`);
      const asRole = url.replace(/waybill@/, `${role}@`);
      expect(await failureOf(checkServer(anotherPool(asRole)))).toHaveProperty('setting', 'synchronous_commit');
      await database.pool.query(`alter database ${name} set synchronous_commit = off`);
      expect(await failureOf(checkServer(anotherPool(url)))).toHaveProperty('setting', 'synchronous_commit');
    } finally {
      await database.pool.query(`alter database ${name} reset all`);
      await Promise.all(open.splice(0).map((one) => one.end()));
      await database.pool.query(`drop role ${role}`);
    }
  });

  const safe = {
    server_version_num: '140000',
    server_version: '14.0',
    server_encoding: 'UTF8',
    fsync: 'on',
    full_page_writes: 'on',
    synchronous_commit: 'remote_write',
  };
  test.each([
    ['fsync', { fsync: 'off' }],
    ['full_page_writes', { full_page_writes: 'off' }],
    ['synchronous_commit', { synchronous_commit: 'off' }],
    ['server_version', { server_version_num: '130020', server_version: '13.20' }],
    ['server_encoding', { server_encoding: 'SQL_ASCII' }],
  ])('names %s when that is what is wrong', (setting, change) => {
    expect(() => refuseUnsafe(new Map(Object.entries(safe)))).not.toThrow();
    expect(() => refuseUnsafe(new Map(Object.entries({ ...safe, ...change })))).toThrow(
      expect.objectContaining({ setting }),
    );
  });
});
