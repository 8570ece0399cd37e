import type { Pool, PoolClient } from 'pg';
import {
  type Batch,
  type BatchAnswer,
  type Candidate,
  channelsOf,
  type Exception,
  StoreError,
} from '../channel/batch.js';
import { FINGERPRINT_BYTES } from '../channel/fingerprint.js';
import { DIGEST_BYTES } from '../channel/identity.js';
import { booleanArray, instantArray, intArray, smallintArray, textArray, timeArray } from './binary-array.js';
import { storeError } from './failure.js';

interface AnswerRow {
  readonly row_number: number | null;
  readonly verdict: Exception['verdict'] | null;
  readonly tenant: number;
  readonly channel: number;
  readonly sequence: number | null;
  readonly differs: boolean | null;
  readonly quarantine: number | null;
}

const ACCEPT = `select * from accept(${placeholders(1, 30)})`;
/** Keeps first: whoever has locked channels waits for nothing that is kept. */
const KEEP_AND_ACCEPT = `select a.* from keep_unseen($3, ${placeholders(31, 51)}) as k(batch)
  cross join lateral accept($1, $2, k.batch, ${placeholders(4, 30)}) as a`;
/** Answers nothing. */
const KEEP = `select from keep_unseen($1, ${placeholders(2, 22)}) as k(batch) where k.batch is null`;

/** Stores batches in the name of a process. Rejects with StoreError. */
export function createCommit(pool: Pool, process: string): (batch: Batch) => Promise<BatchAnswer> {
  return (batch) => storeBatch(pool, process, batch);
}

/**
 * Stores a batch by the function `accept` of the database: one statement, one round trip, and one transaction unless the
 * caller has begun a larger one. Rejects with StoreError.
 */
export async function storeBatch(db: Pool | PoolClient, process: string, batch: Batch): Promise<BatchAnswer> {
  const statement = statementFor(process, batch);
  try {
    const { rows } = await db.query<AnswerRow>(statement);
    return read(rows);
  } catch (error) {
    throw storeError(error);
  }
}

interface Statement {
  readonly name: string;
  readonly text: string;
  readonly values: unknown[];
}

function statementFor(process: string, batch: Batch): Statement {
  try {
    return statementOf(process, batch);
  } catch (error) {
    if (error instanceof RangeError) throw new StoreError('data', error.message, { cause: error });
    throw error;
  }
}

function statementOf(process: string, batch: Batch): Statement {
  const { id, rows, unseen } = batch;
  if (unseen.length === 0) return { name: 'accept', text: ACCEPT, values: parameters(process, batch) };
  const kept = keptParameters(unseen);
  if (rows.length === 0) return { name: 'keep', text: KEEP, values: [id, ...kept] };
  return { name: 'keep and accept', text: KEEP_AND_ACCEPT, values: [...parameters(process, batch), ...kept] };
}

function placeholders(first: number, last: number): string {
  return Array.from({ length: last - first + 1 }, (_, i) => `$${first + i}`).join(', ');
}

/** Parallel columns; bytes of all rows as one Buffer each, with where each begins. Throws RangeError. */
function parameters(process: string, batch: Batch): unknown[] {
  const { rows } = batch;
  const channels = channelsOf(rows);
  const arrivals = rows.map((row) => row.arrival);
  return [
    process,
    // Arrays are numbered from 1 in the database.
    batch.lane + 1,
    batch.id,
    batch.repeated,
    batch.generation,
    intArray(channels.map((each) => each.tenant.id)),
    smallintArray(channels.map((each) => each.channel)),
    intArray(arrivals.map((arrival) => arrival.tenant.id)),
    smallintArray(rows.map((row) => row.channel)),
    booleanArray(arrivals.map((arrival) => arrival.onOtherContent === 'conflict')),
    booleanArray(rows.map((row) => row.expired)),
    packed(rows, FINGERPRINT),
    packed(rows, DIGEST),
    ...messageColumns(rows),
    // Rows are numbered from 1 in the database.
    intArray(batch.lookUps.map(([row]) => row + 1)),
    intArray(batch.lookUps.map(([, generation]) => generation)),
    intArray(batch.repeats),
  ];
}

function keptParameters(rows: readonly Candidate[]): unknown[] {
  const arrivals = rows.map((row) => row.arrival);
  const identity = joined(arrivals.map((arrival) => arrival.identity));
  return [
    intArray(arrivals.map((arrival) => arrival.tenant.id)),
    booleanArray(arrivals.map((arrival) => arrival.onOtherContent === 'conflict')),
    packed(rows, FINGERPRINT),
    packed(rows, DIGEST),
    identity.bytes,
    intArray(identity.offsets),
    intArray(identity.lengths),
    ...messageColumns(rows),
  ];
}

/** What is stored of each as it came. */
function messageColumns(rows: readonly Candidate[]): unknown[] {
  const arrivals = rows.map((row) => row.arrival);
  const raw = joined(arrivals.map((arrival) => arrival.raw));
  return [
    intArray(arrivals.map((arrival) => arrival.source.id)),
    textArray(arrivals.map((arrival) => arrival.kind)),
    textArray(arrivals.map((arrival) => arrival.account)),
    textArray(arrivals.map((arrival) => arrival.type)),
    textArray(arrivals.map((arrival) => arrival.externalId)),
    textArray(arrivals.map((arrival) => arrival.value)),
    timeArray(arrivals.map((arrival) => arrival.eventTime)),
    instantArray(arrivals.map((arrival) => arrival.arrivedAt)),
    textArray(arrivals.map((arrival) => arrival.peer)),
    textArray(arrivals.map((arrival) => arrival.meta)),
    packed(rows, SHA256),
    raw.bytes,
    intArray(raw.offsets),
    intArray(raw.lengths),
  ];
}

/** Pieces as one Buffer, and where each lies in it. */
function joined(pieces: readonly Uint8Array[]): { bytes: Buffer; offsets: number[]; lengths: number[] } {
  const offsets: number[] = [];
  let end = 0;
  for (const piece of pieces) {
    offsets.push(end);
    end += piece.length;
  }
  return { bytes: Buffer.concat(pieces, end), offsets, lengths: pieces.map((piece) => piece.length) };
}

const ACCOUNT_BYTES = 8;
const SHA256_BYTES = 32;

/** A hash, and how many of its bytes are stored. */
type Part = readonly [bytes: number, of: (row: Candidate) => string];

const FINGERPRINT: readonly Part[] = [[FINGERPRINT_BYTES, (row) => row.fingerprint]];
const DIGEST: readonly Part[] = [
  [DIGEST_BYTES, (row) => row.arrival.digest],
  [ACCOUNT_BYTES, (row) => row.accountHash],
];
const SHA256: readonly Part[] = [[SHA256_BYTES, (row) => row.sha256]];

/** Parts of all rows, row by row. */
function packed(rows: readonly Candidate[], parts: readonly Part[]): Buffer {
  const bytes = Buffer.allocUnsafe(rows.length * parts.reduce((sum, [count]) => sum + count, 0));
  let at = 0;
  for (const row of rows) for (const [count, of] of parts) at = writeBytes(bytes, at, of(row), count);
  return bytes;
}

/** The first so many of a text that has a character for each byte. Answers where what comes next begins. */
function writeBytes(bytes: Buffer, at: number, text: string, count: number): number {
  if (text.length < count) throw new RangeError(`a hash of ${text.length} bytes, not ${count}`);
  for (let i = 0; i < count; i++) bytes[at + i] = text.charCodeAt(i);
  return at + count;
}

function read(rows: readonly AnswerRow[]): BatchAnswer {
  const starts: BatchAnswer['starts'][number][] = [];
  const exceptions: Exception[] = [];
  for (const row of rows) {
    if (row.row_number === null || row.verdict === null) {
      starts.push({ tenant: row.tenant, channel: row.channel, lastSequence: row.sequence ?? 0 });
    } else {
      exceptions.push({
        row: row.row_number - 1,
        verdict: row.verdict,
        channel: row.channel,
        sequence: row.sequence ?? 0,
        differs: row.differs ?? false,
        quarantine: row.quarantine ?? 0,
      });
    }
  }
  return { starts, exceptions };
}
