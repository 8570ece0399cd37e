import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { until } from '../measure.mjs';

/** A port nobody listens on now, for a program that can't be given 0. */
export async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

/** Starts another's Node program and waits until it listens; its output goes to a file. */
export async function startProgram({ script, args, cwd, env, port, log }) {
  const output = openSync(log, 'a');
  const child = spawn(process.execPath, [script, ...args], {
    cwd,
    env: { ...process.env, ...env },
    stdio: ['ignore', output, output],
  });
  closeSync(output);
  const ended = once(child, 'exit');
  await until(async () => {
    if (child.exitCode !== null) throw new Error(`it ended:\n${readFileSync(log, 'utf8').slice(-2000)}`);
    return listens(port);
  }, script);
  return {
    pid: child.pid,
    async stop() {
      child.kill('SIGKILL');
      await ended;
    },
  };
}

function listens(port) {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.on('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.on('error', () => resolve(false));
  });
}
