import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Bulletin, type Notice, openBulletin } from '../../src/storage/bulletin.js';
import { silent } from '../support/log.js';
import { freshDatabase, type TestDatabase } from '../support/postgres.js';
import { until } from '../support/until.js';

let database: TestDatabase;
const open: Bulletin[] = [];

beforeEach(async () => {
  database = await freshDatabase();
});
afterEach(async () => {
  for (const each of open.splice(0)) await each.close();
  await database.drop();
});

function board(process: string): { bulletin: Bulletin; heard: Notice[] } {
  const heard: Notice[] = [];
  const { pool, url } = database;
  const bulletin = openBulletin({ pool, url, process, heard: (notice) => heard.push(notice), log: silent });
  open.push(bulletin);
  return { bulletin, heard };
}

async function listening(count: number): Promise<void> {
  await until(async () => {
    const { rowCount } = await database.pool.query(
      `select from pg_stat_activity where datname = current_database() and application_name = 'waybill notices'
         and query = 'listen waybill' and state = 'idle'`,
    );
    return rowCount === count;
  }, 'all to listen');
}

describe('the bulletin', () => {
  it('tells all others, and not oneself', async () => {
    const [one, two, three] = [board('one'), board('two'), board('three')];
    await listening(3);
    one.bulletin.post(['stored', 1, 2, 30]);
    two.bulletin.post(['given']);
    await until(() => three.heard.length === 2 && one.heard.length === 1 && two.heard.length === 1, 'both notices');
    expect(one.heard).toEqual([['given']]);
    expect(two.heard).toEqual([['stored', 1, 2, 30]]);
  });

  it('takes thousands at a time, and says of a channel only how far it has come', async () => {
    const [one, two] = [board('one'), board('two')];
    await listening(2);
    for (let i = 1; i <= 3000; i++) {
      one.bulletin.post(['planned', 1, i % 16, i, i]);
      one.bulletin.post(['stored', 1, i % 16, i]);
    }
    await until(() => two.heard.filter(([kind]) => kind === 'planned').length === 3000, 'all that was planned');
    const stored = two.heard.filter(([kind]) => kind === 'stored');
    expect(stored.length).toBeLessThanOrEqual(32);
    for (let channel = 0; channel < 16; channel++) {
      const last = Math.max(...stored.filter((notice) => notice[2] === channel).map((notice) => notice[3] as number));
      expect(last).toBe(3000 - ((3000 - channel) % 16));
    }
  });

  it('hears nothing in what is none of its own', async () => {
    const [one, two] = [board('one'), board('two')];
    await listening(2);
    for (const payload of ['', '{', '7', '["x",["wipe"]]', '["x",["stored",1,2]]', '["x",["stored",1,2,"3"]]', '[]']) {
      await database.pool.query('select pg_notify($1, $2)', ['waybill', payload]);
    }
    one.bulletin.post(['decided']);
    await until(() => two.heard.length > 0, 'the real one');
    expect(two.heard).toEqual([['decided']]);
  });

  it('listens again when its connection was cut', async () => {
    const [one, two] = [board('one'), board('two')];
    await listening(2);
    await database.pool.query(
      // Until they have gone: before that they still count as listening.
      `select pg_terminate_backend(pid, 10000) from pg_stat_activity
       where datname = current_database() and application_name = 'waybill notices'`,
    );
    await listening(2);
    one.bulletin.post(['configured']);
    await until(() => two.heard.length === 1, 'the notice');
  });
});
