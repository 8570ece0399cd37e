/*
 * How the pool and a child talk: one socket pair for requests and answers, and one file of a few bytes in which the
 * child leaves word of its stage. The file is written in place and read only after a death: it outlives the child
 * whatever kills it, and costs the parent nothing while all is well.
 */
import { isUtf8 } from 'node:buffer';
import { FEATURES, type Level, type Reader } from './features.js';
import { MOST_BLAMED } from './ladder.js';
import { STAGES, type Stage } from './stages.js';

/** File descriptors of the child. */
export const SOCKET_FD = 3;
export const STAGE_FD = 4;

export const OPERATIONS = ['parse', 'part', 'html'] as const;
export type Operation = (typeof OPERATIONS)[number];

/** What a request says besides the raw bytes that follow it. */
export interface RequestHead {
  readonly operation: Operation;
  readonly level: Level;
  /** The rung's number, for the view; for `part` the number of the part. */
  readonly n: number;
  readonly rawBytes: number;
}

const READERS: readonly Reader[] = ['whole', 'text', 'headers', 'envelope', 'nothing'];
/** Operation, reader, features as bits, number, length, and the leaves that are blamed. */
export const REQUEST_HEAD_BYTES = 12 + 4 * MOST_BLAMED;

export function encodeRequestHead({ operation, level, n, rawBytes }: RequestHead): Buffer {
  const head = Buffer.alloc(REQUEST_HEAD_BYTES);
  head.writeUInt8(OPERATIONS.indexOf(operation), 0);
  head.writeUInt8(READERS.indexOf(level.reader), 1);
  head.writeUInt16BE(
    FEATURES.reduce((bits, feature, i) => (level.without.has(feature) ? bits | (1 << i) : bits), 0),
    2,
  );
  head.writeUInt32BE(n, 4);
  head.writeUInt32BE(rawBytes, 8);
  for (const [i, leaf] of [...level.blamed].entries()) head.writeUInt32BE(leaf, 12 + 4 * i);
  return head;
}

export function decodeRequestHead(head: Buffer): RequestHead {
  const operation = OPERATIONS[head.readUInt8(0)];
  const reader = READERS[head.readUInt8(1)];
  if (operation === undefined || reader === undefined) throw new Error('a request for what there is not');
  const bits = head.readUInt16BE(2);
  const without = new Set(FEATURES.filter((_, i) => (bits & (1 << i)) !== 0));
  const leaves = Array.from({ length: MOST_BLAMED }, (_, i) => head.readUInt32BE(12 + 4 * i));
  const level: Level = { reader, without, blamed: new Set(leaves.filter((leaf) => leaf > 0)) };
  return { operation, level, n: head.readUInt32BE(4), rawBytes: head.readUInt32BE(8) };
}

/** `ready` once, before the first request; then one of the others for each. */
export const ANSWERS = ['ready', 'done', 'refused', 'failed', 'too_large'] as const;
export type AnswerKind = (typeof ANSWERS)[number];

export interface Answer {
  readonly kind: AnswerKind;
  /** The child has grown too large to go on, and ends after this answer. */
  readonly retires: boolean;
  /** Null where the answer has none; `written` is it as the child wrote it, in UTF-8. */
  readonly json: unknown;
  readonly written: Buffer;
  readonly bytes: Buffer;
}

const ANSWER_HEAD_BYTES = 10;

export function encodeAnswerHead(answer: Pick<Answer, 'kind' | 'retires'>, jsonBytes: number, bytes: number): Buffer {
  const head = Buffer.allocUnsafe(ANSWER_HEAD_BYTES);
  head.writeUInt8(ANSWERS.indexOf(answer.kind), 0);
  head.writeUInt8(answer.retires ? 1 : 0, 1);
  head.writeUInt32BE(jsonBytes, 2);
  head.writeUInt32BE(bytes, 6);
  return head;
}

/** A child answers with what is no answer, or with more than it may. Only a broken one does: it must go. */
export class BrokenAnswer extends Error {
  override readonly name = 'BrokenAnswer';
  constructor(readonly tooLarge: boolean) {
    super(tooLarge ? 'the answer is too large' : 'this is no answer');
  }
}

/** Puts answers together from what comes off the socket. */
export class AnswerReader {
  private chunks: Buffer[] = [];
  private length = 0;

  /** Takes a chunk; gives the answer once it is whole. Throws BrokenAnswer, also beyond `maxBytes`. */
  push(chunk: Buffer, maxBytes: number): Answer | null {
    this.chunks.push(chunk);
    this.length += chunk.length;
    if (this.length < ANSWER_HEAD_BYTES) return null;
    const head = this.joinedHead();
    const jsonBytes = head.readUInt32BE(2);
    const end = ANSWER_HEAD_BYTES + jsonBytes + head.readUInt32BE(6);
    if (end > maxBytes) throw new BrokenAnswer(true);
    if (this.length > end) throw new BrokenAnswer(false);
    return this.length === end ? this.take(jsonBytes) : null;
  }

  /** The first chunk holds the whole head. */
  private joinedHead(): Buffer {
    const first = this.chunks[0] as Buffer;
    if (first.length >= ANSWER_HEAD_BYTES) return first;
    const joined = Buffer.concat(this.chunks, this.length);
    this.chunks = [joined];
    return joined;
  }

  private take(jsonBytes: number): Answer {
    const whole = this.chunks.length === 1 ? (this.chunks[0] as Buffer) : Buffer.concat(this.chunks, this.length);
    this.chunks = [];
    this.length = 0;
    const kind = ANSWERS[whole.readUInt8(0)];
    if (kind === undefined) throw new BrokenAnswer(false);
    const jsonEnd = ANSWER_HEAD_BYTES + jsonBytes;
    const written = whole.subarray(ANSWER_HEAD_BYTES, jsonEnd);
    const json = jsonBytes === 0 ? null : readJson(written);
    return { kind, retires: whole.readUInt8(1) === 1, json, written, bytes: whole.subarray(jsonEnd) };
  }
}

function readJson(written: Buffer): unknown {
  if (!isUtf8(written)) throw new BrokenAnswer(false);
  try {
    return JSON.parse(written.toString());
  } catch {
    throw new BrokenAnswer(false);
  }
}

/** What a child had begun: a stage, and the number of the leaf it is about, 0 where there is none. */
export interface Trace {
  readonly stage: Stage;
  readonly leaf: number;
}

export const TRACE_BYTES = 8;

export function writeTrace(into: Buffer, stage: Stage, leaf: number): void {
  into.writeUInt32BE(STAGES.indexOf(stage), 0);
  into.writeUInt32BE(leaf, 4);
}

export function readTrace(from: Buffer): Trace {
  return { stage: STAGES[from.readUInt32BE(0)] ?? 'begun', leaf: from.readUInt32BE(4) };
}
