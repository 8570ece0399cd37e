import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { check, type Receipt, untilSettled } from '../../support/checker.js';
import { type HookReceiver, receiveHooks } from '../../support/consumers.js';
import type { Broker } from '../../support/rabbitmq.js';
import type { Seeded } from '../../support/seeded.js';
import { until } from '../../support/until.js';
import { type Env, type Installation, install, type Waybill } from '../../support/waybill.js';
import { Answers, sha256 } from './answers.js';
import { audit, type Findings } from './audit.js';
import { Clients, OTHER, OTHER_RULES, RULES } from './clients.js';
import { inDatabase } from './database.js';
import { LONG } from './options.js';
import { Post, type PostPlan, type Role } from './post.js';
import { Publisher } from './publisher.js';
import { consumeSteadily, pullSteadily, type Receiver, receiveMails, type SlowableReceiver } from './receivers.js';
import { embeddedUrl } from './surroundings.js';

/* Everything of one run: processes, what lies between them and their surroundings, those who send and those who receive. */

export interface StageOptions {
  /** One process with all roles by default. */
  readonly posts?: readonly PostPlan[];
  /** What every process reaches through a proxy of its own, which can stop and cut. */
  readonly through?: readonly ('postgres' | 'amqp')[];
  /** Settings beside those of every run. */
  readonly config?: Readonly<Record<string, unknown>>;
  readonly database?: 'own' | 'embedded' | (() => Promise<{ readonly url: string }>);
  readonly broker?: () => Promise<Broker>;
  readonly env?: (site: Installation) => Promise<Env>;
  /** Whether first receipts come in the order of their numbers; true by default. */
  readonly inOrder?: boolean;
  /** How long everything may take to be settled. */
  readonly settleMs?: number;
}

export interface Stage {
  readonly site: Installation;
  readonly posts: readonly Post[];
  /** The only process of a run with one. */
  readonly post: Post;
  readonly random: Seeded;
  readonly clients: Clients;
  readonly answers: Answers;
  readonly queue: SlowableReceiver;
  readonly databaseUrl: string;
  /** Of the only process of a run with one. */
  readonly dataDirectory: string;
  readonly kills: number;
  /** What was done, for whoever looks into a failed run. */
  readonly story: string[];
  note(what: string): void;
  /** Fires when the run is over, and takes back what it waits for. */
  readonly over: AbortSignal;
  receipts(): ReadonlyMap<string, readonly Receipt[]>;
  /** Waits until more has been acknowledged, and more delivered. */
  goesOn(): Promise<void>;
  /** Writes a configuration that says something else of one target. */
  redefine(): Promise<void>;
  /** Starts the processes and those who send, and waits until they are under way. */
  begin(): Promise<void>;
  /** Brings everything up again, has everything answered and delivered, and opens the books. */
  conclude(): Promise<Findings>;
  close(): Promise<void>;
}

/** A server or a process may have to be started first, on a busy machine. */
const GOES_ON_MS = 90_000;
/** A frozen consumer is cut off by the broker after some 15 s. */
const FETCH_MS = 60_000;

/** A killed process is missed sooner than usual, so that a run is shorter. */
const CONFIG = {
  // Six processes share a server.
  database: { maxConnections: 4 },
  lease: { beatMs: 200, lostAfterMs: 1_000 },
  content: { children: 1 },
  channel: { patienceSeconds: 2, count: 8 },
  sources: {
    feed: { kind: 'events' },
    mail: { kind: 'mail', addresses: ['@faults.example'] },
    shop: {
      kind: 'webhook',
      verify: { scheme: 'none' },
      identity: { from: 'header', header: 'webhook-id' },
      account: '/customer',
      type: { from: 'pointer', pointer: '/type' },
    },
  },
};

export async function setStage(options: StageOptions, random: Seeded): Promise<Stage> {
  // Each trouble is five seconds' wait: nothing for the short form.
  const trouble = { on: LONG };
  const refuses = someTimes(trouble);
  const [hooks, desk] = await Promise.all([
    receiveHooks((receipt) => (refuses(receipt) ? 500 : 204)),
    receiveMails('desk', refuses),
  ]);
  const database = typeof options.database === 'function' ? await options.database() : options.database;
  const config = (timeoutSeconds: number) => ({
    ...CONFIG,
    ...options.config,
    targets: {
      erp: { kind: 'queue' },
      archive: { kind: 'pull', leaseSeconds: 2 },
      crm: { kind: 'webhook', url: hooks.url, allowPrivateAddresses: true, timeoutSeconds },
      desk: {
        kind: 'email',
        body: 'message',
        to: ['desk@example.com'],
        from: 'waybill@example.net',
        server: `smtp://127.0.0.1:${desk.port}`,
      },
    },
    tenants: {
      [OTHER.tenant]: {
        channels: 4,
        sources: {
          orders: { kind: 'amqp', queue: OTHER.queue, account: { from: 'pointer', pointer: '/customer' } },
        },
        targets: { [OTHER.target]: { kind: 'queue' } },
        rulesFile: 'other.yaml',
      },
    },
  });
  const site = await install({
    config: config(15),
    rules: RULES,
    broker: options.broker ? await options.broker() : true,
    ...(database !== undefined && { database }),
  });
  await writeFile(join(site.directory, 'other.yaml'), OTHER_RULES);
  const env = (await options.env?.(site)) ?? {};
  return new TheStage(options, random, site, env, { hooks, desk, trouble, config });
}

/** A target is in trouble with one in ten deliveries, each the first time it comes: a second time it would wait for minutes. */
function someTimes(trouble: { readonly on: boolean }): (receipt: Receipt) => boolean {
  const refused = new Set<string>();
  return ({ target, epoch, channel, number }) => {
    if (!trouble.on) return false;
    const name = `${target}/${epoch}/${channel}-${number}`;
    if (refused.has(name) || Number.parseInt(sha256(name).slice(0, 4), 16) % 10 !== 0) return false;
    refused.add(name);
    return true;
  };
}

function numberOf(one: Pick<Receipt, 'tenant' | 'target' | 'epoch' | 'channel' | 'number'>): string {
  return `${one.tenant}/${one.target}/${one.epoch}/${one.channel}-${one.number}`;
}

class TheStage implements Stage {
  readonly posts: readonly Post[];
  readonly answers = new Answers();
  readonly clients: Clients;
  readonly queue: SlowableReceiver;
  readonly story: string[] = [];
  readonly #ended = new AbortController();
  readonly #archive: Receiver;
  readonly #wms: Receiver;
  readonly #orders: Publisher;
  readonly #begun = performance.now();
  constructor(
    private readonly options: StageOptions,
    readonly random: Seeded,
    readonly site: Installation,
    private readonly env: Env,
    private readonly made: {
      readonly hooks: HookReceiver;
      readonly desk: Receiver;
      readonly trouble: { on: boolean };
      /** The whole configuration, which differs from others by a number in a target. */
      readonly config: (seconds: number) => Readonly<Record<string, unknown>>;
    },
  ) {
    const plans = options.posts ?? [{ name: 'waybill' }];
    this.posts = plans.map((plan) => new Post(plan, site, env));
    this.#orders = new Publisher(site.vhost.url, OTHER.queue);
    const doors = { ingress: () => this.#some('ingress'), web: () => this.#some('web'), orders: this.#orders };
    this.clients = new Clients(doors, this.answers, random, `e${random.below(1_000_000)}`);
    this.queue = consumeSteadily(site.vhost.url, 'waybill.default.erp', 'erp');
    this.#wms = consumeSteadily(site.vhost.url, `waybill.${OTHER.tenant}.${OTHER.target}`, OTHER.target);
    this.#archive = pullSteadily(doors.web, 'archive', random);
  }

  get post(): Post {
    const [post] = this.posts;
    if (!post || this.posts.length > 1) throw new RangeError(`there are ${this.posts.length} posts`);
    return post;
  }

  get databaseUrl(): string {
    return this.options.database === 'embedded' ? embeddedUrl(this.dataDirectory) : this.site.databaseUrl;
  }

  get dataDirectory(): string {
    return this.env.WAYBILL_DATA ?? this.post.dataDirectory;
  }

  get over(): AbortSignal {
    return this.#ended.signal;
  }

  get kills(): number {
    return this.posts.reduce((sum, { kills }) => sum + kills, 0);
  }

  note(what: string): void {
    this.story.push(`${Math.round(performance.now() - this.#begun)} ms: ${what}`);
  }

  receipts(): ReadonlyMap<string, readonly Receipt[]> {
    return new Map([
      ['default/erp', this.queue.receipts],
      ['default/archive', this.#archive.receipts],
      ['default/crm', this.made.hooks.taken],
      ['default/desk', this.made.desk.receipts],
      [`${OTHER.tenant}/${OTHER.target}`, this.#wms.receipts],
    ]);
  }

  async goesOn(): Promise<void> {
    const delivered = this.queue.receipts.length;
    await this.clients.more(80, GOES_ON_MS);
    await until(() => this.queue.receipts.length >= delivered + 20, 'delivering to go on', GOES_ON_MS);
  }

  #definitions = 15;

  redefine(): Promise<void> {
    this.#definitions = 15 + ((this.#definitions - 14) % 30);
    return this.site.write(this.made.config(this.#definitions), RULES);
  }

  async begin(): Promise<void> {
    const { through = [] } = this.options;
    for (const post of this.posts) await post.through(through);
    const [first, ...others] = this.posts;
    // The first makes the tables; the others find them.
    await first?.start();
    await Promise.all(others.map((post) => post.start()));
    this.clients.start();
    await this.clients.more(100);
    await until(() => this.queue.receipts.length > 0, 'something to be delivered', 30_000);
    this.note('under way');
  }

  async conclude(): Promise<Findings> {
    this.note('to be brought up again');
    this.made.trouble.on = false;
    for (const post of this.posts) post.resume();
    await Promise.all(this.posts.map((post) => post.start()));
    this.note('all up');
    await this.clients.more(50);
    await this.clients.stop();
    this.note('all answered');
    await this.clients.sendAllAgain();
    this.note('all sent again');
    await this.#untilFetched();
    this.note('all orders fetched');
    await untilSettled(this.databaseUrl, { withinMs: this.options.settleMs ?? 90_000 });
    this.note('settled');
    await this.#untilReceived();
    await this.#archive.close();
    this.note('received');
    const inOrder =
      this.options.inOrder === false ? [] : ['default/erp', 'default/archive', `${OTHER.tenant}/${OTHER.target}`];
    const findings = await audit({
      databaseUrl: this.databaseUrl,
      answers: this.answers,
      receipts: this.receipts(),
      inOrder,
    });
    this.note('audited');
    await Promise.all(this.posts.map((post) => post.stop()));
    this.note('stopped');
    return findings;
  }

  /** All orders came twice at least; whoever consumed them may first have to be missed. */
  async #untilFetched(): Promise<void> {
    const orders = this.answers.orders.size;
    await inDatabase(this.databaseUrl, (client) =>
      until(
        async () => {
          const { rows } = await client.query(
            `select sum(c.last_sequence)::int as stored, sum(c.duplicates)::int as again
             from channel c join tenant t on t.id = c.tenant where t.name = $1`,
            [OTHER.tenant],
          );
          return rows[0].stored >= orders && rows[0].again >= orders;
        },
        'all orders to be fetched',
        FETCH_MS,
      ),
    );
  }

  /** What the broker still holds is on its way to consumers. What does not come the audit names. */
  async #untilReceived(): Promise<void> {
    const books = await check(this.databaseUrl);
    const got = this.receipts();
    const waiting = [...books.deliveries.values()].filter(({ state }) => state === 'delivered');
    const all = () => {
      const seen = new Set([...got.values()].flat().map(numberOf));
      return waiting.every((one) => seen.has(numberOf(one)));
    };
    await until(all, 'everything to come', 30_000).catch(() => this.note('not everything came'));
  }

  async close(): Promise<void> {
    this.#ended.abort(new Error('the run is over'));
    for (const post of this.posts) post.resume();
    const given = this.clients.giveUp();
    await this.#orders.close();
    await Promise.all(this.posts.map((post) => post.close()));
    await given;
    await Promise.all([this.#archive, this.queue, this.#wms, this.made.desk].map((each) => each.close()));
  }

  #some(role: Role): Waybill | null {
    const able = this.posts.filter((post) => post.has(role)).flatMap((post) => post.up ?? []);
    return able.length > 0 ? this.random.pick(able) : null;
  }
}
