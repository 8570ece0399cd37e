import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { pino } from 'pino';
import { startRabbitmq } from '../bin/rabbitmq.mjs';
import { startEmbedded } from '../dist/src/storage/embedded.js';

export const TOKEN = 'bench-token-bench-token';
const program = fileURLToPath(new URL('../bin/waybill.mjs', import.meta.url));
const NODE_FLAGS = ['--max-semi-space-size=32'];

const CONFIG = `
sources:
  feed: { kind: events, value: /data/amount }
  mail: { kind: mail, addresses: ["@example.com"] }
targets:
  erp: { kind: queue }
  archive: { kind: pull }
smtp: { maxConnectionsPerPeer: 1000, maxConnections: 2000 }
rulesFile: rules.yaml
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

/** A directory of its own, PostgreSQL as Waybill sets it up, a RabbitMQ node when asked for, and a running Waybill. */
export async function startStack({ rabbitmq, roles = 'ingress,owner,web' }) {
  const directory = mkdtempSync(join(tmpdir(), 'waybill-bench-'));
  writeFileSync(join(directory, 'waybill.yaml'), CONFIG);
  writeFileSync(join(directory, 'rules.yaml'), RULES);
  const node = rabbitmq ? await startRabbitmq({ directory: join(directory, 'rabbitmq'), say: () => undefined }) : null;
  const clock = { now: Date.now, monotonic: () => performance.now() };
  const database = await startEmbedded({ dataDir: join(directory, 'database'), log: pino({ level: 'silent' }), clock });
  const log = join(directory, 'waybill.log');
  const child = spawn(process.execPath, [...NODE_FLAGS, program, 'start'], {
    env: {
      ...process.env,
      WAYBILL_CONFIG: join(directory, 'waybill.yaml'),
      WAYBILL_DATA: join(directory, 'data'),
      WAYBILL_HTTP: '127.0.0.1:0',
      WAYBILL_SMTP: '127.0.0.1:0',
      WAYBILL_ADMIN_TOKEN: TOKEN,
      WAYBILL_ROLES: roles,
      DATABASE_URL: database.url,
      ...(node && { AMQP_URL: node.url }),
    },
    stdio: ['ignore', 'pipe', openSync(log, 'w')],
  });
  const ready = await readyLine(child, log);
  return {
    ...ready,
    amqp: node?.url ?? null,
    pid: child.pid,
    /** A pool on the same PostgreSQL, for limits. */
    pool: () => new pg.Pool({ connectionString: database.url, options: '-c search_path=waybill', max: 4 }),
    /** Processor time of the Node process so far, in milliseconds (the kernel counts in hundredths of a second). */
    cpuMs() {
      const fields = readFileSync(`/proc/${child.pid}/stat`, 'utf8').split(') ')[1].split(' ');
      return (Number(fields[11]) + Number(fields[12])) * 10;
    },
    rssMiB: () => Number(readFileSync(`/proc/${child.pid}/statm`, 'utf8').split(' ')[1]) / 256,
    async stop() {
      child.kill('SIGTERM');
      await once(child, 'exit');
      await node?.stop();
      await database.stop();
      rmSync(directory, { recursive: true, force: true });
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
