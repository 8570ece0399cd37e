import { setTimeout as pause } from 'node:timers/promises';
import { until } from '../support/until.js';
import { inDatabase, ownerAmong, ownersAmong } from './support/database.js';
import { LONG } from './support/options.js';
import type { Scenario } from './support/scenario.js';
import type { Stage, StageOptions } from './support/stage.js';
import {
  embeddedPid,
  JumpingClock,
  PrivateBroker,
  PrivatePostgres,
  type ServerEnd,
  SmallDisk,
} from './support/surroundings.js';

/* What a program stands on gives way: connections, brokers, databases, disks, clocks, and the processor itself. */

const TWO = [{ name: 'one' }, { name: 'two' }] as const;
const APART = [
  { name: 'ingress-1', roles: ['ingress', 'web'] },
  { name: 'ingress-2', roles: ['ingress', 'web'] },
  { name: 'owner-1', roles: ['owner'] },
  { name: 'owner-2', roles: ['owner'] },
] as const;

const CUTS: readonly Scenario[] = [
  {
    name: 'connections cut at random',
    short: true,
    through: ['postgres', 'amqp'],
    fault: (stage) =>
      rounds(stage, 8, async () => {
        stage.post.postgres.cutSome(0.4, stage.random);
        stage.post.amqp.cutSome(0.7, stage.random);
      }),
  },
  {
    name: 'connections to PostgreSQL cut at random',
    through: ['postgres'],
    posts: TWO,
    fault: (stage) =>
      rounds(stage, 20, async () => {
        for (const post of stage.posts) post.postgres.cutSome(0.4, stage.random);
      }),
  },
  {
    name: 'connections to RabbitMQ cut at random',
    through: ['amqp'],
    posts: TWO,
    fault: (stage) =>
      rounds(stage, 20, async () => {
        for (const post of stage.posts) post.amqp.cutSome(0.7, stage.random);
      }),
  },
  {
    name: 'PostgreSQL and RabbitMQ out of reach by turns',
    through: ['postgres', 'amqp'],
    posts: TWO,
    fault: (stage) =>
      rounds(stage, 6, async () => {
        const post = stage.random.pick(stage.posts);
        const proxy = stage.random.below(2) === 0 ? post.postgres : post.amqp;
        await proxy.cut();
        await pause(stage.random.below(1_500));
        await proxy.mend();
      }),
  },
];

/** Random moments, so that nobody can tell what is under way. */
async function rounds(stage: Stage, count: number, work: () => Promise<void>): Promise<void> {
  for (let round = 0; round < count; round++) {
    await pause(stage.random.below(400));
    await work();
  }
  await stage.clients.more(200);
}

const FREEZES: readonly Scenario[] = [
  {
    name: 'an owner stopped for longer than its lease, at random moments',
    short: true,
    posts: TWO,
    fault: async (stage) => {
      for (let round = 0; round < (LONG ? 4 : 1); round++) {
        await pause(stage.random.below(500));
        await freezeOwner(stage);
      }
    },
  },
  {
    name: 'a process that takes messages in stopped for seconds',
    posts: APART,
    fault: async (stage) => {
      for (const name of ['ingress-1', 'ingress-2', 'ingress-1']) {
        const post = stage.posts.find((each) => each.name === name);
        await pause(stage.random.below(500));
        post?.pause();
        // Longer than the server lets a transaction stand idle.
        await pause(3_000);
        await stage.goesOn();
        post?.resume();
      }
    },
  },
];

async function freezeOwner(stage: Stage): Promise<void> {
  const owner = await ownerAmong(stage.databaseUrl, stage.posts);
  const { pid } = owner.waybill;
  stage.note(`stop ${owner.name}`);
  owner.pause();
  await until(
    async () => !(await ownersAmong(stage.databaseUrl)).includes(pid),
    'its channels to be taken over',
    20_000,
  );
  const before = stage.queue.receipts.length;
  await until(() => stage.queue.receipts.length > before, 'the other to deliver', 20_000);
  owner.resume();
  await stage.goesOn();
}

function onBroker(
  name: string,
  fault: (stage: Stage, broker: PrivateBroker) => Promise<void>,
  options: StageOptions = {},
): Scenario {
  let broker: PrivateBroker | null = null;
  return {
    ...options,
    name,
    broker: async () => {
      broker = await PrivateBroker.start();
      return broker;
    },
    fault: async (stage) => {
      if (broker) await fault(stage, broker);
    },
  };
}

const BROKERS: readonly Scenario[] = [
  ...(['stop', 'kill'] as const).map((how) =>
    onBroker(
      `RabbitMQ restarted (${how})`,
      async (stage, broker) => {
        for (let round = 0; round < 2; round++) {
          await broker.restart(how, () => stage.clients.more(100));
          await stage.goesOn();
        }
      },
      { posts: TWO },
    ),
  ),
  onBroker(
    'RabbitMQ short of memory: it takes nothing, and accepting goes on',
    async (stage, broker) => {
      for (let round = 0; round < 2; round++) {
        await broker.limitMemory('nothing');
        await stage.clients.more(300);
        await broker.limitMemory('usual');
        await stage.goesOn();
      }
    },
    { posts: TWO },
  ),
  {
    name: 'a slow consumer, and a queue that takes no more',
    // A queue that refuses one message may have taken a later one: that one comes again, and numbers tell.
    inOrder: false,
    fault: async (stage) => {
      const { vhost } = stage.site;
      stage.queue.slowDown(15);
      await vhost.api('PUT', `/policies/${vhost.vhost}/narrow`, {
        pattern: '^waybill\\.default\\.erp$',
        definition: { 'max-length': 20, overflow: 'reject-publish' },
        'apply-to': 'queues',
      });
      await stage.clients.more(500);
      await waiting(stage, 'erp');
      await vhost.api('DELETE', `/policies/${vhost.vhost}/narrow`);
      stage.queue.slowDown(0);
    },
  },
];

/** Until something of a target waits: a run in which nothing did would prove nothing. */
async function waiting(stage: Stage, target: string): Promise<void> {
  await inDatabase(stage.databaseUrl, (client) =>
    until(async () => {
      const { rows } = await client.query<{ count: string }>(
        `select count(*) as count from delivery d join target t on t.tenant = d.tenant and t.id = d.target
         where t.name = $1 and d.state = 'pending' and d.attempts > 0`,
        [target],
      );
      return Number(rows[0]?.count) > 0;
    }, `something to wait for ${target}`),
  );
}

const SERVERS: readonly ServerEnd[] = ['SIGINT', 'SIGQUIT', 'SIGKILL'];

const DATABASES: readonly Scenario[] = [
  ...SERVERS.map((signal): Scenario => {
    let postgres: PrivatePostgres | null = null;
    return {
      name: `PostgreSQL ended by ${signal} and started again`,
      posts: TWO,
      database: async () => {
        postgres = await PrivatePostgres.start();
        return postgres;
      },
      fault: async (stage) => {
        for (let round = 0; round < 3; round++) {
          await pause(stage.random.below(500));
          await postgres?.end(signal);
          await stage.goesOn();
        }
      },
    };
  }),
  ...(['SIGKILL', 'SIGINT'] as const).map(
    (signal): Scenario => ({
      name: `the embedded PostgreSQL ended by ${signal}`,
      database: 'embedded',
      fault: async (stage) => {
        for (let round = 0; round < 3; round++) {
          await pause(stage.random.below(500));
          process.kill(await embeddedPid(stage.dataDirectory), signal);
          await stage.goesOn();
        }
      },
    }),
  ),
  {
    name: 'Waybill killed with its embedded PostgreSQL',
    database: 'embedded',
    fault: async (stage) => {
      for (let round = 0; round < 3; round++) {
        await pause(stage.random.below(500));
        await stage.post.kill();
        await stage.post.start();
        await stage.clients.more(100);
      }
    },
  },
];

/** Enough for a cluster and its log, and soon full. */
const DISK_MB = 400;

const DISKS: readonly Scenario[] = [
  diskScenario('the disk of the embedded database nearly full', async (stage, disk) => {
    // More than PostgreSQL needs at the moment, and less than the tenth below which nothing is accepted.
    disk.leave(5);
    await refusedAll(stage);
    await disk.empty();
  }),
  diskScenario('the disk of the embedded database full at once', async (stage, disk) => {
    disk.fill();
    await refusedAll(stage);
    await disk.empty();
  }),
  (() => {
    let disk: SmallDisk | null = null;
    return {
      name: 'the disk of a PostgreSQL elsewhere full',
      skip: SmallDisk.impossible,
      settleMs: 120_000,
      database: async () => {
        disk = await SmallDisk.mount(DISK_MB);
        return PrivatePostgres.start(disk.directory);
      },
      fault: async (stage: Stage) => {
        disk?.fill();
        await refusedAll(stage);
        await disk?.empty();
        await stage.goesOn();
      },
    };
  })(),
];

function diskScenario(name: string, fault: (stage: Stage, disk: SmallDisk) => Promise<void>): Scenario {
  let disk: SmallDisk | null = null;
  return {
    name,
    skip: SmallDisk.impossible,
    database: 'embedded',
    settleMs: 120_000,
    env: async () => {
      disk = await SmallDisk.mount(DISK_MB);
      return { WAYBILL_DATA: disk.directory };
    },
    fault: async (stage) => {
      if (disk) await fault(stage, disk);
      await stage.goesOn();
    },
  };
}

/** Until mail and events alike have been told to come again, several times. */
async function refusedAll(stage: Stage): Promise<void> {
  const { answers } = stage;
  const before = new Map(answers.refused);
  const refused = (status: number) => (answers.refused.get(status) ?? 0) >= (before.get(status) ?? 0) + 3;
  await until(() => refused(503), 'events to be told 503', 60_000);
  // Only now: the disk is looked at every few seconds, and a mail that is still taken does not come again.
  stage.clients.mailOnce();
  await until(() => refused(451), 'mail to be told 451', 60_000);
}

const CLOCKS: readonly Scenario[] = [
  {
    name: 'the clock of every process jumps a day ahead, back, and a day behind',
    posts: TWO,
    settleMs: 120_000,
    env: async (site) => (await JumpingClock.of(site)).env,
    fault: async (stage) => {
      const clock = await JumpingClock.of(stage.site);
      for (const hours of [24, 0, -24, 24, 0]) {
        stage.note(`clock at ${hours} hours`);
        await clock.jumpTo(hours);
        await stage.clients.more(150);
        await pause(500);
      }
    },
  },
];

export const SURROUNDINGS: readonly Scenario[] = [...CUTS, ...FREEZES, ...BROKERS, ...DATABASES, ...DISKS, ...CLOCKS];
