import { execFile } from 'node:child_process';
import { createWriteStream } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { expect, onTestFinished, test } from 'vitest';
import { AGGREGATIONS } from '../../src/billing/definitions.js';
import { temporaryDirectory } from '../support/directory.js';
import { type Seeded, seeded } from '../support/seeded.js';
import type { EventResult } from '../support/sending.js';
import { until } from '../support/until.js';
import { type Env, type Installation, install, type Waybill } from '../support/waybill.js';

/*
 * Everything that billing promises at once: events out of order, late, sent again, in conflict and voided, while processes of
 * every role are killed, messages are taken away from the ledger and given back, and plans come again. What comes of it is
 * held against another program's calculation. The short form runs with `npm test`; `npm run test:billing` runs 5,000,000.
 * WAYBILL_SEED repeats what a run chose, WAYBILL_EVENTS says how many.
 */

const long = process.env.WAYBILL_BILLING === 'long';
const SEED = Number(process.env.WAYBILL_SEED || Math.floor(Math.random() * 2 ** 31));
const EVENTS = Number(process.env.WAYBILL_EVENTS || (long ? 5_000_000 : 6_000));
const ACCOUNTS = long ? 20_000 : 24;
/** New events of a request; with what comes again it has less than 1,000. */
const PER_REQUEST = long ? 780 : 100;
const LANES = 4;
const VOIDING_LANES = 24;
const NEAR = 40;
/** Of what is sent: again, and again with another content. */
const DUPLICATES = 0.2;
const CONFLICTS = 0.01;
const LATE = 0.05;
const VOIDS = 0.01;
const KILLS = Number(process.env.WAYBILL_KILLS || (long ? 100 : 6));
/** Lines sent between two disturbances. */
const STEP = Math.floor((EVENTS * (1 / (1 - DUPLICATES) + CONFLICTS)) / (KILLS + 1));
const DAY = 86_400_000;
const TO = Math.floor(Date.now() / DAY) * DAY;
/** Events happen in ten days; the late ones up to twenty before. All of it is within the window. */
const FROM = TO - 10 * DAY;
const EARLIEST = TO - 31 * DAY;
const LONGEST_MS = 4 * 60 * 60_000;

interface UsageEvent {
  readonly id: string;
  readonly account: string;
  readonly type: string;
  readonly time: string;
  readonly value: string;
  readonly member: string;
}

/** The event of a number, the same each time; variant 1 is another one of the same id. */
function eventOf(n: number, variant = 0): UsageEvent {
  const random = seeded(SEED + n * 2 + variant * 7919);
  const back = random.next() < LATE ? 1 + random.below(20) : 0;
  const at = FROM + (n / EVENTS) * 9 * DAY + random.below(DAY) - back * DAY;
  const micros = String(random.below(1_000)).padStart(3, '0');
  const digits = (count: number) => Array.from({ length: count }, () => random.below(10)).join('');
  // One in a hundred is beyond what a double holds.
  const [whole, fraction] = random.next() < 0.01 ? [digits(30), digits(18)] : [digits(6), digits(1 + random.below(6))];
  const account = `account-${seeded(SEED + n).below(ACCOUNTS)}`;
  return {
    id: `e${n}`,
    account,
    type: random.pick(['a', 'b', 'c']),
    time: new Date(at).toISOString().replace('Z', `${micros}Z`),
    value: `${random.next() < 0.1 ? '-' : ''}${BigInt(whole) + 1n}.${fraction}`,
    member: `u${random.below(12)}`,
  };
}

function jsonOf({ id, account, type, time, value, member }: UsageEvent): string {
  const head = { specversion: '1.0', id, source: '/usage', type, subject: account, time };
  return `${JSON.stringify(head).slice(0, -1)},"data":{"n":${value},"u":"${member}"}}`;
}

/** The events of a request: new ones, some of any that may have been sent before, and conflicts, in any order. */
function requestOf(number: number): UsageEvent[] {
  const random = seeded(SEED + 1_000_003 * (number + 1));
  const first = number * PER_REQUEST;
  const events = Array.from({ length: Math.min(PER_REQUEST, EVENTS - first) }, (_, i) => eventOf(first + i));
  const known = first + events.length;
  const again = Math.round((events.length * DUPLICATES) / (1 - DUPLICATES));
  for (let i = 0; i < again; i++) events.push(eventOf(random.below(known)));
  for (let i = 0; i < events.length * CONFLICTS; i++) events.push(eventOf(random.below(known), 1));
  return random.shuffled(events);
}

/** The numbers of requests; those that are near come in any order. The last one is sent first. */
function outOfOrder(count: number, random: Seeded): number[] {
  const all: number[] = [];
  for (let from = 0; from < count; from += NEAR)
    all.push(...random.shuffled(Array.from({ length: Math.min(NEAR, count - from) }, (_, i) => from + i)));
  return all.reverse();
}

/** A process of some roles that comes again whenever it was killed. */
class Part {
  waybill: Waybill | undefined;
  kills = 0;
  constructor(
    private readonly site: Installation,
    private readonly env: Env,
  ) {}

  async start(): Promise<void> {
    this.waybill = await this.site.start(this.env);
  }

  async killed(): Promise<void> {
    const { waybill } = this;
    if (!waybill) return;
    this.waybill = undefined;
    this.kills++;
    await waybill.kill();
    await this.start();
  }

  /** The running process, when there is one. */
  async running(): Promise<Waybill> {
    return until(() => this.waybill, 'a process to be back', 120_000);
  }
}

test(`usage of ${EVENTS} events is that of another calculation (seed ${SEED})`, {
  timeout: long ? 14_400_000 : 240_000,
}, async () => {
  const random = seeded(SEED);
  const site = await install({
    config: {
      lease: { beatMs: 200, lostAfterMs: 1_000 },
      sources: { feed: { kind: 'events' } },
      targets: { none: { kind: 'pull' } },
    },
    rules: 'rules:\n  - { name: all, when: { kind: event }, then: { close: counted } }\n',
  });
  const ingress = new Part(site, { WAYBILL_ROLES: 'ingress,web' });
  const others = ['owner', 'ledger', 'ledger'].map((roles) => new Part(site, { WAYBILL_ROLES: roles }));
  const parts = [ingress, ...others];
  await ingress.start();
  await Promise.all(others.map((part) => part.start()));
  for (const [aggregation, type] of [
    ['count', 'a'],
    ['sum', 'a'],
    ['max', 'b'],
    ['min', 'b'],
    ['last', 'c'],
    ['unique', 'c'],
  ]) {
    const value = aggregation === 'count' ? {} : { value: aggregation === 'unique' ? '/data/u' : '/data/n' };
    const put = await ingress.waybill?.call('PUT', `/v1/meters/${aggregation}`, {
      json: { type, aggregation, ...value },
    });
    expect(put?.status).toBe(201);
  }
  const database = new pg.Client({ connectionString: site.databaseUrl, options: '-c search_path=waybill' });
  database.on('error', () => undefined);
  await database.connect();
  onTestFinished(() => database.end());
  const path = join(await temporaryDirectory(), 'sent.tsv');
  const list = createWriteStream(path);
  // All lanes may wait for it.
  list.setMaxListeners(LANES + VOIDING_LANES + 1);
  const began = performance.now();
  const say = (what: string) => {
    if (long) process.stderr.write(`${Math.round((performance.now() - began) / 1000)} s: ${what}\n`);
  };

  // Sending and voiding, while everything is disturbed.
  const requests = outOfOrder(Math.ceil(EVENTS / PER_REQUEST), random);
  const toVoid: { account: string; message: string }[] = [];
  const tally: Record<string, number> = {};
  let sent = 0;
  let allowed = STEP;
  const sending = inLanes(LANES, async () => {
    const number = requests.pop();
    if (number === undefined) return false;
    await until(() => sent < allowed, 'a disturbance to be over', LONGEST_MS);
    const events = requestOf(number);
    const results = await answered(ingress, events);
    const chance = seeded(SEED ^ number);
    let text = '';
    results.forEach(({ verdict, message, of }, i) => {
      const { id, account, type, time, value, member } = events[i] as UsageEvent;
      tally[verdict] = (tally[verdict] ?? 0) + 1;
      const named = message ?? of ?? '';
      text += `E\t${id}\t${account}\t${type}\t${time}\t${value}\t${member}\t${verdict}\t${named}\n`;
      if (verdict === 'sequenced' && chance.next() < VOIDS) toVoid.push({ account, message: named });
    });
    await written(list, text);
    sent += events.length;
    return true;
  });
  let over = false;
  const allSent = sending.finally(() => {
    over = true;
  });
  let voids = 0;
  const voiding = inLanes(VOIDING_LANES, async () => {
    const wish = toVoid.pop();
    if (wish === undefined) {
      if (over) return false;
      await pause(20);
      return true;
    }
    if (await isVoided(ingress, wish)) {
      await written(list, `V\t${wish.message}\n`);
      voids++;
      // A second one changes nothing.
      if (voids % 10 === 0) await isVoided(ingress, wish);
    } else {
      toVoid.unshift(wish);
    }
    return true;
  });
  const lost = new Lost(database);
  await lost.prepare();
  const disturbing = (async () => {
    for (let kills = 1; kills <= KILLS; kills++) {
      await until(() => sent >= allowed, 'the next disturbance', LONGEST_MS);
      await lost.again(random);
      const away = await lost.begin(random);
      // What is sent from here on meets the kill, and is planned before the ledger may read it.
      allowed = kills === KILLS ? Number.POSITIVE_INFINITY : allowed + STEP;
      await random.pick(parts).killed();
      await away();
      const { rows } = await database.query('select sum(through)::float8 as counted from ledger_mark');
      say(
        `${sent} sent, ${voids} voided, ${rows[0].counted} read by the ledger, ${kills} kills, ${lost.taken} lost for a while`,
      );
    }
  })();
  // What is away can't be voided.
  const disturbed = Promise.all([allSent, disturbing]).then(() => lost.giveBack());
  await Promise.all([disturbed, voiding]);
  list.end();
  say(`all sent: ${JSON.stringify(tally)}, ${voids} voided`);
  const { rows: stood } = await database.query(
    `select (select sum(last_sequence)::float8 from channel) as sequenced,
       (select count(*)::int from message where type = 'waybill.correction.void') as corrections`,
  );
  expect(stood[0].sequenced - stood[0].corrections).toBe(EVENTS);
  expect(Object.keys(tally).sort()).toEqual(['conflict', 'duplicate', 'sequenced']);

  await until(() => isRead(database), 'the ledger to have read everything', LONGEST_MS);
  const gaps = await database.query(
    'select count(*)::int as open, (select sum(repeated)::float8 from ledger_mark) as repeated from ledger_gap',
  );
  say(`all read; ${gaps.rows[0].open} gaps, ${gaps.rows[0].repeated} sequences came again`);
  expect(lost.taken).toBeGreaterThan(0);
  expect(gaps.rows[0].repeated).toBeGreaterThan(0);
  expect(gaps.rows[0].open).toBe(0);

  const reckoned = await independently(path);
  const counted = await asCounted(ingress);
  say(`${reckoned.size} totals`);
  expect(differences(counted, reckoned)).toEqual([]);

  const again = performance.now();
  const rebuilt = await ingress.waybill?.call('POST', '/v1/ledger/rebuild', { json: {} });
  expect(rebuilt?.bytes.toString()).toContain('"ok":true,"swapped":true');
  say(
    `made anew at ${Math.round((EVENTS * 1000) / (performance.now() - again))} events/s; kills: ${parts.map((part) => part.kills)}`,
  );
  expect(differences(await asCounted(ingress), reckoned)).toEqual([]);
});

async function inLanes(lanes: number, next: () => Promise<boolean>): Promise<void> {
  const lane = async () => {
    while (await next());
  };
  await Promise.all(Array.from({ length: lanes }, lane));
}

/** Sent again until there is an answer: nobody knows what became of it otherwise. */
async function answered(ingress: Part, events: readonly UsageEvent[]): Promise<EventResult[]> {
  const body = events.map(jsonOf).join('\n');
  const headers = { 'content-type': 'application/x-ndjson' };
  for (;;) {
    const waybill = await ingress.running();
    const answer = await waybill.call('POST', '/v1/events', { body, headers }).catch(() => null);
    // 422 where some of it was refused: here, conflicts.
    if (answer && [200, 202, 422].includes(answer.status)) return answer.json.results;
    if (answer && answer.status < 500 && answer.status !== 429)
      throw new Error(`answered ${answer.status}: ${answer.bytes.subarray(0, 500)}`);
  }
}

/** Not yet where the message is away. */
async function isVoided(ingress: Part, { account, message }: { account: string; message: string }): Promise<boolean> {
  const waybill = await ingress.running();
  const path = `/v1/accounts/${account}/corrections`;
  const answer = await waybill.call('POST', path, { json: { void: message, why: 'a test' } }).catch(() => null);
  return answer?.status === 200 || answer?.status === 202;
}

async function written(list: NodeJS.WritableStream, text: string): Promise<void> {
  if (!list.write(text)) await new Promise((resolve) => list.once('drain', resolve));
}

/** Messages that are away when the ledger wants to read them, and plans that come again. */
class Lost {
  taken = 0;
  constructor(private readonly database: pg.Client) {}

  async prepare(): Promise<void> {
    await this.database.query('create table lost (like message)');
  }

  /**
   * Keeps ledgers from working on a channel, and gives back what is away. The answer waits until plans speak of more, takes
   * some of that away, and lets go of the channel.
   */
  async begin(random: Seeded): Promise<() => Promise<void>> {
    await this.giveBack();
    const marks = () =>
      this.#asked<{ channel: number }>('select channel from ledger_mark where through > 0 order by 1');
    const some = await until(async () => ((await marks()).length > 0 ? marks() : null), 'a ledger to begin', 60_000);
    const { channel } = random.pick(some);
    await this.database.query('begin');
    const sql = 'select through::float8 as through from ledger_mark where channel = $1 for update';
    const through = (await this.#asked<{ through: number }>(sql, [channel]))[0]?.through;
    return async () => {
      const planned = 'select from reader where channel = $1 and planned > $2';
      const ahead = async () => (await this.#asked(planned, [channel, through])).length > 0;
      await until(ahead, 'plans that the ledger has not read', LONGEST_MS);
      const { rowCount } = await this.database.query(
        // Of a parked message the owner still needs the bytes: without them it would be quarantined, for a person to put back.
        `with away as (delete from message m using reader r where m.channel = $1 and r.channel = $1 and m.sequence > $2
           and m.sequence <= r.planned and (m.sequence = $2 + 1 or m.sequence % $3 = 0)
           and not exists (select from standing s where s.tenant = m.tenant and s.channel = m.channel
             and s.sequence = m.sequence and s.state = 'parked') returning m.*)
         insert into lost select * from away`,
        [channel, through, 2 + random.below(20)],
      );
      this.taken += rowCount ?? 0;
      await this.database.query('commit');
    };
  }

  async #asked<T extends pg.QueryResultRow>(text: string, values: readonly unknown[] = []): Promise<T[]> {
    return (await this.database.query<T>(text, [...values])).rows;
  }

  async giveBack(): Promise<void> {
    await this.database.query('with back as (delete from lost returning *) insert into message select * from back');
  }

  /** Channels' last plans are read once more. */
  async again(random: Seeded): Promise<void> {
    await this.database.query('update ledger_mark set plan = greatest(0, plan - $1)', [1 + random.below(5)]);
  }
}

/** Everything is planned, the ledger has taken it all, and no gap is open. */
async function isRead(database: pg.Client): Promise<boolean> {
  const { rows } = await database.query(
    `select from channel c join reader r using (tenant, channel) left join ledger_mark m using (tenant, channel)
     where r.planned < c.last_sequence or (c.last_sequence > 0 and (m.plan is null or m.plan < r.last_plan))
     union all (select from ledger_gap limit 1)`,
  );
  return rows.length === 0;
}

async function independently(path: string): Promise<Map<string, string>> {
  const script = fileURLToPath(new URL('../fixtures/reckon-sent.mjs', import.meta.url));
  const text = await new Promise<string>((resolve, reject) => {
    execFile(process.execPath, ['--max-old-space-size=6144', script, path], { maxBuffer: 2 ** 30 }, (error, stdout) =>
      error ? reject(error) : resolve(stdout),
    );
  });
  return new Map(
    text
      .trimEnd()
      .split('\n')
      .map((line) => splitLast(line)),
  );
}

function splitLast(line: string): [string, string] {
  const at = line.lastIndexOf(' ');
  return [line.slice(0, at), line.slice(at + 1)];
}

/** As the API says it. */
async function asCounted(ingress: Part): Promise<Map<string, string>> {
  const waybill = await ingress.running();
  const span = `from=${new Date(EARLIEST).toISOString()}&to=${new Date(TO + 2 * DAY).toISOString()}`;
  const counted = new Map<string, string>();
  let account = 0;
  await inLanes(LANES, async () => {
    if (account >= ACCOUNTS) return false;
    const name = `account-${account++}`;
    const answer = await waybill.call('GET', `/v1/accounts/${name}/usage?${span}`);
    if (answer.status === 404) return true;
    expect(answer.json.complete).toBe(true);
    for (const { meter, quantity, events } of answer.json.items)
      if (events > 0 && AGGREGATIONS.includes(meter)) counted.set(`${name} ${meter}`, quantity);
    return true;
  });
  return counted;
}

/** The first few. */
function differences(counted: ReadonlyMap<string, string>, reckoned: ReadonlyMap<string, string>): string[] {
  const keys = new Set([...counted.keys(), ...reckoned.keys()]);
  const told: string[] = [];
  for (const key of keys)
    if (counted.get(key) !== reckoned.get(key)) told.push(`${key}: ${counted.get(key)}, not ${reckoned.get(key)}`);
  return told.slice(0, 20);
}
