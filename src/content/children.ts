/*
 * A pool of warm child processes that read messages. Parsers of mail get stuck, run out of memory and crash, and no
 * process that does anything else may go with them.
 *
 * Each place of the pool is in one of these states:
 *
 *   starting ──ready──► idle ──a message──► busy ──answer──► idle
 *      │                 │                   │ └─answer, grown too large──► leaving ──ended──► starting
 *      └──────died───────┴───────died────────┘
 *                        ▼
 *                     resting (not at all after a first death; longer after each further one) ──► starting
 *
 * A child has one message at a time, so its death is that message's and nobody else's. What it was about to do is in a
 * few bytes of a file that it writes before each stage (wire.ts). A try that takes too long, or too much memory, is
 * ended from here by SIGKILL, which no loop in the child can delay.
 *
 * One place more is for suspects alone, so that fresh mail never waits for what has killed already. It is `asleep`,
 * without a process, until there is a suspect, and again when there was none for a while.
 */
import { MOST_WORD_BYTES, MOST_WORDS } from '../message/searched.js';
import type { Part, View, WrittenView } from '../message/view.js';
import { restAfter } from './backoff.js';
import {
  type ChildState,
  CONTENT_LIMITS,
  type Content,
  ContentClosed,
  type ContentLimits,
  type ContentOptions,
  ContentUnavailable,
  type Failure,
  type FailureKind,
  type HtmlResult,
  type ParseResult,
  type PartResult,
} from './content.js';
import { EVERYTHING, type Level } from './features.js';
import type { ChildSettings } from './serve.js';
import { type ChildEnd, WarmChild } from './warm-child.js';
import type { Answer, Operation, Trace } from './wire.js';

/** The compiled entry of children: beside this module, or in `dist` when this module runs as TypeScript. */
function childEntry(): URL {
  const built = import.meta.url.endsWith('.ts') ? '../../dist/src/content/child.js' : './child.js';
  return new URL(built, import.meta.url);
}

/** Starts the children. Rejects with ContentUnavailable when one of them doesn't come up. */
export async function startContent(options: ContentOptions): Promise<Content> {
  const pool = new Pool(options);
  try {
    await pool.start();
  } catch (error) {
    await pool.close();
    throw error;
  }
  return pool;
}

type PlaceState =
  | { readonly is: 'starting'; readonly child: WarmChild; spentMs: number }
  | { readonly is: 'idle'; readonly child: WarmChild; readonly since: number }
  | {
      readonly is: 'busy';
      readonly child: WarmChild;
      readonly job: Job;
      readonly since: number;
      waitedMs: number;
      /** What had been waited, and the child's processor time (null where the system doesn't say), at the first look. */
      firstLook: { readonly waitedMs: number; readonly cpuMs: number | null } | null;
      killed: Killed | null;
    }
  | { readonly is: 'leaving'; readonly child: WarmChild }
  | { readonly is: 'resting'; readonly until: number }
  | { readonly is: 'asleep' }
  | { readonly is: 'ended' };

/** Why a try was ended from here. */
type Killed = 'killed_time' | 'killed_memory' | 'output_too_large' | 'crashed';

interface Place {
  state: PlaceState;
  readonly isolated: boolean;
}

interface Job {
  readonly operation: Operation;
  readonly raw: Uint8Array;
  readonly level: Level;
  readonly n: number;
  readonly timeMs: number;
  readonly maxAnswerBytes: number;
  answered(answer: Answer, tookMs: number, child: number | null): void;
  failed(failure: Failure): void;
  closed(): void;
}

/** How often busy children are looked at. */
const TICK_MS = 25;
/** A child that is not ready by then never will be. */
const START_MS = 30_000;
/** After so many failed starts in a row, messages no longer wait for the next. */
const MANY_FAILED_STARTS = 3;
/** Of its memory: between two looks it may take as much again as that leaves. */
const END_AT = 0.9;
/** Of its memory: a child that holds more after its answer is replaced. Fresh, it holds two fifths. */
const RETIRE_AT = 0.65;
/** A try may take so many times its processor time until it is ended all the same. */
const MOST_WAITING = 10;
/** How long the place for suspects keeps a child that has nothing to do. */
const SUSPECTS_IDLE_MS = 30_000;
/** Room in an answer for what surrounds its JSON and bytes. */
const ANSWER_ROOM = 4 * 1024;
/** Words as `wordsOfView` writes them: a child that a mail has taken over must not put anything else into the search. */
const WORDS = /^(?:[^\s\0]{1,40}(?: [^\s\0]{1,40})*)?$/;

/** Nothing where its words are none: then they are found in the view. */
function writtenOf({ written: json, bytes }: Answer): { written?: WrittenView } {
  if (bytes.length > MOST_WORD_BYTES) return {};
  const words = bytes.toString();
  return WORDS.test(words) && words.split(' ').length <= MOST_WORDS ? { written: { json, words } } : {};
}

class Pool implements Content {
  private readonly limits: ContentLimits;
  private readonly entry: URL;
  private readonly settings: ChildSettings;
  private readonly places: Place[];
  /** Of the stream, and of people who wait before a screen: these go first. */
  private readonly queue: Job[] = [];
  private readonly urgent: Job[] = [];
  /** What has failed before. */
  private readonly suspects: Job[] = [];
  private readonly trouble = { fresh: { deaths: 0, failedStarts: 0 }, isolated: { deaths: 0, failedStarts: 0 } };
  private started: { resolve(): void; reject(error: ContentUnavailable): void } | null = null;
  private ticker: NodeJS.Timeout | null = null;
  private lastTick = 0;
  private closing: Promise<void> | null = null;
  private onEmpty: (() => void) | null = null;

  constructor(private readonly options: ContentOptions) {
    this.limits = { ...CONTENT_LIMITS, ...options.limits };
    this.entry = options.entry ?? childEntry();
    this.settings = {
      limits: this.limits,
      answerBytes: { parse: this.limits.outputBytes, html: this.limits.htmlBytes, part: ANSWER_ROOM / 2 },
      retireBytes: Math.floor(this.limits.memoryBytes * RETIRE_AT),
    };
    this.places = Array.from({ length: options.children + 1 }, (_, i) => {
      const isolated = i === options.children;
      return { state: { is: isolated ? 'asleep' : 'ended' }, isolated };
    });
  }

  start(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.started = { resolve, reject };
      for (const place of this.places) if (!place.isolated) this.spawn(place);
    });
  }

  parse({ raw, rung, level, suspect }: Parameters<Content['parse']>[0]): Promise<ParseResult> {
    const maxAnswerBytes = this.limits.outputBytes + MOST_WORD_BYTES + ANSWER_ROOM;
    return this.submit(
      suspect ? this.suspects : this.queue,
      { operation: 'parse', raw, level, n: rung, timeMs: this.limits.timeMs, maxAnswerBytes },
      (answer, tookMs, child) => ({
        ok: true,
        view: answer.json as View,
        ...writtenOf(answer),
        tookMs,
        child,
      }),
    );
  }

  part({ raw, n, level }: Parameters<Content['part']>[0]): Promise<PartResult> {
    // No transfer encoding grows; text in winmail.dat does, as UTF-8.
    const maxAnswerBytes = 3 * raw.length + ANSWER_ROOM;
    const { timeMs } = this.limits;
    return this.submit(this.urgent, { operation: 'part', raw, level, n, timeMs, maxAnswerBytes }, (answer) => ({
      ok: true,
      part: answer.json as Part,
      bytes: answer.bytes,
    }));
  }

  safeHtml({ raw, level }: Parameters<Content['safeHtml']>[0]): Promise<HtmlResult> {
    const { timeMs, htmlBytes } = this.limits;
    const maxAnswerBytes = htmlBytes + ANSWER_ROOM;
    // One that could not be read whole may kill again.
    const queue = level === EVERYTHING ? this.urgent : this.suspects;
    return this.submit(queue, { operation: 'html', raw, level, n: 0, timeMs, maxAnswerBytes }, (answer) => ({
      ok: true,
      ...(answer.json as { html: string | null; blocked: number }),
    }));
  }

  children(): { state: ChildState; pid: number | null; isolated: boolean }[] {
    return this.places.map(({ state, isolated }) => ({
      state: state.is,
      pid: 'child' in state ? state.child.pid : null,
      isolated,
    }));
  }

  close(): Promise<void> {
    this.closing ??= new Promise((resolve) => {
      this.onEmpty = resolve;
      for (const job of this.allWaiting()) job.closed();
      for (const place of this.places) this.endPlace(place);
      if (this.ticker) clearInterval(this.ticker);
      this.resolveWhenEmpty();
    });
    return this.closing;
  }

  private submit<T>(
    queue: Job[],
    request: Omit<Job, 'answered' | 'failed' | 'closed'>,
    success: (answer: Answer, tookMs: number, child: number | null) => T,
  ): Promise<T | Failure> {
    return new Promise((resolve, reject) => {
      if (this.closing !== null) {
        reject(new ContentClosed());
        return;
      }
      if (!this.hasRoom(queue, request)) {
        resolve(unavailable(`${queue.length} messages wait already`));
        return;
      }
      queue.push({
        ...request,
        answered: (answer, tookMs, child) => resolve(success(answer, tookMs, child)),
        failed: resolve,
        closed: () => reject(new ContentClosed()),
      });
      this.dispatch();
    });
  }

  /** Deaths and failed starts in a row: what suspects do to their own child is no trouble of the others. */
  private troubleOf({ isolated }: Place): { deaths: number; failedStarts: number } {
    return isolated ? this.trouble.isolated : this.trouble.fresh;
  }

  private allWaiting(): Job[] {
    return [...this.urgent.splice(0), ...this.queue.splice(0), ...this.suspects.splice(0)];
  }

  /** A large one may wait alone. */
  private hasRoom(queue: readonly Job[], { raw }: Pick<Job, 'raw'>): boolean {
    if (queue.length >= this.limits.queue) return false;
    const bytes = queue.reduce((sum, job) => sum + job.raw.length, raw.length);
    return queue.length === 0 || bytes <= this.limits.queueBytes;
  }

  /** Gives waiting messages to idle children. */
  private dispatch(): void {
    for (const place of this.places) {
      if (place.isolated && place.state.is === 'asleep' && this.suspects.length > 0) this.spawn(place);
      if (place.state.is !== 'idle') continue;
      const job = place.isolated ? this.suspects.shift() : (this.urgent.shift() ?? this.queue.shift());
      if (job === undefined) continue;
      const { child } = place.state;
      const since = this.options.clock.monotonic();
      place.state = { is: 'busy', child, job, since, waitedMs: 0, firstLook: null, killed: null };
      child.send({ operation: job.operation, level: job.level, n: job.n }, job.raw, job.maxAnswerBytes);
      this.keepTicking();
    }
  }

  private spawn(place: Place): void {
    try {
      place.state = { is: 'starting', child: this.newChild(place), spentMs: 0 };
      this.keepTicking();
    } catch (error) {
      // No process, no file: what the machine is short of.
      this.startFailed(place, error instanceof Error ? error.message : String(error), '');
    }
  }

  private newChild(place: Place): WarmChild {
    return new WarmChild(this.entry, this.settings, this.limits.memoryBytes / 2, {
      ready: () => this.childReady(place),
      answered: (answer) => this.childAnswered(place, answer),
      babbled: (tooLarge) => this.endTry(place, tooLarge ? 'output_too_large' : 'crashed'),
      ended: (end) => this.childEnded(place, end),
    });
  }

  private childReady(place: Place): void {
    if (place.state.is !== 'starting') return;
    place.state = { is: 'idle', child: place.state.child, since: this.options.clock.monotonic() };
    this.troubleOf(place).failedStarts = 0;
    if (this.started !== null && this.places.every(({ state }) => state.is !== 'starting')) {
      this.started.resolve();
      this.started = null;
      this.options.log.info({ children: this.options.children }, 'content children are ready');
    }
    this.dispatch();
  }

  private childAnswered(place: Place, answer: Answer): void {
    const { state } = place;
    if (state.is !== 'busy') return;
    const { child, job } = state;
    const leaves = answer.retires || state.killed !== null;
    place.state = leaves ? { is: 'leaving', child } : { is: 'idle', child, since: this.options.clock.monotonic() };
    if (leaves) child.kill();
    this.troubleOf(place).deaths = 0;
    this.settle(job, answer, child, this.options.clock.monotonic() - state.since);
    this.dispatch();
  }

  private settle(job: Job, answer: Answer, child: WarmChild, tookMs: number): void {
    switch (answer.kind) {
      case 'done':
        job.answered(answer, tookMs, child.pid);
        return;
      case 'refused':
        job.failed(failure('refused', child, reasonIn(answer)));
        return;
      case 'failed':
        this.options.log.warn({ pid: child.pid, ...child.trace() }, 'a parser failed on a message');
        job.failed(failure('crashed', child, reasonIn(answer)));
        return;
      case 'too_large':
        job.failed(failure('output_too_large', child, `its answer has more than ${job.maxAnswerBytes} bytes`));
        return;
      case 'ready':
        return;
      default:
        answer.kind satisfies never;
    }
  }

  private childEnded(place: Place, end: ChildEnd): void {
    const { state } = place;
    switch (state.is) {
      case 'starting':
        this.startFailed(place, end.how, end.complaint);
        return;
      case 'busy':
        this.blame(state.job, state.child.pid, state.killed ?? (end.aborted ? 'killed_memory' : 'crashed'), end);
        this.replace(place, ++this.troubleOf(place).deaths);
        return;
      case 'idle':
        this.options.log.warn({ pid: state.child.pid, how: end.how }, 'an idle content child ended');
        this.replace(place, ++this.troubleOf(place).deaths);
        return;
      case 'leaving':
        this.replace(place, 0);
        return;
      case 'ended':
        this.resolveWhenEmpty();
        return;
      case 'resting':
      case 'asleep':
        return;
      default:
        state satisfies never;
    }
  }

  private blame(job: Job, pid: number | null, kind: FailureKind, end: ChildEnd): void {
    const { trace, how } = end;
    this.options.log.warn({ pid, failure: kind, how, ...trace }, 'a content child died of a message');
    job.failed({ ...failureAt(kind, trace, this.reasonFor(kind, how, job)), child: pid });
  }

  private reasonFor(kind: FailureKind, how: string, job: Job): string {
    switch (kind) {
      case 'killed_time':
        return `not done after ${job.timeMs} ms of processor time`;
      case 'killed_memory':
        return `needed more memory than ${this.limits.memoryBytes} bytes`;
      case 'output_too_large':
        return `answered with more than ${job.maxAnswerBytes} bytes`;
      default:
        return `its child process ended: ${how}`;
    }
  }

  private startFailed(place: Place, how: string, complaint: string): void {
    const trouble = this.troubleOf(place);
    trouble.failedStarts++;
    this.options.log.warn({ how, complaint }, 'a content child did not start');
    const reason = `content children do not start: ${how}`;
    this.started?.reject(new ContentUnavailable(complaint === '' ? reason : `${reason}\n${complaint}`));
    this.started = null;
    if (trouble.failedStarts >= MANY_FAILED_STARTS) {
      const waiting = place.isolated ? [this.suspects] : [this.urgent, this.queue];
      for (const job of waiting.flatMap((queue) => queue.splice(0))) job.failed(unavailable(reason));
    }
    // One more than it is: a start that failed at once would fail again at once.
    this.replace(place, trouble.failedStarts + 1);
  }

  private replace(place: Place, deaths: number): void {
    const rest = restAfter(deaths);
    if (this.closing !== null) {
      place.state = { is: 'ended' };
      this.resolveWhenEmpty();
    } else if (place.isolated && rest === 0 && this.suspects.length === 0) {
      place.state = { is: 'asleep' };
    } else if (rest === 0) {
      this.spawn(place);
    } else {
      place.state = { is: 'resting', until: this.options.clock.monotonic() + rest };
      this.keepTicking();
    }
  }

  private keepTicking(): void {
    if (this.ticker !== null || this.closing !== null) return;
    this.lastTick = this.options.clock.monotonic();
    this.ticker = setInterval(() => this.tick(), TICK_MS);
  }

  /**
   * Looks at every place. What a try takes is its child's processor time, and beside that the time that passes, tick by
   * tick, no tick for more than twice its due: when this process itself was held up, no message is blamed for it.
   */
  private tick(): void {
    const now = this.options.clock.monotonic();
    const step = Math.min(now - this.lastTick, 2 * TICK_MS);
    this.lastTick = now;
    for (const place of this.places) this.look(place, now, step);
    const isQuiet = this.places.every(({ state, isolated }) =>
      isolated ? state.is === 'asleep' : state.is === 'idle' || state.is === 'leaving',
    );
    if (!isQuiet || this.ticker === null) return;
    clearInterval(this.ticker);
    this.ticker = null;
  }

  private look(place: Place, now: number, step: number): void {
    const { state } = place;
    if (state.is === 'resting') {
      if (now < state.until) return;
      if (place.isolated && this.suspects.length === 0) place.state = { is: 'asleep' };
      else this.spawn(place);
    } else if (state.is === 'starting') {
      state.spentMs += step;
      if (state.spentMs > START_MS) state.child.kill();
    } else if (state.is === 'idle' && place.isolated && now - state.since > SUSPECTS_IDLE_MS) {
      place.state = { is: 'leaving', child: state.child };
      state.child.kill();
    } else if (state.is === 'busy' && state.killed === null) {
      state.waitedMs += step;
      if (spentMs(state) > state.job.timeMs) this.endTry(place, 'killed_time');
      else if ((state.child.residentBytes() ?? 0) > this.limits.memoryBytes * END_AT)
        this.endTry(place, 'killed_memory');
    }
  }

  private endTry(place: Place, why: Killed): void {
    const { state } = place;
    if (state.is !== 'busy' || state.killed !== null) return;
    state.killed = why;
    state.child.kill();
  }

  private endPlace(place: Place): void {
    const { state } = place;
    if (state.is === 'busy') state.job.closed();
    if ('child' in state) {
      place.state = { is: 'leaving', child: state.child };
      state.child.kill();
    } else {
      place.state = { is: 'ended' };
    }
  }

  private resolveWhenEmpty(): void {
    if (this.places.every(({ state }) => state.is === 'ended')) this.onEmpty?.();
  }
}

/**
 * Processor time that a try has taken; a share of the time that passed where that is not known, or is none. What passed
 * before the first look counts whole: nearly all tries end before it, and need not be looked at.
 */
function spentMs(state: Extract<PlaceState, { is: 'busy' }>): number {
  const cpuMs = state.child.cpuMs();
  state.firstLook ??= { waitedMs: state.waitedMs, cpuMs };
  if (cpuMs === null || state.firstLook.cpuMs === null) return state.waitedMs;
  return Math.max(state.firstLook.waitedMs + cpuMs - state.firstLook.cpuMs, state.waitedMs / MOST_WAITING);
}

function failure(kind: FailureKind, child: WarmChild, reason: string): Failure {
  return { ...failureAt(kind, child.trace(), reason), child: child.pid };
}

function failureAt(kind: FailureKind, { stage, leaf }: Trace, reason: string): Failure {
  return { ok: false, failure: kind, stage, leaf: leaf === 0 ? null : leaf, reason, child: null };
}

function unavailable(reason: string): Failure {
  return { ok: false, failure: 'unavailable', stage: 'queued', leaf: null, reason, child: null };
}

function reasonIn(answer: Answer): string {
  return (answer.json as { reason: string }).reason;
}
