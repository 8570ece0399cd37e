import type { Pool } from 'pg';
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

const SQL = `select * from accept($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18,
  $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29)`;

/**
 * Stores a batch by the function `accept` of the database: one statement, one transaction, one round trip.
 * Rejects with StoreError.
 */
export function createCommit(pool: Pool, process: string): (batch: Batch) => Promise<BatchAnswer> {
  return async (batch) => {
    try {
      const { rows } = await pool.query<AnswerRow>({ name: 'accept', text: SQL, values: parameters(process, batch) });
      return read(rows);
    } catch (error) {
      throw storeError(error);
    }
  };
}

/** Parallel columns. Bytes of all rows go as one Buffer each: the driver sends that in binary. */
function parameters(process: string, batch: Batch): unknown[] {
  const { rows } = batch;
  const channels = channelsOf(rows);
  const offsets: number[] = [];
  const lengths: number[] = [];
  let end = 0;
  for (const { arrival } of rows) {
    offsets.push(end);
    lengths.push(arrival.raw.length);
    end += arrival.raw.length;
  }
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
    Buffer.concat(
      arrivals.map((arrival) => arrival.raw),
      end,
    ),
    arrayOf(offsets),
    arrayOf(lengths),
    // Rows are numbered from 1 in the database.
    arrayOf(batch.lookUps.map(([row]) => row + 1)),
    arrayOf(batch.lookUps.map(([, generation]) => generation)),
  ];
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
