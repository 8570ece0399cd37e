import { type ChildProcess, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { closeSync, openSync, readFileSync, readSync, unlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Duplex, Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import type { ChildSettings } from './serve.js';
import {
  type Answer,
  AnswerReader,
  BrokenAnswer,
  encodeRequestHead,
  type RequestHead,
  readTrace,
  SOCKET_FD,
  TRACE_BYTES,
  type Trace,
} from './wire.js';

/** How a child ended. */
export interface ChildEnd {
  /** `exit code 1`, `signal SIGSEGV`, or why it could not be started. */
  readonly how: string;
  /** Its runtime gave up, which is what it does when its heap is full. */
  readonly aborted: boolean;
  readonly trace: Trace;
  /** The last of what it wrote to stderr before it was ready; it had seen no message then. */
  readonly complaint: string;
}

/** What a child tells its pool. `ended` comes once, last. */
export interface ChildListener {
  ready(): void;
  answered(answer: Answer): void;
  /** It answers with more than it may, or with what is no answer. */
  babbled(tooLarge: boolean): void;
  ended(end: ChildEnd): void;
}

const MAX_COMPLAINT = 2_000;
const KILO = 1024;
/** The kernel counts in hundredths of a second. */
const TICK_MS = 10;

/** One child process, from its start to its end. */
export class WarmChild {
  private readonly process: ChildProcess;
  private readonly socket: Duplex | null;
  private readonly answers = new AnswerReader();
  private readonly traceFile = openTraceFile();
  private maxAnswerBytes = KILO;
  private isReady = false;
  private hasEnded = false;
  private complaint = '';
  private failure: string | null = null;

  constructor(
    entry: URL,
    settings: ChildSettings,
    heapBytes: number,
    private readonly listener: ChildListener,
  ) {
    this.process = spawn(process.execPath, [...heapFlags(heapBytes), fileURLToPath(entry), JSON.stringify(settings)], {
      stdio: ['ignore', 'ignore', 'pipe', 'pipe', this.traceFile],
      env: CHILD_ENVIRONMENT,
    });
    this.socket = (this.process.stdio?.[SOCKET_FD] as Duplex | undefined) ?? null;
    this.listen();
  }

  get pid(): number | null {
    return this.process.pid ?? null;
  }

  /** Hands it one message. It must be ready, and have answered the one before. */
  send(request: Omit<RequestHead, 'rawBytes'>, raw: Uint8Array, maxAnswerBytes: number): void {
    this.maxAnswerBytes = maxAnswerBytes;
    this.socket?.cork();
    this.socket?.write(encodeRequestHead({ ...request, rawBytes: raw.length }));
    this.socket?.write(raw);
    this.socket?.uncork();
  }

  kill(): void {
    this.process.kill('SIGKILL');
  }

  /** What it began last. */
  trace(): Trace {
    const bytes = Buffer.alloc(TRACE_BYTES);
    readSync(this.traceFile, bytes, 0, TRACE_BYTES, 0);
    return readTrace(bytes);
  }

  /** Processor time it has taken since its start; null where the system doesn't say. */
  cpuMs(): number | null {
    try {
      // Behind the name, which may hold anything, utime and stime are the 12th and 13th.
      const fields = readFileSync(`/proc/${this.process.pid}/stat`, 'latin1').split(') ').at(-1)?.split(' ') ?? [];
      return (Number(fields[11]) + Number(fields[12])) * TICK_MS;
    } catch {
      return null;
    }
  }

  /** Bytes of memory it holds; undefined where the system doesn't say (then its heap's limit alone holds it). */
  residentBytes(): number | undefined {
    try {
      const status = readFileSync(`/proc/${this.process.pid}/status`, 'latin1');
      const kilobytes = /^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1];
      return kilobytes === undefined ? undefined : Number(kilobytes) * KILO;
    } catch {
      return undefined;
    }
  }

  private listen(): void {
    this.socket?.on('data', (chunk: Buffer) => this.receive(chunk));
    // A write to a child that has just died: its end is reported by `close`.
    this.socket?.on('error', () => undefined);
    const stderr = this.process.stderr as Readable | null;
    stderr?.on('data', (chunk: Buffer) => {
      if (!this.isReady) this.complaint = (this.complaint + chunk.toString()).slice(-MAX_COMPLAINT);
    });
    this.process.on('error', (error) => {
      this.failure = error.message;
      if (this.process.pid === undefined) this.end(null, null);
    });
    this.process.on('close', (code, signal) => this.end(code, signal));
  }

  private receive(chunk: Buffer): void {
    try {
      const answer = this.answers.push(chunk, this.maxAnswerBytes);
      if (answer === null) return;
      if (answer.kind === 'ready') {
        this.isReady = true;
        this.listener.ready();
      } else {
        this.listener.answered(answer);
      }
    } catch (error) {
      if (!(error instanceof BrokenAnswer)) throw error;
      this.listener.babbled(error.tooLarge);
    }
  }

  private end(code: number | null, signal: NodeJS.Signals | null): void {
    if (this.hasEnded) return;
    this.hasEnded = true;
    const trace = this.trace();
    closeSync(this.traceFile);
    const how = this.failure ?? (signal === null ? `exit code ${code}` : `signal ${signal}`);
    this.listener.ended({ how, aborted: signal === 'SIGABRT', trace, complaint: this.complaint });
  }
}

/** Nothing of ours is its business, least of all passwords; these say only where the runtime finds its own files. */
const CHILD_ENVIRONMENT = Object.fromEntries(
  ['LD_LIBRARY_PATH', 'NODE_ICU_DATA'].flatMap((name) => {
    const value = process.env[name];
    return value === undefined ? [] : [[name, value]];
  }),
);

/**
 * V8 would make the young generation smaller with the heap, and collect it far more often; and with several threads,
 * which on a heap this small cost more than they save (a fifth of all time on two cores).
 */
function heapFlags(heapBytes: number): string[] {
  const oldSpace = `--max-old-space-size=${Math.floor(heapBytes / KILO / KILO)}`;
  return [oldSpace, '--max-semi-space-size=8', '--single-threaded-gc', '--v8-pool-size=1'];
}

/** A file without a name, for a few bytes: it needs no cleaning up, and outlives the child that writes it. */
function openTraceFile(): number {
  const path = join(tmpdir(), `waybill-stage-${randomUUID()}`);
  const file = openSync(path, 'wx+', 0o600);
  unlinkSync(path);
  return file;
}
