import type { ChannelModel, ConfirmChannel } from 'amqplib';
import { closeChannel } from './channel.js';
import type { LinkUse } from './notice.js';
import { DEAD_QUEUE, declareDead, declareExchange, EXCHANGE, mayBind, mayPublish } from './topology.js';

/** What a broker that is there lacks. */
export type Lack =
  /** It serves another installation. */
  | 'own'
  /** It is not RabbitMQ, or an old one. */
  | 'version'
  | 'quorum_queues'
  | 'login'
  | 'virtual_host'
  | 'permission';

/**
 * RabbitMQ answers, but does not serve this installation before somebody changes something there, or the address. Its
 * sentence says what, and where. A broker that is away, or in trouble of its own, is no such thing.
 */
export class BrokerUnfit extends Error {
  override readonly name = 'BrokerUnfit';
  constructor(
    readonly lack: Lack,
    sentence: string,
    options?: ErrorOptions,
  ) {
    super(sentence, options);
  }
}

/** Who connects, and to what: host, port and virtual host. */
export interface Login {
  readonly where: string;
  readonly user: string;
}

/** Dead letters at least once came with 3.10, as major and minor. */
const OLDEST = [3, 10] as const;

// Reply codes of AMQP 0-9-1.
const ACCESS_REFUSED = 403;
const PRECONDITION_FAILED = 406;
const INTERNAL_ERROR = 541;

/**
 * Declares what all targets share, and tries what a connection of this use will do. Rejects with BrokerUnfit when that
 * will not do, else with whatever went wrong.
 */
export async function makeFit(
  connection: ChannelModel,
  use: LinkUse,
  installation: string,
  login: Login,
): Promise<void> {
  checkServer(connection, login);
  let failure: unknown;
  const note = (error: unknown) => {
    failure ??= error;
  };
  // What was asked for rejects as well, but after its channel or connection has ended it does not say why.
  connection.once('error', note);
  const blocked = new Promise<'blocked'>((resolve) => connection.once('blocked', () => resolve('blocked')));
  const channel = await connection.createConfirmChannel();
  channel.on('error', note);
  for (const { does, takes } of stepsOf(use, channel, installation)) {
    const done = await Promise.race([does(), blocked]).catch((error: unknown) => {
      throw unfit(failure ?? error, login, takes);
    });
    // There is an alarm, and nothing more is read from us: what could not be tried will show when it is done.
    if (done === 'blocked') break;
  }
  connection.off('error', note);
  closeChannel(channel);
}

interface Step {
  readonly does: () => Promise<void>;
  /** The permissions it takes. */
  readonly takes: string;
}

function stepsOf(use: LinkUse, channel: ConfirmChannel, installation: string): Step[] {
  const declaring: Step[] = [
    {
      does: () => declareDead(channel, installation),
      takes: `configure and read on ${DEAD_QUEUE}, and write on amq.default`,
    },
    { does: () => declareExchange(channel), takes: `configure on the exchange ${EXCHANGE}` },
  ];
  switch (use) {
    case 'publishing':
      return [
        ...declaring,
        { does: () => mayBind(channel), takes: `write on ${DEAD_QUEUE}, and read on the exchange ${EXCHANGE}` },
        { does: () => mayPublish(channel), takes: `write on the exchange ${EXCHANGE}` },
      ];
    case 'consuming':
      // It publishes nothing: an alarm would hold it up.
      return declaring;
    default: {
      const never: never = use;
      return never;
    }
  }
}

function checkServer(connection: ChannelModel, { where }: Login): void {
  const { product, version } = connection.connection.serverProperties;
  const [major = 0, minor = 0] = String(version).split('.').map(Number);
  const [oldestMajor, oldestMinor] = OLDEST;
  const isOld = major < oldestMajor || (major === oldestMajor && minor < oldestMinor);
  if (String(product) === 'RabbitMQ' && !isOld) return;
  throw new BrokerUnfit(
    'version',
    `${where} is ${product} ${version}: Waybill needs RabbitMQ ${OLDEST.join('.')} or later.`,
  );
}

/** The failure of a declaration, as BrokerUnfit where somebody has to do something about it. */
function unfit(error: unknown, { where, user }: Login, takes: string): unknown {
  const { code, message } = error as { code?: unknown; message?: string };
  switch (code) {
    case ACCESS_REFUSED:
      return new BrokerUnfit(
        'permission',
        `The user ${user} has too little permission on ${where}: Waybill needs ${takes}. Give it configure and read on ` +
          `^waybill and write on ^(waybill|amq\\.default$). RabbitMQ says: ${message}`,
        { cause: error },
      );
    case PRECONDITION_FAILED:
      return new BrokerUnfit(
        'own',
        `${where} serves another Waybill installation: give this one a virtual host of its own, or delete the queue ` +
          `${DEAD_QUEUE} and the exchange ${EXCHANGE} there if that installation is gone.`,
        { cause: error },
      );
    case INTERNAL_ERROR:
      // A cluster in trouble has this code, too: it must not keep Waybill from starting. Only the text tells them apart.
      if (!/feature flag/.test(message ?? '')) return error;
      return new BrokerUnfit(
        'quorum_queues',
        `${where} has no quorum queues, which Waybill needs: enable them by \`rabbitmqctl enable_feature_flag quorum_queue\`.`,
        { cause: error },
      );
    default:
      return error;
  }
}

/** Of amqplib 2.3.1, which gives these no code; tests hold both against the installed version. */
const LOGIN_REFUSED = /^Handshake terminated by server: 403 /;
const OPEN_REFUSED = /^Expected ConnectionOpenOk; got <ConnectionClose /;

/** The failure of a connection's handshake, as BrokerUnfit where the address is to blame. */
export function handshakeFailure(error: unknown, { where, user }: Login): unknown {
  const message = error instanceof Error ? error.message : '';
  if (LOGIN_REFUSED.test(message)) {
    return new BrokerUnfit('login', `${where} refuses the user ${user}: correct name and password in AMQP_URL.`);
  }
  if (OPEN_REFUSED.test(message)) {
    return new BrokerUnfit(
      'virtual_host',
      `${where}: there is no such virtual host, or the user ${user} has no permission on it.`,
    );
  }
  return error;
}
