import { expect, test } from 'vitest';
import { freshDatabase } from '../support/postgres.js';
test('x', async () => {
  const t0 = performance.now();
  const db = await freshDatabase();
  console.log(performance.now() - t0);
  const r = await db.pool.query('select count(*) as n, array[1::int8] as a, now() as t from tenant');
  console.log(r.rows, db.url);
  const t1 = performance.now();
  await db.drop();
  console.log(performance.now() - t1);
  expect(1).toBe(1);
});
