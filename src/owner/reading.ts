import type { ParsedJson } from '../message/arrival.js';
import type { Clock } from '../message/clock.js';
import { grouped } from '../message/grouped.js';
import type { StoredMessage } from '../message/message.js';
import type { Rung, View } from '../message/view.js';
import type { Handover } from './handover.js';
import type { EndedAttempt, Held, OwnerStore, SequenceRange } from './ports.js';
import { type ChannelState, type ContentPort, channelKey, type ParseOutcome } from './state.js';

/** How much one round takes. */
export interface RoundBounds {
  readonly rows: number;
  readonly bytes: number;
  readonly mails: number;
}

/**
 * The next messages of each channel: from memory what this process accepted, and the holes between from the store, those
 * of all channels in one look.
 */
export async function takeNext(
  states: readonly ChannelState[],
  bounds: RoundBounds,
  handover: Handover,
  store: OwnerStore,
): Promise<{ state: ChannelState; taken: StoredMessage[] }[]> {
  const wanted = states.map((state) => {
    const range = nextOf(state, bounds.rows);
    const here = handover.peek(range.tenant, range.channel, range.first, range.last);
    return { state, range, here };
  });
  const holes = wanted.flatMap(({ range, here }) => holesOf(range, here));
  const found = holes.length > 0 ? await store.read(holes, bounds.bytes) : [];
  const stored = grouped(found, ({ tenant, channel }) => channelKey(tenant, channel));
  return wanted.flatMap(({ state, range, here }) => {
    const found = [...here, ...(stored.get(channelKey(range.tenant, range.channel)) ?? [])];
    const taken = upToMails(withoutHole(range.first, found), bounds.mails);
    const last = taken[taken.length - 1];
    if (!last) return [];
    handover.dropUpTo(range.tenant, range.channel, last.sequence);
    return [{ state, taken }];
  });
}

/** Members of a batch that was cut off are read one by one. */
function nextOf({ held, planned, known, aloneUpTo, interrupted }: ChannelState, rows: number): SequenceRange {
  const first = planned + 1;
  const alone = first <= aloneUpTo || interrupted.has(first);
  return { tenant: held.tenant, channel: held.channel, first, last: alone ? first : Math.min(planned + rows, known) };
}

function holesOf(range: SequenceRange, here: readonly StoredMessage[]): SequenceRange[] {
  const holes: SequenceRange[] = [];
  let first = range.first;
  for (const { sequence } of here) {
    if (sequence > first) holes.push({ ...range, first, last: sequence - 1 });
    first = sequence + 1;
  }
  if (first <= range.last) holes.push({ ...range, first });
  return holes;
}

/** In order, up to the first sequence that is not there: the store gives only so many bytes. */
function withoutHole(first: number, found: StoredMessage[]): StoredMessage[] {
  found.sort((a, b) => a.sequence - b.sequence);
  const hole = found.findIndex(({ sequence }, i) => sequence !== first + i);
  return hole === -1 ? found : found.slice(0, hole);
}

/** Mails are read by children, one after another: a round takes a bounded number, so that others' turn comes. */
function upToMails(taken: StoredMessage[], most: number): StoredMessage[] {
  let mails = 0;
  const end = taken.findIndex(({ kind }) => kind === 'mail' && ++mails > most);
  return end === -1 ? taken : taken.slice(0, Math.max(1, end));
}

/** What reading a message came to. */
export type Reading =
  | {
      readonly message: StoredMessage;
      readonly read: 'yes';
      readonly view: View;
      /** Of an event whose bytes say all. */
      readonly json?: ParsedJson | undefined;
      readonly attempt: EndedAttempt | null;
    }
  /** Set aside while its channel goes on: at which rung it is to be tried, alone. */
  | {
      readonly message: StoredMessage;
      readonly read: 'parked';
      readonly rung: Rung;
      readonly reason: string;
      readonly attempt: EndedAttempt | null;
      /** Still being tried: its outcome comes later. */
      readonly running: Promise<ParseOutcome> | null;
      readonly attemptId: number | null;
    };

/** Reads the messages of one channel's batch, in order; the tries of mail are durable before they begin. */
export async function readBatch(deps: {
  readonly state: ChannelState;
  readonly taken: readonly StoredMessage[];
  /** Attempt ids of the mails, by sequence. */
  readonly attempts: ReadonlyMap<number, number>;
  readonly content: ContentPort;
  readonly slot: Slots;
  readonly parkAfterMs: number;
  readonly clock: Clock;
}): Promise<Reading[]> {
  return Promise.all(
    deps.taken.map((message) => {
      const rung = deps.state.interrupted.get(message.sequence);
      if (rung !== undefined) {
        const reason = 'its last try was cut off by the end of the process';
        return { message, read: 'parked', rung, reason, attempt: null, running: null, attemptId: null } as const;
      }
      if (message.kind !== 'mail') {
        return readInPlace(message, deps.content);
      }
      return readMail(deps, message);
    }),
  );
}

function readInPlace(message: StoredMessage, content: ContentPort): Reading {
  const json = content.parsedOf(message);
  return { message, read: 'yes', view: content.inPlace(message, json, 0), json, attempt: null };
}

async function readMail(deps: Parameters<typeof readBatch>[0], message: StoredMessage): Promise<Reading> {
  const attemptId = deps.attempts.get(message.sequence) ?? null;
  const done = await deps.slot.run(async () => {
    const running = deps.content.parse(message.raw, 0);
    return { running, first: await firstWithin(running, deps.parkAfterMs) };
  });
  if (done.first === null) {
    const reason = `reading it takes more than ${deps.parkAfterMs} ms`;
    return { message, read: 'parked', rung: 0, reason, attempt: null, running: done.running, attemptId };
  }
  return concluded(message, done.first, attemptId, deps.content);
}

function concluded(
  message: StoredMessage,
  outcome: ParseOutcome,
  attemptId: number | null,
  content: ContentPort,
): Reading {
  if (outcome.ok) {
    const attempt = attemptId === null ? null : ({ id: attemptId, outcome: 'processed', reason: null } as const);
    return { message, read: 'yes', view: outcome.view, attempt };
  }
  const attempt = failedAttempt(attemptId, outcome);
  // The last rung is left to the suspects' own reader: it decides what is poison.
  const rung = outcome.ours ? 0 : (content.lower(0) ?? 0);
  return { message, read: 'parked', rung, reason: outcome.reason, attempt, running: null, attemptId: null };
}

export function failedAttempt(id: number | null, outcome: Extract<ParseOutcome, { ok: false }>): EndedAttempt | null {
  if (id === null) return null;
  return { id, outcome: 'failed', reason: `${outcome.stage}: ${outcome.reason}` };
}

async function firstWithin<T>(promise: Promise<T>, ms: number): Promise<T | null> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<null>((resolve) => {
    timer = setTimeout(() => resolve(null), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** At most so many at a time; a slot is free again when what ran in it answers. */
export interface Slots {
  run<T>(task: () => Promise<T>): Promise<T>;
}

export function createSlots(count: number): Slots {
  let free = count;
  const line: (() => void)[] = [];
  return {
    async run(task) {
      if (free > 0) free--;
      else await new Promise<void>((resolve) => line.push(resolve));
      try {
        return await task();
      } finally {
        const next = line.shift();
        if (next) next();
        else free++;
      }
    },
  };
}

/** The attempts that must be durable before a batch is read: one for its events together, one for each mail. */
export function attemptsOf(
  held: Held,
  taken: readonly StoredMessage[],
): { held: Held; first: number; last: number; rung: Rung; stage: string; try: number; batch: boolean }[] {
  const attempts: ReturnType<typeof attemptsOf> = [];
  const inPlace = taken.filter(({ kind }) => kind !== 'mail');
  const first = inPlace[0];
  const last = inPlace[inPlace.length - 1];
  if (first && last) {
    const range = { first: first.sequence, last: last.sequence };
    attempts.push({ held, ...range, rung: 0, stage: 'read and route', try: 1, batch: true });
  }
  for (const { kind, sequence } of taken) {
    if (kind !== 'mail') continue;
    const range = { first: sequence, last: sequence };
    attempts.push({ held, ...range, rung: 0, stage: 'parse', try: 1, batch: false });
  }
  return attempts;
}
