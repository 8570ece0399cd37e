import { until } from '../support/until.js';
import { ageGeneration, type CommitGate, commitGate, ownerAmong, ownersAmong } from './support/database.js';
import type { Post } from './support/post.js';
import type { Asked, Moment } from './support/postgres-proxy.js';
import type { Scenario } from './support/scenario.js';
import type { Stage } from './support/stage.js';
import type { Stopped } from './support/stopped.js';

/*
 * Named points: a process is stopped exactly there, from outside, and then killed, cut off or frozen. Nothing of the
 * program knows of it: what stops it are the proxies between it and PostgreSQL or RabbitMQ, and triggers in the database.
 */

interface Point {
  readonly name: string;
  /** Stops a process there, as soon as it comes by. */
  readonly reach: (stage: Stage, post: Post) => Promise<Stopped>;
  readonly ends: readonly End[];
}

/**
 * `kill`: SIGKILL, and what the proxy held never arrives. `late`: SIGKILL, and what was held arrives when another process
 * has taken over. `cut`: the connection breaks and the process lives. `freeze`: SIGSTOP until another process has taken
 * over, then SIGCONT.
 */
type End = 'kill' | 'late' | 'cut' | 'freeze';

const starts = (text: string) => (asked: Asked) => asked.sql.trimStart().startsWith(text);
const holds = (pattern: RegExp) => (asked: Asked) => pattern.test(asked.sql);
/** The COMMIT of a transaction with such a statement in it. */
const commitOf =
  (pattern: RegExp) =>
  ({ sql, transaction }: Asked) =>
    /^commit/i.test(sql) && transaction.some((each) => pattern.test(each));

const ACCEPT = starts('select * from accept(');
const WRITE_PLANS = /^\s*select write_plans\(/;
const SETTLE = /update delivery d set\s+state = i\.state/;
const LEASE_PULL = /leased_until = now\(\) \+ make_interval/;
const ACK_PULL = /'lease_lost'/;

const sql = (moment: Moment, matches: (asked: Asked) => boolean) => (stage: Stage, post: Post) =>
  post.postgres.stopAt(moment, matches, stage.over);

/** A plan that is bare is one statement; one with more to it is a transaction. */
const plansAsked = (asked: Asked) =>
  (WRITE_PLANS.test(asked.sql) && asked.transaction.length === 0) || commitOf(WRITE_PLANS)(asked);

/** Not only the outcomes of earlier plans. */
const plansInserted = (asked: Asked) =>
  commitOf(WRITE_PLANS)(asked) ||
  (plansAsked(asked) && asked.values.some((value) => /^\{(?:stream|extra)\b/.test(value ?? '')));

const POINTS: readonly Point[] = [
  { name: 'body read, before the insert', reach: sql('asked', ACCEPT), ends: ['kill', 'late', 'cut'] },
  { name: 'committed, before the acknowledgement', reach: sql('answered', ACCEPT), ends: ['kill', 'cut'] },
  {
    name: 'try of a mail written, before it is parsed',
    reach: sql('answered', holds(/^\s*insert into attempt/)),
    ends: ['kill', 'cut', 'freeze'],
  },
  {
    name: 'planned, before the plan is written',
    reach: sql('asked', plansAsked),
    ends: ['kill', 'late', 'cut', 'freeze'],
  },
  { name: 'plan written, before it is sent', reach: sql('answered', plansAsked), ends: ['kill', 'cut', 'freeze'] },
  {
    name: 'plan written, at its first publish',
    reach: (stage, post) => post.amqp.stopAt('asked', toQueue, stage.over),
    ends: ['kill', 'late', 'cut', 'freeze'],
  },
  {
    name: 'sent, before the confirm',
    reach: (stage, post) => post.amqp.stopAt('sent', toQueue, stage.over),
    ends: ['kill', 'cut', 'freeze'],
  },
  {
    name: 'confirmed, before the confirm is seen',
    reach: (stage, post) => post.amqp.stopAt('confirmed', toQueue, stage.over),
    ends: ['kill', 'cut', 'freeze'],
  },
  { name: 'confirm seen, before the outcome is written', reach: confirmSeen, ends: ['kill', 'late', 'cut', 'freeze'] },
  {
    name: 'webhook or mail taken, before that is written',
    reach: sql('asked', holds(SETTLE)),
    ends: ['kill', 'cut', 'freeze'],
  },
  {
    name: 'webhook or mail taken, its COMMIT unanswered',
    reach: sql('answered', commitOf(SETTLE)),
    ends: ['kill', 'cut', 'freeze'],
  },
  { name: 'pulled, before the lease is written', reach: sql('asked', commitOf(LEASE_PULL)), ends: ['kill', 'cut'] },
  { name: 'pulled, between lease and answer', reach: sql('answered', commitOf(LEASE_PULL)), ends: ['kill', 'cut'] },
  { name: 'ack of a pull, before it is written', reach: sql('asked', holds(ACK_PULL)), ends: ['kill', 'cut'] },
  { name: 'ack of a pull, written and unanswered', reach: sql('answered', holds(ACK_PULL)), ends: ['kill', 'cut'] },
  {
    name: 'decision of a person, before its COMMIT',
    reach: sql('asked', commitOf(/insert into decision/)),
    ends: ['kill', 'cut'],
  },
  {
    name: 'decision of a person, its COMMIT unanswered',
    reach: sql('answered', commitOf(/insert into decision/)),
    ends: ['kill', 'cut'],
  },
  {
    name: 'decision of a person, in the plan that carries it out',
    reach: sql('asked', commitOf(/update decision d set plan/)),
    ends: ['kill', 'cut', 'freeze'],
  },
  {
    name: 'taken from a queue and committed, before the ack',
    reach: (stage, post) => post.amqp.stopAt('acking', () => true, stage.over),
    ends: ['kill', 'cut'],
  },
  {
    name: 'before a generation is opened',
    reach: aged('asked', starts('select rotate_generation')),
    ends: ['kill', 'cut'],
  },
  {
    name: 'generation opened, unanswered',
    reach: aged('answered', starts('select rotate_generation')),
    ends: ['kill', 'cut'],
  },
  {
    name: 'half a filter written',
    reach: aged('answered', starts('insert into filter_piece')),
    ends: ['kill', 'cut'],
  },
  {
    name: 'apply, before its COMMIT',
    reach: applying('asked'),
    ends: ['kill', 'cut'],
  },
  { name: 'apply, its COMMIT unanswered', reach: applying('answered'), ends: ['kill', 'cut'] },
];

function toQueue({ routingKey }: { readonly routingKey: string }): boolean {
  return routingKey.includes('erp');
}

/** The confirm is held until the database is watched; what the process then writes would hold the outcome. */
async function confirmSeen(stage: Stage, post: Post): Promise<Stopped> {
  const unseen = await post.amqp.stopAt('confirmed', toQueue, stage.over);
  const writing = post.postgres.stopAt('asked', plansAsked, stage.over);
  unseen.pass();
  return writing;
}

function aged(moment: Moment, matches: (asked: Asked) => boolean): Point['reach'] {
  return async (stage, post) => {
    const stopped = post.postgres.stopAt(moment, matches, stage.over);
    await ageGeneration(stage.databaseUrl);
    return stopped;
  };
}

function applying(moment: Moment): Point['reach'] {
  return async (stage, post) => {
    const stopped = post.postgres.stopAt(moment, commitOf(/insert into rule_set|insert into \w+ as old/), stage.over);
    await stage.redefine();
    void post.waybill.call('POST', '/v1/apply').catch(() => undefined);
    return stopped;
  };
}

/** How often a point is come to in one run. */
const ROUNDS = 3;

/** Every point with each of its ends. */
export function pointScenarios(): Scenario[] {
  return POINTS.flatMap((point) =>
    point.ends.map((end) => ({
      name: `${end}: ${point.name}`,
      through: ['postgres', 'amqp'] as const,
      posts: end === 'kill' || end === 'cut' ? [{ name: 'one' }] : [{ name: 'one' }, { name: 'two' }],
      fault: async (stage: Stage) => {
        for (let round = 0; round < ROUNDS; round++) await endAt(stage, point, end);
      },
    })),
  );
}

/** Some of the points in one run, for those who have little time. */
export const SHORT_TOUR: Scenario = {
  name: 'a tour of named points',
  short: true,
  through: ['postgres', 'amqp'],
  fault: async (stage) => {
    for (const [end, name] of [
      ['cut', 'body read, before the insert'],
      ['cut', 'committed, before the acknowledgement'],
      ['kill', 'committed, before the acknowledgement'],
      ['cut', 'plan written, before it is sent'],
      ['kill', 'plan written, before it is sent'],
      ['cut', 'sent, before the confirm'],
      ['kill', 'sent, before the confirm'],
      ['kill', 'confirm seen, before the outcome is written'],
      ['cut', 'webhook or mail taken, its COMMIT unanswered'],
      ['cut', 'pulled, between lease and answer'],
      ['cut', 'generation opened, unanswered'],
    ] as const) {
      const point = POINTS.find((one) => one.name === name);
      if (!point) throw new RangeError(name);
      await endAt(stage, point, end);
    }
  },
};

/** Brings a process to a point and makes an end of it there. */
async function endAt(stage: Stage, point: Point, end: End): Promise<void> {
  const post = stage.posts.length === 1 ? stage.post : await ownerAmong(stage.databaseUrl, stage.posts);
  const stopped = await within(point.reach(stage, post), `${post.name} to come to: ${point.name}`);
  stage.note(`${end} ${post.name}: ${point.name}`);
  await makeEnd(stage, post, stopped, end);
  await stage.goesOn();
}

async function makeEnd(stage: Stage, post: Post, stopped: Stopped, end: End): Promise<void> {
  const { pid } = post.waybill;
  switch (end) {
    case 'kill':
      await post.kill();
      stopped.cut();
      await post.start();
      break;
    case 'late':
      await post.kill();
      await takenOver(stage, pid);
      stopped.pass();
      await post.start();
      break;
    case 'cut':
      stopped.cut();
      break;
    case 'freeze':
      post.pause();
      await takenOver(stage, pid);
      stopped.pass();
      post.resume();
      break;
    default: {
      const never: never = end;
      throw never;
    }
  }
}

/** Resolves when nothing belongs to a process any more, and others have delivered something. */
async function takenOver(stage: Stage, pid: number): Promise<void> {
  await until(
    async () => !(await ownersAmong(stage.databaseUrl)).includes(pid),
    'its channels to be taken over',
    20_000,
  );
  const before = stage.queue.receipts.length;
  await until(() => stage.queue.receipts.length > before, 'others to deliver something', 20_000);
}

const COMES_BY_MS = 60_000;

async function within<T>(reached: Promise<T>, what: string): Promise<T> {
  let done: { readonly value: T } | undefined;
  const waiting = reached.then((value) => {
    done = { value };
  });
  await Promise.race([waiting, until(() => done, what, COMES_BY_MS)]);
  return (done as unknown as { readonly value: T }).value;
}

/** Half-way through a commit, its client dies: the server ends what it was told to, or gives it up. */
export const COMMITS: readonly Scenario[] = (
  [
    ['message', 'messages inserted', ACCEPT],
    ['plan', 'plans inserted', plansInserted],
  ] as const
).flatMap(([table, what, matches]) =>
  (['commits', 'rolls back'] as const).map((ending) => ({
    name: `${what}, in the middle of the COMMIT: killed, and the server ${ending}`,
    through: ['postgres'] as const,
    fault: async (stage: Stage) => {
      const gate = await commitGate(stage.databaseUrl, table);
      for (let round = 0; round < ROUNDS; round++) await dieInCommit(stage, gate, matches, ending);
    },
  })),
);

async function dieInCommit(
  stage: Stage,
  gate: CommitGate,
  matches: (asked: Asked) => boolean,
  ending: 'commits' | 'rolls back',
): Promise<void> {
  const { post } = stage;
  await gate.shut();
  const { stopped, committing } = await committingAt(stage, gate, matches);
  await post.kill();
  // The proxy keeps the connection, so the server does not know yet. Without it, it looks once a second and gives up.
  if (ending === 'rolls back') {
    stopped.cut();
    await until(async () => (await gate.waiting()).length === 0, 'the server to give up', 20_000);
  }
  await gate.open();
  const wanted = ending === 'commits' ? 'committed' : 'aborted';
  await until(
    async () => (await Promise.all(committing.map(gate.outcomeOf))).includes(wanted),
    `the transaction to be ${wanted}`,
    20_000,
  );
  stage.note(`died in a commit that ${ending}`);
  await post.start();
  stopped.cut();
  await stage.goesOn();
}

/** Stops a process while the server is in the middle of its commit; one that wrote nothing there is let go. */
async function committingAt(
  stage: Stage,
  gate: CommitGate,
  matches: (asked: Asked) => boolean,
): Promise<{ stopped: Stopped; committing: string[] }> {
  for (;;) {
    const stopped = await within(stage.post.postgres.stopAt('sent', matches, stage.over), 'a commit');
    const waiting = async () => {
      const found = await gate.waiting();
      return found.length > 0 && found;
    };
    const committing = await until(waiting, 'the server to be in the middle of it', 2_000).catch(() => null);
    if (committing) return { stopped, committing };
    stopped.pass();
  }
}

/** What a process does about a COMMIT whose answer it never gets: the same batch again, under its own id. */
export const REPEATED: Scenario = {
  name: 'a COMMIT whose answer is cut off is repeated under its own id',
  through: ['postgres'],
  fault: async (stage) => {
    const { postgres } = stage.post;
    for (let round = 0; round < ROUNDS; round++) {
      const stopped = await within(postgres.stopAt('answered', ACCEPT, stage.over), 'a commit');
      const batch = stopped.asked.values[BATCH];
      const again = postgres.stopAt('asked', (asked) => ACCEPT(asked) && asked.values[BATCH] === batch, stage.over);
      stopped.cut();
      const { asked, pass } = await within(again, 'the batch to come again');
      if (asked.values[REPEATED_FLAG] !== 'true') throw new Error(`batch ${batch} came again as a new one`);
      pass();
      await stage.goesOn();
    }
    if (stage.answers.lost > 0) throw new Error('senders were told of it');
  },
};

/** Parameters of `accept`, in their order. */
const BATCH = 2;
const REPEATED_FLAG = 3;

const ADOPT = /^\s*update plan p set open = false/;
const END_TRIES = /^\s*update attempt a set .* outcome = 'interrupted'/;

/** A takeover is itself cut short, at each of its steps, by the death of whoever takes over. */
export const TAKEOVERS: readonly Scenario[] = (
  [
    ['leases taken, unanswered', 'answered', holds(/update lease l set holder = \$1/)],
    ['before open plans are adopted', 'asked', holds(ADOPT)],
    ['open plans adopted, before open tries are ended', 'asked', holds(END_TRIES)],
    ['everything taken over, before the COMMIT', 'asked', commitOf(END_TRIES)],
    ['everything taken over, its COMMIT unanswered', 'answered', commitOf(END_TRIES)],
  ] as const
).flatMap(([name, moment, matches]) =>
  (['kill', 'cut'] as const).map((end) => ({
    name: `takeover, ${end}: ${name}`,
    through: ['postgres', 'amqp'] as const,
    posts: [{ name: 'one' }, { name: 'two' }],
    fault: async (stage: Stage) => {
      for (let round = 0; round < ROUNDS; round++) {
        const owner = await ownerAmong(stage.databaseUrl, stage.posts);
        const heir = stage.posts.find((post) => post !== owner) as Post;
        const stopped = heir.postgres.stopAt(moment, matches, stage.over);
        // In the middle of sending, so that there is something to take over.
        await within(owner.amqp.stopAt('sent', toQueue, stage.over), 'a publish');
        await owner.kill();
        const reached = await within(stopped, `${heir.name} to come to: ${name}`);
        stage.note(`${end} ${heir.name} while it takes over from ${owner.name}: ${name}`);
        await makeEnd(stage, heir, reached, end);
        await owner.start();
        await stage.goesOn();
      }
    },
  })),
);
