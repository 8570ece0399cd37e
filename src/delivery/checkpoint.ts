import { createHash, createPrivateKey, createPublicKey, type KeyObject, sign, verify } from 'node:crypto';
import type { Mark } from './chain.js';

/** What is left of a channel's hashes once messages have been dropped. */
export interface Checkpoint extends Mark {
  /** The generation that was dropped last. */
  readonly generation: number;
  /** Messages up to here are gone, but for those that were moved on. */
  readonly through: number;
  /** SHA-256 over the hashes of single messages that were kept beside it. */
  readonly hashes: Buffer;
  /** What was found wrong before the messages were dropped. */
  readonly findings: readonly string[];
  readonly madeAt: Date;
}

/** Whose channel it is. */
export interface CheckpointOf {
  readonly installation: string;
  readonly tenant: number;
  readonly channel: number;
}

/** `signingKey` is Ed25519, PKCS 8 in DER. */
export function signCheckpoint(of: CheckpointOf, checkpoint: Checkpoint, signingKey: Buffer): Buffer {
  return sign(null, textOf(of, checkpoint), privateKey(signingKey));
}

export function isSigned(of: CheckpointOf, checkpoint: Checkpoint, signature: Buffer, signingKey: Buffer): boolean {
  return verify(null, textOf(of, checkpoint), createPublicKey(privateKey(signingKey)), signature);
}

/** Names the public key, for comparing with what was written down earlier: `SHA256:` and 43 characters, as SSH has it. */
export function fingerprintOf(signingKey: Buffer): string {
  const publicKey = createPublicKey(privateKey(signingKey)).export({ type: 'spki', format: 'der' });
  return `SHA256:${createHash('sha256').update(publicKey).digest('base64').replaceAll('=', '')}`;
}

function privateKey(der: Buffer): KeyObject {
  return createPrivateKey({ key: der, format: 'der', type: 'pkcs8' });
}

function textOf({ installation, tenant, channel }: CheckpointOf, checkpoint: Checkpoint): Buffer {
  const { generation, through, plan, planned, findings, madeAt } = checkpoint;
  const hashes = [checkpoint.chain, checkpoint.extraChain, checkpoint.plans, checkpoint.hashes];
  return Buffer.from(
    JSON.stringify([
      'waybill checkpoint 1',
      installation,
      tenant,
      channel,
      generation,
      through,
      plan,
      planned,
      ...hashes.map((hash) => hash.toString('hex')),
      findings,
      madeAt.toISOString(),
    ]),
  );
}
