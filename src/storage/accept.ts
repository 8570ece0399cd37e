import type { Pool, PoolClient } from 'pg';
import { type Batch, type BatchAnswer, type Candidate, channelsOf, type Exception } from '../channel/batch.js';
import { isoTime } from '../message/iso-time.js';
import { arrayOf, textArray } from './array.js';
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

const ACCEPT = `select * from accept(${placeholders(1, 29)})`;
/** Keeps first: whoever has locked channels waits for nothing that is kept. */
const KEEP_AND_ACCEPT = `select a.* from keep_unseen($3, ${placeholders(30, 50)}) as k(batch)
  cross join lateral accept($1, $2, k.batch, ${placeholders(4, 29)}) as a`;
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
  try {
    const { rows } = await db.query<AnswerRow>(statementFor(process, batch));
    return read(rows);
  } catch (error) {
    throw storeError(error);
  }
}

function statementFor(process: string, batch: Batch): { name: string; text: string; values: unknown[] } {
  const { id, rows, unseen } = batch;
  if (unseen.length === 0) return { name: 'accept', text: ACCEPT, values: parameters(process, batch) };
  const kept = keptParameters(unseen);
  if (rows.length === 0) return { name: 'keep', text: KEEP, values: [id, ...kept] };
  return { name: 'keep and accept', text: KEEP_AND_ACCEPT, values: [...parameters(process, batch), ...kept] };
}

function placeholders(first: number, last: number): string {
  return Array.from({ length: last - first + 1 }, (_, i) => `$${first + i}`).join(', ');
}

/** Parallel columns. Bytes of all rows go as one Buffer each: the driver sends that in binary. */
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
    arrayOf(channels.map((each) => each.tenant.id)),
    arrayOf(channels.map((each) => each.channel)),
    arrayOf(arrivals.map((arrival) => arrival.tenant.id)),
    arrayOf(rows.map((row) => row.channel)),
    arrayOf(arrivals.map((arrival) => arrival.onOtherContent === 'conflict')),
    arrayOf(rows.map((row) => row.expired)),
    packed(rows, (row) => row.fingerprint),
    packed(rows, (row) => row.digest),
    ...messageColumns(rows),
    // Rows are numbered from 1 in the database.
    arrayOf(batch.lookUps.map(([row]) => row + 1)),
    arrayOf(batch.lookUps.map(([, generation]) => generation)),
  ];
}

function keptParameters(rows: readonly Candidate[]): unknown[] {
  const arrivals = rows.map((row) => row.arrival);
  const identity = joined(arrivals.map((arrival) => arrival.identity));
  return [
    arrayOf(arrivals.map((arrival) => arrival.tenant.id)),
    arrayOf(arrivals.map((arrival) => arrival.onOtherContent === 'conflict')),
    packed(rows, (row) => row.fingerprint),
    packed(rows, (row) => row.digest),
    identity.bytes,
    arrayOf(identity.offsets),
    arrayOf(identity.lengths),
    ...messageColumns(rows),
  ];
}

/** What is stored of each as it came. */
function messageColumns(rows: readonly Candidate[]): unknown[] {
  const arrivals = rows.map((row) => row.arrival);
  const raw = joined(arrivals.map((arrival) => arrival.raw));
  return [
    arrayOf(arrivals.map((arrival) => arrival.source.id)),
    textArray(arrivals.map((arrival) => arrival.kind)),
    textArray(arrivals.map((arrival) => arrival.account)),
    textArray(arrivals.map((arrival) => arrival.type)),
    textArray(arrivals.map((arrival) => arrival.externalId)),
    textArray(arrivals.map((arrival) => arrival.value)),
    textArray(arrivals.map((arrival) => arrival.eventTime)),
    textArray(arrivals.map((arrival) => isoTime(arrival.arrivedAt))),
    textArray(arrivals.map((arrival) => arrival.peer)),
    textArray(arrivals.map((arrival) => arrival.meta)),
    packed(rows, (row) => row.sha256),
    raw.bytes,
    arrayOf(raw.offsets),
    arrayOf(raw.lengths),
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

function packed(rows: readonly Candidate[], bytes: (row: Candidate) => Uint8Array): Buffer {
  return Buffer.concat(rows.map(bytes));
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
