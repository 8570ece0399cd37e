import { hash } from 'node:crypto';
import type { PoolClient } from 'pg';
import type { Identified, reckon } from '../billing/batch.js';
import { arrayOf, textArray } from './array.js';
import { unhurried } from './pool.js';

const TAKE_BACKFILLS = `select take_backfills(${Array.from({ length: 20 }, (_, i) => `$${i + 1}`).join(', ')})`;

/** Writes what a batch says of backfills and of what is held, and the identities of what it counts. */
export async function takeBackfills(
  client: PoolClient,
  { tenant, book, channel }: { readonly tenant: number; readonly book: number; readonly channel: number },
  { entries, identities, backfills, words }: ReturnType<typeof reckon>,
  secret: Buffer,
): Promise<void> {
  const hold = entries.filter(({ meter, correction }) => meter.definition.late === 'quarantine' && !correction);
  if (identities.length + backfills.length + words.length + hold.length === 0) return;
  const told = words.flatMap(({ message, word }) => (word.what === 'accept' ? [] : [{ message, word }]));
  const accepted = words.flatMap(({ message, word }) => (word.what === 'accept' ? [{ message, word }] : []));
  const values = [
    tenant,
    book,
    channel,
    arrayOf(identities.map(({ sequence }) => sequence)),
    numbers(secret, tenant, identities),
    arrayOf(backfills.map(({ sequence }) => sequence)),
    arrayOf(backfills.map(({ backfill }) => backfill)),
    numbers(secret, tenant, backfills),
    arrayOf(told.map(({ message }) => message.sequence)),
    arrayOf(told.map(({ word }) => word.backfill)),
    textArray(told.map(({ word }) => word.what)),
    textArray(told.map(({ word }) => word.who)),
    textArray(told.map(({ word }) => word.why)),
    textArray(told.map(({ message }) => message.arrivedAt)),
    arrayOf(accepted.map(({ message }) => message.sequence)),
    arrayOf(accepted.map(({ word }) => word.target.sequence)),
    textArray(accepted.map(({ word }) => word.who)),
    textArray(accepted.map(({ word }) => word.why)),
    textArray(accepted.map(({ message }) => message.arrivedAt)),
    arrayOf(hold.map(({ message }) => message.sequence)),
  ];
  // Looks through all that the channel has counted, and counts anew what a backfill has.
  if (told.length > 0) await (await unhurried(client))(TAKE_BACKFILLS, values);
  else await client.query({ name: 'take_backfills', text: TAKE_BACKFILLS, values });
}

/** 64 bits of a keyed hash for each, as the numbers of an array. */
function numbers(secret: Buffer, tenant: number, all: readonly Identified[]): string {
  // Names of sources hold no NUL.
  const heads = new Map<string, Buffer>();
  const headOf = (source: string): Buffer => {
    const head = heads.get(source) ?? Buffer.concat([secret, Buffer.from(`${tenant}\0${source}\0`)]);
    heads.set(source, head);
    return head;
  };
  return `{${all.map(({ source, identity }) => identityNumber(headOf(source), identity)).join(',')}}`;
}

function identityNumber(head: Buffer, identity: Uint8Array): bigint {
  return hash('sha256', Buffer.concat([head, identity]), 'buffer').readBigInt64BE(0);
}

export async function fingerprintSecret(client: PoolClient): Promise<Buffer> {
  const { rows } = await client.query<{ secret: Buffer }>('select fingerprint_secret as secret from installation');
  const [row] = rows;
  if (!row) throw new Error('the installation is not there yet: it is made when the program starts');
  return row.secret;
}
