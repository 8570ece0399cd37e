import type { Pool, PoolClient } from 'pg';
import type { Checkpoint } from '../delivery/checkpoint.js';

/** A checkpoint as it stands in its row. */
export interface SignedCheckpoint extends Checkpoint {
  readonly signature: Buffer;
}

/** SHA-256 over the hashes that are kept beside a channel's checkpoint. */
export async function hashesDigest(db: Pool | PoolClient, tenant: number, channel: number): Promise<Buffer> {
  const { rows } = await db.query<{ digest: Buffer }>(
    `select sha256(coalesce(string_agg(int8send(sequence) || sha256 || boolsend(stored), ''::bytea order by sequence), '')) as digest
     from checkpoint_hash where tenant = $1 and channel = $2`,
    [tenant, channel],
  );
  const [row] = rows;
  if (!row) throw new Error('an aggregate answered no row');
  return row.digest;
}

/** Writes a channel's checkpoint in the place of the one before. */
export async function writeCheckpoint(
  client: PoolClient,
  tenant: number,
  channel: number,
  made: SignedCheckpoint,
): Promise<void> {
  await client.query(
    `insert into checkpoint (tenant, channel, generation, through, plan, planned, chain, extra_chain, plans, hashes, findings,
       made_at, signature)
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
     on conflict (tenant, channel) do update set generation = excluded.generation, through = excluded.through,
       plan = excluded.plan, planned = excluded.planned, chain = excluded.chain, extra_chain = excluded.extra_chain,
       plans = excluded.plans, hashes = excluded.hashes, findings = excluded.findings, made_at = excluded.made_at,
       signature = excluded.signature`,
    [
      tenant,
      channel,
      made.generation,
      made.through,
      made.plan,
      made.planned,
      made.chain,
      made.extraChain,
      made.plans,
      made.hashes,
      JSON.stringify(made.findings),
      made.madeAt,
      made.signature,
    ],
  );
}
