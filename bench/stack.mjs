import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { pino } from 'pino';
import { NODE_FLAGS } from '../bin/node-flags.mjs';
import { startRabbitmq } from '../bin/rabbitmq.mjs';
import { startEmbedded } from '../dist/src/storage/embedded.js';
import { cpuMs, rssMB } from './measure.mjs';

export const TOKEN = 'bench-token-bench-token';
/** A queue target's queue, as the contract names it. */
export const QUEUE = 'waybill.default.erp';
const program = fileURLToPath(new URL('../bin/waybill.mjs', import.meta.url));

const CONFIG = `
sources:
  feed: { kind: events, value: /data/amount }
  mail: { kind: mail, addresses: ["@example.com"] }
targets:
  erp: { kind: queue }
  archive: { kind: pull }
smtp: { maxConnectionsPerPeer: 1000, maxConnections: 2000 }
`;
/** Six rules, as a small installation has them: the last that matches is asked after all the others. */
const RULES = `
mode: first-match
rules:
  - { name: advertising, when: { subject: [{ prefix: "BUY" }] }, then: { close: advertising } }
  - { name: large, when: { data.amount: [{ numeric: [">", 1000000] }] }, then: { targets: [archive] } }
  - { name: refunds, when: { type: [refund.issued] }, then: { targets: [archive] } }
  - { name: from-partner, when: { from: [{ suffix: "@partner.example.com" }] }, then: { targets: [archive] } }
  - { name: east, when: { data.region: [{ wildcard: "*-east-*" }] }, then: { targets: [archive] } }
  - { name: usage, when: { kind: [event] }, then: { targets: [erp] } }
  - { name: mail, when: { kind: [mail] }, then: { targets: [archive] } }
`;

/**
 * A directory of its own, PostgreSQL as Waybill sets it up, a RabbitMQ node when asked for, and a running Waybill.
 * Without `roles` the process has all. `dataDir` names a data directory that is to stay; `rules: null` leaves the rules to the API.
 */
export async function startStack({ rabbitmq, roles = null, dataDir, rules = RULES }) {
  const directory = mkdtempSync(join(tmpdir(), 'waybill-bench-'));
  const data = dataDir ?? join(directory, 'data');
  writeConfig(directory, rules);
  const node = rabbitmq ? await startRabbitmq({ directory: join(directory, 'rabbitmq'), say: () => undefined }) : null;
  const clock = { now: Date.now, monotonic: () => performance.now() };
  const database = await startEmbedded({ dataDir: data, log: pino({ level: 'silent' }), clock });
  if (!(await database.logReady)) process.stderr.write('  the log was not made ahead: commits make it now and then\n');
  const running = new Set();
  const pools = [];

  /** One more process on the same database and broker. */
  async function add(itsRoles = roles) {
    const waybill = await startWaybill({
      directory,
      data,
      roles: itsRoles,
      env: { DATABASE_URL: database.url, ...(node && { AMQP_URL: node.url }) },
    });
    running.add(waybill);
    void waybill.ended.then(() => running.delete(waybill));
    return waybill;
  }
  const first = await add();
  return {
    ...first,
    first,
    add,
    amqp: node?.url ?? null,
    databaseUrl: database.url,
    /** The server's process, whose children do the work. */
    postgresPid: () => database.pid,
    rabbitmqPid: () => Number(readFileSync(join(directory, 'rabbitmq', 'pid'), 'utf8')),
    /** A pool on the same PostgreSQL, for limits. */
    pool() {
      const pool = new pg.Pool({ connectionString: database.url, options: '-c search_path=waybill', max: 4 });
      // Whoever ends a pool does not wait for its connections to be closed, and the server may be quicker.
      pool.on('error', () => undefined);
      pools.push(pool);
      return pool;
    },
    async stop() {
      await Promise.all([...running].map((waybill) => waybill.stop()));
      await Promise.all(pools.map((pool) => pool.end()));
      await node?.stop();
      await database.stop();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

/** Writes what a Waybill of the benchmarks is configured with into a directory. */
export function writeConfig(directory, rules = RULES) {
  writeFileSync(join(directory, 'waybill.yaml'), rules === null ? CONFIG : `${CONFIG}rulesFile: rules.yaml\n`);
  if (rules !== null) writeFileSync(join(directory, 'rules.yaml'), rules);
}

/** Starts one process and resolves when it is ready. Without DATABASE_URL in `env` it runs its own database. */
export async function startWaybill({ directory, data, roles = null, env = {} }) {
  const path = join(directory, 'waybill.log');
  const log = openSync(path, 'a');
  const child = spawn(process.execPath, [...NODE_FLAGS, program, 'start'], {
    env: {
      ...process.env,
      WAYBILL_CONFIG: join(directory, 'waybill.yaml'),
      WAYBILL_DATA: data,
      WAYBILL_HTTP: '127.0.0.1:0',
      WAYBILL_SMTP: '127.0.0.1:0',
      WAYBILL_ADMIN_TOKEN: TOKEN,
      ...(roles !== null && { WAYBILL_ROLES: roles }),
      ...env,
    },
    stdio: ['ignore', 'pipe', log],
  });
  closeSync(log);
  const ended = once(child, 'exit');
  const ready = await readyLine(child, path);
  return {
    ...ready,
    pid: child.pid,
    ended,
    cpuMs: () => cpuMs(child.pid),
    rssMB: () => rssMB(child.pid),
    async stop() {
      child.kill('SIGTERM');
      await ended;
    },
    async kill() {
      child.kill('SIGKILL');
      await ended;
    },
  };
}

function readyLine(child, log) {
  return new Promise((resolve, reject) => {
    let text = '';
    child.stdout.on('data', (chunk) => {
      text += chunk;
      if (text.includes('\n')) resolve(JSON.parse(text));
    });
    child.once('exit', () => reject(new Error(`Waybill did not start:\n${readFileSync(log, 'utf8').slice(-2000)}`)));
  });
}
