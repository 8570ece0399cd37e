import { finished } from 'node:stream/promises';
import type { Pool, PoolClient } from 'pg';
import { from as copyFrom } from 'pg-copy-streams';
import {
  type Gist,
  gistOf,
  type Identify,
  judge,
  type LedgerMessage,
  type NewEntry,
  type PlanSays,
  reckon,
} from '../billing/batch.js';
import { byCell, type Cell, type Countable, cellsOf } from '../billing/cells.js';
import { type Aggregation, meterSchema } from '../billing/definitions.js';
import { type Admitted, admit, type GapReason } from '../billing/mark.js';
import { type Marks, Meters } from '../billing/meter.js';
import type { Run } from '../delivery/plan.js';
import type { Kind } from '../message/arrival.js';
import { arrayOf, textArray } from './array.js';
import { fingerprintSecret, identifier, takeBackfills } from './ledger-backfills.js';
import { inTransaction } from './pool.js';

/** One channel of one ledger of a tenant. */
export interface Book {
  readonly tenant: number;
  readonly book: number;
  readonly channel: number;
}

/** What a batch came to. */
export interface Taken {
  readonly messages: number;
  readonly entries: number;
  readonly repeated: number;
  readonly opened: number;
  readonly healed: number;
  /** More plans are there than a batch takes. */
  readonly more: boolean;
}

/** Plans, and the sequences they speak of, that one transaction takes at most; a single plan may have more. */
const MOST_PLANS = 64;
const MOST_SEQUENCES = 8_000;
/** Messages that are read together. */
const A_PORTION = 500;

/** Reads messages of a channel by ranges. Tests lose some of them here. */
export type ReadMessages = (
  client: PoolClient,
  place: Pick<Book, 'tenant' | 'channel'>,
  ranges: readonly SequenceRange[],
) => Promise<StoredUsage[]>;

export interface SequenceRange {
  readonly first: number;
  readonly last: number;
}

export interface LedgerDeps {
  readonly pool: Pool;
  readonly read?: ReadMessages;
}

/** Takes what the plans of channels say, batch after batch. Holds nothing between two batches but what it can read again. */
export class Ledger {
  readonly #known: Known;

  constructor(private readonly deps: LedgerDeps) {
    this.#known = new Known();
  }

  /**
   * Channels of live ledgers that plans speak of which they have not taken: of each tenant its furthest behind first, then of each its
   * second, so that one whose channels are held while its ledger is compared keeps nobody else's from being taken.
   */
  async due(most: number): Promise<Book[]> {
    const { rows } = await this.deps.pool.query<Book>(
      `select r.tenant, coalesce(l.live, 1) as book, r.channel from reader r
       left join ledger l on l.tenant = r.tenant
       left join ledger_mark m on m.tenant = r.tenant and m.book = coalesce(l.live, 1) and m.channel = r.channel
       where r.last_plan > coalesce(m.plan, 0)
       order by row_number() over (partition by r.tenant order by coalesce(m.plan, 0) - r.last_plan),
         coalesce(m.plan, 0) - r.last_plan limit $1`,
      [most],
    );
    return rows;
  }

  /** The next batch of a channel of the book in force; null where another process is at it, or there is none. */
  async take(place: Book): Promise<Taken | null> {
    return this.#inBatch(place, 'live', (client, mark, fresh) =>
      this.#next(client, place, mark, fresh, Number.MAX_SAFE_INTEGER),
    );
  }

  /** The next batch of a channel of the book that is being made anew, of plans up to `through`. */
  async takeThrough(place: Book, through: number): Promise<Taken | null> {
    return this.#inBatch(place, 'rebuilding', (client, mark, fresh) => this.#next(client, place, mark, fresh, through));
  }

  /** The same within a transaction of the caller's, which may yet be rolled back: what it makes is not remembered. */
  async takeWithin(client: PoolClient, place: Book, through: number): Promise<Taken | null> {
    const mark = await lockMark(client, place, 'rebuilding');
    return mark && this.#next(client, place, mark, nothingNew(place), through);
  }

  async #next(
    client: PoolClient,
    place: Book,
    mark: MarkRow,
    fresh: NewSeries,
    through: number,
  ): Promise<Taken | null> {
    const plans = await plansAfter(client, place, mark.plan, through);
    const last = plans.at(-1);
    if (!last) return null;
    const taken = await this.#write(client, place, mark, fresh, says(plans), last.number);
    return { ...taken, more: plans.length === MOST_PLANS || taken.messages >= MOST_SEQUENCES };
  }

  /** Looks at gaps again: whether the messages are there by now, and what the plans say of them. */
  async ask(place: Book, sequences: readonly number[]): Promise<Taken | null> {
    return this.#inBatch(place, 'live', async (client, mark, fresh) => {
      await client.query(
        `update ledger_gap set asked = asked + 1, asked_at = now()
         where tenant = $1 and book = $2 and channel = $3 and sequence = any ($4::bigint[])`,
        [place.tenant, place.book, place.channel, arrayOf(sequences)],
      );
      const said = await lastSaid(
        client,
        place,
        sequences.filter((sequence) => sequence <= mark.through),
      );
      return { ...(await this.#write(client, place, mark, fresh, said, mark.plan)), more: false };
    });
  }

  /** Feeds sequences to the ledger as a channel might that sends again what it sent before. For tests. */
  async feed(place: Book, said: readonly PlanSays[]): Promise<Taken | null> {
    return this.#inBatch(place, 'live', async (client, mark, fresh) => ({
      ...(await this.#write(client, place, mark, fresh, said, mark.plan)),
      more: false,
    }));
  }

  async #inBatch(
    place: Book,
    role: Role,
    fn: (client: PoolClient, mark: MarkRow, fresh: NewSeries) => Promise<Taken | null>,
  ): Promise<Taken | null> {
    const fresh = nothingNew(place);
    const taken = await inTransaction(this.deps.pool, async (client) => {
      const mark = await lockMark(client, place, role);
      return mark === null ? null : fn(client, mark, fresh);
    });
    // Not before the commit: what is rolled back was never there.
    this.#known.keep(fresh);
    return taken;
  }

  async #write(
    client: PoolClient,
    place: Book,
    mark: MarkRow,
    fresh: NewSeries,
    said: readonly PlanSays[],
    plan: number,
  ): Promise<Omit<Taken, 'more'>> {
    const gaps = await gapsAmong(
      client,
      place,
      said.map(({ sequence }) => sequence).filter((s) => s <= mark.through),
    );
    const known = await this.#known.of(client, place.tenant);
    fresh.version = known.version;
    const wanted = said.filter(({ sequence }) => sequence > mark.through || gaps.has(sequence));
    const repeated = said.length - wanted.length;
    const gists = known.meters.none ? NOBODY_COUNTS : await this.#gists(client, place, wanted, known);
    const judged = known.meters.none
      ? wanted.map(({ sequence }) => ({ sequence, gap: null }))
      : wanted.map((each) => judge(each, gists.get(each.sequence) ?? null));
    const admitted = admit({ through: mark.through, gaps }, judged);
    const reckoned = reckon(admitted.fresh.flatMap((sequence) => gists.get(sequence) ?? []));
    const series = await this.#known.series(client, place, reckoned.entries, fresh);
    const entries = reckoned.entries.map((entry, i) => journalled(entry, series[i] as number)).sort(byCell);
    const held = await heldAmong(client, place.tenant, entries);
    await writeEntries(client, place, entries, held);
    const cells = cellsOf(held.size === 0 ? entries : entries.filter((entry) => !held.has(entry)));
    await client.query({
      name: 'take_usage',
      text: TAKE_USAGE,
      values: parameters(place, admitted, gists, reckoned, cells, plan, repeated),
    });
    await takeBackfills(client, place, reckoned);
    return {
      messages: wanted.length,
      entries: reckoned.entries.length,
      repeated: repeated + admitted.repeated,
      opened: admitted.opened.size,
      healed: admitted.healed.length,
    };
  }

  /** What each says that is there. A portion at a time, so that no more than one is held whole. */
  async #gists(
    client: PoolClient,
    place: Book,
    wanted: readonly PlanSays[],
    { meters, sources, identify }: KnownTenant,
  ): Promise<Gists> {
    const read = this.deps.read ?? readMessages;
    const gists = new Map<number, Gist | null>();
    for (const ranges of portionsOf(rangesOf(wanted.map(({ sequence }) => sequence)), A_PORTION))
      for (const row of await read(client, place, ranges))
        gists.set(row.sequence, gistOf(ledgerMessage(row, sources), meters, place.channel, identify));
    return gists;
  }
}

/** By sequence; null for what is erased. */
type Gists = ReadonlyMap<number, Gist | null>;

const NOBODY_COUNTS: Gists = new Map();

interface MarkRow {
  readonly through: number;
  readonly plan: number;
}

/** What a book has to be to its tenant for a batch to go into it, at the moment it does. */
type Role = 'live' | 'rebuilding';

const BOOK_IN_ROLE: Readonly<Record<Role, string>> = {
  live: 'coalesce((select live from ledger where tenant = $1), 1)',
  rebuilding: '(select rebuilding from ledger where tenant = $1)',
};

/** Locks the channel's mark, made at its first batch; null where another process holds it, or the book has lost its role. */
async function lockMark(client: PoolClient, { tenant, book, channel }: Book, role: Role): Promise<MarkRow | null> {
  const lock = async () => {
    const { rows } = await client.query<MarkRow>({
      name: `lock_ledger_mark_${role}`,
      text: `select through, plan from ledger_mark
        where tenant = $1 and book = $2 and channel = $3 and $2 = ${BOOK_IN_ROLE[role]} for update skip locked`,
      values: [tenant, book, channel],
    });
    return rows[0] ?? null;
  };
  const found = await lock();
  if (found) return found;
  const made = await client.query(
    `insert into ledger_mark (tenant, book, channel) select $1, $2::smallint, $3
     where $2 = ${BOOK_IN_ROLE[role]} and not exists (
       select from ledger_mark where tenant = $1 and book = $2 and channel = $3)
     on conflict do nothing`,
    [tenant, book, channel],
  );
  return made.rowCount === 0 ? null : lock();
}

interface PlanOf {
  readonly number: number;
  readonly runs: readonly Pick<Run, 's' | 'n' | 'r' | 'm'>[];
}

async function plansAfter(
  client: PoolClient,
  { tenant, channel }: Book,
  after: number,
  through: number,
): Promise<PlanOf[]> {
  const { rows } = await client.query<PlanOf>({
    name: 'plans_of_ledger',
    text: `select number, runs from plan where tenant = $1 and channel = $2 and number > $3 and number <= $4
      order by number limit ${MOST_PLANS}`,
    values: [tenant, channel, after, through],
  });
  let sequences = 0;
  return rows.filter(({ runs }, i) => {
    const before = sequences;
    sequences += runs.reduce((sum, { n }) => sum + n, 0);
    return i === 0 || (before < MOST_SEQUENCES && sequences <= 2 * MOST_SEQUENCES);
  });
}

/** What plans say of their sequences, in their order. */
function says(plans: readonly PlanOf[]): PlanSays[] {
  const said: PlanSays[] = [];
  for (const { runs } of plans) {
    for (const run of runs) {
      const gap = gapOf(run);
      if (gap === 'nothing') continue;
      for (let i = 0; i < run.n; i++) said.push({ sequence: run.s + i, gap });
    }
  }
  return said;
}

/** `nothing`: the run speaks of deliveries alone. */
function gapOf({ m, r }: Pick<Run, 'm' | 'r'>): GapReason | null | 'nothing' {
  switch (m) {
    case 'deliver':
    case 'close':
    case 'wait':
      return r === 0 ? null : 'partial';
    case 'park':
      return 'parked';
    case 'quarantine':
      return 'quarantined';
    case 'cancel':
      return 'nothing';
    default: {
      const never: never = m;
      return never;
    }
  }
}

/** What was said last of single sequences. */
async function lastSaid(
  client: PoolClient,
  { tenant, channel }: Book,
  sequences: readonly number[],
): Promise<PlanSays[]> {
  if (sequences.length === 0) return [];
  const { rows } = await client.query<PlanOf>(
    `select distinct on (p.number) p.number, p.runs from unnest($3::bigint[]) as w(sequence) cross join lateral (
       (select number, runs from plan where tenant = $1 and channel = $2 and kind = 'stream'
          and first_sequence <= w.sequence order by first_sequence desc limit 1)
       union all
       (select number, runs from plan where tenant = $1 and channel = $2 and kind = 'extra'
          and first_sequence <= w.sequence and last_sequence >= w.sequence)) p
     order by p.number`,
    [tenant, channel, arrayOf(sequences)],
  );
  const wanted = new Set(sequences);
  const last = new Map(says(rows).flatMap((each) => (wanted.has(each.sequence) ? [[each.sequence, each]] : [])));
  return [...last.values()];
}

async function gapsAmong(
  client: PoolClient,
  { tenant, book, channel }: Book,
  sequences: readonly number[],
): Promise<Map<number, GapReason>> {
  if (sequences.length === 0) return new Map();
  const { rows } = await client.query<{ sequence: number; reason: GapReason }>(
    `select sequence, reason from ledger_gap
     where tenant = $1 and book = $2 and channel = $3 and sequence = any ($4::bigint[])`,
    [tenant, book, channel, arrayOf(sequences)],
  );
  return new Map(rows.map(({ sequence, reason }) => [sequence, reason]));
}

/** A message as the store has it; `source` is its row's number. */
export interface StoredUsage {
  readonly sequence: number;
  readonly source: number;
  readonly kind: Kind;
  readonly account: string;
  readonly type: string | null;
  readonly meta: string | null;
  /** A character a byte, of what came as one JSON text. */
  readonly text: string | null;
  readonly raw: Buffer | null;
  readonly at: string;
  readonly arrived_at: string;
  readonly erased: boolean;
}

function ledgerMessage(row: StoredUsage, sources: ReadonlyMap<number, string>): LedgerMessage {
  return {
    sequence: row.sequence,
    source: sources.get(row.source) ?? '',
    kind: row.kind,
    account: row.account,
    type: row.type,
    meta: row.meta,
    raw: row.text === null ? (row.raw ?? '') : textOfBytes(row.text),
    at: row.at,
    arrivedAt: row.arrived_at,
    erased: row.erased,
  };
}

/** Characters of a byte each, as the UTF-8 they are. */
function textOfBytes(characters: string): string {
  const isAscii = Buffer.byteLength(characters) === characters.length;
  return isAscii ? characters : Buffer.from(characters, 'latin1').toString();
}

/** UTC, `YYYY-MM-DD HH:MM:SS.ffffff+00` without zeros at the end: microseconds are kept, and earlier is less. */
function textOf(time: string): string {
  return `(${time} at time zone 'UTC')::text || '+00'`;
}

/**
 * What came as one JSON text is read as text: of a bytea the driver gets two digits a byte, which cost a tenth of the ledger's time. No text
 * holds a NUL.
 */
const IS_TEXT = `m.kind = 'event' and m.meta is null and position('\\x00'::bytea in m.raw) = 0`;

/** Each span of the channel that the ranges touch is read from its own partition. */
export const readMessages: ReadMessages = async (client, { tenant, channel }, ranges) => {
  if (ranges.length === 0) return [];
  const { rows } = await client.query<StoredUsage>({
    name: 'read_usage',
    text: `with spans as materialized (
        select generation, first_sequence as first,
          coalesce(lead(first_sequence) over (order by first_sequence) - 1, ${Number.MAX_SAFE_INTEGER}) as last
        from span where tenant = $1 and channel = $2)
      select m.sequence, m.source, m.kind, m.account, m.type, m.meta::text as meta,
        case when ${IS_TEXT} then convert_from(m.raw, 'LATIN1') end as text,
        -- No meter looks into mails.
        case when m.kind <> 'mail' and not (${IS_TEXT}) then m.raw end as raw,
        ${textOf('coalesce(m.event_time, m.arrived_at)')} as at, ${textOf('m.arrived_at')} as arrived_at,
        m.erased_at is not null as erased
      from unnest($3::bigint[], $4::bigint[]) as w(first, last)
      join spans s on s.first <= w.last and s.last >= w.first and s.generation > 0
      cross join lateral (select * from message where generation = s.generation and tenant = $1 and channel = $2
        and sequence between greatest(w.first, s.first) and least(w.last, s.last)
        order by sequence limit greatest(w.last - w.first + 1, 0)) m`,
    values: [tenant, channel, arrayOf(ranges.map(({ first }) => first)), arrayOf(ranges.map(({ last }) => last))],
  });
  return rows;
};

/** Numbers in any order, as ranges without gaps. */
function rangesOf(sequences: readonly number[]): SequenceRange[] {
  const ranges: { first: number; last: number }[] = [];
  for (const sequence of [...sequences].sort((a, b) => a - b)) {
    const last = ranges.at(-1);
    if (last && sequence <= last.last + 1) last.last = sequence;
    else ranges.push({ first: sequence, last: sequence });
  }
  return ranges;
}

/** The same numbers, so many a portion. */
function* portionsOf(ranges: readonly SequenceRange[], most: number): Generator<SequenceRange[]> {
  let portion: SequenceRange[] = [];
  let room = most;
  for (const { first, last } of ranges) {
    for (let from = first; from <= last; ) {
      const to = Math.min(last, from + room - 1);
      portion.push({ first: from, last: to });
      room -= to - from + 1;
      from = to + 1;
      if (room > 0) continue;
      yield portion;
      portion = [];
      room = most;
    }
  }
  if (portion.length > 0) yield portion;
}

/** Series remembered; some hundred bytes each. */
const MOST_SERIES = 300_000;

/** Series that a batch made, by what they are of, and the version of the configuration it saw. */
interface NewSeries {
  readonly tenant: number;
  version: number;
  readonly ids: SeriesIds;
}

function nothingNew({ tenant }: Book): NewSeries {
  return { tenant, version: 0, ids: new SeriesIds() };
}

interface KnownTenant {
  readonly meters: Meters;
  readonly sources: ReadonlyMap<number, string>;
  readonly version: number;
  /** Keyed as fingerprints are. */
  readonly identify: Identify;
}

/** What is known of tenants' meters and series, as of one version of the configuration. */
class Known {
  readonly #tenants = new Map<number, KnownTenant>();
  readonly #series = new Map<number, SeriesIds>();
  #version = -1;

  /** Asked in the transaction that holds a mark: whoever changes a meter or erases an account holds it, too. */
  async of(client: PoolClient, tenant: number): Promise<KnownTenant> {
    const { rows } = await client.query<{ version: number }>('select version from configuration');
    const version = rows[0]?.version ?? 0;
    if (version > this.#version) {
      this.#tenants.clear();
      this.#series.clear();
      this.#version = version;
    }
    const known = this.#tenants.get(tenant);
    if (known) return known;
    const read = {
      meters: await metersOf(client, tenant),
      sources: await sourcesOf(client, tenant),
      version,
      identify: identifier(await fingerprintSecret(client), tenant),
    };
    if (version === this.#version) this.#tenants.set(tenant, read);
    return read;
  }

  /** A number for each entry, in their order. */
  async series(client: PoolClient, place: Book, entries: readonly NewEntry[], fresh: NewSeries): Promise<number[]> {
    const ofTenant = this.#series.get(place.tenant);
    const known = entries.map((entry) => ofTenant?.of(entry));
    const unknown = new SeriesIds();
    const first = entries.filter((entry, i) => known[i] === undefined && unknown.add(entry, 0));
    if (first.length > 0) await makeSeries(client, place, first, fresh.ids);
    return known.map((id, i) => {
      const found = id ?? fresh.ids.of(entries[i] as NewEntry);
      if (found === undefined) throw new Error('a series that was just made is not there');
      return found;
    });
  }

  keep({ tenant, version, ids }: NewSeries): void {
    if (version !== this.#version) return;
    const held = [...this.#series.values()].reduce((sum, { size }) => sum + size, 0);
    if (held + ids.size > MOST_SERIES) this.#series.clear();
    placed(this.#series, tenant, () => new SeriesIds()).addAll(ids);
  }
}

/** Whose usage, by which meter, told apart by what. */
type SeriesOf = { readonly account: string; readonly meter: number; readonly dimensions: string };

/** Numbers of a tenant's series, by what they are of. Found for each entry: a key joined out of strings would cost more than three maps. */
class SeriesIds {
  readonly #byMeter = new Map<number, Map<string, Map<string, number>>>();
  size = 0;

  of({ gist, measured }: NewEntry): number | undefined {
    return this.#byMeter.get(measured.meter.id)?.get(measured.dimensions)?.get(gist.account);
  }

  /** False where it is there already. */
  add({ gist, measured }: NewEntry, id: number): boolean {
    return this.set({ account: gist.account, meter: measured.meter.id, dimensions: measured.dimensions }, id);
  }

  set({ account, meter, dimensions }: SeriesOf, id: number): boolean {
    const ofMeter = placed(this.#byMeter, meter, () => new Map<string, Map<string, number>>());
    const byAccount = placed(ofMeter, dimensions, () => new Map<string, number>());
    if (byAccount.has(account)) return false;
    byAccount.set(account, id);
    this.size++;
    return true;
  }

  addAll(others: SeriesIds): void {
    for (const [meter, ofMeter] of others.#byMeter)
      for (const [dimensions, byAccount] of ofMeter)
        for (const [account, id] of byAccount) this.set({ account, meter, dimensions }, id);
  }
}

function placed<Key, Value>(map: Map<Key, Value>, key: Key, make: () => Value): Value {
  const there = map.get(key);
  if (there !== undefined) return there;
  const made = make();
  map.set(key, made);
  return made;
}

async function makeSeries(
  client: PoolClient,
  { tenant, channel }: Book,
  entries: readonly NewEntry[],
  ids: SeriesIds,
): Promise<void> {
  const values = [
    tenant,
    textArray(entries.map(({ gist }) => gist.account)),
    arrayOf(entries.map(({ measured }) => measured.meter.id)),
    textArray(entries.map(({ measured }) => measured.dimensions)),
    channel,
  ];
  const of = 'unnest($2::text[], $3::int[], $4::text[]) as i(account, meter, dimensions)';
  await client.query(
    `insert into usage_series (tenant, account, meter, dimensions, channel)
     select $1, i.account, i.meter, i.dimensions, $5::smallint from ${of} order by 2, 3, 4 on conflict (tenant, account, meter, dimensions) where erased_at is null do nothing`,
    values,
  );
  const { rows } = await client.query<SeriesOf & { readonly id: number }>(
    `select s.id, s.account, s.meter, s.dimensions from ${of} join usage_series s on s.tenant = $1
       and s.account = i.account and s.meter = i.meter and s.dimensions = i.dimensions and s.erased_at is null`,
    values.slice(0, 4),
  );
  for (const { id, ...of } of rows) ids.set(of, id);
}

/** All meters there ever were, so that a replay comes to the same. */
export async function metersOf(client: Pool | PoolClient, tenant: number): Promise<Meters> {
  const { rows } = await client.query<{
    id: number;
    name: string;
    definition: unknown;
    since: Marks;
    until: Marks | null;
  }>(
    `select id, name, definition, since, until from billing_definition where tenant = $1 and kind = 'meter' order by id`,
    [tenant],
  );
  return new Meters(rows.map((row) => ({ ...row, definition: meterSchema.parse(row.definition) })));
}

async function sourcesOf(client: PoolClient, tenant: number): Promise<Map<number, string>> {
  const { rows } = await client.query<{ id: number; name: string }>('select id, name from source where tenant = $1', [
    tenant,
  ]);
  return new Map(rows.map(({ id, name }) => [id, name]));
}

/** An entry as it goes into the journal. */
interface Journalled extends Countable {
  readonly arrivedAt: string;
  /** Its meter holds what comes after a period is final. */
  readonly hold: boolean;
}

function journalled({ gist, measured }: NewEntry, series: number): Journalled {
  const { sequence, at, arrivedAt, own } = gist;
  const { meter, value, member } = measured;
  const { aggregation, late } = meter.definition;
  return { series, aggregation, at, arrivedAt, sequence, value, member, hold: late === 'quarantine' && !own };
}

/** Those that a person decides on, because their period was final before they came. */
async function heldAmong(
  client: PoolClient,
  tenant: number,
  entries: readonly Journalled[],
): Promise<ReadonlySet<Journalled>> {
  const asked = entries.filter(({ hold }) => hold);
  if (asked.length === 0) return new Set();
  const { rows } = await client.query<{ n: number }>(
    `select i.n from unnest($2::bigint[], $3::timestamptz[], $4::bigint[]) with ordinality as i(series, at, sequence, n)
     join usage_series s on s.tenant = $1 and s.id = i.series
     where exists (select from statement t where t.tenant = $1 and t.account = s.account and t.period_from <= i.at
       and t.period_to > i.at and t.through < i.sequence)`,
    [
      tenant,
      arrayOf(asked.map(({ series }) => series)),
      textArray(asked.map(({ at }) => at)),
      arrayOf(asked.map(({ sequence }) => sequence)),
    ],
  );
  return new Set(rows.map(({ n }) => asked[n - 1] as Journalled));
}

/** By COPY, which costs less than a statement with arrays. No field holds what would have to be escaped. */
async function writeEntries(
  client: PoolClient,
  { tenant, book, channel }: Book,
  entries: readonly Journalled[],
  held: ReadonlySet<Journalled>,
): Promise<void> {
  if (entries.length === 0) return;
  let text = '';
  for (const entry of entries) {
    const { sequence, series, at, arrivedAt, value, member } = entry;
    const state = held.has(entry) ? 'h' : 'c';
    text += `${tenant}\t${book}\t${channel}\t${sequence}\t${series}\t${at}\t${arrivedAt}\t${value ?? '\\N'}\t${member ?? '\\N'}\t${state}\n`;
  }
  const into = client.query(
    copyFrom(
      'copy usage_entry (tenant, book, channel, sequence, series, at, arrived_at, value, member, state) from stdin',
    ),
  );
  into.end(text);
  await finished(into);
}

const HOW: Readonly<Record<Aggregation, string>> = { count: 'c', sum: 's', max: 'x', min: 'n', last: 'l', unique: 'u' };

const TAKE_USAGE = `select take_usage(${Array.from({ length: 39 }, (_, i) => `$${i + 1}`).join(', ')})`;

function hourText({ hour }: Cell): string {
  return `${hour}:00+00`;
}

function parameters(
  { tenant, book, channel }: Book,
  admitted: Admitted,
  gists: Gists,
  { entries, corrections, problems, unmetered }: ReturnType<typeof reckon>,
  cells: readonly Cell[],
  plan: number,
  repeated: number,
): unknown[] {
  const gaps = [...admitted.opened].map(([sequence, reason]) => ({
    sequence,
    reason,
    gist: gists.get(sequence) ?? null,
  }));
  const members = cells.flatMap((cell) => cell.members.map((member) => ({ cell, member })));
  return [
    tenant,
    book,
    channel,
    admitted.through,
    plan,
    repeated + admitted.repeated,
    arrayOf(gaps.map(({ sequence }) => sequence)),
    textArray(gaps.map(({ reason }) => reason)),
    textArray(gaps.map(({ gist }) => gist?.account ?? null)),
    textArray(gaps.map(({ gist }) => gist?.at ?? null)),
    arrayOf(admitted.healed),
    arrayOf(entries.flatMap(({ gist }, i) => (gist === entries[i - 1]?.gist ? [] : gist.sequence))),
    arrayOf(cells.map(({ series }) => series)),
    textArray(cells.map(hourText)),
    textArray(cells.map(({ aggregation }) => HOW[aggregation])),
    arrayOf(cells.map(({ events }) => events)),
    textArray(cells.map(({ value }) => value)),
    textArray(cells.map(({ at }) => at)),
    arrayOf(cells.map(({ sequence }) => sequence)),
    arrayOf(cells.map(({ first }) => first)),
    arrayOf(cells.map(({ final }) => final)),
    arrayOf(members.map(({ cell }) => cell.series)),
    textArray(members.map(({ cell }) => hourText(cell))),
    textArray(members.map(({ member }) => member)),
    textArray(unmetered.map(({ type }) => type)),
    textArray(unmetered.map(({ day }) => day)),
    arrayOf(unmetered.map(({ events }) => events)),
    arrayOf(unmetered.map(({ sequence }) => sequence)),
    arrayOf(problems.map(({ gist }) => gist.sequence)),
    arrayOf(problems.map(({ meter }) => meter)),
    textArray(problems.map(({ code }) => code)),
    textArray(problems.map(({ gist }) => gist.account)),
    textArray(problems.map(({ gist }) => gist.at)),
    arrayOf(corrections.map(({ gist }) => gist.sequence)),
    textArray(corrections.map(({ correction }) => correction.action)),
    arrayOf(corrections.map(({ correction }) => correction.target.sequence)),
    textArray(corrections.map(({ correction }) => correction.who)),
    textArray(corrections.map(({ correction }) => correction.why)),
    textArray(corrections.map(({ gist }) => gist.arrivedAt)),
  ];
}
