import type { Pool } from 'pg';
import { FINGERPRINT_BYTES, fingerprint } from '../channel/fingerprint.js';
import { contentOf, type Quarantine, type Undecodable } from '../channel/undecodable.js';
import { arrayOf, textArray } from './array.js';

/** As long as other entries' are: 16 bytes of the content, 8 of the account. */
const DIGEST_BYTES = 24;

const SQL = `select quarantine_undecodable($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)`;

/** Keeps what no message could be made of; entries of one call are of one tenant. `secret` keys fingerprints. */
export function createQuarantine(pool: Pool, secret: Uint8Array): Quarantine {
  return async (entries) => {
    const [first] = entries;
    if (first === undefined) return;
    const lengths = entries.map(({ raw }) => raw.length);
    const digests = entries.map(({ content }) => contentOf(content).subarray(0, DIGEST_BYTES));
    let end = 0;
    const offsets = lengths.map((length) => {
      end += length;
      return end - length;
    });
    await pool.query(SQL, [
      first.tenant.id,
      arrayOf(entries.map(({ source }) => source.id)),
      textArray(entries.map(({ kind }) => kind)),
      textArray(entries.map(({ account }) => account)),
      textArray(entries.map(({ type }) => type)),
      textArray(entries.map(({ externalId }) => externalId)),
      textArray(entries.map(({ arrivedAt }) => new Date(arrivedAt).toISOString())),
      textArray(entries.map(({ peer }) => peer)),
      textArray(entries.map(({ meta }) => meta)),
      textArray(entries.map(({ reason }) => reason)),
      Buffer.concat(entries.map((entry) => fingerprintOf(secret, entry))),
      Buffer.concat(digests),
      Buffer.concat(
        entries.map(({ raw }) => raw),
        end,
      ),
      arrayOf(offsets),
      arrayOf(lengths),
    ]);
  };
}

function fingerprintOf(secret: Uint8Array, { tenant, source, content }: Undecodable): Buffer {
  return Buffer.from(fingerprint(secret, tenant.id, source.id, content), 'latin1').subarray(0, FINGERPRINT_BYTES);
}
