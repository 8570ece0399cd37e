import { z } from 'zod';
import { meterSchema, rateCardSchema, subscriptionSchema } from '../billing/definitions.js';
import { nameSchema, sourceDefinitionSchema } from '../channel/source.js';
import { DEFAULT_LADDER, RUNGS, type RungName } from '../content/index.js';
import { targetDefinitionSchema } from '../delivery/target.js';
import { listenAddress, networks, path, section, setting, size, url } from './setting.js';

/** The parts a process can play; several processes on one database may share them out. */
const ROLES = ['ingress', 'owner', 'web', 'ledger'] as const;

const MIB = 1024 ** 2;

/** Every setting of a process, once. */
export const settingShape = {
  roles: setting(
    z
      .array(z.enum(ROLES))
      .min(1)
      .default([...ROLES]),
    'What this process does: `ingress` takes messages in, `owner` reads channels onward, `web` serves the pages and the API, `ledger` counts usage and makes statements, and keeps the books: checkpoints, what has outlived its time, and what is learnt from decisions.',
    { env: 'WAYBILL_ROLES' },
  ),
  data: setting(path().default('./data'), 'Folder of the embedded database and of what can be made again.', {
    env: 'WAYBILL_DATA',
  }),
  drainSeconds: setting(
    z.int().min(0).max(3600).default(10),
    'How long what is under way may take to end when the program is told to stop.',
    { unit: 'seconds' },
  ),
  database: section(
    'PostgreSQL: the embedded server, unless an address is given.',
    z.strictObject({
      url: setting(
        url('postgres', 'postgresql').optional(),
        'An external PostgreSQL 14 or later, `postgres://user:password@host/name`.',
        { env: 'DATABASE_URL', secret: true },
      ),
      maxConnections: setting(
        z.int().min(4).max(200).default(10),
        'Connections of this process for reading and configuration at most; accepting, owners and notices take nine more.',
        {
          unit: 'connections',
        },
      ),
    }),
  ),
  broker: section(
    'RabbitMQ. Without it `queue` targets are served by the pull API.',
    z.strictObject({
      url: setting(url('amqp', 'amqps').optional(), 'RabbitMQ 3.10 or later, `amqp://user:password@host/vhost`.', {
        env: 'AMQP_URL',
        secret: true,
      }),
      heartbeatSeconds: setting(
        z.int().min(1).max(600).default(30),
        'How often the connection shows that it lives; two missed ones end it.',
        { unit: 'seconds' },
      ),
    }),
  ),
  http: section(
    'Pages, API, webhooks and events.',
    z.strictObject({
      listen: setting(listenAddress().prefault('127.0.0.1:8420'), 'Where to listen; port 0 takes a free one.', {
        env: 'WAYBILL_HTTP',
      }),
      publicUrl: setting(
        url('http', 'https').optional(),
        'The address people reach it by, for links; without it the one it listens on.',
      ),
      trustedProxies: setting(networks(), 'Proxies whose `X-Forwarded-For` is believed.'),
      maxConnections: setting(z.int().min(1).max(65_535).default(5000), 'Connections at once.', {
        unit: 'connections',
      }),
      maxBody: setting(size(1024, 1024 * MIB).prefault('32 MiB'), 'Largest body of a request; a larger one is 413.'),
      maxEventsPerRequest: setting(
        z.int().min(1).max(100_000).default(1000),
        'Most events in one request; more is 413.',
        { unit: 'events' },
      ),
    }),
  ),
  smtp: section(
    'Mail in.',
    z.strictObject({
      listen: setting(listenAddress().prefault('127.0.0.1:2525'), 'Where to listen; port 0 takes a free one.', {
        env: 'WAYBILL_SMTP',
      }),
      hostname: setting(
        z
          .string()
          .regex(/^[A-Za-z0-9.-]{1,253}$/, 'a host name')
          .optional(),
        "The name it greets with and writes into Received; without it the machine's.",
      ),
      tls: setting(
        z
          .strictObject({
            certificate: setting(path(), 'PEM file with the certificate and its chain.'),
            key: setting(path(), 'PEM file with the private key.'),
          })
          .optional(),
        'Certificate for STARTTLS; without one it is not offered.',
      ),
      loopbackLogin: setting(
        z.boolean().default(true),
        'Whether programs on this machine may log in without TLS. Everybody else needs TLS to log in.',
      ),
      maxMessage: setting(size(1024, 1024 * MIB).prefault('25 MB'), 'Largest mail; a larger one is refused with 552.'),
      maxBuffered: setting(
        size(MIB, 64 * 1024 * MIB).prefault('256 MiB'),
        'What all mails being received may hold in memory; beyond that senders are told to come back (452). Tenants share it: one alone may have half, two a third each.',
      ),
      maxFanOut: setting(
        size(MIB, 64 * 1024 * MIB).prefault('256 MiB'),
        'What one mail may come to when it is stored once for each of its accounts.',
      ),
      maxRecipients: setting(
        z.int().min(1).max(10_000).default(100),
        'Most recipients of one mail; the sender is told to send the rest separately.',
        { unit: 'recipients' },
      ),
      maxConnections: setting(z.int().min(1).max(65_535).default(500), 'Connections at once.', { unit: 'connections' }),
      maxConnectionsPerPeer: setting(
        z.int().min(1).max(65_535).default(100),
        'Connections at once from one peer: an IPv4 address or an IPv6 network of 64 bits.',
        { unit: 'connections' },
      ),
      maxMessagesPerPeerPerMinute: setting(
        z.int().min(1).max(10_000_000).optional(),
        'Mails a minute from one peer; without it there is no limit.',
        { unit: 'mails' },
      ),
      maxRecipientsPerPeerPerMinute: setting(
        z.int().min(1).max(10_000_000).optional(),
        'Recipients a minute from one peer, known or not; without it there is no limit.',
        { unit: 'recipients' },
      ),
      idleSeconds: setting(z.int().min(1).max(3600).default(60), 'How long a silent connection is kept.', {
        unit: 'seconds',
      }),
      transactionSeconds: setting(
        z.int().min(1).max(86_400).default(600),
        'How long a connection is kept that completes no mail, however busy it is.',
        { unit: 'seconds' },
      ),
      trustedProxies: setting(networks(), 'Proxies: their connections begin with a PROXY line that says who connects.'),
      trustedXclient: setting(networks(), 'Mail servers that may say by XCLIENT for whom they connect.'),
      postmaster: setting(
        z
          .strictObject({
            tenant: setting(nameSchema.default('default'), 'Tenant of the source.'),
            source: setting(nameSchema, 'A mail source.'),
          })
          .optional(),
        'Where mail to a bare `postmaster` goes; without it the first mail source of tenant `default`.',
      ),
    }),
  ),
  amqp: section(
    'Queues that sources of kind `amqp` consume.',
    z.strictObject({
      maxMessage: setting(
        size(1024, 1024 * MIB).prefault('32 MiB'),
        'Largest message that is read; a larger one goes to the quarantine.',
      ),
      maxBuffered: setting(
        size(MIB, 64 * 1024 * MIB).prefault('256 MiB'),
        'What all messages on their way to being stored may hold in memory; the others wait in their queues.',
      ),
    }),
  ),
  channel: section(
    'Taking messages in: channels, de-duplication, back-pressure.',
    z.strictObject({
      count: setting(
        z.int().min(1).max(1024).default(16),
        'Channels of a tenant that is made from now on; a tenant keeps the number it was made with.',
        { unit: 'channels' },
      ),
      windowDays: setting(
        z.int().min(5).max(3650).default(35),
        'How long a message is remembered for de-duplication, in five generations; an event older than that is `expired`.',
        { unit: 'days' },
      ),
      futureHours: setting(
        z.int().min(0).max(8760).default(24),
        'How far ahead of our clock the time of an event may be.',
        { unit: 'hours' },
      ),
      maxBatchMessages: setting(z.int().min(1).max(100_000).default(2000), 'Most messages stored by one transaction.', {
        unit: 'messages',
      }),
      maxBatchBytes: setting(size(MIB, 1024 * MIB).prefault('64 MiB'), 'Most bytes stored by one transaction.'),
      maxWaitingMessages: setting(
        z.int().min(1).max(10_000_000).default(20_000),
        'Most messages that may wait to be stored; beyond that senders are told to come back (429, 452). Tenants share them: one alone may have half, two a third each.',
        { unit: 'messages' },
      ),
      maxWaitingBytes: setting(
        size(MIB, 64 * 1024 * MIB).prefault('256 MiB'),
        'Most bytes that may wait to be stored; beyond that senders are told to come back (429, 452). Tenants share them likewise.',
      ),
      patienceSeconds: setting(
        z.int().min(0).max(300).default(5),
        'How long a batch that could not be stored is tried again before its senders are told (503, 451).',
        { unit: 'seconds' },
      ),
      filterExpectedKeys: setting(
        z.int().min(1000).max(10_000_000_000).default(1_000_000),
        'Messages expected in a fifth of the window; the filter in front of the current generation has room for them, 2.3 bytes each.',
        { unit: 'messages' },
      ),
    }),
  ),
  content: section(
    'Parsing mail, in child processes.',
    z.strictObject({
      children: setting(z.int().min(1).max(128).default(2), 'Child processes kept warm.', { unit: 'processes' }),
      trySeconds: setting(
        z.number().min(0.1).max(600).default(3),
        'How long one try may take before its child is ended and the message goes down the ladder.',
        { unit: 'seconds' },
      ),
      memory: setting(
        size(160 * MIB, 64 * 1024 * MIB).prefault('256 MiB'),
        'Memory a child may use; a fresh one holds about 95 MiB.',
      ),
      ladder: setting(
        z
          .array(z.enum(Object.keys(RUNGS) as [RungName, ...RungName[]]))
          .min(2)
          .refine((names) => new Set(names).size === names.length, 'each rung stands once')
          .refine(
            (names) => names[0] === 'full' && names.at(-1) === 'poison',
            'it begins with full and ends with poison',
          )
          .default([...DEFAULT_LADDER]),
        'The rungs of the ladder, from the top: each leaves out what those above it do, and something more.',
      ),
      maxParts: setting(z.int().min(1).max(100_000).default(1_000), 'Parts of a mail that are read.', {
        unit: 'parts',
      }),
      maxDepth: setting(z.int().min(1).max(200).default(64), 'How deep parts may be nested.', { unit: 'levels' }),
      maxHeaderBytes: setting(size(1024, 16 * MIB).prefault('256 kB'), 'How much of a header is read.'),
      maxHeaderLines: setting(z.int().min(10).max(100_000).default(1_000), 'Lines of a header that are read.', {
        unit: 'lines',
      }),
      maxHops: setting(
        z.int().min(1).max(1_000).default(100),
        'Mail servers a mail may have gone through before it is taken for one that runs in circles.',
        { unit: 'servers' },
      ),
      parkAfterMs: setting(
        z.int().min(10).max(60_000).default(250),
        'How long a try may hold up its channel; after that the message is parked and the channel goes on.',
        { unit: 'ms' },
      ),
    }),
  ),
  delivery: section(
    'Sending to targets.',
    z.strictObject({
      unconfirmedMs: setting(
        z.int().min(50).max(60_000).default(1000),
        'How long the broker may take to confirm before the delivery counts as pending.',
        { unit: 'ms' },
      ),
      maxBacklog: setting(
        z.int().min(1).max(1_000_000_000).default(1_000_000),
        'Most deliveries that may wait for a broker that is away or in alarm, of all tenants together; beyond that, tenants with no less than an equal share of it are told to come back (503, 451).',
        { unit: 'deliveries' },
      ),
    }),
  ),
  lease: section(
    'How several processes on one database share the channels.',
    z
      .strictObject({
        beatMs: setting(z.int().min(100).max(60_000).default(1000), 'How often a process shows that it lives.', {
          unit: 'ms',
        }),
        lostAfterMs: setting(
          z.int().min(500).max(600_000).default(4000),
          'How long a process may be silent before others take over its channels; at least two beats.',
          { unit: 'ms' },
        ),
      })
      .refine(({ beatMs, lostAfterMs }) => lostAfterMs >= 2 * beatMs, {
        path: ['lostAfterMs'],
        message: 'at least twice lease.beatMs, or a single late beat counts as a death',
      }),
  ),
  search: section(
    'Full-text search.',
    z.strictObject({
      kinds: setting(
        z
          .array(z.enum(['mail', 'webhook', 'event', 'amqp']))
          .max(4)
          .default(['mail', 'webhook']),
        'Kinds of messages whose words are all kept; of other kinds only those that wait for a person are found by their words. What comes from now on.',
      ),
    }),
  ),
  retention: section(
    'How long things are kept.',
    z.strictObject({
      contentDays: setting(
        z.int().min(6).max(36_500).default(90),
        'Content of messages, in whole generations; what is still open stays. At least as long as their keys: `channel.windowDays` and a day, or `channel.futureHours` where that is more.',
        { unit: 'days' },
      ),
      refusalsDays: setting(z.int().min(1).max(365).default(7), 'Refusals.', { unit: 'days' }),
      quarantineDays: setting(
        z.int().min(1).max(36_500).optional(),
        'Entries of the quarantine, once they are released or discarded; without it for good. What is held stays.',
        { unit: 'days' },
      ),
    }),
  ),
  access: section(
    'Who may do what.',
    z.strictObject({
      adminToken: setting(
        z.string().min(16).max(512).optional(),
        'A bearer token that is owner of tenant `default`; without it the first start prints a sign-in link.',
        { env: 'WAYBILL_ADMIN_TOKEN', secret: true },
      ),
    }),
  ),
  log: section(
    'The log, as JSON lines.',
    z.strictObject({
      level: setting(
        z.enum(['trace', 'debug', 'info', 'warn', 'error', 'silent']).default('info'),
        'What is written: this level and all above it.',
      ),
    }),
  ),
};

export const settingsSchema = z.strictObject(settingShape);
export type Settings = z.output<typeof settingsSchema>;

const definitionShape = {
  // Names are checked apart from this, so that a wrong name doesn't hide what else is wrong.
  sources: z.record(z.string(), sourceDefinitionSchema).prefault({}).describe('Where messages come in, by name.'),
  targets: z
    .record(z.string(), targetDefinitionSchema)
    .prefault({})
    .describe('Target applications and how each is reached, by name.'),
  meters: z.record(z.string(), meterSchema).prefault({}).describe('What usage is counted, by name.'),
  rateCards: z.record(z.string(), rateCardSchema).prefault({}).describe('What usage costs, by name.'),
  subscriptions: z
    .record(z.string(), subscriptionSchema)
    .prefault({})
    .describe('Which account has which rate card, by name.'),
  rulesFile: path()
    .optional()
    .describe('File with the rules, beside this one; without it the rules are those set over the API.'),
};

export const tenantSchema = z.strictObject({
  channels: z
    .int()
    .min(1)
    .max(1024)
    .optional()
    .describe('How many channels it is made with; fixed from then on. Without it `channel.count`.'),
  ...definitionShape,
});

/** The whole file: settings, what tenant `default` has, and what other tenants have. */
export const fileSchema = z
  .strictObject({
    ...settingShape,
    ...definitionShape,
    tenants: z
      .record(z.string(), tenantSchema.prefault({}))
      .prefault({})
      .describe('Further tenants, each with sources, targets, meters and rules of its own.'),
  })
  .superRefine(({ channel, retention }, context) => {
    // A message outlives its key: while a duplicate is told by it, the original can be looked at.
    const least = Math.ceil(channel.windowDays + Math.max(1, channel.futureHours / 24));
    if (retention.contentDays >= least) return;
    const message = `at least ${least}, because keys are kept for so many days`;
    context.addIssue({ code: 'custom', path: ['retention', 'contentDays'], message });
  });

/** What the `waybill` command needs to reach a running Waybill; from the environment alone. */
export const clientShape = {
  url: setting(url('http', 'https').default('http://127.0.0.1:8420'), 'Where Waybill is.', { env: 'WAYBILL_URL' }),
  token: setting(z.string().min(1).max(512).optional(), 'The token to call it with.', {
    env: 'WAYBILL_TOKEN',
    secret: true,
  }),
};
export const clientSchema = z.strictObject(clientShape);
export type ClientSettings = z.output<typeof clientSchema>;

/** The variable that names the file itself. */
export const CONFIG_VARIABLE = { name: 'WAYBILL_CONFIG', default: 'config/waybill.yaml' } as const;
