import { DatabaseError, type PoolClient } from 'pg';
import type { Identify, reckon } from '../billing/batch.js';
import { sha256 } from '../channel/sha256.js';
import { arrayOf, textArray } from './array.js';
import { unhurried } from './pool.js';

const TAKE_BACKFILLS = `select take_backfills(${Array.from({ length: 20 }, (_, i) => `$${i + 1}`).join(', ')})`;

/** Writes what a batch says of backfills and of what is held, and the identities of what it counts. */
export async function takeBackfills(
  client: PoolClient,
  { tenant, book, channel }: { readonly tenant: number; readonly book: number; readonly channel: number },
  { entries, identities, backfills, words }: ReturnType<typeof reckon>,
): Promise<void> {
  const hold = entries.filter(({ gist, measured }) => measured.meter.definition.late === 'quarantine' && !gist.own);
  if (identities.length + backfills.length + words.length + hold.length === 0) return;
  const told = words.flatMap(({ gist, word }) => (word.what === 'accept' ? [] : [{ gist, word }]));
  const accepted = words.flatMap(({ gist, word }) => (word.what === 'accept' ? [{ gist, word }] : []));
  const values = [
    tenant,
    book,
    channel,
    arrayOf(identities.map(({ sequence }) => sequence)),
    arrayOf(identities.map(({ identity }) => identity)),
    arrayOf(backfills.map(({ sequence }) => sequence)),
    arrayOf(backfills.map(({ backfill }) => backfill)),
    arrayOf(backfills.map(({ identity }) => identity)),
    arrayOf(told.map(({ gist }) => gist.sequence)),
    arrayOf(told.map(({ word }) => word.backfill)),
    textArray(told.map(({ word }) => word.what)),
    textArray(told.map(({ word }) => word.who)),
    textArray(told.map(({ word }) => word.why)),
    textArray(told.map(({ gist }) => gist.arrivedAt)),
    arrayOf(accepted.map(({ gist }) => gist.sequence)),
    arrayOf(accepted.map(({ word }) => word.target.sequence)),
    textArray(accepted.map(({ word }) => word.who)),
    textArray(accepted.map(({ word }) => word.why)),
    textArray(accepted.map(({ gist }) => gist.arrivedAt)),
    arrayOf(hold.map(({ gist }) => gist.sequence)),
  ];
  if (told.length === 0) {
    await client.query({ name: 'take_backfills', text: TAKE_BACKFILLS, values });
    return;
  }
  // Looks through all that the channel has counted, and counts anew what a backfill has.
  const ask = await unhurried(client);
  await lookOver(client);
  await ask(TAKE_BACKFILLS, values);
}

/**
 * Has the database look over what is looked up for each of many messages. Tables that have just been filled are thought to hold a
 * few rows of a book, any index to be as good as another, and by the wrong one each look reads all of them: 6,000 events took
 * minutes to close. Who cleans up there gives way within a second; others who look over them, until they commit, are not waited for.
 */
export async function lookOver(client: PoolClient): Promise<void> {
  await client.query("savepoint looked_over; set local lock_timeout = '3s'");
  try {
    await client.query('analyze usage_entry, ledger_correction, backfill_event, backfill_known, ledger_identity');
    await client.query('set local lock_timeout to default; release savepoint looked_over');
  } catch (error) {
    if (!(error instanceof DatabaseError && error.code === LOCK_NOT_AVAILABLE)) throw error;
    await client.query('rollback to savepoint looked_over');
  }
}

const LOCK_NOT_AVAILABLE = '55P03';

/** 64 bits of a keyed hash. */
export function identifier(secret: Buffer, tenant: number): Identify {
  const key = `${secret.toString('base64')} ${tenant}`;
  const bits = Buffer.allocUnsafe(8);
  return (feed, { source, id }) => {
    // Names of feeds hold no white space.
    bits.write(sha256(`${key} ${feed} ${source.length} ${source}${id}`), 0, 8, 'latin1');
    return bits.readBigInt64BE(0);
  };
}

export async function fingerprintSecret(client: PoolClient): Promise<Buffer> {
  const { rows } = await client.query<{ secret: Buffer }>('select fingerprint_secret as secret from installation');
  const [row] = rows;
  if (!row) throw new Error('the installation is not there yet: it is made when the program starts');
  return row.secret;
}
