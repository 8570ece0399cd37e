import { createHash } from 'node:crypto';
import pg from 'pg';
import { until } from './until.js';

/*
 * Whether the books are right: a reading of the tables (src/storage/migrations) and of what consumers got that shares no
 * code with the program. Rules that don't hold come out as sentences, so that a test shows all of them at once.
 */

/** One message as it is stored. */
export interface StoredMessage {
  readonly tenant: string;
  readonly id: string;
  readonly channel: number;
  readonly sequence: number;
  readonly source: string;
  readonly kind: string;
  readonly account: string;
  readonly externalId: string | null;
  readonly sha256: string;
}

/** One delivery, wherever it is written: in a plan alone, or in a row of its own. */
export interface BookedDelivery {
  readonly tenant: string;
  readonly target: string;
  readonly epoch: number;
  readonly channel: number;
  readonly number: number;
  readonly sequence: number;
  readonly state: 'delivered' | 'pending' | 'failed' | 'cancelled';
  readonly void: 'due' | 'taken' | 'refused' | null;
}

export interface Counted {
  readonly sequenced: number;
  readonly duplicates: number;
  readonly conflicts: number;
  readonly expired: number;
}

/** Where messages that have a sequence stand; together they are all of them. */
export interface Places {
  readonly routed: number;
  readonly waiting: number;
  readonly parked: number;
  readonly quarantined: number;
  readonly closed: number;
}

export interface Books {
  /** Every rule that does not hold, in words; empty when all is well. */
  readonly violations: readonly string[];
  /** By `<tenant>/<channel>-<sequence>`. */
  readonly messages: ReadonlyMap<string, StoredMessage>;
  /** By `<tenant>/<target>/<epoch>/<channel>-<number>`. */
  readonly deliveries: ReadonlyMap<string, BookedDelivery>;
  /** What the channels counted, by tenant. */
  readonly counted: ReadonlyMap<string, Counted>;
  /** By tenant. */
  readonly places: ReadonlyMap<string, Places>;
}

/** What a consumer got, once for each time it got it. */
export interface Receipt {
  readonly tenant: string;
  readonly target: string;
  readonly epoch: number;
  readonly channel: number;
  readonly number: number;
  readonly sequence: number;
  readonly what: 'message' | 'void';
  /** The id the sender gave the message; null where the body does not show it. */
  readonly externalId: string | null;
  /** The broker gave it out before, to whom it may not have come: it comes out of its place. */
  readonly redelivered?: boolean;
}

export interface CheckOptions {
  /** Targets whose deliveries may still wait, as `<tenant>/<target>`. */
  readonly mayWait?: readonly string[];
  /** SQL that is run first and undone at the end: a test of the checker itself makes the books wrong with it. */
  readonly tamper?: string;
}

interface Run {
  readonly s: number;
  readonly n: number;
  readonly m: 'deliver' | 'close' | 'wait' | 'park' | 'quarantine' | 'cancel';
  readonly t: readonly (readonly [target: number, first: number, how: 'now' | 'later'])[];
}

interface Plan {
  readonly tenant: number;
  readonly channel: number;
  readonly number: number;
  readonly epoch: number;
  readonly kind: 'stream' | 'extra';
  readonly first_sequence: number;
  readonly last_sequence: number;
  readonly runs: readonly Run[];
  readonly chain: Buffer | null;
  readonly open: boolean;
}

interface Channel {
  readonly tenant: number;
  readonly channel: number;
  readonly last: number;
  readonly planned: number;
  readonly chain: Buffer;
  readonly extra_chain: Buffer;
  readonly duplicates: number;
  readonly conflicts: number;
  readonly expired: number;
}

/** Opens the books of a database and checks everything that must always hold. Meant for when nothing is under way. */
export async function check(databaseUrl: string, options: CheckOptions = {}): Promise<Books> {
  const client = await connect(databaseUrl);
  try {
    // One moment for all that is read, while processes may be running. It ends with the connection, undone.
    await client.query('begin isolation level repeatable read');
    if (options.tamper !== undefined) await client.query(options.tamper);
    return await readBooks(client, options);
  } finally {
    await client.end();
  }
}

/** Waits until every message is planned, no plan is open, nothing is parked and nothing waits that need not. */
export async function untilSettled(
  databaseUrl: string,
  options: CheckOptions & { withinMs?: number } = {},
): Promise<void> {
  const client = await connect(databaseUrl);
  let last: unknown;
  try {
    await until(
      async () => {
        const { rows } = await client.query(UNSETTLED, [options.mayWait ?? []]);
        last = rows[0];
        return Object.values(rows[0] as Record<string, number>).every((count) => count === 0);
      },
      'everything to be settled',
      options.withinMs ?? 60_000,
    );
  } catch (error) {
    throw new Error(`not settled: ${JSON.stringify(last)}`, { cause: error });
  } finally {
    await client.end();
  }
}

const UNSETTLED = `select
  (select coalesce(sum(c.last_sequence - r.planned), 0) from channel c join reader r using (tenant, channel)) as unplanned,
  (select count(*) from plan where open) as open_plans,
  (select count(*) from standing where state = 'parked') as parked,
  (select count(*) from decision where plan is null and action in ('assign', 'unassign', 'replay')) as undecided,
  (select count(*) from delivery d join target t on t.tenant = d.tenant and t.id = d.target
    join tenant n on n.id = d.tenant where (d.state = 'pending' or d.void = 'due')
    and n.name || '/' || t.name <> all ($1::text[])) as waiting`;

async function connect(url: string): Promise<pg.Client> {
  const client = new pg.Client({
    connectionString: url,
    options: '-c search_path=waybill,public',
    types: { getTypeParser },
  });
  await client.connect();
  return client;
}

/** bigint and numeric as numbers: nothing here comes near 2^53. */
function getTypeParser(oid: number, format?: 'text' | 'binary'): (value: string) => unknown {
  if (oid === 20 || oid === 1700) return Number;
  return format === 'binary' ? pg.types.getTypeParser(oid, 'binary') : pg.types.getTypeParser(oid, 'text');
}

async function readBooks(client: pg.Client, options: CheckOptions): Promise<Books> {
  const violations: string[] = [];
  const broken = (sentence: string) => {
    if (violations.length < 50) violations.push(sentence);
  };
  const tenants = await namesOf(client, 'select id, name from tenant');
  const targets = await namesOf(client, 'select id, name from target');
  const tenantName = (id: number) => tenants.get(id) ?? `#${id}`;
  const targetName = (id: number) => targets.get(id) ?? `#${id}`;

  const channels = await readChannels(client);
  const messages = await readMessages(client, tenantName);
  checkSequences(channels, messages, tenantName, broken);
  await checkSpans(client, broken);
  await checkKeys(client, messages, tenantName, broken);
  await checkHashes(client, broken);
  const plans = await readPlans(client);
  checkPlans(channels, plans, messages, tenantName, broken);
  const planned = plannedDeliveries(plans, tenantName, targetName, broken);
  const deliveries = await bookDeliveries(client, planned, { tenantName, targetName }, options, broken);
  await checkLines(client, planned, { tenantName, targetName }, broken);
  const places = await checkStandings(client, plans, tenantName, broken);
  const counted = countedOf(channels, tenantName);
  checkPlaces(counted, places, broken);
  await checkSetAside(client, counted, tenantName, broken);
  return { violations, messages, deliveries, counted, places };
}

type Broken = (sentence: string) => void;
type NameOf = (id: number) => string;

async function namesOf(client: pg.Client, sql: string): Promise<Map<number, string>> {
  const { rows } = await client.query<{ id: number; name: string }>(sql);
  return new Map(rows.map(({ id, name }) => [id, name]));
}

async function readChannels(client: pg.Client): Promise<Channel[]> {
  const { rows } = await client.query<Channel>(
    `select c.tenant, c.channel, c.last_sequence as last, r.planned, r.chain, r.extra_chain, c.duplicates, c.conflicts, c.expired
     from channel c join reader r using (tenant, channel) order by c.tenant, c.channel`,
  );
  return rows;
}

async function readMessages(client: pg.Client, tenantName: NameOf): Promise<Map<string, StoredMessage>> {
  const { rows } = await client.query<{
    tenant: number;
    channel: number;
    sequence: number;
    source: string;
    kind: string;
    account: string;
    external_id: string | null;
    sha256: Buffer;
  }>(
    `select m.tenant, m.channel, m.sequence, s.name as source, m.kind, m.account, m.external_id, m.sha256
     from message m join source s on s.tenant = m.tenant and s.id = m.source
     order by m.tenant, m.channel, m.sequence`,
  );
  return new Map(
    rows.map((row) => {
      const tenant = tenantName(row.tenant);
      const id = `${row.channel}-${row.sequence}`;
      const message = {
        tenant,
        id,
        channel: row.channel,
        sequence: row.sequence,
        source: row.source,
        kind: row.kind,
        account: row.account,
        externalId: row.external_id,
        sha256: row.sha256.toString('hex'),
      };
      return [`${tenant}/${id}`, message];
    }),
  );
}

/** Sequences of a channel are 1, 2, 3 … up to its last, each with one message; a (tenant, account) has one channel. */
function checkSequences(
  channels: readonly Channel[],
  messages: ReadonlyMap<string, StoredMessage>,
  tenantName: NameOf,
  broken: Broken,
): void {
  const counts = new Map<string, number>();
  const channelOfAccount = new Map<string, number>();
  for (const { tenant, channel, account } of messages.values()) {
    counts.set(`${tenant}/${channel}`, (counts.get(`${tenant}/${channel}`) ?? 0) + 1);
    const before = channelOfAccount.get(`${tenant}/${account}`);
    if (before !== undefined && before !== channel) broken(`account ${account} of ${tenant} is in two channels`);
    channelOfAccount.set(`${tenant}/${account}`, channel);
  }
  for (const { tenant, channel, last, planned } of channels) {
    const name = `${tenantName(tenant)}/${channel}`;
    // No two rows share a sequence (the map would be short of one), so equal count and maximum leave no gap.
    for (let sequence = 1; sequence <= last; sequence++) {
      if (!messages.has(`${tenantName(tenant)}/${channel}-${sequence}`))
        broken(`${name} has no message ${sequence} of ${last}`);
    }
    if ((counts.get(name) ?? 0) !== last) broken(`${name} says ${last} messages and has ${counts.get(name) ?? 0}`);
    if (planned > last) broken(`${name} has planned ${planned} of ${last}`);
  }
}

/** Spans cover a channel's sequences from 1 on, and each message lies in the generation that its span says. */
async function checkSpans(client: pg.Client, broken: Broken): Promise<void> {
  const { rows } = await client.query<{
    tenant: number;
    channel: number;
    sequence: number;
    generation: number;
    said: number | null;
  }>(
    `select m.tenant, m.channel, m.sequence, m.generation, s.generation as said from message m
     left join lateral (select generation from span s where s.tenant = m.tenant and s.channel = m.channel
       and s.first_sequence <= m.sequence order by s.first_sequence desc limit 1) s on true
     where s.generation is distinct from m.generation limit 5`,
  );
  for (const row of rows) {
    broken(
      `${row.tenant}/${row.channel}-${row.sequence} lies in generation ${row.generation}, its span says ${row.said}`,
    );
  }
  const none = await client.query<{ tenant: number; channel: number; first: number }>(
    `select tenant, channel, min(first_sequence) as first from span group by 1, 2 having min(first_sequence) <> 1`,
  );
  for (const row of none.rows) broken(`the first span of ${row.tenant}/${row.channel} begins at ${row.first}`);
}

/** A key is once in a tenant over all generations, and keys and messages belong to each other one to one. */
async function checkKeys(
  client: pg.Client,
  messages: ReadonlyMap<string, StoredMessage>,
  tenantName: NameOf,
  broken: Broken,
): Promise<void> {
  const { rows } = await client.query<{ tenant: number; fingerprint: string; channel: number; sequence: number }>(
    `select tenant, encode(fingerprint, 'hex') as fingerprint, channel, sequence from key`,
  );
  const keys = new Set<string>();
  const keyed = new Set<string>();
  for (const { tenant, fingerprint, channel, sequence } of rows) {
    const name = `${tenantName(tenant)}/${channel}-${sequence}`;
    const key = `${tenant}/${fingerprint}`;
    if (keys.has(key)) broken(`key ${fingerprint} of ${tenantName(tenant)} is there more than once`);
    if (keyed.has(name)) broken(`${name} has two keys`);
    if (!messages.has(name)) broken(`${name} has a key and no message`);
    keys.add(key);
    keyed.add(name);
  }
  for (const name of messages.keys()) if (!keyed.has(name)) broken(`${name} has no key`);
}

async function checkHashes(client: pg.Client, broken: Broken): Promise<void> {
  const { rows } = await client.query<{ tenant: number; channel: number; sequence: number }>(
    'select tenant, channel, sequence from message where sha256 <> sha256(raw) and erased_at is null limit 5',
  );
  for (const row of rows) broken(`the bytes of ${row.tenant}/${row.channel}-${row.sequence} are not those of its hash`);
}

async function readPlans(client: pg.Client): Promise<Plan[]> {
  const { rows } = await client.query<Plan>(
    `select tenant, channel, number, epoch, kind, first_sequence, last_sequence, runs, chain, open
     from plan order by tenant, channel, number`,
  );
  return rows;
}

/**
 * The plans of the stream hold every sequence once, in order, up to the last planned one, and the running hash over
 * them is the channel's. Extra plans speak of messages that the stream has passed, and have a running hash of their own,
 * over their numbers as well.
 */
function checkPlans(
  channels: readonly Channel[],
  plans: readonly Plan[],
  messages: ReadonlyMap<string, StoredMessage>,
  tenantName: NameOf,
  broken: Broken,
): void {
  for (const channel of channels) {
    const name = `${tenantName(channel.tenant)}/${channel.channel}`;
    const own = plans.filter((plan) => plan.tenant === channel.tenant && plan.channel === channel.channel);
    let next = 1;
    let chain: Buffer = Buffer.alloc(32);
    let extraChain: Buffer = Buffer.alloc(32);
    const eightBytes = (n: number) => {
      const bytes = Buffer.alloc(8);
      bytes.writeBigUInt64BE(BigInt(n));
      return bytes;
    };
    const hashOf = (sequence: number) =>
      Buffer.from(messages.get(`${tenantName(channel.tenant)}/${channel.channel}-${sequence}`)?.sha256 ?? '', 'hex');
    own.forEach((plan, i) => {
      if (plan.number !== i + 1) broken(`plan ${plan.number} of ${name} comes where plan ${i + 1} should`);
      if (plan.kind === 'extra') {
        if (plan.last_sequence >= next)
          broken(`extra plan ${plan.number} of ${name} speaks of what the stream has not reached`);
        const hash = createHash('sha256').update(extraChain).update(eightBytes(plan.number));
        for (const { s, n } of plan.runs) {
          for (let sequence = s; sequence < s + n; sequence++)
            hash.update(eightBytes(sequence)).update(hashOf(sequence));
        }
        extraChain = hash.digest();
        if (!plan.chain?.equals(extraChain))
          broken(`the running hash of extra plan ${plan.number} of ${name} is another`);
        return;
      }
      const hash = createHash('sha256').update(chain);
      for (const run of plan.runs) {
        if (run.s !== next) broken(`plan ${plan.number} of ${name} goes on with ${run.s} instead of ${next}`);
        for (let sequence = run.s; sequence < run.s + run.n; sequence++) {
          hash.update(eightBytes(sequence)).update(hashOf(sequence));
        }
        next = run.s + run.n;
      }
      chain = hash.digest();
      if (plan.last_sequence !== next - 1)
        broken(`plan ${plan.number} of ${name} says it ends at ${plan.last_sequence}`);
      if (!plan.chain?.equals(chain)) broken(`the running hash of plan ${plan.number} of ${name} is another`);
    });
    if (channel.planned !== next - 1) broken(`${name} says ${channel.planned} planned, its plans say ${next - 1}`);
    if (channel.planned !== channel.last) broken(`${name} has planned ${channel.planned} of ${channel.last}`);
    if (!channel.chain.equals(chain)) broken(`the running hash of ${name} is not that of its last plan`);
    if (!channel.extra_chain.equals(extraChain)) broken(`the running hash of the extra plans of ${name} is another`);
  }
}

interface Planned {
  readonly tenant: number;
  readonly target: number;
  readonly epoch: number;
  readonly channel: number;
  readonly number: number;
  readonly sequence: number;
  readonly how: 'now' | 'later';
  readonly plan: Plan;
}

function deliveryName(
  { tenantName, targetName }: { tenantName: NameOf; targetName: NameOf },
  one: {
    readonly tenant: number;
    readonly target: number;
    readonly epoch: number;
    readonly channel: number;
    readonly number: number;
  },
): string {
  return `${tenantName(one.tenant)}/${targetName(one.target)}/${one.epoch}/${one.channel}-${one.number}`;
}

/** Every delivery number of the plans, each for one message alone. */
function plannedDeliveries(
  plans: readonly Plan[],
  tenantName: NameOf,
  targetName: NameOf,
  broken: Broken,
): Map<string, Planned> {
  const planned = new Map<string, Planned>();
  for (const plan of plans) {
    for (const run of plan.runs) {
      for (const [target, first, how] of run.t) {
        for (let i = 0; i < run.n; i++) {
          const { tenant, channel, epoch } = plan;
          const one = { tenant, target, epoch, channel, number: first + i, sequence: run.s + i, how, plan };
          const name = deliveryName({ tenantName, targetName }, one);
          const other = planned.get(name);
          if (other) broken(`${name} is used for ${other.sequence} and for ${one.sequence}`);
          planned.set(name, one);
        }
      }
    }
  }
  return planned;
}

interface Row {
  readonly tenant: number;
  readonly target: number;
  readonly epoch: number;
  readonly channel: number;
  readonly number: number;
  readonly sequence: number;
  readonly plan: number;
  readonly state: BookedDelivery['state'];
  readonly void: BookedDelivery['void'];
  readonly kind: string;
  readonly code: string | null;
  readonly reason: string | null;
}

/** Each planned delivery is delivered, or waits where it may, or ended otherwise with a reason and a void notice. */
async function bookDeliveries(
  client: pg.Client,
  planned: ReadonlyMap<string, Planned>,
  names: { tenantName: NameOf; targetName: NameOf },
  { mayWait = [] }: CheckOptions,
  broken: Broken,
): Promise<Map<string, BookedDelivery>> {
  const { rows } = await client.query<Row>(
    `select d.tenant, d.target, d.epoch, d.channel, d.number, d.sequence, d.plan, d.state, d.void, d.code, d.reason, t.kind
     from delivery d join target t on t.tenant = d.tenant and t.id = d.target`,
  );
  const byName = new Map(rows.map((row) => [deliveryName(names, row), row]));
  for (const [name, row] of byName) {
    const one = planned.get(name);
    if (!one) broken(`${name} has a row but no plan gave it its number`);
    else if (one.sequence !== row.sequence || one.plan.number !== row.plan)
      broken(
        `${name} is ${one.sequence} in plan ${one.plan.number}, and ${row.sequence} of plan ${row.plan} in its row`,
      );
  }
  const booked = new Map<string, BookedDelivery>();
  for (const [name, one] of planned) {
    const row = byName.get(name);
    if (!row && one.how === 'later') broken(`${name} was to wait and has no row`);
    if (!row && one.plan.open) broken(`${name} was sent at once and nobody wrote down what became of it`);
    if (row)
      checkRow(name, row, mayWait.includes(`${names.tenantName(row.tenant)}/${names.targetName(row.target)}`), broken);
    booked.set(name, {
      tenant: names.tenantName(one.tenant),
      target: names.targetName(one.target),
      epoch: one.epoch,
      channel: one.channel,
      number: one.number,
      sequence: one.sequence,
      state: row?.state ?? 'delivered',
      void: row?.void ?? null,
    });
  }
  return booked;
}

function checkRow(name: string, row: Row, mayWait: boolean, broken: Broken): void {
  switch (row.state) {
    case 'delivered':
      if (row.void !== null) broken(`${name} is delivered and void`);
      return;
    case 'pending':
      if (!mayWait) broken(`${name} still waits: ${row.code} ${row.reason}`);
      return;
    case 'failed':
    case 'cancelled':
      if (row.reason === null) broken(`${name} is ${row.state} without a reason`);
      if (row.kind !== 'email' && row.void === null) broken(`${name} is ${row.state} and nobody is told`);
      if (row.void === 'due' && !mayWait) broken(`the notice of ${name} still waits`);
      return;
    default:
      broken(`${name} is ${row.state satisfies never}`);
  }
}

/** Numbers are 1, 2, 3 … per (epoch, target, channel), up to what the line says. */
async function checkLines(
  client: pg.Client,
  planned: ReadonlyMap<string, Planned>,
  names: { tenantName: NameOf; targetName: NameOf },
  broken: Broken,
): Promise<void> {
  const last = new Map<string, { count: number; most: number }>();
  for (const one of planned.values()) {
    const line = `${names.tenantName(one.tenant)}/${names.targetName(one.target)}/${one.epoch}/${one.channel}`;
    const known = last.get(line) ?? { count: 0, most: 0 };
    last.set(line, { count: known.count + 1, most: Math.max(known.most, one.number) });
  }
  for (const [line, { count, most }] of last) {
    if (count !== most) broken(`${line} has ${count} numbers and reaches ${most}`);
  }
  const { rows } = await client.query<{
    tenant: number;
    target: number;
    channel: number;
    epoch: number;
    last_number: number;
  }>('select tenant, target, channel, epoch, last_number from line');
  for (const row of rows) {
    const line = `${names.tenantName(row.tenant)}/${names.targetName(row.target)}/${row.epoch}/${row.channel}`;
    if (last.get(line)?.most !== row.last_number)
      broken(`${line} says its last number is ${row.last_number}, its plans say ${last.get(line)?.most}`);
  }
}

/** What a plan said of a message last is where the message stands. */
async function checkStandings(
  client: pg.Client,
  plans: readonly Plan[],
  tenantName: NameOf,
  broken: Broken,
): Promise<Map<string, Places>> {
  const { rows } = await client.query<{ tenant: number; channel: number; sequence: number; state: keyof Places }>(
    'select tenant, channel, sequence, state from standing',
  );
  const standing = new Map(rows.map((row) => [`${tenantName(row.tenant)}/${row.channel}-${row.sequence}`, row.state]));
  const expected: Partial<Record<Run['m'], readonly string[]>> = {
    close: ['closed', 'waiting', 'routed'],
    wait: ['waiting', 'closed', 'routed'],
    quarantine: ['quarantined'],
  };
  const lastSaid = new Map<string, Run['m']>();
  for (const plan of plans) {
    for (const run of plan.runs) {
      for (let i = 0; i < run.n; i++) lastSaid.set(`${tenantName(plan.tenant)}/${plan.channel}-${run.s + i}`, run.m);
    }
  }
  const places = new Map<string, Record<keyof Places, number>>();
  for (const [name, said] of lastSaid) {
    const stands = standing.get(name) ?? 'routed';
    const [tenant = ''] = name.split('/');
    const count = places.get(tenant) ?? { routed: 0, waiting: 0, parked: 0, quarantined: 0, closed: 0 };
    places.set(tenant, count);
    count[stands]++;
    if (said === 'park') broken(`${name} was parked and no plan came back to it; it stands as ${stands}`);
    const may = expected[said];
    if (may && !may.includes(stands)) broken(`the plan of ${name} says ${said}, it stands as ${stands}`);
    if (said === 'deliver' && (stands === 'waiting' || stands === 'parked'))
      broken(`the plan of ${name} says ${said}, it stands as ${stands}`);
  }
  return places;
}

/** sequenced = routed + waiting + parked + quarantined + closed. */
function checkPlaces(counted: ReadonlyMap<string, Counted>, places: ReadonlyMap<string, Places>, broken: Broken): void {
  for (const [tenant, { sequenced }] of counted) {
    const stand = Object.values(places.get(tenant) ?? {}).reduce((sum, count) => sum + count, 0);
    if (stand !== sequenced) broken(`${tenant} has ${sequenced} messages, and ${stand} of them stand somewhere`);
  }
}

/** Each conflict and each expired arrival that was counted is kept, or raised the count of the one that is the same. */
async function checkSetAside(
  client: pg.Client,
  counted: ReadonlyMap<string, Counted>,
  tenantName: NameOf,
  broken: Broken,
): Promise<void> {
  const { rows } = await client.query<{ tenant: number; cause: 'conflict' | 'expired'; count: number }>(
    `select tenant, cause, sum(count) as count from quarantine where cause <> 'poison' group by tenant, cause`,
  );
  const kept = new Map(rows.map((row) => [`${tenantName(row.tenant)} ${row.cause}`, row.count]));
  for (const [tenant, { conflicts, expired }] of counted) {
    for (const [cause, count] of [
      ['conflict', conflicts],
      ['expired', expired],
    ] as const) {
      const inQuarantine = kept.get(`${tenant} ${cause}`) ?? 0;
      if (inQuarantine !== count) broken(`${tenant} counts ${count} ${cause}, and ${inQuarantine} are kept`);
    }
  }
}

function countedOf(channels: readonly Channel[], tenantName: NameOf): Map<string, Counted> {
  const counted = new Map<string, Counted>();
  for (const { tenant, last, duplicates, conflicts, expired } of channels) {
    const so = counted.get(tenantName(tenant)) ?? { sequenced: 0, duplicates: 0, conflicts: 0, expired: 0 };
    counted.set(tenantName(tenant), {
      sequenced: so.sequenced + last,
      duplicates: so.duplicates + duplicates,
      conflicts: so.conflicts + conflicts,
      expired: so.expired + expired,
    });
  }
  return counted;
}

/**
 * Compares what a target's consumer got with the books: every delivered number was got, for exactly its message, and
 * nothing was got that no plan knows. Repeats are allowed and told apart by (epoch, channel, delivery); answers what
 * is wrong, and how often something came again.
 */
export function compareReceipts(
  books: Books,
  target: { readonly tenant: string; readonly target: string },
  receipts: readonly Receipt[],
): { readonly violations: readonly string[]; readonly repeats: number; readonly distinct: number } {
  const violations: string[] = [];
  const broken: Broken = (sentence) => {
    if (violations.length < 50) violations.push(sentence);
  };
  const got = new Map<string, Receipt>();
  const voids = new Set<string>();
  let repeats = 0;
  for (const receipt of receipts) {
    const name = `${receipt.tenant}/${receipt.target}/${receipt.epoch}/${receipt.channel}-${receipt.number}`;
    if (receipt.tenant !== target.tenant || receipt.target !== target.target) {
      broken(`${name} came to ${target.tenant}/${target.target}`);
      continue;
    }
    const booked = books.deliveries.get(name);
    if (!booked) broken(`${name} was got and no plan gave that number`);
    else if (booked.sequence !== receipt.sequence)
      broken(`${name} was got as ${receipt.sequence}, and is ${booked.sequence}`);
    if (receipt.what === 'void') {
      voids.add(name);
      continue;
    }
    const message = books.messages.get(`${receipt.tenant}/${receipt.channel}-${receipt.sequence}`);
    if (receipt.externalId !== null && message?.externalId !== receipt.externalId)
      broken(`${name} brought ${receipt.externalId}, stored is ${message?.externalId}`);
    const before = got.get(name);
    if (before) repeats++;
    if (before && before.sequence !== receipt.sequence)
      broken(`${name} was got as ${before.sequence} and as ${receipt.sequence}`);
    got.set(name, receipt);
  }
  for (const [name, booked] of books.deliveries) {
    if (booked.tenant !== target.tenant || booked.target !== target.target) continue;
    if (booked.state === 'delivered' && !got.has(name)) broken(`${name} is booked as delivered and nobody got it`);
    if (booked.void === 'taken' && !voids.has(name))
      broken(`the notice of ${name} is booked as taken and nobody got it`);
  }
  return { violations, repeats, distinct: got.size };
}
