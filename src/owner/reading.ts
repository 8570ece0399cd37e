import type { SequencedRow } from '../channel/accept.js';
import type { Clock } from '../message/clock.js';
import type { StoredMessage } from '../message/message.js';
import type { Rung, View } from '../message/view.js';
import type { Handover } from './handover.js';
import type { EndedAttempt, Held, OwnerStore, SequenceRange } from './ports.js';
import { type ChannelState, type ContentPort, channelKey, type ParseOutcome, type Taken } from './state.js';

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
): Promise<{ state: ChannelState; taken: Taken[] }[]> {
  const wanted = states.map((state) => {
    const range = nextOf(state, bounds.rows);
    const here = handover.peek(range.tenant, range.channel, range.first, range.last);
    return { state, range, here };
  });
  const holes = wanted.flatMap(({ range, here }) => holesOf(range, here));
  const stored = byChannel(holes.length > 0 ? await store.read(holes, bounds.bytes) : []);
  return wanted.flatMap(({ state, range, here }) => {
    const found = [...here.map(takenOf), ...(stored.get(channelKey(range.tenant, range.channel)) ?? [])];
    const taken = upToMails(withoutHole(range.first, found), bounds.mails);
    const last = taken[taken.length - 1];
    if (!last) return [];
    handover.dropUpTo(range.tenant, range.channel, last.message.sequence);
    return [{ state, taken }];
  });
}

/** Members of a batch that was cut off are read one by one. */
function nextOf({ held, planned, known, aloneUpTo, interrupted }: ChannelState, rows: number): SequenceRange {
  const first = planned + 1;
  const alone = first <= aloneUpTo || interrupted.has(first);
  return { tenant: held.tenant, channel: held.channel, first, last: alone ? first : Math.min(planned + rows, known) };
}

function holesOf(range: SequenceRange, here: readonly SequencedRow[]): SequenceRange[] {
  const holes: SequenceRange[] = [];
  let first = range.first;
  for (const { sequence } of here) {
    if (sequence > first) holes.push({ ...range, first, last: sequence - 1 });
    first = sequence + 1;
  }
  if (first <= range.last) holes.push({ ...range, first });
  return holes;
}

function takenOf({ arrival, channel, sequence, sha256 }: SequencedRow): Taken {
  return {
    message: {
      tenant: arrival.tenant.id,
      channel,
      sequence,
      source: arrival.source.id,
      kind: arrival.kind,
      account: arrival.account,
      type: arrival.type,
      externalId: arrival.externalId,
      value: arrival.value,
      eventTime: arrival.eventTime,
      arrivedAt: arrival.arrivedAt,
      peer: arrival.peer,
      meta: arrival.meta,
      sha256,
      raw: arrival.raw,
    },
    parsed: arrival.parsed,
  };
}

function byChannel(messages: readonly StoredMessage[]): Map<string, Taken[]> {
  const channels = new Map<string, Taken[]>();
  for (const message of messages) {
    const key = channelKey(message.tenant, message.channel);
    const taken = { message, parsed: undefined };
    const others = channels.get(key);
    if (others) others.push(taken);
    else channels.set(key, [taken]);
  }
  return channels;
}

/** In order, up to the first sequence that is not there: the store gives only so many bytes. */
function withoutHole(first: number, found: Taken[]): Taken[] {
  found.sort((a, b) => a.message.sequence - b.message.sequence);
  const hole = found.findIndex(({ message }, i) => message.sequence !== first + i);
  return hole === -1 ? found : found.slice(0, hole);
}

/** Mails are read by children, one after another: a round takes a bounded number, so that others' turn comes. */
function upToMails(taken: Taken[], most: number): Taken[] {
  let mails = 0;
  const end = taken.findIndex(({ message }) => message.kind === 'mail' && ++mails > most);
  return end === -1 ? taken : taken.slice(0, Math.max(1, end));
}

/** What reading a message came to. */
export type Reading =
  | { readonly taken: Taken; readonly read: 'yes'; readonly view: View; readonly attempt: EndedAttempt | null }
  /** Set aside while its channel goes on: at which rung it is to be tried, alone. */
  | {
      readonly taken: Taken;
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
  readonly taken: readonly Taken[];
  /** Attempt ids of the mails, by sequence. */
  readonly attempts: ReadonlyMap<number, number>;
  readonly content: ContentPort;
  readonly slot: Slots;
  readonly parkAfterMs: number;
  readonly clock: Clock;
}): Promise<Reading[]> {
  return Promise.all(
    deps.taken.map((taken) => {
      const { message } = taken;
      const rung = deps.state.interrupted.get(message.sequence);
      if (rung !== undefined) {
        const reason = 'its last try was cut off by the end of the process';
        return { taken, read: 'parked', rung, reason, attempt: null, running: null, attemptId: null } as const;
      }
      if (message.kind !== 'mail') {
        return readInPlace(taken, deps.content);
      }
      return readMail(deps, taken);
    }),
  );
}

function readInPlace({ message, parsed: known }: Taken, content: ContentPort): Reading {
  const parsed = known ?? content.parsedOf(message);
  return { taken: { message, parsed }, read: 'yes', view: content.inPlace(message, parsed, 0), attempt: null };
}

async function readMail(deps: Parameters<typeof readBatch>[0], taken: Taken): Promise<Reading> {
  const attemptId = deps.attempts.get(taken.message.sequence) ?? null;
  const done = await deps.slot.run(async () => {
    const running = deps.content.parse(taken.message.raw, 0);
    return { running, first: await firstWithin(running, deps.parkAfterMs) };
  });
  if (done.first === null) {
    const reason = `reading it takes more than ${deps.parkAfterMs} ms`;
    return { taken, read: 'parked', rung: 0, reason, attempt: null, running: done.running, attemptId };
  }
  return concluded(taken, done.first, attemptId, deps.content);
}

function concluded(taken: Taken, outcome: ParseOutcome, attemptId: number | null, content: ContentPort): Reading {
  if (outcome.ok) {
    const attempt = attemptId === null ? null : ({ id: attemptId, outcome: 'processed', reason: null } as const);
    return { taken, read: 'yes', view: outcome.view, attempt };
  }
  const attempt = failedAttempt(attemptId, outcome);
  // The last rung is left to the suspects' own reader: it decides what is poison.
  const rung = outcome.ours ? 0 : (content.lower(0) ?? 0);
  return { taken, read: 'parked', rung, reason: outcome.reason, attempt, running: null, attemptId: null };
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
  taken: readonly Taken[],
): { held: Held; first: number; last: number; rung: Rung; stage: string; try: number; batch: boolean }[] {
  const attempts: ReturnType<typeof attemptsOf> = [];
  const inPlace = taken.filter(({ message }) => message.kind !== 'mail');
  const first = inPlace[0];
  const last = inPlace[inPlace.length - 1];
  if (first && last) {
    const range = { first: first.message.sequence, last: last.message.sequence };
    attempts.push({ held, ...range, rung: 0, stage: 'read and route', try: 1, batch: true });
  }
  for (const { message } of taken) {
    if (message.kind !== 'mail') continue;
    const range = { first: message.sequence, last: message.sequence };
    attempts.push({ held, ...range, rung: 0, stage: 'parse', try: 1, batch: false });
  }
  return attempts;
}
