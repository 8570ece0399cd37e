import { setTimeout as wait } from 'node:timers/promises';
import { parse, stringify } from 'lossless-json';
import { Refused } from './client.js';
import type { Context } from './context.js';
import { Failed } from './failure.js';
import { linesOf, wholeOf } from './input.js';
import { count } from './io.js';

/**
 * The events of an input, each as JSON with its digits: NDJSON line by line, however much there is of it, or a JSON
 * object or array.
 */
export async function* eventsIn(chunks: AsyncIterable<Buffer>, always: 'ndjson' | undefined): AsyncGenerator<Buffer> {
  const lines = linesOf(chunks);
  const first = await firstLine(lines);
  if (first === undefined) return;
  if (always === 'ndjson' || isObject(first)) yield* filled(prepend(first, lines));
  else yield* documentsIn(await wholeOf(withLineEnds(prepend(first, lines))));
}

async function firstLine(lines: AsyncGenerator<Buffer>): Promise<Buffer | undefined> {
  for (;;) {
    const next = await lines.next();
    if (next.done) return undefined;
    const line = withoutByteOrderMark(next.value);
    if (!isBlank(line)) return line;
  }
}

async function* prepend(first: Buffer, rest: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  yield first;
  yield* rest;
}

async function* filled(lines: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  for await (const line of lines) if (!isBlank(line)) yield line;
}

async function* withLineEnds(lines: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  for await (const line of lines) yield Buffer.concat([line, Buffer.from('\n')]);
}

function withoutByteOrderMark(line: Buffer): Buffer {
  return line.subarray(0, 3).equals(Buffer.from([0xef, 0xbb, 0xbf])) ? line.subarray(3) : line;
}

function isBlank(line: Buffer): boolean {
  return line.every((byte) => byte === 0x20 || byte === 0x09 || byte === 0x0d);
}

function isObject(line: Buffer): boolean {
  try {
    const value: unknown = JSON.parse(line.toString());
    return typeof value === 'object' && value !== null && !Array.isArray(value);
  } catch {
    return false;
  }
}

function documentsIn(text: Buffer): Buffer[] {
  const value = readDocument(text.toString());
  const events = Array.isArray(value) ? value : [value];
  return events.map((event) => Buffer.from(stringify(event) ?? 'null'));
}

function readDocument(text: string): unknown {
  try {
    return parse(text);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new Failed('input_malformed', `The input is neither JSON nor one JSON object a line: ${why}.`);
  }
}

/** What Waybill takes in one request unless its configuration says otherwise, with room for a few large ones. */
const MOST_EVENTS = 1_000;
const MOST_BYTES = 4 * 1024 * 1024;

export async function* batchesOf(
  events: AsyncIterable<Buffer> | Iterable<Buffer>,
  mostEvents: number = MOST_EVENTS,
): AsyncGenerator<Buffer[]> {
  let batch: Buffer[] = [];
  let bytes = 0;
  for await (const event of events) {
    if (batch.length >= mostEvents || (batch.length > 0 && bytes + event.length > MOST_BYTES)) {
      yield batch;
      batch = [];
      bytes = 0;
    }
    batch.push(event);
    bytes += event.length + 1;
  }
  if (batch.length > 0) yield batch;
}

/** What became of one event; `index` counts over everything that was sent. */
export interface Result {
  readonly index: number;
  readonly id: string | null;
  readonly verdict: 'sequenced' | 'duplicate' | 'conflict' | 'expired' | 'rejected';
  readonly message: string | null;
  readonly of?: string;
  readonly code?: string;
  readonly pointer?: string;
  readonly reason?: string;
}

/** What became of all of them. */
export class Tally {
  readonly verdicts = { sequenced: 0, duplicate: 0, conflict: 0, expired: 0, rejected: 0 };
  /** The first ones, good or not. */
  readonly results: Result[] = [];
  /** The first ones that are not in. */
  readonly troubles: Result[] = [];
  sent = 0;

  add(results: readonly Result[]): void {
    const before = this.sent;
    for (const each of results) {
      const result = { ...each, index: before + each.index };
      this.verdicts[result.verdict]++;
      if (this.results.length < MOST_RESULTS) this.results.push(result);
      if (isTrouble(result) && this.troubles.length < MOST_TROUBLES) this.troubles.push(result);
    }
  }

  get inTrouble(): number {
    return this.verdicts.conflict + this.verdicts.expired + this.verdicts.rejected;
  }
}

const MOST_RESULTS = 100;
const MOST_TROUBLES = 20;

function isTrouble({ verdict }: Result): boolean {
  return verdict !== 'sequenced' && verdict !== 'duplicate';
}

/** Sends batches one after another. When Waybill is busy the batch is sent again, which is safe. */
export async function sendBatches(
  context: Context,
  batches: AsyncIterable<Buffer[]>,
  total: number | undefined,
  path = '/v1/events',
): Promise<Tally> {
  const tally = new Tally();
  const progress = context.out.progress('events sent', total);
  try {
    for await (const batch of batches) {
      tally.add(await sendPatiently(context, batch, path));
      tally.sent += batch.length;
      progress.update(tally.sent);
    }
  } catch (error) {
    throw tally.sent === 0 ? error : afterSome(error, tally.sent);
  } finally {
    progress.end();
  }
  return tally;
}

function afterSome(error: unknown, sent: number): unknown {
  if (!(error instanceof Failed)) return error;
  const said = `${count(sent)} events were answered before; sending all of them again is safe.`;
  return new Failed(error.code, error.message, [...error.details, said]);
}

/** Being busy passes; a Waybill that says so this often is in trouble. */
const MOST_TRIES = 30;
const LONGEST_WAIT_SECONDS = 60;

async function sendPatiently(context: Context, batch: readonly Buffer[], path: string): Promise<readonly Result[]> {
  const line = Buffer.from('\n');
  const bytes = Buffer.concat(batch.flatMap((event) => [event, line]));
  for (let attempt = 1; ; attempt++) {
    try {
      return await sendBatch(context, bytes, path);
    } catch (error) {
      if (!(error instanceof Refused) || error.retryAfter === null || attempt >= MOST_TRIES) throw error;
      const seconds = Math.min(error.retryAfter, LONGEST_WAIT_SECONDS);
      if (seconds > 0) context.out.note(`waybill: ${error.message} Waiting ${seconds} s …`);
      await wait(seconds * 1000, undefined, { signal: context.io.interrupted }).catch(() => undefined);
      if (context.io.interrupted.aborted) throw error;
    }
  }
}

async function sendBatch(context: Context, bytes: Buffer, path: string): Promise<readonly Result[]> {
  const { status, body } = await context
    .client()
    .call<{ results?: readonly Result[]; detail?: string; code?: string }>(path, {
      method: 'POST',
      body: { bytes, type: 'application/x-ndjson' },
      accept: [409, 422],
    });
  if (body?.results) return body.results;
  throw new Failed(body?.code ?? 'not_waybill', `${body?.detail ?? `Status ${status} without results.`}`);
}
