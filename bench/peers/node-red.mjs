import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { installPeers } from './install.mjs';
import { freePort, startProgram } from './program.mjs';

export const NODE_RED_QUEUE = 'node-red.erp';

/** Drops what has the source and id of an event that came before, as long as the process lives, and answers at once. */
const DE_DUPLICATE = `
const seen = context.get('seen') ?? new Set();
context.set('seen', seen);
const fresh = [];
for (const line of msg.payload.toString().split('\\n')) {
  const { source, id } = JSON.parse(line);
  const key = source + ' ' + id;
  if (seen.has(key)) continue;
  seen.add(key);
  fresh.push({ payload: line, options: { persistent: true } });
}
msg.payload = { taken: fresh.length };
msg.statusCode = 202;
return [fresh, msg];
`;

/**
 * Node-RED with the flow a user would draw: HTTP in → function that de-duplicates in its context → AMQP out. The queue is
 * a durable quorum queue and messages are persistent, as Waybill's are.
 */
export async function startNodeRed({ directory, amqp }) {
  const modules = installPeers();
  const port = await freePort();
  const home = join(directory, 'node-red');
  mkdirSync(home, { recursive: true });
  const broker = new URL(amqp);
  const topology = {
    exchanges: [{ name: 'node-red', type: 'direct', options: { durable: true } }],
    queues: [{ name: NODE_RED_QUEUE, options: { durable: true, arguments: { 'x-queue-type': 'quorum' } } }],
    bindings: [{ source: 'node-red', queue: NODE_RED_QUEUE, pattern: 'erp' }],
  };
  // What has no place on the canvas counts as configuration.
  const place = { z: 'flow', x: 100, y: 100 };
  const flow = [
    { id: 'flow', type: 'tab', label: 'events' },
    { id: 'in', type: 'http in', ...place, url: '/v1/events', method: 'post', wires: [['function']] },
    { id: 'function', type: 'function', ...place, func: DE_DUPLICATE, outputs: 2, wires: [['out'], ['answer']] },
    { id: 'answer', type: 'http response', ...place, wires: [] },
    {
      id: 'out',
      type: 'amqp out',
      ...place,
      server: 'server',
      iotype: '0',
      ioname: 'node-red',
      routingkey: 'erp',
      wires: [],
    },
    {
      id: 'server',
      type: 'amqp-server',
      host: broker.hostname,
      port: broker.port,
      usetopology: true,
      topology: JSON.stringify(topology),
    },
  ];
  const settings = {
    uiHost: '127.0.0.1',
    uiPort: port,
    httpAdminRoot: false,
    flowFile: 'flows.json',
    credentialSecret: false,
    apiMaxLength: '32mb',
    logging: { console: { level: 'warn', metrics: false, audit: false } },
  };
  writeFileSync(join(home, 'settings.js'), `module.exports = ${JSON.stringify(settings)};\n`);
  writeFileSync(join(home, 'flows.json'), JSON.stringify(flow));
  const credentials = { server: { user: broker.username, password: broker.password } };
  writeFileSync(join(home, 'flows_cred.json'), JSON.stringify(credentials));
  const program = await startProgram({
    script: join(modules, 'node-red', 'red.js'),
    args: ['--userDir', home, '--settings', join(home, 'settings.js')],
    cwd: home,
    // Errors of AMQP alone: its library would write each message to the log.
    env: { AMQPTS_LOGLEVEL: 'error', NO_UPDATE_NOTIFIER: '1' },
    port,
    log: join(home, 'output.log'),
  });
  return { ...program, http: `http://127.0.0.1:${port}` };
}
