import type { Pool, PoolClient } from 'pg';
import type { NewInThread, PlacedInThread } from '../owner/ports.js';
import type { ThreadContent } from '../routing/thread/content.js';
import type { Earlier } from '../routing/thread/follow.js';
import { joinThreads, referenceKey } from '../routing/thread/place.js';
import { arrayOf, textArray } from './array.js';
import { classify, inTransaction } from './pool.js';

/** Messages before one that count for it. */
const BEFORE = 20;
/** Each time somebody else has placed a message of the same conversation meanwhile. */
const TRIES = 10;

/**
 * Gives messages their numbers in their conversations, in the order given, in one transaction that `begin` opens: it holds the
 * leases. What was placed before keeps its number.
 */
export async function placeInThreads(
  pool: Pool,
  begin: (client: PoolClient) => Promise<unknown>,
  messages: readonly NewInThread[],
): Promise<PlacedInThread[]> {
  for (let tries = 1; ; tries++) {
    try {
      return await inTransaction(pool, async (client) => {
        await begin(client);
        return place(client, messages);
      });
    } catch (error) {
      if (tries === TRIES || classify(error) !== 'repeat') throw error;
    }
  }
}

/** Of a message whose place was kept for it while it could not be read: what later ones are compared with. */
async function completeKept(client: PoolClient, placed: readonly NewInThread[]): Promise<void> {
  const read = placed.filter(({ content }) => content !== null);
  if (read.length === 0) return;
  await client.query({
    name: 'complete_in_threads',
    text: `update thread_message m set content = i.content::json
       from unnest($1::int[], $2::smallint[], $3::bigint[], $4::text[]) as i(tenant, channel, sequence, content)
       where m.tenant = i.tenant and m.channel = i.channel and m.sequence = i.sequence and m.content is null`,
    values: [...placesOf(read), textArray(read.map(({ content }) => JSON.stringify(content)))],
  });
}

interface Position {
  readonly thread: number;
  readonly number: number;
}

async function place(client: PoolClient, messages: readonly NewInThread[]): Promise<PlacedInThread[]> {
  const { placed, known } = await whatIsKnown(client, messages);
  await completeKept(client, [...placed.keys()]);
  const unplaced = messages.filter((message) => !placed.has(message));
  for (const [i, position] of (await placeNew(client, unplaced, known)).entries()) {
    placed.set(unplaced[i] as NewInThread, position);
  }
  const before = await messagesBefore(client, messages, placed);
  return messages.map((message) => {
    const { thread, number } = placed.get(message) as Position;
    const earlier = message.asks ? (before.get(`${message.held.tenant}/${thread}`) ?? []) : [];
    return { id: thread, number, before: earlier.filter((one) => one.number < number).slice(0, BEFORE) };
  });
}

/** Numbers that were given before, and threads that what they name leads to. */
async function whatIsKnown(
  client: PoolClient,
  messages: readonly NewInThread[],
): Promise<{ placed: Map<NewInThread, Position>; known: Map<string, number> }> {
  const named = messages.flatMap(({ held, keys }) => keys.references.map((hash) => ({ tenant: held.tenant, hash })));
  const references = [...new Map(named.map((one) => [referenceKey(one.tenant, one.hash), one])).values()];
  // Looked up one by one, however large the tables are.
  const { rows } = await client.query<{ message: number | null; reference: number | null } & Position>({
    name: 'known_threads',
    text: `select i.ord as message, null::bigint as reference, m.thread, m.number
       from unnest($1::int[], $2::smallint[], $3::bigint[]) with ordinality as i(tenant, channel, sequence, ord)
       cross join lateral (select thread, number from thread_message where tenant = i.tenant and channel = i.channel
         and sequence = i.sequence offset 0) m
     union all
     select null, i.ord, r.thread, 0 from unnest($4::int[]) with ordinality as i(tenant, ord)
       cross join lateral (select thread from thread_reference where tenant = i.tenant
         and hash = substr($5::bytea, (i.ord::int - 1) * 16 + 1, 16) offset 0) r`,
    values: [
      ...placesOf(messages),
      arrayOf(references.map(({ tenant }) => tenant)),
      Buffer.from(references.map(({ hash }) => hash).join(''), 'hex'),
    ],
  });
  const placed = new Map<NewInThread, Position>();
  const known = new Map<string, number>();
  for (const { message, reference, thread, number } of rows) {
    if (message !== null) placed.set(messages[message - 1] as NewInThread, { thread, number });
    const found = reference === null ? undefined : references[reference - 1];
    if (found) known.set(referenceKey(found.tenant, found.hash), thread);
  }
  return { placed, known };
}

function placesOf(messages: readonly NewInThread[]): string[] {
  return [
    arrayOf(messages.map(({ held }) => held.tenant)),
    arrayOf(messages.map(({ held }) => held.channel)),
    arrayOf(messages.map(({ sequence }) => sequence)),
  ];
}

async function placeNew(
  client: PoolClient,
  messages: readonly NewInThread[],
  known: ReadonlyMap<string, number>,
): Promise<Position[]> {
  if (messages.length === 0) return [];
  const joined = joinThreads(
    messages.map(({ held, keys }) => ({ tenant: held.tenant, references: keys.references })),
    known,
  );
  const { rows } = await client.query<Position>({
    name: 'place_in_threads',
    text: 'select thread, number from place_in_threads($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)',
    values: [
      arrayOf(joined.begun),
      arrayOf(joined.references.map(({ tenant }) => tenant)),
      arrayOf(joined.references.map(({ thread }) => thread)),
      Buffer.from(joined.references.map(({ hash }) => hash).join(''), 'hex'),
      ...placesOf(messages),
      arrayOf(joined.threads),
      Buffer.from(messages.map(({ keys }) => keys.party).join(''), 'hex'),
      textArray(messages.map(({ content }) => content && JSON.stringify(content))),
      arrayOf(joined.links.map(({ tenant }) => tenant)),
      arrayOf(joined.links.map(({ thread }) => thread)),
      arrayOf(joined.links.map(({ other }) => other)),
    ],
  });
  return rows;
}

/** What comes before the messages that ask, newest first, by tenant and thread; those that were placed with them included. */
async function messagesBefore(
  client: PoolClient,
  messages: readonly NewInThread[],
  placed: ReadonlyMap<NewInThread, Position>,
): Promise<Map<string, Earlier[]>> {
  const wanted = new Map<string, { tenant: number; thread: number; last: number; most: number }>();
  for (const message of messages) {
    const { thread, number } = placed.get(message) as Position;
    const { tenant } = message.held;
    const key = `${tenant}/${thread}`;
    const { last = 0, most = BEFORE } = wanted.get(key) ?? {};
    // Nothing comes before the first, and most messages are.
    if ((message.asks && number > 1) || wanted.has(key)) {
      wanted.set(key, { tenant, thread, last: Math.max(last, number), most: most + 1 });
    }
  }
  if (wanted.size === 0) return new Map();
  const threads = [...wanted.values()];
  const { rows } = await client.query<EarlierRow>({
    name: 'threads_before',
    text: `select m.* from unnest($1::int[], $2::bigint[], $3::bigint[], $4::int[]) as w(tenant, thread, last, most)
       cross join lateral (select tenant, thread, ${EARLIER_COLUMNS} from thread_message
         where tenant = w.tenant and thread = w.thread and number < w.last order by number desc limit w.most) m
       order by m.tenant, m.thread, m.number desc`,
    values: [
      arrayOf(threads.map(({ tenant }) => tenant)),
      arrayOf(threads.map(({ thread }) => thread)),
      arrayOf(threads.map(({ last }) => last)),
      arrayOf(threads.map(({ most }) => most)),
    ],
  });
  const before = new Map<string, Earlier[]>();
  for (const { tenant, thread, ...earlier } of rows) {
    const key = `${tenant}/${thread}`;
    const list = before.get(key);
    if (list) list.push(earlier);
    else before.set(key, [earlier]);
  }
  return before;
}

interface EarlierRow extends Earlier {
  readonly tenant: number;
  readonly thread: number;
  readonly content: ThreadContent | null;
}

/** Of the rows of thread_message. What was simply delivered has no row of its own, so few have any. */
export const EARLIER_COLUMNS = `channel, sequence, number, encode(party, 'hex') as party, content, targets,
  array(select d.target from delivery d where d.tenant = thread_message.tenant and d.channel = thread_message.channel
    and d.sequence = thread_message.sequence group by d.target
    having bool_or(d.state = 'failed') and not bool_or(d.state in ('delivered', 'pending')) order by d.target) as missed`;

/** Where conversations go with messages, as it comes to be known with plans. */
export async function noteCourses(
  client: PoolClient,
  courses: readonly {
    readonly tenant: number;
    readonly channel: number;
    readonly sequence: number;
    readonly targets: readonly number[];
    readonly how: 'set' | 'add' | 'remove';
  }[],
): Promise<void> {
  for (const rows of inTurns(courses)) {
    await client.query(
      `update thread_message m set targets = case i.how when 'set' then i.targets::int[]
           when 'add' then array(select unnest(m.targets) union select unnest(i.targets::int[]) order by 1)
           else array(select unnest(m.targets) except select unnest(i.targets::int[]) order by 1) end
       from unnest($1::int[], $2::smallint[], $3::bigint[], $4::text[], $5::text[])
         as i(tenant, channel, sequence, targets, how)
       where m.tenant = i.tenant and m.channel = i.channel and m.sequence = i.sequence`,
      [
        arrayOf(rows.map(({ tenant }) => tenant)),
        arrayOf(rows.map(({ channel }) => channel)),
        arrayOf(rows.map(({ sequence }) => sequence)),
        textArray(rows.map(({ targets }) => arrayOf(targets))),
        textArray(rows.map(({ how }) => how)),
      ],
    );
  }
}

/** A statement changes a row once: what is said of a message the second time comes in the next. */
function inTurns<T extends { readonly tenant: number; readonly channel: number; readonly sequence: number }>(
  rows: readonly T[],
): T[][] {
  const turns: T[][] = [];
  const said = new Map<string, number>();
  for (const row of rows) {
    const key = `${row.tenant}/${row.channel}/${row.sequence}`;
    const turn = said.get(key) ?? 0;
    said.set(key, turn + 1);
    const others = turns[turn];
    if (others) others.push(row);
    else turns.push([row]);
  }
  return turns;
}
