import { readSync, writeSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import type { MailLimits } from './limits.js';
import { Refused, type RungReader, type RungTools, type Stage } from './rungs/rung.js';
import {
  type AnswerKind,
  decodeRequestHead,
  encodeAnswerHead,
  type Operation,
  REQUEST_HEAD_BYTES,
  type RequestHead,
  SOCKET_FD,
  STAGE_FD,
  TRACE_BYTES,
  writeTrace,
} from './wire.js';

/** What the pool tells a child as it starts it, as JSON in its first argument. */
export interface ChildSettings {
  readonly ladder: readonly string[];
  readonly limits: MailLimits;
  /** Bytes of an answer's JSON. */
  readonly outputBytes: number;
  /** A child whose memory has grown to this many bytes retires after its answer, before an innocent message pays for it. */
  readonly retireBytes: number;
}

/** What the readers make of a message. Readers may throw, die or never end. */
export interface Readers {
  /** In the ladder's order. */
  readonly rungs: readonly RungReader[];
  part(raw: Buffer, n: number, tools: RungTools): Promise<{ part: object; bytes: Buffer } | null>;
  html(raw: Buffer, tools: RungTools): Promise<object>;
}

export function childSettings(): ChildSettings {
  return JSON.parse(process.argv[2] as string) as ChildSettings;
}

/**
 * Serves requests, one at a time, until the parent closes the socket. Reading blocks: between two messages a child has
 * nothing else to do, and a blocking read is the quickest way to the next one.
 */
export async function serve(readers: Readers, settings: ChildSettings): Promise<void> {
  watchParent();
  answer('ready', {}, NO_BYTES, false);
  for (let request = nextRequest(); request !== null; request = nextRequest()) {
    const { kind, json, bytes } = await attempt(request, readers, settings);
    const retires = process.memoryUsage.rss() >= settings.retireBytes;
    answer(kind, json, bytes, retires);
    if (retires) return;
  }
}

/** Ends this process when its parent is gone, also in the middle of an endless loop. */
function watchParent(): void {
  new Worker(new URL('./watchdog.js', import.meta.url), { workerData: process.ppid, resourceLimits: WATCHDOG_MEMORY }).unref();
}

const WATCHDOG_MEMORY = { maxOldGenerationSizeMb: 8, maxYoungGenerationSizeMb: 1 };
const NO_BYTES = Buffer.alloc(0);

interface Request extends RequestHead {
  readonly raw: Buffer;
}

interface Outcome {
  readonly kind: AnswerKind;
  readonly json: object;
  readonly bytes: Buffer;
}

async function attempt(request: Request, readers: Readers, settings: ChildSettings): Promise<Outcome> {
  const { rung } = request;
  const tools: RungTools = { rung, limits: settings.limits, stage: leaveTrace };
  leaveTrace('begun');
  try {
    return await perform(request, readers, tools);
  } catch (error) {
    if (error instanceof Refused) return { kind: 'refused', json: { reason: error.message }, bytes: NO_BYTES };
    return { kind: 'failed', json: { reason: reasonOf(error) }, bytes: NO_BYTES };
  }
}

async function perform({ operation, raw, rung, n }: Request, readers: Readers, tools: RungTools): Promise<Outcome> {
  switch (operation) {
    case 'parse': {
      const reader = readers.rungs[rung];
      if (reader === undefined) throw new Error(`the ladder has no rung ${rung}`);
      return { kind: 'done', json: await reader.read(raw, tools), bytes: NO_BYTES };
    }
    case 'part': {
      const found = await readers.part(raw, n, tools);
      if (found === null) throw new Refused(`it has no part ${n}`);
      return { kind: 'done', json: found.part, bytes: found.bytes };
    }
    case 'html':
      return { kind: 'done', json: await readers.html(raw, tools), bytes: NO_BYTES };
    default: {
      const never: never = operation;
      return never;
    }
  }
}

const MAX_REASON = 300;

/** What an error says of itself, short: parsers put content into their messages. */
function reasonOf(error: unknown): string {
  return (error instanceof Error ? `${error.name}: ${error.message}` : String(error)).slice(0, MAX_REASON);
}

const trace = Buffer.alloc(TRACE_BYTES);

function leaveTrace(stage: Stage, detail = 0): void {
  writeTrace(trace, stage, detail);
  writeSync(STAGE_FD, trace, 0, TRACE_BYTES, 0);
}

function answer(kind: AnswerKind, json: object, bytes: Buffer, retires: boolean): void {
  writeAll(encodeAnswerHead({ kind, retires }, 0, 0));
}

function nextRequest(): Request | null {
  const head = Buffer.allocUnsafe(REQUEST_HEAD_BYTES);
  if (!readAll(head)) return null;
  const request = decodeRequestHead(head);
  const raw = Buffer.allocUnsafeSlow(request.rawBytes);
  return readAll(raw) ? { ...request, raw } : null;
}

/** Fills the buffer; false at the end of the stream. */
function readAll(into: Buffer): boolean {
  let at = 0;
  while (at < into.length) {
    const read = readSync(SOCKET_FD, into, at, into.length - at, null);
    if (read === 0) return false;
    at += read;
  }
  return true;
}

function writeAll(bytes: Buffer): void {
  let at = 0;
  while (at < bytes.length) at += writeSync(SOCKET_FD, bytes, at);
}
