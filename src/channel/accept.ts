import type { Arrival } from '../message/arrival.js';
import type { Clock } from '../message/clock.js';
import { type Accept, Busy, Unavailable, type Verdict } from '../message/verdict.js';
import {
  type Batch,
  type BatchAnswer,
  type Candidate,
  type CommitBatch,
  candidate,
  StoreError,
  type TimeWindow,
} from './batch.js';
import { type Demand, demandsOf, Line, type Lined } from './line.js';
import { isBelow, type UnseenRoom } from './maybe.js';
import { createPace } from './pace.js';

/** What the filters know. Bits are set only by `remember`, after the commit. */
export interface Filters {
  /** The generation that is current as far as this process knows. */
  readonly current: number;
  /** Generations that must be looked up for this key: those whose filter says maybe, and those without a ready filter. */
  lookUps(fingerprint: string): readonly number[];
  /** Whether a filter says that this key may have been seen. That there is none for a generation says nothing. */
  saysMaybe(fingerprint: string): boolean;
  /** Adds keys that are known to be stored. */
  remember(fingerprints: readonly string[]): void;
  /** How many of the keys that were looked up were really there. */
  found(keys: number): void;
  /** Another process wrote a key this one's filter did not know: look the current generation up for a while. */
  distrust(): void;
}

export interface AcceptSettings {
  readonly maxBatchRows: number;
  readonly maxBatchBytes: number;
  /** While a commit is under way, fewer rows than this wait for company: a commit costs as much as some hundred rows. */
  readonly secondLaneRows: number;
  /** Bounds of what may wait for a commit, shared by tenants (line.ts); beyond them `Busy`. */
  readonly maxWaitingRows: number;
  readonly maxWaitingBytes: number;
  readonly window: TimeWindow;
  /** How long a batch whose commit failed is tried again before its senders are told, in ms. */
  readonly patienceMs: number;
}

/** What was just sequenced, in the order of each channel's numbers, for whoever reads on in this process. */
export type Sequenced = (rows: readonly SequencedRow[]) => void;

export interface SequencedRow {
  readonly arrival: Arrival;
  readonly channel: number;
  readonly sequence: number;
  /** One character a byte. */
  readonly sha256: string;
}

export interface Accepter {
  readonly accept: Accept;
  /** Rows and bytes waiting for a commit. */
  waiting(): { rows: number; bytes: number };
  /** False while the last commit failed for want of a database. */
  storing(): boolean;
  /** Lets what waits be committed, then takes nothing more. */
  close(): Promise<void>;
}

/** An answer that was lost may have been a yes. */
const UNKNOWN = 'it is not known whether this was accepted, and sending it again is safe';

/**
 * Commits of this process at once. The second reaches the database, is unpacked there and waits for the first one's
 * locks, so that the database goes on with it at once; a third would only wait longer.
 */
const LANES = 2;

/** How often a batch that lost against other writers is done again without and with a pause. */
const CONTENDED_AT_ONCE = 5;
const CONTENDED_TRIES = 20;

/** What has become of a key; all rows of the line that wait for the same first one share it. */
interface Fate {
  /** A commit of this process stored the key or found it. */
  stored: boolean;
  /** The first one, while its batch is being made. */
  gathered: Waiting | null;
}

/**
 * How an arrival goes into its batch: in a row of its own, as a repeat of another that has the row, or, taken as a duplicate by a
 * filter's word, among those that are kept and store no key.
 */
type Place = 'row' | 'repeat' | 'unseen';

/** Rows that are decided together, in a lane of their process. */
interface Part {
  readonly lane: number;
  readonly waiting: readonly Waiting[];
}

/** The rows of one request are answered together, and keep their order: they are never under way in two lanes. */
interface Request {
  underWay: boolean;
  readonly verdicts: Verdict[];
  /** How many verdicts are missing. */
  open: number;
  readonly resolve: (verdicts: Verdict[]) => void;
  readonly reject: (error: Error) => void;
}

interface Waiting extends Lined {
  readonly candidate: Candidate;
  readonly request: Request;
  /** Its place in the request. */
  readonly index: number;
  fate: Fate;
  place: Place;
  /** Those that came to the same batch with the same key and content, and come to what this one comes to. */
  repeats: Waiting[] | null;
}

/**
 * Group commit. Arrivals wait in one line, in which tenants take turns; while a batch is being committed the next one
 * gathers:
 *
 *   accept → line → batch of distinct keys → look-ups by filter → commit → verdicts → filters, hand-over
 *
 * Where a source asks for it, what a filter calls "maybe seen" is not looked up but kept, by the same commit (maybe.ts).
 *
 * A second arrival with a key of the batch that is being made is decided with the first when it says the same: it is a duplicate of
 * whatever that comes to. Else, and behind a batch that is under way, it stays in the line and is decided by a later commit,
 * when the first one's fate is known; once the key is stored, all that have it may share a batch.
 */
export function createAccepter(deps: {
  readonly commit: CommitBatch;
  readonly filters: Filters;
  /** For what is taken as a duplicate unseen; without it everything is looked up. */
  readonly unseen?: UnseenRoom;
  readonly secret: Uint8Array;
  readonly clock: Clock;
  readonly settings: AcceptSettings;
  readonly onSequenced: Sequenced;
  /** A positive random integer below 2^48. */
  readonly randomId: () => number;
  /** Resolves after so many milliseconds. */
  readonly pause: (ms: number) => Promise<void>;
}): Accepter {
  const { commit, filters, clock, settings } = deps;
  const line = new Line<Waiting>({ rows: settings.maxWaitingRows, bytes: settings.maxWaitingBytes });
  let gathering: Promise<void> | null = null;
  const busy = new Map<number, Promise<void>>();
  const pace = createPace(() => clock.monotonic());
  /** What becomes of the keys that are being committed. */
  const underWay = new Map<string, Fate>();
  let closed = false;
  let down = false;

  const accept: Accept = (arrivals) => {
    if (closed) return Promise.reject(new Unavailable('Waybill is shutting down; send it again'));
    if (!line.reserve(demandsOfArrivals(arrivals))) return Promise.reject(new Busy(1));
    if (arrivals.length === 0) return Promise.resolve([]);
    return new Promise<Verdict[]>((resolve, reject) => {
      line.add(waitingOf(arrivals, resolve, reject));
      gathering ??= gather();
    });
  };

  function waitingOf(
    arrivals: readonly Arrival[],
    resolve: (verdicts: Verdict[]) => void,
    reject: (error: Error) => void,
  ): Waiting[] {
    const { length } = arrivals;
    const request: Request = { underWay: false, verdicts: new Array(length), open: length, resolve, reject };
    return arrivals.map((arrival, index) => ({
      tenant: arrival.tenant.id,
      bytes: arrival.raw.length,
      request,
      index,
      candidate: candidate(arrival, deps.secret, settings.window),
      fate: { stored: false, gathered: null },
      place: 'row',
      repeats: null,
    }));
  }

  /** Requests of the same turn of the event loop are there together when the next batch is made. */
  async function gather(): Promise<void> {
    await deps.pause(0);
    gathering = null;
    feed();
  }

  /** Gives every lane that is free a batch, where there is one worth it. */
  function feed(): void {
    for (let lane = 0; lane < LANES; lane++) {
      if (busy.has(lane)) continue;
      const free = line.rows - line.passedOver;
      if (free <= 0 || (busy.size > 0 && free < settings.secondLaneRows)) return;
      const waiting = takeBatch();
      if (waiting.length === 0) return;
      const done = carry(lane, waiting).finally(() => {
        busy.delete(lane);
        line.lookAnew();
        feed();
      });
      busy.set(lane, done);
    }
  }

  /** Sees one batch through. Never rejects. */
  async function carry(lane: number, waiting: readonly Waiting[]): Promise<void> {
    pace.began();
    await decide({ lane, waiting: waiting.filter(({ place }) => place !== 'repeat') }, false);
    pace.ended();
    for (const { candidate, fate, request } of waiting) {
      request.underWay = false;
      if (underWay.get(candidate.key) === fate) underWay.delete(candidate.key);
    }
    line.settled(waiting);
  }

  /** A second commit is begun for what is worth one, and where none succeeds there is nothing to gain by few. */
  function mostRequests(): number {
    return busy.size > 0 || down ? Number.POSITIVE_INFINITY : pace.mostRequests();
  }

  /** The next rows of the line, within the bounds of a batch, of which no key could be stored twice. */
  function takeBatch(): Waiting[] {
    const batch = line.take(
      { rows: settings.maxBatchRows, bytes: settings.maxBatchBytes, requests: mostRequests() },
      (waiting) => !waiting.request.underWay && (isTakenUnseen(waiting) || !mayStoreTwice(waiting, underWay)),
    );
    for (const { request, fate } of batch) {
      request.underWay = true;
      fate.gathered = null;
    }
    return batch;
  }

  /** Whether a row is a duplicate by a filter's word, as its source wants it. From then on it stays one. */
  function isTakenUnseen(waiting: Waiting): boolean {
    const { arrival, fingerprint, expired } = waiting.candidate;
    const { maybeBelow, value } = arrival;
    if (maybeBelow === undefined || expired || !isBelow(value, maybeBelow) || !filters.saysMaybe(fingerprint))
      return false;
    if (!deps.unseen?.take(arrival.tenant.id, arrival.raw.length)) return false;
    waiting.place = 'unseen';
    // It may have waited for the fate of another.
    waiting.fate = { stored: false, gathered: null };
    return true;
  }

  /** Commits a batch and answers its senders, whatever the store does. Never rejects. */
  async function decide(part: Part, lookUpAll: boolean): Promise<void> {
    const { waiting } = part;
    const id = deps.randomId();
    const giveUpAt = clock.monotonic() + settings.patienceMs;
    let repeated = false;
    let careful = lookUpAll;
    let contended = 0;
    for (let tries = 0; ; tries++) {
      const batch = makeBatch(id, part, repeated, careful);
      try {
        const answer = await commit(batch);
        down = false;
        answerSenders(part, answer);
        return;
      } catch (error) {
        const failure = error instanceof StoreError ? error.failure : 'fault';
        switch (failure) {
          case 'contended':
            filters.distrust();
            careful = true;
            contended++;
            if (contended > CONTENDED_TRIES) {
              fail(waiting, new Unavailable(`other writers kept getting in the way; ${UNKNOWN}`, { cause: error }));
              return;
            }
            // Only under its own id can what a batch stored be told from a duplicate, once its answer was lost.
            if (contended > 1 && !repeated && (await decidedApart(part))) return;
            if (contended > CONTENDED_AT_ONCE) await deps.pause(retryPause(contended - CONTENDED_AT_ONCE - 1));
            break;
          case 'unavailable':
            // While the database is known to be away, nobody waits for it in vain.
            if (down || clock.monotonic() >= giveUpAt) {
              down = true;
              fail(waiting, new Unavailable(`the database can not be reached; ${UNKNOWN}`, { cause: error }));
              return;
            }
            repeated = true;
            await deps.pause(retryPause(tries));
            break;
          case 'data':
            await isolate(part, careful);
            return;
          case 'fault':
            fail(waiting, new Unavailable(`storing failed; ${UNKNOWN}`, { cause: error }));
            return;
          default: {
            const never: never = failure;
            throw never;
          }
        }
      }
    }
  }

  /**
   * Decides the rows of each key one after the other, where there are several: a key that was stored may be gone, by a
   * fail-over or because the window left it behind, and then its rows together would contend with themselves for ever.
   * False when every key comes once.
   */
  async function decidedApart(part: Part): Promise<boolean> {
    const [first, again] = firstOfEachKey(part.waiting);
    if (again.length === 0) return false;
    await decide({ ...part, waiting: first }, true);
    await decide({ ...part, waiting: again }, true);
    return true;
  }

  /** Splits a batch the store can't take until the bad row is alone, and rejects only that one. */
  async function isolate(part: Part, careful: boolean): Promise<void> {
    const { waiting } = part;
    const [first] = waiting;
    if (waiting.length === 1 && first) {
      settle(first, {
        verdict: 'rejected',
        code: 'unstorable',
        reason: 'the database can not hold one of the values of this message; check its fields for unusual characters',
      });
      return;
    }
    const middle = waiting.length >> 1;
    await decide({ ...part, waiting: waiting.slice(0, middle) }, careful);
    await decide({ ...part, waiting: waiting.slice(middle) }, careful);
  }

  function makeBatch(id: number, { lane, waiting }: Part, repeated: boolean, careful: boolean): Batch {
    const seen = waiting.filter(({ place }) => place === 'row');
    const unseen = seen.length === waiting.length ? [] : waiting.filter(({ place }) => place === 'unseen');
    const generation = filters.current;
    const lookUps: [number, number][] = [];
    seen.forEach(({ candidate, fate }, index) => {
      const generations = filters.lookUps(candidate.fingerprint);
      for (const each of generations) lookUps.push([index, each]);
      if ((careful || fate.stored) && !generations.includes(generation)) lookUps.push([index, generation]);
    });
    return {
      id,
      lane,
      repeated,
      rows: seen.map((one) => one.candidate),
      repeats: seen.some(({ repeats }) => repeats) ? seen.map(({ repeats }) => repeats?.length ?? 0) : [],
      generation,
      lookUps,
      unseen: unseen.map((one) => one.candidate),
    };
  }

  function answerSenders({ waiting }: Part, answer: BatchAnswer): void {
    const next = new Map(answer.starts.map((start) => [start.tenant * 1024 + start.channel, start.lastSequence]));
    const exceptions = new Map(answer.exceptions.map((exception) => [exception.row, exception]));
    const sequenced: SequencedRow[] = [];
    const stored: string[] = [];
    let row = 0;
    for (const each of waiting) {
      const { candidate, fate } = each;
      if (each.place === 'unseen') {
        settle(each, { verdict: 'duplicate', basis: 'filter' });
        continue;
      }
      const exception = exceptions.get(row++);
      if (exception?.verdict !== 'expired') {
        fate.stored = true;
        stored.push(candidate.fingerprint);
      }
      if (exception && exception.verdict !== 'sequenced') {
        settle(each, exceptionVerdict(exception));
        continue;
      }
      const key = candidate.arrival.tenant.id * 1024 + candidate.channel;
      const sequence = exception ? exception.sequence : (next.get(key) ?? 0) + 1;
      if (!exception) next.set(key, sequence);
      sequenced.push({ arrival: candidate.arrival, channel: candidate.channel, sequence, sha256: candidate.sha256 });
      settle(each, { verdict: 'sequenced', channel: candidate.channel, sequence });
    }
    filters.remember(stored);
    if (sequenced.length > 0) deps.onSequenced(sequenced);
    filters.found(answer.exceptions.filter((exception) => exception.verdict !== 'expired').length);
  }

  /** A request is answered as one: when a part of it failed, none of it is said to be taken. */
  function fail(waiting: readonly Waiting[], error: Error): void {
    for (const { request, repeats } of waiting) {
      request.reject(error);
      for (const repeat of repeats ?? []) repeat.request.reject(error);
    }
  }

  return {
    accept,
    waiting: () => ({ rows: line.rows, bytes: line.bytes }),
    storing: () => !down,
    async close() {
      closed = true;
      while (gathering !== null || busy.size > 0) await (gathering ?? Promise.race(busy.values()));
    },
  };
}

/** Says what became of an arrival, and so of its repeats. */
function settle({ request, index, repeats }: Waiting, verdict: Verdict): void {
  request.verdicts[index] = verdict;
  if (--request.open === 0) request.resolve(request.verdicts);
  for (const repeat of repeats ?? []) settle(repeat, verdictOfRepeat(verdict));
}

function verdictOfRepeat(verdict: Verdict): Verdict {
  if (verdict.verdict !== 'sequenced') return verdict;
  const { channel, sequence } = verdict;
  return { verdict: 'duplicate', of: { channel, sequence }, basis: 'store', differs: false };
}

function demandsOfArrivals(arrivals: readonly Arrival[]): Demand[] {
  return demandsOf(
    arrivals,
    (arrival) => arrival.tenant.id,
    (arrival) => arrival.raw.length,
  );
}

/** Milliseconds before a batch is tried again: from 20 up to 500. */
function retryPause(tries: number): number {
  return Math.min(20 * 2 ** tries, 500);
}

/**
 * Whether a key could be stored by this row too: another that is under way has it, and it is not known to be stored, nor is this one
 * decided with that. `fates` are those of the keys under way. What is expired stores none.
 */
function mayStoreTwice(waiting: Waiting, fates: Map<string, Fate>): boolean {
  if (waiting.candidate.expired) return false;
  const { key } = waiting.candidate;
  const first = fates.get(key);
  if (first === undefined) {
    fates.set(key, waiting.fate);
    waiting.fate.gathered = waiting;
    return false;
  }
  waiting.fate = first;
  return !first.stored && !isRepeat(waiting, first.gathered);
}

/** Whether a row says what another of the batch that is being made says; then it goes with that. */
function isRepeat(waiting: Waiting, gathered: Waiting | null): boolean {
  if (gathered === null || !saysTheSame(waiting.candidate, gathered.candidate)) return false;
  waiting.place = 'repeat';
  gathered.repeats ??= [];
  gathered.repeats.push(waiting);
  return true;
}

function saysTheSame(one: Candidate, other: Candidate): boolean {
  return one.arrival.digest === other.arrival.digest && one.accountHash === other.accountHash;
}

/** Parts rows into those that are the first of their key, or store none, and the others. */
function firstOfEachKey(rows: readonly Waiting[]): [first: Waiting[], again: Waiting[]] {
  const first: Waiting[] = [];
  const again: Waiting[] = [];
  const keys = new Set<string>();
  for (const row of rows) {
    const { key, expired } = row.candidate;
    const storesNone = expired || row.place === 'unseen';
    const comesAgain = !storesNone && keys.has(key);
    if (!storesNone) keys.add(key);
    (comesAgain ? again : first).push(row);
  }
  return [first, again];
}

function exceptionVerdict(exception: Exclude<BatchAnswer['exceptions'][number], { verdict: 'sequenced' }>): Verdict {
  const of = { channel: exception.channel, sequence: exception.sequence };
  switch (exception.verdict) {
    case 'duplicate':
      return { verdict: 'duplicate', of, basis: 'store', differs: exception.differs };
    case 'conflict':
      return { verdict: 'conflict', of, quarantine: exception.quarantine };
    case 'expired':
      return { verdict: 'expired', quarantine: exception.quarantine };
    case 'sequenced':
      return { verdict: 'sequenced', ...of };
    default: {
      const never: never = exception.verdict;
      throw never;
    }
  }
}
