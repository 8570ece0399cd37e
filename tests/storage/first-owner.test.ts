import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { newSecret, secretHash } from '../../src/access/secret.js';
import {
  changePerson,
  createPerson,
  findSession,
  firstOwnerLink,
  listPeople,
  readSignIn,
  useSignIn,
} from '../../src/storage/access.js';
import { createTenant } from '../../src/storage/tenants.js';
import { freshDatabase, type TestDatabase } from '../support/postgres.js';

let db: TestDatabase;
beforeAll(async () => {
  db = await freshDatabase();
});
afterAll(() => db.drop());

const now = new Date('2026-01-01T00:00:00Z');
const later = new Date(now.getTime() + 25 * 3_600_000);

async function tenant(name: string): Promise<number> {
  const created = await createTenant(db.pool, name, 1, 'test');
  if (created.result !== 'ok') throw new Error('the name is taken');
  return created.tenant.id;
}

function signIn(link: string, at: Date) {
  const session = newSecret(randomBytes);
  return useSignIn(
    db.pool,
    secretHash(link),
    { hash: session.hash, csrf: 'x', expiresAt: new Date(at.getTime() + 1000) },
    at,
  );
}

test('a tenant without an owner gets one, whom the link signs in once', async () => {
  const id = await tenant('first');
  const link = (await firstOwnerLink(db.pool, id, randomBytes, now)) ?? '';
  expect((await listPeople(db.pool, id)).map(({ name, role }) => ({ name, role }))).toEqual([
    { name: 'owner', role: 'owner' },
  ]);
  expect(await readSignIn(db.pool, secretHash(link), now)).toEqual({ person: 'owner', tenant: 'first' });
  const [one, two] = await Promise.all([signIn(link, now), signIn(link, now)]);
  expect([one, two].filter((session) => session !== undefined)).toMatchObject([
    { person: 'owner', role: 'owner', tenant: { id } },
  ]);
  expect(await readSignIn(db.pool, secretHash(link), now)).toBeUndefined();
});

test('there is a new link while nobody has signed in, and none afterwards', async () => {
  const id = await tenant('again');
  const first = (await firstOwnerLink(db.pool, id, randomBytes, now)) ?? '';
  const second = (await firstOwnerLink(db.pool, id, randomBytes, later)) ?? '';
  expect(second).not.toBe(first);
  expect(await signIn(first, later)).toBeUndefined();
  expect(await signIn(second, later)).toBeDefined();
  expect(await firstOwnerLink(db.pool, id, randomBytes, later)).toBeUndefined();
  expect(await listPeople(db.pool, id)).toHaveLength(1);
});

test('an owner by another name is the one the link is for', async () => {
  const id = await tenant('named');
  await createPerson(db.pool, id, 'anna', 'owner');
  const link = (await firstOwnerLink(db.pool, id, randomBytes, now)) ?? '';
  expect((await readSignIn(db.pool, secretHash(link), now))?.person).toBe('anna');
});

test('who is disabled is out at once: session and link', async () => {
  const id = await tenant('out');
  await createPerson(db.pool, id, 'boss', 'owner');
  const link = (await firstOwnerLink(db.pool, id, randomBytes, now)) ?? '';
  await createPerson(db.pool, id, 'second', 'owner');
  const session = newSecret(randomBytes);
  await useSignIn(db.pool, secretHash(link), { hash: session.hash, csrf: 'x', expiresAt: later }, now);
  expect(await findSession(db.pool, session.hash, now)).toBeDefined();
  expect(await changePerson(db.pool, id, 'boss', { disabled: true })).toMatchObject({ result: 'changed' });
  expect(await findSession(db.pool, session.hash, now)).toBeUndefined();
  expect(await changePerson(db.pool, id, 'second', { disabled: true })).toEqual({ result: 'last_owner' });
});
