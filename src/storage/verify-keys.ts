import type { Finding } from '../delivery/chain.js';
import { messageId, type Place } from '../message/id.js';
import type { Books } from './verify-channel.js';

/** Sequences of a channel, both ends included. */
export interface Sequences {
  readonly channel: number;
  readonly first: number;
  readonly last: number;
}

export interface KeysReport {
  readonly keys: number;
  readonly findings: readonly Finding[];
  readonly found: number;
}

const PAGE = 5_000;
const MOST_TOLD = 100;
/** Messages ticked off in one reading of a generation's keys, a bit each: 32 MiB. */
const MOST_TICKED = 2 ** 28;

/**
 * Whether every message that can still have duplicates has its key, and every key its message: one to one. Reads each
 * generation's keys in the order they are stored in, and yields after each page how many that were.
 */
export async function* verifyKeys(books: Books, wanted: readonly Sequences[]): AsyncGenerator<number, KeysReport> {
  const all = new Findings();
  const isWanted = inAny(wanted);
  let keys = 0;
  for (const { id } of await generationsWithKeys(books)) {
    const ofThis = new Findings();
    const own = await ownSequences(books, id, wanted);
    const isOwn = inAny(own);
    const [first = [], ...others] = inParts(own);
    for (const part of [first, ...others]) {
      const ticks = new Ticks(part, ofThis);
      for await (const page of keysOf(books, id)) {
        if (part === first) keys += page.filter(isWanted).length;
        for (const key of page) {
          ticks.tick(key);
          if (part === first && isWanted(key) && !isOwn(key)) ofThis.say('key_without_message', key, STRAY);
        }
        yield page.length;
      }
      ticks.end();
    }
    // Those of a generation that left the window meanwhile may be missing.
    if ((await generationsWithKeys(books)).some((one) => one.id === id)) all.add(ofThis);
  }
  return { keys, findings: all.told, found: all.found };
}

const STRAY = (id: string) => `A key names ${id}, which does not lie in its generation.`;

/** The first MOST_TOLD, and how many there are. */
class Findings {
  readonly told: Finding[] = [];
  found = 0;

  say(code: Finding['code'], place: Place, say: (id: string) => string): void {
    this.found++;
    if (this.told.length >= MOST_TOLD) return;
    const message = messageId(place);
    this.told.push({ code, channel: place.channel, message, plan: null, detail: say(message) });
  }

  add(others: Findings): void {
    this.found += others.found;
    this.told.push(...others.told.slice(0, MOST_TOLD - this.told.length));
  }
}

/** Ranges of different channels. */
function inAny(ranges: readonly Sequences[]): (place: Place) => boolean {
  const byChannel = new Map(ranges.map((range) => [range.channel, range]));
  return ({ channel, sequence }) => {
    const range = byChannel.get(channel);
    return range !== undefined && sequence >= range.first && sequence <= range.last;
  };
}

async function generationsWithKeys({ pool }: Books): Promise<{ id: number }[]> {
  const { rows } = await pool.query<{ id: number }>(
    'select id from generation where keys_dropped_at is null order by id',
  );
  return rows;
}

/** What of the wanted sequences was given in this generation. */
async function ownSequences(
  { pool, tenant }: Books,
  generation: number,
  wanted: readonly Sequences[],
): Promise<Sequences[]> {
  const { rows } = await pool.query<{ channel: number; first: number; last: number | null }>(
    `select channel, first_sequence as first, next - 1 as last from (
       select channel, first_sequence, generation, moved,
         lead(first_sequence) over (partition by channel order by first_sequence) as next
       from span where tenant = $1) s
     where generation = $2 and not moved order by channel, first_sequence`,
    [tenant.id, generation],
  );
  return rows.flatMap(({ channel, first, last }) => {
    const range = wanted.find((one) => one.channel === channel);
    if (!range) return [];
    const own = { channel, first: Math.max(first, range.first), last: Math.min(last ?? range.last, range.last) };
    return own.first <= own.last ? [own] : [];
  });
}

/** As many at a time as are ticked off together. */
function inParts(sequences: readonly Sequences[]): Sequences[][] {
  const parts: Sequences[][] = [];
  let room = 0;
  for (const { channel, first, last } of sequences) {
    for (let from = first; from <= last; ) {
      if (room === 0) {
        parts.push([]);
        room = MOST_TICKED;
      }
      const to = Math.min(last, from + room - 1);
      parts.at(-1)?.push({ channel, first: from, last: to });
      room -= to - from + 1;
      from = to + 1;
    }
  }
  return parts;
}

/** Ticks off messages as their keys come by. */
class Ticks {
  readonly #ticked: Uint8Array;
  readonly #parts = new Map<number, Sequences & { readonly offset: number }>();

  constructor(
    sequences: readonly Sequences[],
    private readonly findings: Findings,
  ) {
    let offset = 0;
    for (const one of sequences) {
      this.#parts.set(one.channel, { ...one, offset });
      offset += one.last - one.first + 1;
    }
    this.#ticked = new Uint8Array(Math.ceil(offset / 8));
  }

  tick(key: Place): void {
    const part = this.#parts.get(key.channel);
    if (!part || key.sequence < part.first || key.sequence > part.last) return;
    const at = part.offset + key.sequence - part.first;
    if (this.#isTicked(at)) {
      this.findings.say('key_without_message', key, (id) => `There is more than one key for ${id}.`);
    }
    this.#ticked[at >> 3] = (this.#ticked[at >> 3] ?? 0) | (1 << (at & 7));
  }

  end(): void {
    const say = (id: string) => `The key of ${id} is missing: a duplicate of it would be taken for new.`;
    for (const { channel, first, last, offset } of this.#parts.values()) {
      for (let sequence = first; sequence <= last; sequence++) {
        if (!this.#isTicked(offset + sequence - first)) this.findings.say('key_missing', { channel, sequence }, say);
      }
    }
  }

  #isTicked(at: number): boolean {
    return ((this.#ticked[at >> 3] ?? 0) & (1 << (at & 7))) !== 0;
  }
}

/** All keys of a tenant in a generation. */
async function* keysOf({ pool, tenant }: Books, generation: number): AsyncGenerator<readonly Place[]> {
  let after: Buffer = Buffer.alloc(0);
  for (;;) {
    const { rows } = await pool.query<{ fingerprint: Buffer; channel: number; sequence: number }>(
      `select fingerprint, channel, sequence from key where generation = $1 and tenant = $2 and fingerprint > $3
       order by fingerprint limit ${PAGE}`,
      [generation, tenant.id, after],
    );
    const last = rows.at(-1);
    if (!last) return;
    yield rows;
    if (rows.length < PAGE) return;
    after = last.fingerprint;
  }
}
