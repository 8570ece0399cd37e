import { readSync, writeSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { wordsOfView } from '../message/searched.js';
import type { View } from '../message/view.js';
import type { MailLimits } from './limits.js';
import type { MailTools } from './reader.js';
import { Refused, type Stage } from './stages.js';
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
  readonly limits: MailLimits;
  /** Bytes of JSON in the answers to each kind of request. */
  readonly answerBytes: Readonly<Record<Operation, number>>;
  /**
   * A child whose memory has grown to this many bytes retires after its answer, before an innocent message pays for
   * it; not before it has grown by half, however little it is given.
   */
  readonly retireBytes: number;
}

/** What the readers make of a message. Readers may throw, die or never end. */
export interface Readers {
  mail(raw: Buffer, tools: MailTools): Promise<View>;
  part(raw: Buffer, n: number, tools: MailTools): Promise<{ part: object; bytes: Buffer } | null>;
  html(raw: Buffer, tools: MailTools): Promise<object>;
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
  // A terminal's Ctrl-C is for the parent, which says when it is over.
  process.on('SIGINT', () => undefined);
  const retireBytes = Math.max(settings.retireBytes, GROWN * process.memoryUsage.rss());
  send({ kind: 'ready', json: NO_BYTES, bytes: NO_BYTES }, false);
  for (let request = nextRequest(); request !== null; request = nextRequest()) {
    const outcome = await attempt(request, readers, settings);
    const retires = process.memoryUsage.rss() >= retireBytes;
    send(outcome, retires);
    if (retires) return;
  }
}

/** Ends this process when its parent is gone, also in the middle of an endless loop. */
function watchParent(): void {
  const watchdog = new URL('./watchdog.js', import.meta.url);
  new Worker(watchdog, { workerData: process.ppid, resourceLimits: WATCHDOG_MEMORY }).unref();
}

const GROWN = 1.5;
const WATCHDOG_MEMORY = { maxOldGenerationSizeMb: 8, maxYoungGenerationSizeMb: 1 };
const NO_BYTES = Buffer.alloc(0);

interface Request extends RequestHead {
  readonly raw: Buffer;
}

interface Outcome {
  readonly kind: AnswerKind;
  readonly json: Buffer;
  readonly bytes: Buffer;
}

async function attempt(request: Request, readers: Readers, settings: ChildSettings): Promise<Outcome> {
  const tools: MailTools = { level: request.level, limits: settings.limits, stage: leaveTrace };
  leaveTrace('begun');
  try {
    const { result, bytes } = await perform(request, readers, tools);
    leaveTrace('answer');
    const json = jsonOf(result);
    return json.length > settings.answerBytes[request.operation] ? TOO_LARGE : { kind: 'done', json, bytes };
  } catch (error) {
    if (error instanceof Refused) return { kind: 'refused', json: jsonOf({ reason: error.message }), bytes: NO_BYTES };
    return { kind: 'failed', json: jsonOf({ reason: reasonOf(error) }), bytes: NO_BYTES };
  }
}

const TOO_LARGE: Outcome = { kind: 'too_large', json: NO_BYTES, bytes: NO_BYTES };

function jsonOf(value: object): Buffer {
  return Buffer.from(JSON.stringify(value));
}

interface Result {
  readonly result: object;
  readonly bytes: Buffer;
}

async function perform({ operation, raw, n }: Request, readers: Readers, tools: MailTools): Promise<Result> {
  switch (operation) {
    case 'parse': {
      const view = { ...(await readers.mail(raw, tools)), rung: n };
      tools.stage('words');
      return { result: view, bytes: Buffer.from(wordsOfView(view)) };
    }
    case 'part': {
      const found = await readers.part(raw, n, tools);
      if (found === null) throw new Refused(`it has no part ${n}`);
      return { result: found.part, bytes: found.bytes };
    }
    case 'html':
      return { result: await readers.html(raw, tools), bytes: NO_BYTES };
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

function leaveTrace(stage: Stage, leaf = 0): void {
  writeTrace(trace, stage, leaf);
  writeSync(STAGE_FD, trace, 0, TRACE_BYTES, 0);
}

function send({ kind, json, bytes }: Outcome, retires: boolean): void {
  const head = encodeAnswerHead({ kind, retires }, json.length, bytes.length);
  // In one piece, the parent is woken once; a large part is not copied for that.
  const whole = bytes.length <= JOINED_BYTES;
  writeAll(Buffer.concat(whole ? [head, json, bytes] : [head, json]));
  if (!whole) writeAll(bytes);
}

const JOINED_BYTES = 256 * 1024;

/** Most messages are read into the same memory: nothing of one is kept when the next comes. */
const inbox = Buffer.allocUnsafeSlow(512 * 1024);

function nextRequest(): Request | null {
  const head = Buffer.allocUnsafe(REQUEST_HEAD_BYTES);
  if (!readAll(head)) return null;
  const request = decodeRequestHead(head);
  const { rawBytes } = request;
  const raw = rawBytes <= inbox.length ? inbox.subarray(0, rawBytes) : Buffer.allocUnsafeSlow(rawBytes);
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
