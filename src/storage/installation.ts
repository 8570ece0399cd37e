import { generateKeyPairSync, randomBytes, randomUUID } from 'node:crypto';
import type { Pool } from 'pg';

/** What one installation is, whatever processes it has. */
export interface Installation {
  readonly id: string;
  /** The restore counter; part of every number that leaves the house. */
  readonly epoch: number;
  /** Keys every fingerprint. 32 bytes. */
  readonly fingerprintSecret: Buffer;
  /** Ed25519, PKCS 8 in DER; signs checkpoints. */
  readonly signingKey: Buffer;
}

/** The installation of this database; the first process to ask makes it. */
export async function loadInstallation(pool: Pool): Promise<Installation> {
  await pool.query(
    `insert into installation (id, epoch, fingerprint_secret, signing_key) values ($1, 1, $2, $3) on conflict do nothing`,
    [randomUUID(), randomBytes(32), newSigningKey()],
  );
  const { rows } = await pool.query<{ id: string; epoch: number; fingerprint_secret: Buffer; signing_key: Buffer }>(
    'select id, epoch, fingerprint_secret, signing_key from installation',
  );
  const [row] = rows;
  if (!row) throw new Error('the installation row is missing although it was just made');
  return {
    id: row.id,
    epoch: row.epoch,
    fingerprintSecret: row.fingerprint_secret,
    signingKey: row.signing_key,
  };
}

/** Whether the database still holds this state of it, and not one that was restored since. */
export async function isUnchanged(pool: Pool, { id, epoch }: Installation): Promise<boolean> {
  const { rows } = await pool.query<{ same: boolean }>(
    'select exists (select from installation where id = $1 and epoch = $2) as same',
    [id, epoch],
  );
  return rows[0]?.same === true;
}

function newSigningKey(): Buffer {
  return generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'der' });
}
