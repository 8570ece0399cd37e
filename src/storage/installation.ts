import { randomBytes, randomUUID } from 'node:crypto';
import type { Pool } from 'pg';

/** What one installation is, whatever processes it has. */
export interface Installation {
  readonly id: string;
  /** The restore counter; part of every number that leaves the house. */
  readonly epoch: number;
  /** Keys every fingerprint. 32 bytes. */
  readonly fingerprintSecret: Buffer;
}

/** The installation of this database; the first process to ask makes it. */
export async function loadInstallation(pool: Pool): Promise<Installation> {
  await pool.query(
    `insert into installation (id, epoch, fingerprint_secret) values ($1, 1, $2) on conflict do nothing`,
    [randomUUID(), randomBytes(32)],
  );
  const { rows } = await pool.query<{ id: string; epoch: number; fingerprint_secret: Buffer }>(
    'select id, epoch, fingerprint_secret from installation',
  );
  const [row] = rows;
  if (!row) throw new Error('the installation row is missing although it was just made');
  return { id: row.id, epoch: row.epoch, fingerprintSecret: row.fingerprint_secret };
}
