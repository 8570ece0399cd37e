import type { ParsedJson } from '../message/arrival.js';
import type { Clock } from '../message/clock.js';
import { grouped } from '../message/grouped.js';
import type { StoredMessage } from '../message/message.js';
import { type LadderPlace, TOP, type View, type WrittenView } from '../message/view.js';
import { type Crashes, furtherDown } from './crashes.js';
import type { Handover } from './handover.js';
import type { EndedAttempt, NewAttempt, OwnerStore, SequenceRange } from './ports.js';
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
  const found = holes.length > 0 ? await store.read(holes, bounds) : [];
  const stored = grouped(found, ({ tenant, channel }) => channelKey(tenant, channel));
  return wanted.flatMap(({ state, range, here }) => {
    const found = [...here, ...(stored.get(channelKey(range.tenant, range.channel)) ?? [])];
    const taken = upToMails(withoutHole(range.first, found), bounds.mails);
    const last = taken[taken.length - 1];
    if (!last) return [];
    handover.dropUpTo(range.tenant, range.channel, last.sequence);
    state.taken = last.sequence;
    return [{ state, taken }];
  });
}

/** Whether more of a channel may be taken. Nothing is, while a member of a batch that was cut off is read: blame would not be exact. */
export function hasNext({ known, taken, planned, aloneUpTo }: ChannelState): boolean {
  return known > taken && (taken === planned || planned >= aloneUpTo);
}

/** Members of a batch that was cut off are read one by one. */
function nextOf({ held, taken, known, aloneUpTo, interrupted }: ChannelState, rows: number): SequenceRange {
  const first = taken + 1;
  const alone = first <= aloneUpTo || interrupted.has(first);
  return { tenant: held.tenant, channel: held.channel, first, last: alone ? first : Math.min(taken + rows, known) };
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
      /** The view of a mail as its child wrote it. */
      readonly written?: WrittenView | undefined;
      /** Of an event whose bytes say all. */
      readonly json?: ParsedJson | undefined;
      readonly attempt: EndedAttempt | null;
    }
  /** Set aside while its channel goes on: where it is to be tried, alone. */
  | {
      readonly message: StoredMessage;
      readonly read: 'parked';
      readonly place: LadderPlace;
      readonly reason: string;
      readonly attempt: EndedAttempt | null;
      /** Still being tried: its outcome comes later. */
      readonly running: Promise<ParseOutcome | 'not_tried'> | null;
      readonly attemptId: number | null;
    };

/** Reads the messages of one channel's batch, in order; the tries of mail are durable before they begin. */
export async function readBatch(deps: {
  readonly state: ChannelState;
  readonly taken: readonly StoredMessage[];
  /** Of the mails, by sequence. */
  readonly attempts: ReadonlyMap<number, BegunAttempt>;
  readonly content: ContentPort;
  readonly crashes: Crashes;
  readonly slot: Slots;
  readonly parkAfterMs: number;
  readonly clock: Clock;
}): Promise<Reading[]> {
  return Promise.all(
    deps.taken.map((message) => {
      const place = deps.state.interrupted.get(message.sequence);
      if (place !== undefined)
        return parked(message, place, 'its last try was cut off by the end of the process', null);
      const attempt = deps.attempts.get(message.sequence);
      return attempt === undefined ? readInPlace(message, deps.content) : readMail(deps, message, attempt);
    }),
  );
}

function readInPlace(message: StoredMessage, content: ContentPort): Reading {
  const json = content.parsedOf(message);
  return { message, read: 'yes', view: content.inPlace(message, json, 0), json, attempt: null };
}

/** A try of a mail that is written down. */
export interface BegunAttempt {
  readonly id: number;
  readonly crashHash: Buffer;
  readonly place: LadderPlace;
}

async function readMail(
  deps: Parameters<typeof readBatch>[0],
  message: StoredMessage,
  attempt: BegunAttempt,
): Promise<Reading> {
  const { id, crashHash, place } = attempt;
  if (deps.content.isPoison('mail', place.rung)) return notTried(message, attempt, place);
  const done = await deps.slot.run(async () => {
    const running = tryAfterTwin(deps, message, attempt);
    return { running, first: await firstWithin(running, deps.parkAfterMs) };
  });
  if (done.first === null) {
    const reason = `reading it takes more than ${deps.parkAfterMs} ms`;
    return { message, read: 'parked', place, reason, attempt: null, running: done.running, attemptId: id };
  }
  if (done.first === 'not_tried') return notTried(message, attempt, deps.crashes.placeOf(message.tenant, crashHash));
  return concluded(message, done.first, attempt);
}

/** While its like is being tried, a mail waits; when that has failed, it is not tried here at all. */
async function tryAfterTwin(
  { content, crashes }: Pick<Parameters<typeof readBatch>[0], 'content' | 'crashes'>,
  { tenant, raw }: StoredMessage,
  { crashHash, place }: BegunAttempt,
): Promise<ParseOutcome | 'not_tried'> {
  // No turn of the event loop lies between the last look and its own try.
  for (let twin = crashes.twinEnded(tenant, crashHash); twin; twin = crashes.twinEnded(tenant, crashHash)) await twin;
  if (isFurtherDown(furtherDown(place, crashes.placeOf(tenant, crashHash)), place)) return 'not_tried';
  return parseMail({ content, crashes }, { tenant, raw }, { crashHash, place }, isFurtherDown(place, TOP));
}

/** Reads a mail, and remembers for its likes where it has come down to when that fails. */
export function parseMail(
  { content, crashes }: { readonly content: ContentPort; readonly crashes: Crashes },
  { tenant, raw }: Pick<StoredMessage, 'tenant' | 'raw'>,
  { crashHash, place }: Pick<BegunAttempt, 'crashHash' | 'place'>,
  suspect: boolean,
): Promise<ParseOutcome> {
  const trying = content.parse(raw, place, suspect).then((outcome) => {
    // A limit is soon found again, and may be raised.
    const died = !outcome.ok && !outcome.ours && outcome.next.deaths > place.deaths;
    if (died && outcome.ofContent) crashes.note({ tenant, hash: crashHash, place: outcome.next });
    return outcome;
  });
  crashes.trying(
    tenant,
    crashHash,
    trying.then(({ ok }) => ok),
  );
  return trying;
}

export function isFurtherDown(one: LadderPlace, other: LadderPlace): boolean {
  return one.rung > other.rung || one.blamed.length > other.blamed.length;
}

function notTried(message: StoredMessage, { id }: BegunAttempt, place: LadderPlace): Reading {
  const attempt = { id, outcome: 'not_tried', reason: null, child: null } as const;
  return parked(message, place, 'a message with the same content failed before', attempt);
}

function parked(message: StoredMessage, place: LadderPlace, reason: string, attempt: EndedAttempt | null): Reading {
  return { message, read: 'parked', place, reason, attempt, running: null, attemptId: null };
}

function concluded(message: StoredMessage, outcome: ParseOutcome, { id, place }: BegunAttempt): Reading {
  if (outcome.ok)
    return {
      message,
      read: 'yes',
      view: outcome.view,
      written: outcome.written,
      attempt: { id, outcome: 'processed', reason: null, child: outcome.child },
    };
  return parked(message, outcome.ours ? place : outcome.next, outcome.reason, failedAttempt(id, outcome));
}

export function failedAttempt(id: number, outcome: Extract<ParseOutcome, { ok: false }>): EndedAttempt {
  return { id, outcome: 'failed', reason: reasonOf(outcome), child: outcome.ours ? null : outcome.child };
}

export function reasonOf({ stage, reason }: Extract<ParseOutcome, { ok: false }>): string {
  return `${stage}: ${reason}`;
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

export type BatchAttempt = NewAttempt & { readonly batch: boolean; readonly place: LadderPlace };

/** The attempts that must be durable before a batch is read: one for its events together, one for each mail. */
export function attemptsOf(
  { held, interrupted }: Pick<ChannelState, 'held' | 'interrupted'>,
  taken: readonly StoredMessage[],
  content: Pick<ContentPort, 'crashHash' | 'tryMs'>,
  crashes: Crashes,
): BatchAttempt[] {
  const attempts: BatchAttempt[] = [];
  const inPlace = taken.filter(({ kind }) => kind !== 'mail');
  const first = inPlace[0];
  const last = inPlace[inPlace.length - 1];
  if (first && last) {
    const range = { first: first.sequence, last: last.sequence };
    const event = { rung: 0, blamed: [], stage: 'read and route', try: 1, crashHash: null, tryMs: null };
    attempts.push({ held, ...range, ...event, batch: true, place: TOP });
  }
  for (const { kind, sequence, tenant, raw } of taken) {
    // What was cut off before is set aside without a try here.
    if (kind !== 'mail' || interrupted.has(sequence)) continue;
    const crashHash = content.crashHash(raw);
    const place = crashes.placeOf(tenant, crashHash);
    const { rung, blamed } = place;
    const mail = { rung, blamed, stage: 'begun', try: 1, crashHash, tryMs: content.tryMs };
    attempts.push({ held, first: sequence, last: sequence, ...mail, batch: false, place });
  }
  return attempts;
}
