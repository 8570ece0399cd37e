import { execFile, spawn } from 'node:child_process';
import { randomBytes, randomInt } from 'node:crypto';
import { once } from 'node:events';
import { accessSync, closeSync, constants, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { createServer } from 'node:net';
import { delimiter, dirname, join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { installDebianPackage } from './debian.mjs';

const USER = 'waybill';
const START_MS = 90_000;
const STOP_MS = 20_000;
const POLL_MS = 100;

/**
 * Starts a RabbitMQ node of our own: own ports on the loopback address, own directory, cookie and name server (epmd), so that
 * it neither sees nor disturbs one that the machine may run. What it keeps is kept in `directory`.
 * Uses an installed server, else Debian's package for root on Debian; throws an Error with a sentence otherwise.
 *
 * @param {{ directory: string, say: (line: string) => void }} settings
 * @returns {Promise<import('./rabbitmq.d.mts').RabbitmqNode>}
 */
export async function startRabbitmq({ directory, say }) {
  const program = installedServer() ?? (installDebianPackage('rabbitmq-server', say) ? installedServer() : undefined);
  if (!program) {
    throw new Error(
      'RabbitMQ is not installed: install the package rabbitmq-server, or set AMQP_URL to a running one.',
    );
  }
  const home = resolve(directory);
  mkdirSync(home, { recursive: true, mode: 0o700 });
  const about = await identity(home);
  const environment = configure(home, about);
  const epmd = spawnChild('epmd', ['-address', '127.0.0.1', '-port', String(about.epmd)], environment, 'ignore');
  const log = openSync(join(home, 'output.log'), 'w', 0o600);
  const node = spawnChild(program, [], environment, log);
  closeSync(log);
  const management = `http://${USER}:${about.password}@127.0.0.1:${about.management}`;
  try {
    await listening(node, management, about.amqp, home);
  } catch (error) {
    await Promise.all([end(node, 'SIGKILL'), end(epmd, 'SIGKILL')]);
    throw error;
  }
  return {
    url: `amqp://${USER}:${about.password}@127.0.0.1:${about.amqp}`,
    management,
    control: (...args) => control(program, args, environment),
    async stop() {
      await end(node, 'SIGTERM');
      await end(epmd, 'SIGTERM');
    },
    async kill() {
      await end(node, 'SIGKILL');
      await end(epmd, 'SIGKILL');
    },
  };
}

/** The server itself: Debian's `/usr/sbin/rabbitmq-server` is a wrapper that insists on its own user. */
function installedServer() {
  const directories = ['/usr/lib/rabbitmq/bin', ...(process.env.PATH ?? '').split(delimiter), '/usr/local/sbin'];
  return directories.map((directory) => join(directory, 'rabbitmq-server')).find(isExecutable);
}

/** @param {string} path */
function isExecutable(path) {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/**
 * Ports and password, kept in the directory so that they stay the same; a port that is taken by now is exchanged.
 *
 * @typedef {{ password: string, amqp: number, management: number, distribution: number, epmd: number }} Identity
 * @param {string} home
 * @returns {Promise<Identity>}
 */
async function identity(home) {
  const path = join(home, 'node.json');
  const kept = readKept(path);
  const about = {
    password: kept.password ?? randomBytes(18).toString('base64url'),
    amqp: await freePort(kept.amqp),
    management: await freePort(kept.management),
    distribution: await freePort(kept.distribution),
    epmd: await freePort(kept.epmd),
  };
  writeFileSync(path, JSON.stringify(about), { mode: 0o600 });
  return about;
}

/**
 * @param {string} path
 * @returns {Partial<Identity>}
 */
function readKept(path) {
  try {
    return JSON.parse(readFileSync(path, 'utf8'));
  } catch {
    return {};
  }
}

/**
 * A port nobody listens on now. Below the range that outgoing connections take theirs from (32768 and up on Linux), so
 * that none of those is faster than the node.
 *
 * @param {number} [wanted]
 * @returns {Promise<number>}
 */
async function freePort(wanted = randomInt(15_000, 32_000)) {
  const server = createServer();
  try {
    server.listen(wanted, '127.0.0.1');
    await once(server, 'listening');
    const address = server.address();
    return typeof address === 'object' && address ? address.port : 0;
  } catch {
    return freePort();
  } finally {
    server.close();
  }
}

/**
 * Writes the node's configuration and returns its environment, in which nothing of the machine's own node is left.
 *
 * @param {string} home
 * @param {Identity} about
 */
function configure(home, about) {
  const file = join(home, 'rabbitmq.conf');
  const plugins = join(home, 'enabled_plugins');
  const lines = [
    `listeners.tcp.1 = 127.0.0.1:${about.amqp}`,
    `default_user = ${USER}`,
    `default_pass = ${about.password}`,
    'management.tcp.ip = 127.0.0.1',
    `management.tcp.port = ${about.management}`,
    // The API is for vhosts and queues; nobody looks at rates, and collecting them costs throughput.
    'management_agent.disable_metrics_collector = true',
    'log.file.level = warning',
    'log.console = false',
  ];
  writeFileSync(file, `${lines.join('\n')}\n`, { mode: 0o600 });
  writeFileSync(plugins, '[rabbitmq_management].\n');
  return {
    PATH: `${process.env.PATH ?? ''}:/usr/sbin:/usr/bin:/sbin:/bin`,
    LANG: 'C.UTF-8',
    HOME: home,
    ERL_EPMD_PORT: String(about.epmd),
    ERL_EPMD_ADDRESS: '127.0.0.1',
    RABBITMQ_NODENAME: 'waybill@localhost',
    RABBITMQ_DIST_PORT: String(about.distribution),
    RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: '-kernel inet_dist_use_interface {127,0,0,1}',
    RABBITMQ_CONF_ENV_FILE: join(home, 'rabbitmq-env.conf'),
    RABBITMQ_CONFIG_FILE: file,
    RABBITMQ_ADVANCED_CONFIG_FILE: join(home, 'advanced.config'),
    RABBITMQ_ENABLED_PLUGINS_FILE: plugins,
    RABBITMQ_GENERATED_CONFIG_DIR: join(home, 'generated'),
    RABBITMQ_MNESIA_BASE: join(home, 'mnesia'),
    RABBITMQ_LOG_BASE: join(home, 'log'),
    RABBITMQ_PID_FILE: join(home, 'pid'),
    // Makes the start script become the server, rather than stay as its parent.
    RUNNING_UNDER_SYSTEMD: 'true',
  };
}

/**
 * A child out of reach of Ctrl-C, which ends when we do, also when we are killed.
 *
 * @param {string} program
 * @param {string[]} args
 * @param {NodeJS.ProcessEnv} env
 * @param {number | 'ignore'} output
 */
function spawnChild(program, args, env, output) {
  const command = ['--pdeathsig', 'TERM', '--', program, ...args];
  const child = spawn('setpriv', command, { env, detached: true, stdio: ['ignore', output, output], cwd: '/' });
  child.on('error', () => undefined);
  return child;
}

/**
 * @param {import('node:child_process').ChildProcess} node
 * @param {string} management
 * @param {number} port
 * @param {string} home
 */
async function listening(node, management, port, home) {
  const deadline = performance.now() + START_MS;
  while ((await get(`${management}/api/health/checks/port-listener/${port}`)) !== 200) {
    if (node.exitCode !== null || node.signalCode !== null || node.pid === undefined || performance.now() > deadline) {
      throw new Error(`RabbitMQ did not start:\n${readFileSync(join(home, 'output.log'), 'utf8').slice(-2_000)}`);
    }
    await sleep(POLL_MS);
  }
}

/**
 * Runs `rabbitmqctl` on the node. Rejects with what it said when it fails.
 *
 * @param {string} program
 * @param {readonly string[]} args
 * @param {NodeJS.ProcessEnv} env
 * @returns {Promise<string>}
 */
async function control(program, args, env) {
  const { stdout } = await promisify(execFile)(join(dirname(program), 'rabbitmqctl'), args, { env, cwd: '/' });
  return stdout;
}

/**
 * @param {string} url
 * @returns {Promise<number | undefined>} the status, undefined when nobody answers
 */
function get(url) {
  return new Promise((done) => {
    const outgoing = request(url, (response) => {
      response.resume();
      response.on('end', () => done(response.statusCode));
    });
    outgoing.on('error', () => done(undefined));
    outgoing.end();
  });
}

/**
 * @param {import('node:child_process').ChildProcess} child
 * @param {'SIGTERM' | 'SIGKILL'} signal
 */
async function end(child, signal) {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, 'exit');
  child.kill(signal);
  const kill = setTimeout(() => child.kill('SIGKILL'), STOP_MS);
  await gone;
  clearTimeout(kill);
}
